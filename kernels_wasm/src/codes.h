// RaBitQ codes in fast-scan blocks (docs/format.md, CODES): a row's direction from its centroid in
// `bits` bits a component, and two factors that make the estimate of its distance unbiased.
// Gao & Long, "RaBitQ", SIGMOD 2024; Gao et al., extended RaBitQ, SIGMOD 2025 for bits > 1.
#pragma once
#include <stdint.h>

#include <vector>

#include "config.h"
#include "format.h"

struct CodeShape {
  uint32_t code_dim = 0, bits = 0;
  uint32_t plane_bytes() const { return code_dim / 4 * 16; }  // of one bit plane of a block
  // A block: `bits` planes, then f16 f_add[32], f16 f_rescale[32].
  uint32_t block_bytes() const { return bits * plane_bytes() + 4 * kBlockRows; }
};

// One row's code before it takes its place in a block.
struct RowCode {
  std::vector<uint8_t> levels;  // [code_dim], each < 2^bits
  float add = 0, rescale = 0;   // estimated key = g + add + rescale * <x, Pq>, x = levels - (2^bits - 1) / 2
};

// The exponent e with which factors of up to `largest` are stored as f16(factor * 2^-e): leaves room
// for rows a thousand times further out than any in the sample.
int32_t factor_exponent(float largest);

class RowCoder {
 public:
  explicit RowCoder(const IndexParameters& parameters);
  // row[code_dim] and centroid[code_dim] are rotated.
  void encode(const float* row, const float* centroid, RowCode& code);
  // Writes a code into place `slot` (0..31) of a block.
  void place(const RowCode& code, uint8_t* block, uint32_t slot) const;
  const CodeShape& shape() const { return shape_; }

 private:
  void fit(float largest, uint8_t* levels, float& product);

  CodeShape shape_;
  PwMetric metric_;
  float add_scale_, rescale_scale_;  // 2^-exponent
  std::vector<float> residual_;
  std::vector<uint8_t> trial_;
};
