#include "rotate.h"

#include <math.h>
#include <string.h>

#include "random.h"
#include "simd.h"

namespace {

// Fast Hadamard transform of n values, n a power of two >= 16, scaled to be orthogonal.
void hadamard(float* x, uint32_t n) {
  const float scale = 1 / sqrtf(static_cast<float>(n));
  const v128_t scales = wasm_f32x4_splat(scale);
  for (uint32_t i = 0; i < n; i += 4) {  // strides 1 and 2 within one vector
    v128_t v = wasm_f32x4_mul(wasm_v128_load(x + i), scales);
    v128_t swapped = wasm_i32x4_shuffle(v, v, 1, 0, 3, 2);
    v = wasm_f32x4_add(swapped, wasm_f32x4_mul(v, wasm_f32x4_make(1, -1, 1, -1)));
    swapped = wasm_i32x4_shuffle(v, v, 2, 3, 0, 1);
    v = wasm_f32x4_add(swapped, wasm_f32x4_mul(v, wasm_f32x4_make(1, 1, -1, -1)));
    wasm_v128_store(x + i, v);
  }
  for (uint32_t stride = 4; stride < n; stride *= 2) {
    for (uint32_t block = 0; block < n; block += 2 * stride) {
      for (uint32_t i = block; i < block + stride; i += 4) {
        const v128_t a = wasm_v128_load(x + i), b = wasm_v128_load(x + i + stride);
        wasm_v128_store(x + i, wasm_f32x4_add(a, b));
        wasm_v128_store(x + i + stride, wasm_f32x4_sub(a, b));
      }
    }
  }
}

// Mixes the first half with the second: (a, b) -> (a + b, a - b) / sqrt 2. Its own inverse, as is hadamard.
void kac(float* x, uint32_t n) {
  const v128_t scale = wasm_f32x4_splat(0.70710678118654752f);
  for (uint32_t i = 0; i < n / 2; i += 4) {
    const v128_t a = wasm_f32x4_mul(wasm_v128_load(x + i), scale);
    const v128_t b = wasm_f32x4_mul(wasm_v128_load(x + i + n / 2), scale);
    wasm_v128_store(x + i, wasm_f32x4_add(a, b));
    wasm_v128_store(x + i + n / 2, wasm_f32x4_sub(a, b));
  }
}

void flip(float* x, const float* signs, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 4)
    wasm_v128_store(x + i, wasm_f32x4_mul(wasm_v128_load(x + i), wasm_v128_load(signs + i)));
}

}  // namespace

Rotation::Rotation(uint32_t dim, uint32_t code_dim, uint64_t seed)
    : dim_(dim), code_dim_(code_dim), segment_(16), signs_(kRounds * code_dim) {
  while (segment_ * 2 <= code_dim) segment_ *= 2;
  SplitMix64 random(seed);
  for (size_t i = 0; i < signs_.size(); i += 64) {
    uint64_t bits = random.next();
    for (size_t j = i; j < i + 64 && j < signs_.size(); j++, bits >>= 1) signs_[j] = bits & 1 ? -1.f : 1.f;
  }
}

void Rotation::apply(const float* in, float* out) const {
  if (in != out) memcpy(out, in, dim_ * sizeof(float));
  memset(out + dim_, 0, (code_dim_ - dim_) * sizeof(float));
  for (uint32_t round = 0; round < kRounds; round++) {
    flip(out, signs_.data() + round * code_dim_, code_dim_);
    // Where code_dim is no power of two the transform takes the first and the last segment in turn.
    hadamard(out + (round % 2 ? code_dim_ - segment_ : 0), segment_);
    if (segment_ != code_dim_) kac(out, code_dim_);
  }
}

void Rotation::invert(const float* in, float* out) const {
  if (in != out) memcpy(out, in, code_dim_ * sizeof(float));
  for (uint32_t round = kRounds; round-- > 0;) {
    if (segment_ != code_dim_) kac(out, code_dim_);
    hadamard(out + (round % 2 ? code_dim_ - segment_ : 0), segment_);
    flip(out, signs_.data() + round * code_dim_, code_dim_);
  }
}
