#include "codes.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "f16.h"

namespace {

// Levels of o * scale in `bits` bits; gives <x, o> / |x|, which the best scale makes greatest.
float quantise(const float* o, uint32_t n, uint32_t bits, float scale, uint8_t* levels, float& product) {
  const float half = static_cast<float>(1u << (bits - 1)), top = 2 * half - 1, middle = top / 2;
  float dot = 0, norm = 0;
  for (uint32_t i = 0; i < n; i++) {
    const float level = std::clamp(floorf(o[i] * scale + half), 0.f, top);
    const float x = level - middle;
    dot += x * o[i];
    norm += x * x;
    levels[i] = static_cast<uint8_t>(level);
  }
  product = dot;
  return dot / sqrtf(norm);
}

}  // namespace

int32_t factor_exponent(float largest) {
  if (!(largest > 0) || largest > 3e38f) return 0;
  int exponent;
  frexpf(largest, &exponent);
  // The sample's largest becomes about 2^5; f16 ends at 2^16.
  return std::clamp(exponent - 5, -126, 126);
}

RowCoder::RowCoder(const IndexParameters& parameters)
    : shape_{parameters.code_dim, parameters.code_bits},
      metric_(parameters.metric),
      add_scale_(ldexpf(1, -parameters.add_exponent)),
      rescale_scale_(ldexpf(1, -parameters.rescale_exponent)),
      residual_(parameters.code_dim),
      trial_(parameters.code_dim) {}

void RowCoder::encode(const float* row, const float* centroid, RowCode& code) {
  const uint32_t n = shape_.code_dim;
  code.levels.resize(n);
  float square = 0, largest = 0, with_centroid = 0;  // |o|^2, max |o_i|, <o, c>
  for (uint32_t i = 0; i < n; i++) {
    const float o = row[i] - centroid[i];
    residual_[i] = o;
    square += o * o;
    with_centroid += o * centroid[i];
    largest = std::max(largest, fabsf(o));
  }
  float product = 0;  // <x, o>
  if (largest > kTiny) {  // else it is the centroid itself
    if (shape_.bits == 1) {
      quantise(residual_.data(), n, 1, 1 / largest, code.levels.data(), product);
    } else {
      fit(largest, code.levels.data(), product);
    }
  } else {
    std::fill(code.levels.begin(), code.levels.end(), uint8_t{0});
  }
  // <o, v> is estimated by s <x, v>: unbiased, as the error of x is spread evenly around o.
  const float s = product > 0 ? square / product : 0;
  const float middle = static_cast<float>((1u << shape_.bits) - 1) / 2;
  float code_centroid = 0;  // <x, c>
  for (uint32_t i = 0; i < n; i++) code_centroid += (static_cast<float>(code.levels[i]) - middle) * centroid[i];
  if (metric_ == PwMetric::L2) {
    // |r - q|^2 = |q - c|^2 + |o|^2 - 2 <o, q - c>
    code.add = square + 2 * s * code_centroid;
    code.rescale = -2 * s;
  } else {
    // -<r, q> = -<c, q> - <o, c> - <o, q - c>
    code.add = s * code_centroid - with_centroid;
    code.rescale = -s;
  }
}

// Extended RaBitQ takes the point of the grid nearest to o in angle, over all scalings of the grid.
// Trying scalings in steps comes within a fraction of a per cent of the exact enumeration.
void RowCoder::fit(float largest, uint8_t* levels, float& product) {
  constexpr uint32_t kTrials = 20;
  const float full = static_cast<float>(1u << (shape_.bits - 1)) / largest;
  float best = -1;
  for (uint32_t i = 0; i < kTrials; i++) {
    // From the scale that clips nothing up to one that clips what is beyond a third of the largest.
    const float scale = full * (1 + 2.f * static_cast<float>(i) / (kTrials - 1));
    float trial_product;
    const float cosine = quantise(residual_.data(), shape_.code_dim, shape_.bits, scale, trial_.data(), trial_product);
    if (cosine <= best) continue;
    best = cosine;
    product = trial_product;
    memcpy(levels, trial_.data(), shape_.code_dim);
  }
}

void RowCoder::place(const RowCode& code, uint8_t* block, uint32_t slot) const {
  const uint32_t shift = slot / 16 * 4;
  const uint8_t keep = static_cast<uint8_t>(0xf0 >> shift);
  uint8_t* out = block + slot % 16;
  for (uint32_t plane = 0; plane < shape_.bits; plane++) {
    for (uint32_t i = 0; i < shape_.code_dim; i += 4, out += 16) {
      uint32_t nibble = 0;
      for (uint32_t j = 0; j < 4; j++) nibble |= (code.levels[i + j] >> plane & 1u) << j;
      *out = static_cast<uint8_t>((*out & keep) | nibble << shift);
    }
  }
  const uint16_t factors[2] = {f32_to_f16(code.add * add_scale_), f32_to_f16(code.rescale * rescale_scale_)};
  uint8_t* tail = block + shape_.bits * shape_.plane_bytes();
  memcpy(tail + slot * 2, &factors[0], 2);
  memcpy(tail + kBlockRows * 2 + slot * 2, &factors[1], 2);
}
