#include "scan.h"

#include <math.h>

#include <algorithm>

#include "f16.h"
#include "simd.h"

namespace {

// One bit is coarse enough for 6-bit table entries, four of which add up in 8 bits; codes of more
// bits get 8-bit entries, widened one by one.
constexpr uint32_t kCoarse = 63, kFine = 255;

struct Sums {
  v128_t low_even, low_odd, high_even, high_odd;  // u16: rows 0-15 and 16-31, even and odd ones
};

inline void widen(v128_t low, v128_t high, Sums& sums) {
  // u16 addition of whole bytes pairs leaves odd * 256 in the even sums: taken off at the end.
  sums.low_even = wasm_i16x8_add(sums.low_even, low);
  sums.low_odd = wasm_i16x8_add(sums.low_odd, wasm_u16x8_shr(low, 8));
  sums.high_even = wasm_i16x8_add(sums.high_even, high);
  sums.high_odd = wasm_i16x8_add(sums.high_odd, wasm_u16x8_shr(high, 8));
}

template <bool kIsCoarse>
inline Sums add_tables(const uint8_t* codes, const uint8_t* tables, uint32_t groups) {
  const v128_t nibble = wasm_i8x16_splat(15), zero = wasm_i8x16_splat(0);
  Sums sums{zero, zero, zero, zero};
  for (uint32_t i = 0; i < groups; i += 4, codes += 64, tables += 64) {
    v128_t low = zero, high = zero;
#pragma clang loop unroll(full)
    for (uint32_t j = 0; j < 4; j++) {
      const v128_t code = wasm_v128_load(codes + 16 * j), table = wasm_v128_load(tables + 16 * j);
      const v128_t a = wasm_i8x16_swizzle(table, wasm_v128_and(code, nibble));
      const v128_t b = wasm_i8x16_swizzle(table, wasm_v128_and(wasm_u16x8_shr(code, 4), nibble));
      if (kIsCoarse) {
        low = j ? wasm_i8x16_add(low, a) : a;
        high = j ? wasm_i8x16_add(high, b) : b;
      } else {
        widen(a, b, sums);
      }
    }
    if (kIsCoarse) widen(low, high, sums);
  }
  sums.low_even = wasm_i16x8_sub(sums.low_even, wasm_i16x8_shl(sums.low_odd, 8));
  sums.high_even = wasm_i16x8_sub(sums.high_even, wasm_i16x8_shl(sums.high_odd, 8));
  return sums;
}

// Adds weight * sum to 16 floats, in row order.
inline void add_weighted(v128_t even, v128_t odd, v128_t weight, float* out) {
  const v128_t first = wasm_i16x8_shuffle(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
  const v128_t second = wasm_i16x8_shuffle(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
  const v128_t parts[4] = {wasm_u32x4_extend_low_u16x8(first), wasm_u32x4_extend_high_u16x8(first),
                           wasm_u32x4_extend_low_u16x8(second), wasm_u32x4_extend_high_u16x8(second)};
  for (uint32_t i = 0; i < 4; i++)
    wasm_v128_store(out + 4 * i, wasm_f32x4_add(wasm_v128_load(out + 4 * i),
                                                wasm_f32x4_mul(weight, wasm_f32x4_convert_i32x4(parts[i]))));
}

}  // namespace

void ScanQuery::set(const IndexParameters& parameters, const float* q) {
  shape_ = {parameters.code_dim, parameters.code_bits};
  add_scale_ = ldexpf(1, parameters.add_exponent);
  rescale_scale_ = ldexpf(1, parameters.rescale_exponent);
  tables_.resize(shape_.plane_bytes());
  // Subset sums of a group reach from the sum of its negative parts to that of its positive parts.
  float widest = 0, total = 0, least_total = 0;
  for (uint32_t i = 0; i < shape_.code_dim; i += 4) {
    float range = 0;
    for (uint32_t j = i; j < i + 4; j++) {
      range += fabsf(q[j]);
      total += q[j];
      least_total += std::min(q[j], 0.f);
    }
    widest = std::max(widest, range);
  }
  const float most = static_cast<float>(shape_.bits == 1 ? kCoarse : kFine);
  const float inverse = widest > kTiny ? most / widest : 0;
  step_ = widest / most;
  uint8_t* table = tables_.data();
  for (uint32_t i = 0; i < shape_.code_dim; i += 4, table += 16) {
    float sums[16];
    sums[0] = 0.5f;  // rounds
    for (uint32_t j = 0; j < 4; j++) sums[0] -= std::min(q[i + j], 0.f) * inverse;
    for (uint32_t n = 1; n < 16; n++) {
      const uint32_t bit = static_cast<uint32_t>(__builtin_ctz(n));
      sums[n] = sums[n & (n - 1)] + q[i + bit] * inverse;
    }
    for (uint32_t n = 0; n < 16; n++) table[n] = static_cast<uint8_t>(std::clamp(sums[n], 0.f, most));
  }
  const float planes = static_cast<float>((1u << shape_.bits) - 1);  // sum of 2^p
  offset_ = planes * (least_total - total / 2);
}

void ScanQuery::estimate(const uint8_t* block, float g, float keys[kBlockRows]) const {
  // The sums of at most 1024 groups fit 16 bits with coarse entries, of 256 with fine ones.
  const uint32_t most_groups = shape_.bits == 1 ? 1024 : 256;
  const uint32_t groups = shape_.code_dim / 4;
  for (uint32_t i = 0; i < kBlockRows; i += 4) wasm_v128_store(keys + i, wasm_f32x4_splat(offset_));
  const uint8_t* codes = block;
  for (uint32_t plane = 0; plane < shape_.bits; plane++) {
    const v128_t weight = wasm_f32x4_splat(step_ * static_cast<float>(1u << plane));
    for (uint32_t from = 0; from < groups; from += most_groups) {
      const uint32_t part = std::min(most_groups, groups - from);
      const uint8_t* tables = tables_.data() + from * 16;
      const Sums sums = shape_.bits == 1 ? add_tables<true>(codes, tables, part) : add_tables<false>(codes, tables, part);
      add_weighted(sums.low_even, sums.low_odd, weight, keys);
      add_weighted(sums.high_even, sums.high_odd, weight, keys + 16);
      codes += part * 16;
    }
  }
  const v128_t base = wasm_f32x4_splat(g), add_scale = wasm_f32x4_splat(add_scale_),
               rescale_scale = wasm_f32x4_splat(rescale_scale_);
  for (uint32_t i = 0; i < kBlockRows; i += 4, codes += 8) {
    const v128_t add = f16x4_to_f32x4(wasm_v128_load64_zero(codes));
    const v128_t rescale = f16x4_to_f32x4(wasm_v128_load64_zero(codes + 2 * kBlockRows));
    const v128_t product = wasm_f32x4_mul(wasm_f32x4_mul(rescale, rescale_scale), wasm_v128_load(keys + i));
    wasm_v128_store(keys + i, wasm_f32x4_add(base, wasm_f32x4_add(wasm_f32x4_mul(add, add_scale), product)));
  }
}

uint32_t scan_blocks(const ScanQuery& query, const uint8_t* blocks, uint32_t first, uint32_t end, float g,
                     const Bitmap* allowed, uint32_t row_offset, TopK& best) {
  alignas(16) float keys[kBlockRows];
  const size_t block_bytes = query.shape().block_bytes();
  uint32_t estimates = 0;
  for (uint32_t row = first / kBlockRows * kBlockRows; row < end; row += kBlockRows, blocks += block_bytes) {
    uint32_t mask = allowed ? allowed->bits32(row + row_offset) : ~0u;
    if (row < first) mask &= ~0u << (first - row);
    if (end - row < kBlockRows) mask &= (1u << (end - row)) - 1;
    if (mask == 0) continue;
    query.estimate(blocks, g, keys);
    estimates += static_cast<uint32_t>(__builtin_popcount(mask));
    const v128_t bound = wasm_f32x4_splat(best.bound());
    uint32_t nearer = 0;
    for (uint32_t i = 0; i < kBlockRows; i += 4)
      nearer |= static_cast<uint32_t>(wasm_i32x4_bitmask(wasm_f32x4_lt(wasm_v128_load(keys + i), bound))) << i;
    for (nearer &= mask; nearer; nearer &= nearer - 1) {
      const uint32_t i = static_cast<uint32_t>(__builtin_ctz(nearer));
      best.push(keys[i], row + row_offset + i);
    }
  }
  return estimates;
}
