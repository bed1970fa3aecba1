// Small valid indexes to start from, one of each kind, and their bytes changed so that the parsers
// behind the checksums see it: every changed page gets a new checksum, the head too.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <random>
#include <span>
#include <string>
#include <vector>

#include "format.h"
#include "site.h"
#include "xxh64.h"

inline constexpr uint32_t kFuzzDim = 24, kFuzzRows = 400, kFuzzSites = 5;
inline constexpr size_t kHeadHashAt = 16, kHeadChunksAt = 24;

class FuzzBits {
 public:
  explicit FuzzBits(uint32_t seed) : bits_(seed) {}
  uint32_t operator()() { return static_cast<uint32_t>(bits_()); }

 private:
  std::mt19937 bits_;
};

inline std::vector<ColumnSpec> fuzz_columns() {
  return {{PwColumnType::Category, "topic"}, {PwColumnType::Number, "year"}, {PwColumnType::Category, "author"}};
}

inline TestRow fuzz_row(FuzzBits& bits, const std::string& id) {
  static const char* const kWords[] = {"search", "index", "vector", "Straße", "naïve", "検索エンジン", "데이터", "ru\xcc\x88", "x1", "a"};
  TestRow row;
  row.id = id;
  for (uint32_t i = bits() % 12; i > 0; i--) row.text += std::string(kWords[bits() % 10]) + " ";
  row.text += "row" + std::to_string(bits() % 700);
  row.payload = std::string(bits() % 60, '{');
  for (uint32_t d = 0; d < kFuzzDim; d++) row.vector.push_back(static_cast<float>(bits() % 2001) - 1000.5f);
  row.categories = {bits() % 5 == 0 ? kNoCategory : bits() % 7, bits() % 300};
  row.numbers = {2000.0 + bits() % 30};
  return row;
}

inline Site make_fuzz_site(uint32_t which) {
  static constexpr PwKind kKinds[kFuzzSites] = {PwKind::Flat, PwKind::Scan, PwKind::Clusters, PwKind::Graph, PwKind::Scan};
  static constexpr PwDtype kDtypes[kFuzzSites] = {PwDtype::F32, PwDtype::F16, PwDtype::I8, PwDtype::I8, PwDtype::I8};
  FuzzBits bits(which + 1);
  PwConfig config{};
  config.dim = kFuzzDim;
  config.metric = static_cast<PwMetric>(which % 3);
  config.dtype = kDtypes[which];
  config.kind = kKinds[which];
  config.code_bits = 1 + which % 3;
  config.clusters = config.kind == PwKind::Clusters ? 6 : 1;
  config.m = 4;
  config.ef_construction = 20;
  std::vector<TestRow> rows;
  const uint32_t count = which == 4 ? 0 : kFuzzRows;  // the last is empty and lives by inserts
  for (uint32_t i = 0; i < count; i++) rows.push_back(fuzz_row(bits, "id " + std::to_string(i)));
  if (count != 0) rows[5].text = std::string(40000, 'w') + " long record";
  Site site = build_site(config, std::move(rows), fuzz_columns());
  if (site.status != PW_DONE) abort();
  return site;
}

// Built once. Changed by edit_site() and put back by Edits::undo().
inline Site& fuzz_site(uint32_t which) {
  static std::vector<Site> sites(kFuzzSites);
  Site& site = sites[which % kFuzzSites];
  if (site.head.empty()) site = make_fuzz_site(which % kFuzzSites);
  return site;
}

// Where the payload of a chunk lies in a valid head.
inline std::span<uint8_t> head_chunk(std::vector<uint8_t>& head, uint32_t wanted_tag) {
  for (size_t at = kHeadChunksAt; at + 8 <= head.size();) {
    uint32_t words[2];
    memcpy(words, &head[at], 8);
    if (words[0] == wanted_tag) return std::span(head).subspan(at + 8, words[1]);
    at += 8 + (words[1] + 3) / 4 * 4;
  }
  return {};
}

inline void seal_head(std::vector<uint8_t>& head) {
  if (head.size() < kHeadChunksAt) return;
  const uint64_t hash = xxh64(head.data() + kHeadChunksAt, head.size() - kHeadChunksAt);
  memcpy(&head[kHeadHashAt], &hash, 8);
}

// Changes bytes of pages and of the head as the fuzzer's input says, and puts them back.
class Edits {
 public:
  explicit Edits(Site& site) : site_(site), head_(site.head) {
    const int32_t status = Head::parse(site.head.data(), site.head.size(), parsed_);
    if (status != PW_DONE) abort();
    sums_ = head_chunk(site.head, kTagSums);
  }
  // Each edit: u16 page (the one past the last: the head), u16 offset, u8 bytes - 1 below 16, bytes.
  void apply(ByteReader input) {
    const uint32_t pages = static_cast<uint32_t>(site_.pages.size());
    while (input.left() >= 6) {
      const uint32_t page = input.get<uint16_t>() % (pages + 1);
      const uint32_t offset = input.get<uint16_t>();
      const uint32_t size = std::min<uint32_t>(input.get<uint8_t>() % 16 + 1, static_cast<uint32_t>(input.left()));
      const uint8_t* from = input.take(size);
      if (page < pages) edit_page(page, offset % kPageBytes, from, size);
      else edit_head(offset, from, size);
    }
    for (const auto& [page, bytes] : pages_before_) {
      const Section section = parsed_.section_of(page);
      const uint32_t sum =
          Head::checksum(site_.pages[page].data(), section, page - parsed_.section(section).first_page);
      memcpy(sums_.data() + size_t{page} * 4, &sum, 4);
    }
    seal_head(site_.head);
  }
  void undo() {
    for (auto& [page, bytes] : pages_before_) site_.pages[page] = std::move(bytes);
    site_.head = head_;
  }

