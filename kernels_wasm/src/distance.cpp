#include "distance.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "f16.h"
#include "simd.h"

namespace {

inline float sum4(v128_t v) {
  return (wasm_f32x4_extract_lane(v, 0) + wasm_f32x4_extract_lane(v, 1)) +
         (wasm_f32x4_extract_lane(v, 2) + wasm_f32x4_extract_lane(v, 3));
}
inline int32_t sum4i(v128_t v) {
  return (wasm_i32x4_extract_lane(v, 0) + wasm_i32x4_extract_lane(v, 1)) +
         (wasm_i32x4_extract_lane(v, 2) + wasm_i32x4_extract_lane(v, 3));
}

struct LoadF32 {
  static constexpr uint32_t kBytes = 4;
  static v128_t four(const uint8_t* at) { return wasm_v128_load(at); }
  static float one(const uint8_t* at) {
    float value;
    memcpy(&value, at, 4);
    return value;
  }
};
struct LoadF16 {
  static constexpr uint32_t kBytes = 2;
  static v128_t four(const uint8_t* at) { return f16x4_to_f32x4(wasm_v128_load64_zero(at)); }
  static float one(const uint8_t* at) {
    uint16_t value;
    memcpy(&value, at, 2);
    return f16_to_f32(value);
  }
};

// Squared L2 distance, or the inner product, of a query and a row.
template <class Load, bool kL2>
float combine(const float* q, const uint8_t* row, uint32_t n) {
  v128_t sum0 = wasm_f32x4_splat(0), sum1 = sum0;
  uint32_t i = 0;
  const auto term = [](v128_t a, v128_t b) {
    if (kL2) b = a = wasm_f32x4_sub(a, b);
    return wasm_f32x4_mul(a, b);
  };
  for (; i + 8 <= n; i += 8) {
    sum0 = wasm_f32x4_add(sum0, term(wasm_v128_load(q + i), Load::four(row + i * Load::kBytes)));
    sum1 = wasm_f32x4_add(sum1, term(wasm_v128_load(q + i + 4), Load::four(row + (i + 4) * Load::kBytes)));
  }
  float sum = sum4(wasm_f32x4_add(sum0, sum1));
  for (; i < n; i++) {
    const float value = Load::one(row + i * Load::kBytes), difference = q[i] - value;
    sum += kL2 ? difference * difference : q[i] * value;
  }
  return sum;
}

template <class Load>
float float_key(PwMetric metric, const float* q, const uint8_t* row, uint32_t n) {
  return metric == PwMetric::L2 ? combine<Load, true>(q, row, n) : -combine<Load, false>(q, row, n);
}

// <q, row> over 16-bit and 8-bit integers; n a multiple of 16. The caller's bound on q keeps it in 32 bits.
int32_t dot_integer(const int16_t* q, const uint8_t* row, uint32_t n) {
  v128_t sum0 = wasm_i32x4_splat(0), sum1 = sum0;
  for (uint32_t i = 0; i < n; i += 16) {
    sum0 = wasm_i32x4_add(sum0, wasm_i32x4_dot_i16x8(wasm_v128_load(q + i), wasm_i16x8_load8x8(row + i)));
    sum1 = wasm_i32x4_add(sum1, wasm_i32x4_dot_i16x8(wasm_v128_load(q + i + 8), wasm_i16x8_load8x8(row + i + 8)));
  }
  return sum4i(wasm_i32x4_add(sum0, sum1));
}

int32_t square_integer(const uint8_t* row, uint32_t n) {
  v128_t sum = wasm_i32x4_splat(0);
  for (uint32_t i = 0; i < n; i += 8) {
    const v128_t values = wasm_i16x8_load8x8(row + i);
    sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(values, values));
  }
  return sum4i(sum);
}

}  // namespace

void DistanceQuery::set(const IndexParameters& parameters, const Rotation& rotation, const float* query) {
  parameters_ = parameters;
  plain_.resize(parameters.dim);
  rotated_.resize(parameters.code_dim);
  integer_.resize(parameters.code_dim);
  normalise(parameters.metric, query, parameters.dim, plain_.data());
  rotation.apply(plain_.data(), rotated_.data());
  float largest = 0;
  norm_ = 0;
  for (float value : rotated_) {
    largest = std::max(largest, fabsf(value));
    norm_ += value * value;
  }
  // 16 bits, fewer for long vectors: four lanes of 32 bits each take the sum of a quarter of the products.
  const float most = std::min(32767.f, floorf(2147483647.f / (128.f * static_cast<float>(parameters.code_dim / 4 + 4))));
  integer_scale_ = largest > kTiny ? largest / most : 1;
  for (uint32_t i = 0; i < parameters.code_dim; i++)
    integer_[i] = static_cast<int16_t>(lrintf(rotated_[i] / integer_scale_));
}

