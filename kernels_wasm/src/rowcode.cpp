#include "rowcode.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "f16.h"

namespace {

// Bits a component of the query. Its rounding error must stay well below that of the codes
// themselves: 4 bits are enough for 1-bit codes (RaBitQ, section 3.3.1).
uint32_t query_planes(uint32_t code_bits) { return code_bits <= 2 ? 4 : code_bits <= 4 ? 6 : 8; }

// The rounding range in standard deviations: past it components are clipped. For normally
// distributed ones, which the rotation makes them, this minimises the mean squared error.
float clip_deviations(uint32_t planes) { return planes == 4 ? 2.7f : planes == 6 ? 3.6f : 4.5f; }

// Byte counts cannot exceed 255 before they are added up: 31 vectors of at most 8 each.
constexpr uint32_t kVectorsUntilOverflow = 31;

// Adds 2^shift times the sum of the 16 byte counters.
inline v128_t add_weighted(v128_t sum, v128_t counts, uint32_t shift) {
  const v128_t pairs = wasm_u16x8_extadd_pairwise_u8x16(counts);
  return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(pairs, wasm_i16x8_splat(static_cast<int16_t>(1 << shift))));
}

inline uint32_t horizontal_sum(v128_t sum) {
  sum = wasm_i32x4_add(sum, wasm_i32x4_shuffle(sum, sum, 2, 3, 0, 1));
  return static_cast<uint32_t>(wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1));
}

}  // namespace

void pack_row_code(const IndexParameters& parameters, const RowCode& code, uint8_t* row) {
  const RowCodeShape shape{parameters.code_dim, parameters.code_bits};
  memset(row, 0, shape.row_bytes());
  for (uint32_t p = 0; p < shape.bits; p++) {
    uint8_t* plane = row + p * shape.plane_bytes();
    for (uint32_t i = 0; i < shape.code_dim; i++) {
      plane[i / 8] = static_cast<uint8_t>(plane[i / 8] | (code.levels[i] >> p & 1) << i % 8);
    }
  }
  const uint16_t factors[2] = {f32_to_f16(ldexpf(code.add, -parameters.add_exponent)),
                               f32_to_f16(ldexpf(code.rescale, -parameters.rescale_exponent))};
  memcpy(row + shape.bits * shape.plane_bytes(), factors, sizeof factors);
}

void RowCodeQuery::set(const IndexParameters& parameters, const float* rotated_query) {
  shape_ = {parameters.code_dim, parameters.code_bits};
  planes_ = query_planes(shape_.bits);
  const uint32_t plane_bytes = shape_.plane_bytes();
  vectors_ = (plane_bytes + 15) / 16;
  query_.assign(static_cast<size_t>(planes_) * vectors_, wasm_i8x16_splat(0));
  add_scale_ = ldexpf(1, parameters.add_exponent);
  rescale_scale_ = ldexpf(1, parameters.rescale_exponent);

  float largest = 0;
  double squares = 0;
  for (uint32_t i = 0; i < shape_.code_dim; i++) {
    largest = std::max(largest, fabsf(rotated_query[i]));
    squares += static_cast<double>(rotated_query[i]) * rotated_query[i];
  }
  const float deviation = static_cast<float>(sqrt(squares / shape_.code_dim));
  const float range = std::min(largest, clip_deviations(planes_) * deviation);
  // Levels 0 .. top stand for -range .. range: both codes are then sums of +-1 planes, the inner
  // product of two planes is code_dim - 2 popcount(xor), and no sum over the row's bits is needed.
  const float top = static_cast<float>((1u << planes_) - 1);
  const float step = range > kTiny ? 2 * range / top : 1;

  // The last vector of a plane ends with the plane; what it shares with the one before is masked.
  const uint32_t last_at = plane_bytes >= 16 ? plane_bytes - 16 : 0;
  for (uint32_t b = 0; b < 16; b++) {
    const bool fresh = plane_bytes >= 16 ? last_at + b >= (vectors_ - 1) * 16 : b < plane_bytes;
    last_mask_[b] = fresh ? 255 : 0;
  }
  for (uint32_t i = 0; i < shape_.code_dim; i++) {
    const float scaled = (rotated_query[i] + range) / step;
    const uint32_t level = static_cast<uint32_t>(std::clamp(scaled + 0.5f, 0.0f, top));
    const uint32_t byte = i / 8;
    for (uint32_t v = byte / 16; v < vectors_; v++) {  // its own vector, and the last where it overlaps
      const uint32_t at = v + 1 == vectors_ ? last_at : v * 16;
      if (byte < at || byte >= at + 16) continue;
      for (uint32_t j = 0; j < planes_; j++) {
        uint8_t* vector = reinterpret_cast<uint8_t*>(&query_[j * vectors_ + v]);
        vector[byte - at] = static_cast<uint8_t>(vector[byte - at] | (level >> j & 1) << i % 8);
      }
    }
  }
  // x = 1/2 sum 2^p s_p and q = step/2 sum 2^j t_j with s, t of +-1.
  const float quarter = range > kTiny ? step / 4 : 0;
  const float all = static_cast<float>((1u << shape_.bits) - 1) * top * static_cast<float>(shape_.code_dim);
  offset_ = quarter * all;
  slope_ = 2 * quarter;

  const bool whole = plane_bytes % 16 == 0 && shape_.bits == 1;
  key_ = whole && vectors_ == 3   ? &RowCodeQuery::key_fixed<3, 4>
         : whole && vectors_ == 6 ? &RowCodeQuery::key_fixed<6, 4>
         : whole && vectors_ == 8 ? &RowCodeQuery::key_fixed<8, 4>
                                  : &RowCodeQuery::key_any;
}

