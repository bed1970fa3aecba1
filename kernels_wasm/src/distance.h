// Exact distances between a query and rows of VECTORS, in the index's dtype, and the conversion of
// input vectors to stored rows.
#pragma once
#include <stdint.h>

#include <vector>

#include "config.h"
#include "rotate.h"

// "Key" is the order of nearness everywhere in the engine: smaller is nearer. It is the squared L2
// distance, or minus the inner product (of normalised vectors for cosine).
class DistanceQuery {
 public:
  // query[dim], in the input's space; for cosine it is normalised here. Rotates it as well.
  void set(const IndexParameters& parameters, const Rotation& rotation, const float* query);
  float key(const void* stored_row) const;     // one row of VECTORS
  float key_i8(const void* stored_row) const;  // one row in the i8 layout, whatever the index's dtype: centroids
  const float* rotated() const { return rotated_.data(); }  // [code_dim]
  const float* plain() const { return plain_.data(); }      // [dim]

 private:
  IndexParameters parameters_;
  std::vector<float> plain_, rotated_;
  std::vector<int16_t> integer_;  // the rotated query for i8 rows
  float integer_scale_ = 0, norm_ = 0;
};

// What a hit's score is for a key, and back: cosine and inner product grow with nearness.
inline float score_of_key(PwMetric metric, float key) { return metric == PwMetric::L2 ? key : -key; }

// Input vector [dim] -> the stored row (row_bytes()). `rotated` [code_dim] is its rotation (of the
// normalised vector for cosine); `plain` [dim] the (normalised) vector.
void store_row(const IndexParameters& parameters, const float* plain, const float* rotated, void* row);
// The stored row back to [dim] floats in the input's space. `scratch` has code_dim floats.
void load_row(const IndexParameters& parameters, const Rotation& rotation, const void* row, float* plain,
              float* scratch);
// The i8 layout: f32 scale, then code_dim bytes. rotated[code_dim].
void store_i8(const float* rotated, uint32_t code_dim, void* row);
void load_i8(const void* row, uint32_t code_dim, float* rotated);
// vector / |vector| for cosine, a copy otherwise. May be in place.
void normalise(PwMetric metric, const float* vector, uint32_t dim, float* out);
