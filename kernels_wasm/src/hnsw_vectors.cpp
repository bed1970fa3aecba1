#include "hnsw_vectors.h"

#include <math.h>

#include <algorithm>

#include "config.h"
#include "simd.h"

namespace {

// stride is a multiple of 16. |a|, |b| <= 127: a 32-bit lane holds any sum up to dim 8192 and far beyond.
int32_t dot_i8_i8(const int8_t* a, const int8_t* b, uint32_t stride) {
  v128_t low = wasm_i32x4_splat(0), high = low;
  for (uint32_t i = 0; i < stride; i += 16) {
    low = wasm_i32x4_add(low, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(a + i), wasm_i16x8_load8x8(b + i)));
    high = wasm_i32x4_add(high, wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(a + i + 8), wasm_i16x8_load8x8(b + i + 8)));
  }
  low = wasm_i32x4_add(low, high);
  low = wasm_i32x4_add(low, wasm_i32x4_shuffle(low, low, 2, 3, 0, 1));
  return wasm_i32x4_extract_lane(low, 0) + wasm_i32x4_extract_lane(low, 1);
}

int32_t dot_i16_i8(const int16_t* a, const int8_t* b, uint32_t stride) {
  v128_t low = wasm_i32x4_splat(0), high = low;
  for (uint32_t i = 0; i < stride; i += 16) {
    low = wasm_i32x4_add(low, wasm_i32x4_dot_i16x8(wasm_v128_load(a + i), wasm_i16x8_load8x8(b + i)));
    high = wasm_i32x4_add(high, wasm_i32x4_dot_i16x8(wasm_v128_load(a + i + 8), wasm_i16x8_load8x8(b + i + 8)));
  }
  low = wasm_i32x4_add(low, high);
  low = wasm_i32x4_add(low, wasm_i32x4_shuffle(low, low, 2, 3, 0, 1));
  return wasm_i32x4_extract_lane(low, 0) + wasm_i32x4_extract_lane(low, 1);
}

}  // namespace

void HnswVectors::reserve(uint32_t rows) {
  values_.reserve(static_cast<size_t>(rows) * stride_);
  scales_.reserve(rows);
  norms_.reserve(rows);
}

void HnswVectors::quantise(const float* vector, int8_t* to, float& scale, float& norm) const {
  float largest = 0;
  for (uint32_t i = 0; i < dim_; i++) largest = std::max(largest, fabsf(vector[i]));
  const float step = largest / 127, inverse = largest > kTiny ? 127 / largest : 0;
  int64_t squares = 0;
  for (uint32_t i = 0; i < dim_; i++) {
    const int32_t value = static_cast<int32_t>(lrintf(vector[i] * inverse));
    to[i] = static_cast<int8_t>(value);
    squares += value * value;
  }
  const bool inner_product = metric_ == PwMetric::InnerProduct;
  scale = inner_product ? step : step * 1.41421356f;
  norm = inner_product ? 0 : step * step * static_cast<float>(squares);
}

void HnswVectors::add(const float* vector) {
  const size_t at = values_.size();
  values_.resize(at + stride_, 0);
  float scale, norm;
  quantise(vector, values_.data() + at, scale, norm);
  scales_.push_back(scale);
  norms_.push_back(norm);
}

float HnswVectors::distance(uint32_t a, uint32_t b) const {
  const int8_t* values = values_.data();
  return combine(dot_i8_i8(values + static_cast<size_t>(a) * stride_, values + static_cast<size_t>(b) * stride_, stride_),
                 scales_[a], norms_[a], b);
}

float HnswVectors::distance(const HnswQuery& query, uint32_t row) const {
  return combine(dot_i16_i8(query.values.data(), values_.data() + static_cast<size_t>(row) * stride_, stride_),
                 query.scale, query.norm, row);
}

void HnswVectors::widen(uint32_t row, HnswQuery& query) const {
  const int8_t* from = values_.data() + static_cast<size_t>(row) * stride_;
  query.values.assign(from, from + stride_);
  query.scale = scales_[row];
  query.norm = norms_[row];
}

void HnswVectors::widen(const float* vector, HnswQuery& query) const {
  std::vector<int8_t> rounded(stride_, 0);
  quantise(vector, rounded.data(), query.scale, query.norm);
  query.values.assign(rounded.begin(), rounded.end());
}
