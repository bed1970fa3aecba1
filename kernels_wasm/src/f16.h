// IEEE half precision <-> float, without hardware support: Wasm has none.
#pragma once
#include <stdint.h>

#include "simd.h"

// std::bit_cast, which Emscripten 3.1.6's library has not got.
template <class To, class From>
inline To bit_cast(From from) { return __builtin_bit_cast(To, from); }

inline float f16_to_f32(uint16_t half) {
  // Moving the exponent and mantissa up makes a float that is 2^-112 too small, subnormals included.
  const float magnitude = bit_cast<float>(static_cast<uint32_t>(half & 0x7fff) << 13) * 0x1p112f;
  const uint32_t special = (half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;  // infinity and NaN
  return bit_cast<float>(bit_cast<uint32_t>(magnitude) | special | static_cast<uint32_t>(half & 0x8000) << 16);
}

// Rounds to nearest even; what is out of range becomes the largest finite value, NaN becomes zero.
inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0;
  if (magnitude >= 0x477fe000) return sign | 0x7bff;
  if (magnitude < 0x38800000) {  // below 2^-14: subnormal; adding 0.5 leaves the rounded mantissa in the low bits
    const float sum = bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (bit_cast<uint32_t>(sum) - 0x3f000000));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  const uint32_t half = (rounded - 0x38000000) >> 13;
  return static_cast<uint16_t>(sign | (half > 0x7bff ? 0x7bff : half));
}

// Four finite halves in the low 64 bits of `halves` as floats; infinity and NaN give large finite values.
inline v128_t f16x4_to_f32x4(v128_t halves) {
  const v128_t wide = wasm_u32x4_extend_low_u16x8(halves);
  const v128_t sign = wasm_i32x4_shl(wasm_v128_and(wide, wasm_i32x4_splat(0x8000)), 16);
  const v128_t magnitude = wasm_i32x4_shl(wasm_v128_and(wide, wasm_i32x4_splat(0x7fff)), 13);
  return wasm_v128_or(wasm_f32x4_mul(magnitude, wasm_f32x4_splat(0x1p112f)), sign);
}