 private:
  void edit_page(uint32_t page, uint32_t offset, const uint8_t* from, uint32_t size) {
    const auto same = [&](const auto& before) { return before.first == page; };
    if (std::none_of(pages_before_.begin(), pages_before_.end(), same)) pages_before_.push_back({page, site_.pages[page]});
    memcpy(site_.pages[page].data() + offset, from, std::min(size, kPageBytes - offset));
  }
  void edit_head(uint32_t offset, const uint8_t* from, uint32_t size) {
    const size_t at = kHeadChunksAt + offset % (site_.head.size() - kHeadChunksAt);
    memcpy(site_.head.data() + at, from, std::min<size_t>(size, site_.head.size() - at));
  }

  Site& site_;
  std::vector<uint8_t> head_;
  Head parsed_;
  std::span<uint8_t> sums_;
  std::vector<std::pair<uint32_t, std::vector<uint8_t>>> pages_before_;
};

// Runs an operation and stops the fuzzer where it would never end or asks for what is not there.
inline Outcome run_bounded(Index& index, const Site& site, PwOperation kind, const ByteWriter& message) {
  const Outcome outcome = run_operation(index, site, kind, message, 5000);
  if (outcome.status == PW_STATE) abort();
  return outcome;
}

// --- valid messages ----------------------------------------------------------------------

inline ByteWriter message_of(PwOperation kind, FuzzBits& bits) {
  ByteWriter message;
  const auto strings = [&](std::vector<std::string> ids) {
    message.put(static_cast<uint32_t>(ids.size()));
    message.put(uint32_t{0});
    put_strings(message, ids);
  };
  const auto filter = [&] {
    ByteWriter program;
    for (uint32_t word : {1u, 0u, 3u, 3u, 1u, 1u, 0u, 0x409f4800u, 0u, 0u, 4u, 2u, 2u, 2u, 5u, 90u, 6u, 5u, 7u, 1u, 4u})
      program.put(word);
    return program;
  };
  const auto rows = [&] {
    message.put(PwRows{3, 0});
    for (uint32_t i = 0; i < 3; i++) message.put(bits() % kFuzzRows);
  };
  switch (kind) {
    case PwOperation::SearchVector: {
      PwVectorSearch search{};
      search.k = 1 + bits() % 20;
      search.nprobe = bits() % 4;
      search.exclude = bits() % 2 ? kNoRow : bits() % kFuzzRows;
      search.max_pages = bits() % 3;
      const ByteWriter program = filter();
      search.filter_bytes = bits() % 2 ? static_cast<uint32_t>(program.size()) : 0;
      message.put(search);
      message.put(program.data(), search.filter_bytes);
      for (uint32_t d = 0; d < kFuzzDim; d++) message.put(static_cast<float>(bits() % 100) - 50.0f);
      break;
    }
    case PwOperation::SearchText: {
      const std::string text = bits() % 2 ? "search ind" : "検索 naïve row12 straße";
      const ByteWriter program = filter();
      const uint32_t filter_bytes = bits() % 2 ? static_cast<uint32_t>(program.size()) : 0;
      message.put(PwTextSearch{10, bits() % 2, filter_bytes, static_cast<uint32_t>(text.size())});
      message.put(program.data(), filter_bytes);
      message.text(text);
      message.align(4);
      break;
    }
    case PwOperation::Records:
    case PwOperation::Vectors:
      rows();
      break;
    case PwOperation::RowsOfIds:
    case PwOperation::Delete:
      strings({"id 5", "nobody", "id " + std::to_string(bits() % kFuzzRows)});
      break;
    case PwOperation::Insert: {
      message.put(uint32_t{bits() % 2});
      message.put(uint32_t{0});
      const std::vector<TestRow> more = {fuzz_row(bits, "new " + std::to_string(bits() % 50)), fuzz_row(bits, "id 7")};
      put_batch(message, more, fuzz_columns());
      break;
    }
    case PwOperation::FilterCount: {
      const ByteWriter program = filter();
      message.put(program.data(), program.size());
      break;
    }
    case PwOperation::LiveRows:
      message.put(uint32_t{3});
      message.put(uint32_t{50});
      break;
    case PwOperation::ColumnValues:
      message.put(bits() % 3);
      message.put(uint32_t{0});
      rows();
      break;
  }
  return message;
}

inline constexpr PwOperation kAllOperations[] = {
    PwOperation::SearchVector, PwOperation::SearchText,  PwOperation::Records,     PwOperation::Vectors,
    PwOperation::RowsOfIds,    PwOperation::FilterCount, PwOperation::ColumnValues, PwOperation::LiveRows,
    PwOperation::Insert,       PwOperation::Delete,
};
