#include "head.h"

#include <string.h>

#include "status.h"
#include "xxh64.h"

namespace {

constexpr uint32_t kHeadFixed = 24;
constexpr uint32_t kMagic = tag("PWIX");

struct Fixed {
  uint32_t magic;
  uint16_t version, zero;
  uint32_t bytes, reserved;
  uint64_t sum;
};
static_assert(sizeof(Fixed) == kHeadFixed);

// The payload of INDX.
struct IndexChunk {
  uint32_t rows, dim, code_dim;
  uint32_t metric, dtype, kind;
  uint32_t code_bits, clusters, m, ef_construction;
  uint32_t seed_low, seed_high;
  int32_t add_exponent, rescale_exponent;
  uint32_t page_bytes, pages_per_shard;
};
// One entry of SECT.
struct SectionChunk {
  uint32_t section, first_page, pages, reserved;
  uint64_t bytes;
};

bool known(uint32_t tag) {
  for (uint32_t one : {kTagIndex, kTagSections, kTagSums, kTagClusters, kTagMean, kTagLexicon, kTagRecords, kTagColumns,
                       kTagGraph, kTagCalibration})
    if (one == tag) return true;
  return false;
}

struct Chunk {
  uint32_t tag;
  std::span<const uint8_t> payload;
};

// The next chunk; false at the end or when it leaves the head (then !reader.ok()).
bool next_chunk(ByteReader& reader, Chunk& chunk) {
  if (reader.left() == 0) return false;
  chunk.tag = reader.get<uint32_t>();
  const uint32_t bytes = reader.get<uint32_t>();
  const uint8_t* payload = reader.take(bytes);
  reader.align(4);
  if (!reader.ok()) return false;
  chunk.payload = {payload, bytes};
  return true;
}

void put_chunk(ByteWriter& out, uint32_t tag, const void* data, size_t bytes) {
  out.put(tag);
  out.put(static_cast<uint32_t>(bytes));
  out.put(data, bytes);
  out.align(4);
}

std::vector<uint8_t> seal(const ByteWriter& chunks) {
  Fixed fixed{kMagic, kFormatVersion, 0, static_cast<uint32_t>(kHeadFixed + chunks.size()), 0,
              xxh64(chunks.data(), chunks.size())};
  std::vector<uint8_t> head(kHeadFixed + chunks.size());
  memcpy(head.data(), &fixed, kHeadFixed);
  if (chunks.size()) memcpy(head.data() + kHeadFixed, chunks.data(), chunks.size());
  return head;
}

}  // namespace

int32_t Head::parse(const void* data, size_t bytes, Head& head) {
  head = Head();
  ByteReader reader(data, bytes);
  const Fixed fixed = reader.get<Fixed>();
  if (!reader.ok() || fixed.magic != kMagic)
    return fail(PW_CORRUPT, "index head: expected at least %u bytes that begin with PWIX, got %zu bytes", kHeadFixed, bytes);
  if (fixed.version > kFormatVersion)
    return fail(PW_NEWER_VERSION, "index head: format version %u is newer than this engine's, %u", fixed.version, kFormatVersion);
  if (fixed.version != kFormatVersion || fixed.zero || fixed.reserved)
    return fail(PW_CORRUPT, "index head: version %u and reserved fields %u, %u: expected %u, 0, 0", fixed.version,
                fixed.zero, fixed.reserved, kFormatVersion);
  if (fixed.bytes != bytes) return fail(PW_CORRUPT, "index head: %zu bytes, expected %u", bytes, fixed.bytes);
  const uint8_t* start = static_cast<const uint8_t*>(data);
  if (xxh64(start + kHeadFixed, bytes - kHeadFixed) != fixed.sum)
    return fail(PW_CORRUPT, "index head: its checksum does not match its %zu bytes", bytes);
  head.bytes_.assign(start, start + bytes);
  return head.parse_chunks();
}

int32_t Head::parse_chunks() {
  ByteReader reader(bytes_.data(), bytes_.size());
  reader.take(kHeadFixed);
  std::vector<uint32_t> seen;
  for (Chunk one; next_chunk(reader, one);) {
    // A lower-case first letter marks what a reader may skip.
    if (!known(one.tag) && !(one.tag & 0x20))
      return fail(PW_NEWER_VERSION, "index head: chunk %08x is unknown to this engine and must not be skipped", one.tag);
    for (uint32_t before : seen)
      if (before == one.tag) return fail(PW_CORRUPT, "index head: chunk %08x comes twice", one.tag);
    seen.push_back(one.tag);
  }
  if (!reader.ok()) return fail(PW_CORRUPT, "index head: a chunk at byte %zu leaves the head", reader.at());
  if (int32_t status = parse_index(chunk(kTagIndex))) return status;
  if (int32_t status = parse_sections(chunk(kTagSections))) return status;
  const std::span<const uint8_t> sums = chunk(kTagSums);
  if (sums.size() != static_cast<size_t>(total_pages_) * 4)
    return fail(PW_CORRUPT, "index head: SUMS has %zu bytes, expected %u for %u pages", sums.size(), total_pages_ * 4, total_pages_);
  sums_ = sums.data();
  return PW_DONE;
}

