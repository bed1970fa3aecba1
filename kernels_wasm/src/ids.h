// From an id to its row: entries (XXH64 of the id, row) sorted by hash, in the section IDS; see
// docs/format.md. Hashes are uniform, so interpolation finds the page at once, or its neighbour.
// Two ids may share a hash: the id in the row's record decides.
#pragma once
#include <stdint.h>

#include <string_view>
#include <vector>

#include "head.h"
#include "row_batch.h"
#include "section_writer.h"

class Index;

inline constexpr uint32_t kIdEntryBytes = 12;
inline constexpr uint32_t kIdsPerPage = kPageBytes / kIdEntryBytes;

using IdHash = uint64_t (*)(std::string_view id, uint64_t seed);
uint64_t id_hash(std::string_view id, uint64_t seed);  // XXH64

class IdsBuilder {
 public:
  // `hash` is another one in tests, where ids are to collide.
  explicit IdsBuilder(PageQueue& queue, IdHash hash = id_hash) : writer_(Section::Ids, queue), hash_(hash) {}
  // Rows come in order, from 0 on. PW_DUPLICATE naming the id when an earlier row has it. Ids are told
  // apart by two hashes, 128 bits, so that the ids themselves need not be kept.
  int32_t add(std::string_view id);
  int32_t finish(HeadWriter& head);

 private:
  struct Entry {
    uint64_t hash, second;
  };
  void grow();

  SectionWriter writer_;
  IdHash hash_;
  std::vector<Entry> entries_;    // by row
  std::vector<uint32_t> places_;  // open addressing by hash: row + 1, or 0
};

class Ids {
 public:
  int32_t open(const Index& index, IdHash hash = id_hash);
  uint32_t count() const { return count_; }
  IdHash hash() const { return hash_; }
  uint32_t first_page() const { return first_page_; }

 private:
  uint32_t first_page_ = 0, count_ = 0;
  IdHash hash_ = id_hash;
};

// Looks up many ids at once; a part of operations (RowsOfIds, Insert, Delete). Reused it allocates nothing.
class IdLookup {
 public:
  explicit IdLookup(Index& index) : index_(index) {}
  // Copies the ids.
  void begin(const Strings& ids);
  // PW_DONE: rows() is complete. PW_NEED: pages were appended to `wanted`. Or PW_CORRUPT.
  int32_t step(std::vector<uint32_t>& wanted);
  // The live row of each id, or kNoRow: unknown or deleted.
  const std::vector<uint32_t>& rows() const { return rows_; }

 private:
  enum class State : uint8_t { Locate, Verify, Done };
  struct Search {
    uint64_t hash;
    uint32_t text, bytes;     // the id, in ids_
    uint32_t low, high, next; // pages of the section between which the first entry >= hash lies
    uint32_t entry;           // Verify: the entry looked at
    State state;
  };
  std::string_view id(const Search& search) const {
    return {reinterpret_cast<const char*>(ids_.data()) + search.text, search.bytes};
  }
  int32_t advance(Search& search, uint32_t& result, uint32_t& wanted_page);
  bool locate(Search& search, const uint8_t* page) const;

  Index& index_;
  ByteWriter ids_;
  std::vector<Search> searches_;
  std::vector<uint32_t> rows_;
};
