// A hierarchical navigable small world graph in memory, being built or changed.
// Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs",
// TPAMI 2020 (arXiv 2018); names as there and in hnswlib.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "bitmap.h"
#include "graph_beam.h"
#include "hnsw_vectors.h"

struct HnswParameters {
  uint32_t m = 16;  // neighbours a node gets; also the most it keeps on levels above 0
  uint32_t ef_construction = 100;
  uint64_t seed = 0;
  uint32_t m0() const { return 2 * m; }  // the most a node keeps on level 0
};

class Hnsw {
 public:
  // `vectors` outlives the graph; its rows become nodes by insert() or adopt(), in any order.
  Hnsw(const HnswVectors& vectors, const HnswParameters& parameters) : vectors_(vectors), parameters_(parameters) {}

  // Algorithm 1. The level is drawn from (seed, row): the same rows in the same order give the same graph.
  void insert(uint32_t row);

  // Makes `row` a node with links made elsewhere: links[level] for levels 0 .. links.size() - 1.
  // Links to rows that never become nodes of that level must not stay: drop_dangling() removes them.
  void adopt(uint32_t row, std::span<const std::vector<uint32_t>> links);
  uint32_t drop_dangling();

  // Removes nodes and repairs: every list that named one is chosen anew (heuristic) from its
  // remaining neighbours and from those of the removed ones, as in FreshDiskANN (2021, section 4.3).
  void remove(const Bitmap& rows);

  // Gives every node that a walk of level 0 from the entry point cannot reach an incoming link.
  // Returns how many there were.
  uint32_t link_unreachable();

  // The ef nearest found for query[dim], nearest first (Algorithm 5).
  const Beam& search(const float* query, uint32_t ef);

  bool empty() const { return entry_ == kNoRow; }
  uint32_t entry() const { return entry_; }
  uint32_t max_level() const { return empty() ? 0 : level_of(entry_); }
  bool contains(uint32_t row) const { return row < levels_.size() && levels_[row] != kNoLevel; }
  uint32_t level_of(uint32_t row) const { return levels_[row]; }
  std::span<const uint32_t> links(uint32_t row, uint32_t level) const {
    const uint32_t* list = list_of(row, level);
    return {list + 1, list[0]};
  }
  const HnswParameters& parameters() const { return parameters_; }

 private:
  static constexpr uint8_t kNoLevel = 255;
  uint32_t most(uint32_t level) const { return level == 0 ? parameters_.m0() : parameters_.m; }
  // A list is its length and then `most(level)` places.
  uint32_t* list_of(uint32_t row, uint32_t level) {
    return level == 0 ? &base_[static_cast<size_t>(row) * (1 + parameters_.m0())]
                      : &upper_[upper_at_[row] + static_cast<size_t>(level - 1) * (1 + parameters_.m)];
  }
  const uint32_t* list_of(uint32_t row, uint32_t level) const { return const_cast<Hnsw*>(this)->list_of(row, level); }
  uint32_t draw_level(uint32_t row) const;
  void make_node(uint32_t row, uint32_t level);
  Candidate descend(const HnswQuery& query, uint32_t to_level) const;
  void search_level(const HnswQuery& query, Candidate from, uint32_t ef, uint32_t level);
  // Algorithm 4 over `candidates`, nearest first: into list, at most `count`.
  void choose(std::span<const Candidate> candidates, uint32_t count, uint32_t* list) const;
  void connect(uint32_t row, uint32_t neighbour, uint32_t level);
  void repair(uint32_t row, uint32_t level, const Bitmap& removed);
  void choose_entry();
  void next_epoch();

  const HnswVectors& vectors_;
  HnswParameters parameters_;
  uint32_t entry_ = kNoRow;
  std::vector<uint8_t> levels_;      // kNoLevel: not a node
  std::vector<uint32_t> base_;       // level 0: [rows][1 + m0]
  std::vector<uint32_t> upper_;      // levels 1 ..: lists of 1 + m
  std::vector<size_t> upper_at_;     // where a row's begin
  std::vector<uint32_t> visited_;    // epoch of the last visit
  uint32_t epoch_ = 0;
  // Reused between calls.
  Beam beam_;
  HnswQuery query_, neighbour_query_;
  std::vector<Candidate> candidates_;
  std::vector<uint32_t> chosen_, pool_, unseen_;
};
