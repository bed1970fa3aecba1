// The vectors of a graph under construction: int8 with a scale a row, in one flat array. Rounding
// to int8 moves distances by less than what decides which neighbours a list keeps, and a quarter of
// the bytes makes construction, which is bound by memory, several times faster than with floats.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "messages.h"

// One vector in 16 bits, so that many distances to it need no widening of it.
struct HnswQuery {
  std::vector<int16_t> values;  // [stride]
  float scale = 0, norm = 0;
};

class HnswVectors {
 public:
  HnswVectors(uint32_t dim, PwMetric metric)
      : stride_((dim + 15) / 16 * 16), dim_(dim), metric_(metric) {}
  void reserve(uint32_t rows);
  void add(const float* vector);  // [dim]; any rotation, the same for all
  uint32_t size() const { return static_cast<uint32_t>(scales_.size()); }

  // Smaller is nearer: squared L2 (cosine: of normalised vectors), or minus the inner product.
  float distance(uint32_t a, uint32_t b) const;
  float distance(const HnswQuery& query, uint32_t row) const;
  // Loads from every cache line of these rows, so that they are near when their distances are taken.
  void touch(std::span<const uint32_t> rows) const {
    constexpr uint32_t kCacheLine = 64;
    int32_t sum = 0;
    for (uint32_t row : rows) {
      const int8_t* values = values_.data() + static_cast<size_t>(row) * stride_;
      for (uint32_t at = 0; at < stride_; at += kCacheLine) sum += values[at];
    }
    touched_ = sum;
  }
  void widen(uint32_t row, HnswQuery& query) const;
  void widen(const float* vector, HnswQuery& query) const;

 private:
  float combine(int32_t product, float scale_a, float norm_a, uint32_t b) const {
    return norm_a + norms_[b] - scale_a * scales_[b] * static_cast<float>(product);
  }
  // Rounds to -127 .. 127; gives the scale and norm as they are stored.
  void quantise(const float* vector, int8_t* to, float& scale, float& norm) const;

  uint32_t stride_, dim_;
  PwMetric metric_;
  std::vector<int8_t> values_;           // [rows][stride]
  std::vector<float> scales_, norms_;    // times sqrt 2 under L2; squared norms, 0 for inner products
  mutable volatile int32_t touched_ = 0; // keeps touch() from being optimised away
};