int32_t Head::parse_index(std::span<const uint8_t> chunk) {
  if (chunk.size() != sizeof(IndexChunk))
    return fail(PW_CORRUPT, "index head: INDX has %zu bytes, expected %zu", chunk.size(), sizeof(IndexChunk));
  IndexChunk raw;
  memcpy(&raw, chunk.data(), sizeof raw);
  rows = raw.rows;
  dim = raw.dim;
  code_dim = raw.code_dim;
  metric = static_cast<PwMetric>(raw.metric);
  dtype = static_cast<PwDtype>(raw.dtype);
  kind = static_cast<PwKind>(raw.kind);
  code_bits = raw.code_bits;
  clusters = raw.clusters;
  m = raw.m;
  ef_construction = raw.ef_construction;
  seed = static_cast<uint64_t>(raw.seed_high) << 32 | raw.seed_low;
  add_exponent = raw.add_exponent;
  rescale_exponent = raw.rescale_exponent;
  if (raw.page_bytes != kPageBytes || raw.pages_per_shard != kPagesPerShard)
    return fail(PW_CORRUPT, "index head: pages of %u bytes, %u a shard: expected %u, %u", raw.page_bytes, raw.pages_per_shard, kPageBytes, kPagesPerShard);
  return check(PW_CORRUPT);
}

int32_t Head::parse_sections(std::span<const uint8_t> chunk) {
  if (chunk.size() % sizeof(SectionChunk))
    return fail(PW_CORRUPT, "index head: SECT has %zu bytes, expected a multiple of %zu", chunk.size(), sizeof(SectionChunk));
  uint32_t last = 0;
  for (size_t at = 0; at < chunk.size(); at += sizeof(SectionChunk)) {
    SectionChunk raw;
    memcpy(&raw, chunk.data() + at, sizeof raw);
    if (raw.section <= last || raw.section >= kSections)
      return fail(PW_CORRUPT, "index head: section %u after section %u, expected ascending numbers below %u", raw.section, last, kSections);
    if (raw.first_page != total_pages_ || raw.pages > UINT32_MAX / 8 - total_pages_ || raw.pages == 0)
      return fail(PW_CORRUPT, "index head: section %u has %u pages from page %u on, expected some from page %u on",
                  raw.section, raw.pages, raw.first_page, total_pages_);
    if (raw.bytes > static_cast<uint64_t>(raw.pages) * kPageBytes || raw.bytes <= (raw.pages - 1ull) * kPageBytes)
      return fail(PW_CORRUPT, "index head: section %u has %llu bytes in %u pages", raw.section,
                  static_cast<unsigned long long>(raw.bytes), raw.pages);
    sections_[raw.section] = {raw.first_page, raw.pages, raw.bytes};
    total_pages_ += raw.pages;
    last = raw.section;
  }
  return PW_DONE;
}

std::span<const uint8_t> Head::chunk(uint32_t tag) const {
  if (bytes_.size() < kHeadFixed) return {};
  ByteReader reader(bytes_.data(), bytes_.size());
  reader.take(kHeadFixed);
  for (Chunk one; next_chunk(reader, one);)
    if (one.tag == tag) return one.payload;
  return {};
}

Section Head::section_of(uint32_t page) const {
  uint32_t found = 0;
  for (uint32_t i = 1; i < kSections; i++)
    if (sections_[i].pages && sections_[i].first_page <= page) found = i;
  return static_cast<Section>(found);
}

uint32_t Head::sum(uint32_t page) const {
  uint32_t value;
  memcpy(&value, sums_ + static_cast<size_t>(page) * 4, sizeof value);
  return value;
}

uint32_t Head::checksum(const uint8_t* page_bytes, Section section, uint32_t index_in_section) {
  return static_cast<uint32_t>(xxh64(page_bytes, kPageBytes, static_cast<uint64_t>(section) << 32 | index_in_section));
}

void HeadWriter::chunk(uint32_t tag, const ByteWriter& payload) { put_chunk(chunks_, tag, payload.data(), payload.size()); }

void HeadWriter::section(const SectionWriter& writer) {
  sections_[static_cast<uint32_t>(writer.section())] = {writer.bytes(), writer.sums()};
}

std::vector<uint8_t> HeadWriter::finish(const IndexParameters& from) const {
  const IndexChunk index{from.rows, from.dim, from.code_dim, static_cast<uint32_t>(from.metric),
                         static_cast<uint32_t>(from.dtype), static_cast<uint32_t>(from.kind), from.code_bits,
                         from.clusters, from.m, from.ef_construction, static_cast<uint32_t>(from.seed),
                         static_cast<uint32_t>(from.seed >> 32), from.add_exponent, from.rescale_exponent,
                         kPageBytes, kPagesPerShard};
  ByteWriter out, sections, sums;
  uint32_t page = 0;
  for (uint32_t i = 1; i < kSections; i++) {
    const Written& one = sections_[i];
    const uint32_t pages = static_cast<uint32_t>(one.sums.size());
    if (pages == 0) continue;
    sections.put(SectionChunk{i, page, pages, 0, one.bytes});
    sums.put(one.sums.data(), pages * sizeof(uint32_t));
    page += pages;
  }
  put_chunk(out, kTagIndex, &index, sizeof index);
  put_chunk(out, kTagSections, sections.data(), sections.size());
  put_chunk(out, kTagSums, sums.data(), sums.size());
  out.put(chunks_.data(), chunks_.size());
  return seal(out);
}

std::vector<uint8_t> HeadWriter::with_chunk(const Head& head, uint32_t tag, const ByteWriter& payload) {
  ByteReader reader(head.bytes().data(), head.bytes().size());
  reader.take(kHeadFixed);
  ByteWriter out;
  for (Chunk one; next_chunk(reader, one);)
    if (one.tag != tag) put_chunk(out, one.tag, one.payload.data(), one.payload.size());
  put_chunk(out, tag, payload.data(), payload.size());
  return seal(out);
}
