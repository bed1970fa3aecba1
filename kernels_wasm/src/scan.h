// Fast-scan: distance estimates of 32 rows at a time from RaBitQ codes, by table look-ups in vector
// registers (André et al., "Cache locality is not enough", VLDB 2015; RaBitQ, SIGMOD 2024).
#pragma once
#include <stdint.h>

#include <vector>

#include "bitmap.h"
#include "codes.h"
#include "config.h"
#include "topk.h"

// The query as tables: for every group of four components, the sums of its 16 subsets as u8.
class ScanQuery {
 public:
  void set(const IndexParameters& parameters, const float* rotated_query);  // [code_dim]

  // key[i] = g + add + rescale * <x, Pq> for the block's 32 rows; g is the term of query and
  // centroid (Clusters::base_key). `block` needs no alignment.
  void estimate(const uint8_t* block, float g, float keys[kBlockRows]) const;
  const CodeShape& shape() const { return shape_; }

 private:
  CodeShape shape_;
  std::vector<uint8_t> tables_;  // [code_dim / 4][16]
  float step_ = 0;               // what one unit of a table sum is worth
  float offset_ = 0;             // <x, Pq> = step_ * sum + offset_
  float add_scale_ = 1, rescale_scale_ = 1;  // undo the stored factors' exponents
};

// Scans rows [first, end) of consecutive blocks, the first of which holds rows from first / 32 * 32
// on, and pushes what is nearer than the bound. `allowed` (or null: all) is asked by `row +
// row_offset`, which is also what is pushed; row_offset is a multiple of 32 or allowed is null.
// Returns the number of estimates made.
uint32_t scan_blocks(const ScanQuery& query, const uint8_t* blocks, uint32_t first, uint32_t end, float g,
                     const Bitmap* allowed, uint32_t row_offset, TopK& best);
