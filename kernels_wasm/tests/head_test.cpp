// The head: what the writer writes is read back, and no damage to it passes.
#include "head.h"

#include <string>

#include "abi.h"
#include "check.h"

namespace {

IndexParameters parameters() {
  IndexParameters p;
  p.rows = 1000;
  p.dim = 20;
  p.code_dim = 32;
  p.kind = PwKind::Clusters;
  p.clusters = 7;
  p.seed = 0x123456789abcdef0;
  p.add_exponent = -3;
  return p;
}

std::vector<uint8_t> sample_head() {
  PageQueue queue;
  SectionWriter codes(Section::Codes, queue), lexicon(Section::Lexicon, queue);
  const std::vector<uint8_t> data(kPageBytes + 10, 42);
  codes.put(data.data(), data.size());
  codes.end_page();
  lexicon.put("abc", 3);
  lexicon.end_page();
  HeadWriter writer;
  ByteWriter chunk;
  chunk.text("hello");
  writer.chunk(kTagClusters, chunk);
  writer.section(codes);
  writer.section(lexicon);
  return writer.finish(parameters());
}

void reads_what_was_written() {
  const std::vector<uint8_t> bytes = sample_head();
  Head head;
  if (!CHECK_EQ(Head::parse(bytes.data(), bytes.size(), head), PW_DONE)) return;
  CHECK_EQ(head.rows, 1000u);
  CHECK_EQ(head.clusters, 7u);
  CHECK_EQ(head.seed, 0x123456789abcdef0u);
  CHECK_EQ(head.add_exponent, -3);
  CHECK_EQ(head.total_pages(), 3u);
  CHECK_EQ(head.section(Section::Lexicon).first_page, 0u);
  CHECK_EQ(head.section(Section::Lexicon).bytes, 3u);
  CHECK_EQ(head.section(Section::Codes).first_page, 1u);
  CHECK_EQ(head.section(Section::Codes).bytes, kPageBytes + 10u);
  CHECK_EQ(head.section(Section::Vectors).pages, 0u);
  CHECK(head.section_of(0) == Section::Lexicon);
  CHECK(head.section_of(2) == Section::Codes);
  const std::span<const uint8_t> chunk = head.chunk(kTagClusters);
  CHECK_EQ(std::string(chunk.begin(), chunk.end()), "hello");
  CHECK_EQ(head.chunk(kTagGraph).size(), 0u);
  std::vector<uint8_t> page(kPageBytes, 42);
  CHECK_EQ(head.sum(1), Head::checksum(page.data(), Section::Codes, 0));
  CHECK(head.sum(1) != Head::checksum(page.data(), Section::Codes, 1));
}

void refuses_every_flipped_byte() {
  std::vector<uint8_t> bytes = sample_head();
  Head head;
  for (size_t i = 0; i < bytes.size(); i++) {
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      bytes[i] ^= flip;
      CHECK_LT(Head::parse(bytes.data(), bytes.size(), head), 0);
      bytes[i] ^= flip;
    }
  }
}

void refuses_every_truncation() {
  const std::vector<uint8_t> bytes = sample_head();
  Head head;
  for (size_t size = 0; size < bytes.size(); size++) {
    const std::vector<uint8_t> shorter(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    CHECK_EQ(Head::parse(shorter.data(), size, head), PW_CORRUPT);
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  CHECK_EQ(Head::parse(longer.data(), longer.size(), head), PW_CORRUPT);
}

void names_a_newer_version() {
  std::vector<uint8_t> bytes = sample_head();
  bytes[4] = 2;
  Head head;
  CHECK_EQ(Head::parse(bytes.data(), bytes.size(), head), PW_NEWER_VERSION);
  CHECK(std::string(pw_error()).find("version 2") != std::string::npos);
}

void replaces_a_chunk() {
  const std::vector<uint8_t> bytes = sample_head();
  Head head, changed;
  Head::parse(bytes.data(), bytes.size(), head);
  ByteWriter payload;
  payload.text("0123");
  for (int twice = 0; twice < 2; twice++) {
    const std::vector<uint8_t> with = HeadWriter::with_chunk(twice ? changed : head, kTagCalibration, payload);
    if (!CHECK_EQ(Head::parse(with.data(), with.size(), changed), PW_DONE)) return;
    CHECK_EQ(changed.chunk(kTagCalibration).size(), 4u);
    CHECK_EQ(changed.chunk(kTagClusters).size(), 5u);
    CHECK_EQ(changed.bytes().size(), bytes.size() + 12);
  }
}

}  // namespace

int main() {
  reads_what_was_written();
  refuses_every_flipped_byte();
  refuses_every_truncation();
  names_a_newer_version();
  replaces_a_chunk();
  return check_result("head");
}
