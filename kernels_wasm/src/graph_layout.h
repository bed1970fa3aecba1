// Where a graph's neighbour lists lie (docs/format.md, GRAPH and GRPH), for its writer and its
// reader. Records of a level have one size and never cross a page, so a list is found by arithmetic.
#pragma once
#include <stdint.h>
#include <string.h>

#include <vector>

#include "bytes.h"
#include "format.h"

inline constexpr uint32_t kMaxGraphM = 1024;
inline constexpr uint32_t kMaxGraphLevels = 32;  // level 0 included

struct GraphLayout {
  uint32_t m = 0;         // neighbours of a node on a level above 0, at most
  uint32_t m0 = 0;        // on level 0
  uint32_t id_bytes = 2;  // of a row or rank in a list: 2, 3 or 4
  uint32_t entry_row = 0, entry_rank = 0;  // where a search starts, on the highest level
  std::vector<uint32_t> counts;  // nodes of each level; [0] = rows. Empty: there is no graph

  // A node's rank on a level is its place among the level's nodes in row order; on level 0 the row.
  // Level 0: u16 count, then m0 rows. Above: u32 rank of the same node one level below, u16 count,
  // then m times (row, rank on this level).
  uint32_t record_bytes(uint32_t level) const { return level == 0 ? 2 + m0 * id_bytes : 6 + 2 * m * id_bytes; }
  uint32_t records_per_page(uint32_t level) const { return kPageBytes / record_bytes(level); }
  uint32_t pages(uint32_t level) const {
    return (counts[level] + records_per_page(level) - 1) / records_per_page(level);
  }
  uint32_t levels() const { return static_cast<uint32_t>(counts.size()); }
  uint32_t total_pages() const {
    uint32_t total = 0;
    for (uint32_t level = 0; level < levels(); level++) total += pages(level);
    return total;
  }
  static uint32_t id_bytes_for(uint32_t rows) { return rows <= 1u << 16 ? 2 : rows <= 1u << 24 ? 3 : 4; }

  void write(ByteWriter& chunk) const;
  // Checks everything against `rows`, the index's. PW_CORRUPT with a sentence.
  static int32_t parse(ByteReader chunk, uint32_t rows, GraphLayout& layout);
};

inline void put_id(uint8_t* to, uint32_t id, uint32_t id_bytes) { memcpy(to, &id, id_bytes); }
