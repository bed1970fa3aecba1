// The k best of many, by key (smaller is nearer), ties by row: a bounded max-heap in a reused array.
#pragma once
#include <stdint.h>

#include <functional>
#include <vector>

#include "sort.h"

struct Candidate {
  float key;
  uint32_t row;
  bool operator<(const Candidate& other) const {
    return key < other.key || (key == other.key && row < other.row);
  }
};

class TopK {
 public:
  void reset(uint32_t k) {
    k_ = k;
    heap_.clear();
    heap_.reserve(k);
  }
  // Nothing above it can enter. Infinity until k are held.
  float bound() const { return heap_.size() < k_ ? __builtin_inff() : heap_.front().key; }
  // A key that is no number (damaged data) is nowhere.
  void push(float key, uint32_t row) {
    if (key != key) return;
    const Candidate candidate{key, row};
    if (heap_.size() < k_) {
      heap_.push_back(candidate);
      sift_up();
    } else if (candidate < heap_.front()) {
      heap_.front() = candidate;
      sift_down(heap_.begin(), heap_.size(), 0, std::less<>());
    }
  }
  uint32_t size() const { return static_cast<uint32_t>(heap_.size()); }
  // Nearest first; ends the heap (reset() before the next push).
  std::vector<Candidate>& sorted() {
    sort_heap_items(heap_.begin(), heap_.end());
    return heap_;
  }

 private:
  void sift_up() {
    size_t hole = heap_.size() - 1;
    const Candidate item = heap_[hole];
    for (size_t above; hole > 0 && heap_[above = (hole - 1) / 2] < item; hole = above) heap_[hole] = heap_[above];
    heap_[hole] = item;
  }

  std::vector<Candidate> heap_;
  uint32_t k_ = 0;
};
