// RaBitQ codes one row after another (docs/format.md, CODES of kind graph): a graph walk asks for
// the estimates of single rows, not of blocks. Same encoder, same estimate as codes.h; the inner
// product is taken by popcounts of the row's bit planes against the query's.
// Gao & Long, "RaBitQ", SIGMOD 2024, section 3.3.2.
#pragma once
#include <stdint.h>

#include <vector>

#include "codes.h"
#include "config.h"
#include "format.h"
#include "simd.h"

struct RowCodeShape {
  uint32_t code_dim = 0, bits = 0;
  uint32_t plane_bytes() const { return code_dim / 8; }
  // `bits` planes, lowest first, component i in bit i % 8 of byte i / 8; f16 add, f16 rescale; zeros to 4.
  uint32_t row_bytes() const { return (bits * plane_bytes() + 4 + 3) / 4 * 4; }
  uint32_t rows_per_page() const { return kPageBytes / row_bytes(); }  // a row never crosses a page
};

// Writes `code` as one row of row_bytes() bytes.
void pack_row_code(const IndexParameters& parameters, const RowCode& code, uint8_t* row);

class RowCodeQuery {
 public:
  void set(const IndexParameters& parameters, const float* rotated_query);  // [code_dim]

  // The estimated key of a packed row without its cluster's term: add that (Clusters::base_key).
  float key(const uint8_t* row) const { return (this->*key_)(row); }
  const RowCodeShape& shape() const { return shape_; }

 private:
  // Sum over row planes p and query planes j of 2^(p + j) * popcount(row_p ^ query_j).
  template <uint32_t kVectors, uint32_t kPlanes>
  float key_fixed(const uint8_t* row) const;
  float key_any(const uint8_t* row) const;
  float finish(const uint8_t* row, uint32_t weighted) const;

  RowCodeShape shape_;
  float (RowCodeQuery::*key_)(const uint8_t*) const = nullptr;
  uint32_t planes_ = 0;              // of the query
  uint32_t vectors_ = 0;             // 16-byte vectors of a plane
  std::vector<v128_t> query_;        // [planes_][vectors_]
  alignas(16) uint8_t last_mask_[16];  // bytes of the last vector that the one before has not covered
  float slope_ = 0, offset_ = 0;     // <x, Pq> = offset_ - slope_ * weighted popcount
  float add_scale_ = 1, rescale_scale_ = 1;  // undo the stored factors' exponents
};
