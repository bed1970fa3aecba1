// The k best of many, by key (smaller is nearer), ties by row: a bounded max-heap in a reused array.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <vector>

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
      std::push_heap(heap_.begin(), heap_.end());
    } else if (candidate < heap_.front()) {
      replace_worst(candidate);
    }
  }
  uint32_t size() const { return static_cast<uint32_t>(heap_.size()); }
  // Nearest first; ends the heap (reset() before the next push).
  std::vector<Candidate>& sorted() {
    std::sort(heap_.begin(), heap_.end());
    return heap_;
  }

 private:
  // One sift down instead of pop_heap + push_heap.
  void replace_worst(Candidate candidate) {
    const size_t n = heap_.size();
    size_t hole = 0;
    for (size_t child; (child = 2 * hole + 1) < n; hole = child) {
      if (child + 1 < n && heap_[child] < heap_[child + 1]) child++;
      if (!(candidate < heap_[child])) break;
      heap_[hole] = heap_[child];
    }
    heap_[hole] = candidate;
  }

  std::vector<Candidate> heap_;
  uint32_t k_ = 0;
};
