// The beam of a graph search: the nearest nodes seen so far, in order, and which of them have been
// expanded. One sorted array instead of two heaps: most insertions are near the end of a few dozen.
#pragma once
#include <stdint.h>

#include <vector>

#include "topk.h"

class Beam {
 public:
  void reset(uint32_t capacity) {
    if (nodes_.size() < capacity) {
      nodes_.resize(capacity);
      expanded_.resize(capacity);
    }
    capacity_ = capacity;
    size_ = next_ = 0;
  }
  // Nothing above it can enter. Infinity until the beam is full.
  float bound() const { return size_ < capacity_ ? __builtin_inff() : nodes_[size_ - 1].key; }
  void insert(float key, uint32_t row) {
    const Candidate node{key, row};
    uint32_t at;
    if (size_ < capacity_) at = size_++;
    else if (node < nodes_[size_ - 1]) at = size_ - 1;  // the worst falls out
    else return;
    for (; at > 0 && node < nodes_[at - 1]; at--) {
      nodes_[at] = nodes_[at - 1];
      expanded_[at] = expanded_[at - 1];
    }
    nodes_[at] = node;
    expanded_[at] = 0;
    if (at < next_) next_ = at;
  }
  // The nearest node not yet expanded, or null.
  const Candidate* nearest() {
    while (next_ < size_ && expanded_[next_]) next_++;
    return next_ < size_ ? &nodes_[next_] : nullptr;
  }
  // Marks what nearest() gave.
  void expand() { expanded_[next_++] = 1; }

  uint32_t size() const { return size_; }
  const Candidate& operator[](uint32_t i) const { return nodes_[i]; }  // nearest first
  bool expanded(uint32_t i) const { return expanded_[i]; }

 private:
  std::vector<Candidate> nodes_;
  std::vector<uint8_t> expanded_;
  uint32_t capacity_ = 0, size_ = 0, next_ = 0;  // all before next_ are expanded
};
