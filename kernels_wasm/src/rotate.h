// A fixed random orthogonal rotation of R^dim, padded to code_dim: it spreads every vector's energy
// over all components, which is what makes one bit a component a good code (RaBitQ, SIGMOD 2024).
// Fast Hadamard transforms and sign flips instead of a matrix: O(d log d), nothing to store but a seed.
#pragma once
#include <stdint.h>

#include <vector>

class Rotation {
 public:
  Rotation(uint32_t dim, uint32_t code_dim, uint64_t seed);
  // in[dim] -> out[code_dim]. They may be the same array of code_dim floats.
  void apply(const float* in, float* out) const;
  // The inverse: in[code_dim] -> out[code_dim], of which the first dim components are the vector.
  void invert(const float* in, float* out) const;
  uint32_t dim() const { return dim_; }
  uint32_t code_dim() const { return code_dim_; }

 private:
  static constexpr uint32_t kRounds = 4;
  uint32_t dim_, code_dim_, segment_;
  std::vector<float> signs_;  // [kRounds][code_dim], +1 or -1
};
