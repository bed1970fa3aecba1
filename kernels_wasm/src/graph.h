// The neighbour lists of a graph index (Malkov & Yashunin, "HNSW", TPAMI 2020), read from pages.
#pragma once
#include <stdint.h>

#include <vector>

#include "graph_layout.h"

class Index;

struct GraphLink {
  uint32_t row;
  uint32_t rank;  // on the list's level; on level 0 the row
};

class Graph {
 public:
  // Reads GRPH. An index of another kind, or without rows, has no graph.
  int32_t open(Index& index);
  bool present() const { return layout_.levels() > 0; }
  const GraphLayout& layout() const { return layout_; }
  uint32_t max_level() const { return layout_.levels() - 1; }

  // The page with the list of the node of this rank, in the index's numbering. rank < counts[level].
  uint32_t page_of(uint32_t level, uint32_t rank) const {
    return first_pages_[level] + rank / per_page_[level];
  }
  // Reads the list out of its page's bytes into `links`, which has room for m0. Gives the number of
  // links or PW_CORRUPT. Above level 0 `below` becomes the node's rank one level lower.
  int32_t links(uint32_t level, uint32_t rank, const uint8_t* page, GraphLink* links, uint32_t& below) const;
  // The same for level 0, rows only.
  int32_t neighbours(uint32_t row, const uint8_t* page, uint32_t* rows) const;

 private:
  GraphLayout layout_;
  std::vector<uint32_t> first_pages_, per_page_;  // of each level
};
