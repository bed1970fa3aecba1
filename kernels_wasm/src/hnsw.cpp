#include "hnsw.h"

#include <math.h>

#include <algorithm>

#include "graph_layout.h"
#include "random.h"
#include "sort.h"

uint32_t Hnsw::draw_level(uint32_t row) const {
  // A uniform number of (0, 1], and the paper's multiplier 1 / ln M.
  const uint64_t bits = SplitMix64(parameters_.seed ^ SplitMix64(row).next()).next() >> 11;
  const double uniform = static_cast<double>(bits + 1) * 0x1p-53;
  const double level = -log(uniform) / log(static_cast<double>(std::max(parameters_.m, 2u)));
  return std::min(static_cast<uint32_t>(level), kMaxGraphLevels - 1);
}

void Hnsw::make_node(uint32_t row, uint32_t level) {
  if (row >= levels_.size()) {
    const size_t rows = std::max<size_t>(row + 1, vectors_.size());
    levels_.resize(rows, kNoLevel);
    visited_.resize(rows, 0);
    upper_at_.resize(rows, 0);
    base_.resize(rows * (1 + parameters_.m0()), 0);
  }
  levels_[row] = static_cast<uint8_t>(level);
  base_[static_cast<size_t>(row) * (1 + parameters_.m0())] = 0;
  upper_at_[row] = upper_.size();
  upper_.resize(upper_.size() + static_cast<size_t>(level) * (1 + parameters_.m), 0);
}

void Hnsw::next_epoch() {
  if (++epoch_ != 0) return;
  std::fill(visited_.begin(), visited_.end(), 0);
  epoch_ = 1;
}

Candidate Hnsw::descend(const HnswQuery& query, uint32_t to_level) const {
  Candidate best{vectors_.distance(query, entry_), entry_};
  for (uint32_t level = max_level(); level > to_level; level--) {
    for (bool nearer = true; nearer;) {
      nearer = false;
      for (uint32_t neighbour : links(best.row, level)) {
        const float key = vectors_.distance(query, neighbour);
        if (key < best.key) {
          best = {key, neighbour};
          nearer = true;
        }
      }
    }
  }
  return best;
}

void Hnsw::search_level(const HnswQuery& query, Candidate from, uint32_t ef, uint32_t level) {
  next_epoch();
  beam_.reset(ef);
  beam_.insert(from.key, from.row);
  visited_[from.row] = epoch_;
  while (const Candidate* nearest = beam_.nearest()) {
    const uint32_t row = nearest->row;
    beam_.expand();
    // The rows of a list not seen yet, their memory asked for first: the cache misses overlap.
    unseen_.clear();
    for (uint32_t neighbour : links(row, level)) {
      if (visited_[neighbour] == epoch_) continue;
      visited_[neighbour] = epoch_;
      unseen_.push_back(neighbour);
    }
    vectors_.touch(unseen_);
    for (uint32_t neighbour : unseen_) {
      const float key = vectors_.distance(query, neighbour);
      if (key <= beam_.bound()) beam_.insert(key, neighbour);
    }
  }
}

void Hnsw::choose(std::span<const Candidate> candidates, uint32_t count, uint32_t* list) const {
  uint32_t chosen = 0;
  for (const Candidate& candidate : candidates) {
    if (chosen == count) break;
    // Kept unless it is nearer to a kept one than to the node: that one leads to it.
    bool keep = true;
    for (uint32_t i = 0; i < chosen && keep; i++) {
      keep = vectors_.distance(candidate.row, list[1 + i]) >= candidate.key;
    }
    if (keep) list[1 + chosen++] = candidate.row;
  }
  list[0] = chosen;
}

void Hnsw::connect(uint32_t row, uint32_t neighbour, uint32_t level) {
  uint32_t* list = list_of(row, level);
  if (list[0] < most(level)) {
    list[1 + list[0]++] = neighbour;
    return;
  }
  vectors_.widen(row, neighbour_query_);
  candidates_.clear();
  candidates_.push_back({vectors_.distance(neighbour_query_, neighbour), neighbour});
  for (uint32_t i = 0; i < list[0]; i++) {
    candidates_.push_back({vectors_.distance(neighbour_query_, list[1 + i]), list[1 + i]});
  }
  sort_items(candidates_.begin(), candidates_.end());
  choose(candidates_, most(level), list);
}

void Hnsw::insert(uint32_t row) {
  const uint32_t level = draw_level(row);
  make_node(row, level);
  if (empty()) {
    entry_ = row;
    return;
  }
  const uint32_t top = max_level();
  vectors_.widen(row, query_);
  Candidate from = descend(query_, level);
  for (uint32_t at = std::min(level, top) + 1; at-- > 0;) {
    search_level(query_, from, parameters_.ef_construction, at);
    from = beam_[0];
    candidates_.clear();
    for (uint32_t i = 0; i < beam_.size(); i++) candidates_.push_back(beam_[i]);
    choose(candidates_, parameters_.m, list_of(row, at));
    for (uint32_t neighbour : links(row, at)) connect(neighbour, row, at);
  }
  if (level > top) entry_ = row;
}

const Beam& Hnsw::search(const float* query, uint32_t ef) {
  beam_.reset(ef);
  if (empty()) return beam_;
  vectors_.widen(query, query_);
  search_level(query_, descend(query_, 0), ef, 0);
  return beam_;
}