float DistanceQuery::key(const void* stored_row) const {
  const uint8_t* row = static_cast<const uint8_t*>(stored_row);
  switch (parameters_.dtype) {
    case PwDtype::F32: return float_key<LoadF32>(parameters_.metric, plain_.data(), row, parameters_.dim);
    case PwDtype::F16: return float_key<LoadF16>(parameters_.metric, plain_.data(), row, parameters_.dim);
    case PwDtype::I8: return key_i8(row);
  }
  return __builtin_inff();
}

float DistanceQuery::key_i8(const void* stored_row) const {
  const uint8_t* row = static_cast<const uint8_t*>(stored_row);
  float scale;
  memcpy(&scale, row, 4);
  const float product = static_cast<float>(dot_integer(integer_.data(), row + 4, parameters_.code_dim)) * integer_scale_ * scale;
  if (parameters_.metric != PwMetric::L2) return -product;
  const float square = static_cast<float>(square_integer(row + 4, parameters_.code_dim)) * scale * scale;
  return std::max(0.f, norm_ + square - 2 * product);
}

void store_i8(const float* rotated, uint32_t code_dim, void* row) {
  float largest = 0;
  for (uint32_t i = 0; i < code_dim; i++) largest = std::max(largest, fabsf(rotated[i]));
  const float scale = largest / 127, inverse = largest > kTiny ? 127 / largest : 0;
  uint8_t* out = static_cast<uint8_t*>(row);
  memcpy(out, &scale, 4);
  for (uint32_t i = 0; i < code_dim; i++)
    out[4 + i] = static_cast<uint8_t>(static_cast<int8_t>(lrintf(std::clamp(rotated[i] * inverse, -127.f, 127.f))));
}

void load_i8(const void* row, uint32_t code_dim, float* rotated) {
  const uint8_t* from = static_cast<const uint8_t*>(row);
  float scale;
  memcpy(&scale, from, 4);
  for (uint32_t i = 0; i < code_dim; i++) rotated[i] = scale * static_cast<float>(static_cast<int8_t>(from[4 + i]));
}

void store_row(const IndexParameters& parameters, const float* plain, const float* rotated, void* row) {
  switch (parameters.dtype) {
    case PwDtype::F32: memcpy(row, plain, parameters.dim * 4); break;
    case PwDtype::F16:
      for (uint32_t i = 0; i < parameters.dim; i++) {
        const uint16_t half = f32_to_f16(plain[i]);
        memcpy(static_cast<uint8_t*>(row) + 2 * i, &half, 2);
      }
      break;
    case PwDtype::I8:
      store_i8(rotated, parameters.code_dim, row);
      // Rounding changes the length by some thousandths, and every score with it. Under cosine the
      // length is known to be 1: a scale that restores it leaves an error of second order only, and
      // a stored row that is read and stored again keeps its score.
      if (parameters.metric == PwMetric::Cosine) {
        const int32_t square = square_integer(static_cast<const uint8_t*>(row) + 4, parameters.code_dim);
        const float scale = square > 0 ? 1 / sqrtf(static_cast<float>(square)) : 0;
        memcpy(row, &scale, 4);
      }
      break;
  }
}

void load_row(const IndexParameters& parameters, const Rotation& rotation, const void* row, float* plain,
              float* scratch) {
  switch (parameters.dtype) {
    case PwDtype::F32: memcpy(plain, row, parameters.dim * 4); break;
    case PwDtype::F16:
      for (uint32_t i = 0; i < parameters.dim; i++) plain[i] = LoadF16::one(static_cast<const uint8_t*>(row) + 2 * i);
      break;
    case PwDtype::I8:
      load_i8(row, parameters.code_dim, scratch);
      rotation.invert(scratch, scratch);
      memcpy(plain, scratch, parameters.dim * 4);
      break;
  }
}

void normalise(PwMetric metric, const float* vector, uint32_t dim, float* out) {
  if (metric != PwMetric::Cosine) {
    if (vector != out) memcpy(out, vector, dim * 4);
    return;
  }
  // Doubles: floats up to 1e38 must not overflow when squared.
  double square = 0;
  for (uint32_t i = 0; i < dim; i++) square += static_cast<double>(vector[i]) * vector[i];
  const double inverse = square > 0 ? 1 / sqrt(square) : 0;
  for (uint32_t i = 0; i < dim; i++) out[i] = static_cast<float>(vector[i] * inverse);
}