float RowCodeQuery::finish(const uint8_t* row, uint32_t weighted) const {
  uint16_t factors[2];
  memcpy(factors, row + shape_.bits * shape_.plane_bytes(), sizeof factors);
  const float product = offset_ - slope_ * static_cast<float>(weighted);
  return add_scale_ * f16_to_f32(factors[0]) + rescale_scale_ * f16_to_f32(factors[1]) * product;
}

// One bit a component and whole vectors: the common shapes (384, 768, 1024), unrolled.
template <uint32_t kVectors, uint32_t kPlanes>
float RowCodeQuery::key_fixed(const uint8_t* row) const {
  v128_t code[kVectors];
  for (uint32_t v = 0; v < kVectors; v++) code[v] = wasm_v128_load(row + 16 * v);
  v128_t sum = wasm_i32x4_splat(0);
  for (uint32_t j = 0; j < kPlanes; j++) {
    v128_t counts = wasm_i8x16_popcnt(wasm_v128_xor(code[0], query_[j * kVectors]));
    for (uint32_t v = 1; v < kVectors; v++) {
      counts = wasm_i8x16_add(counts, wasm_i8x16_popcnt(wasm_v128_xor(code[v], query_[j * kVectors + v])));
    }
    sum = add_weighted(sum, counts, j);
  }
  return finish(row, horizontal_sum(sum));
}

float RowCodeQuery::key_any(const uint8_t* row) const {
  const uint32_t plane_bytes = shape_.plane_bytes();
  const v128_t last_mask = wasm_v128_load(last_mask_);
  const uint32_t last_at = plane_bytes >= 16 ? plane_bytes - 16 : 0;
  v128_t sum = wasm_i32x4_splat(0);
  for (uint32_t p = 0; p < shape_.bits; p++) {
    const uint8_t* plane = row + p * plane_bytes;
    v128_t last;
    if (plane_bytes >= 16) {
      last = wasm_v128_load(plane + last_at);
    } else {
      uint8_t few[16] = {};
      memcpy(few, plane, plane_bytes);
      last = wasm_v128_load(few);
    }
    for (uint32_t j = 0; j < planes_; j++) {
      const v128_t* query = &query_[j * vectors_];
      const v128_t tail = wasm_v128_and(wasm_v128_xor(last, query[vectors_ - 1]), last_mask);
      v128_t counts = wasm_i8x16_popcnt(tail);
      for (uint32_t v = 0, held = 1; v + 1 < vectors_; v++) {
        counts = wasm_i8x16_add(counts, wasm_i8x16_popcnt(wasm_v128_xor(wasm_v128_load(plane + 16 * v), query[v])));
        if (++held == kVectorsUntilOverflow) {
          sum = add_weighted(sum, counts, p + j);
          counts = wasm_i8x16_splat(0);
          held = 0;
        }
      }
      sum = add_weighted(sum, counts, p + j);
    }
  }
  return finish(row, horizontal_sum(sum));
}
