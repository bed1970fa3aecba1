// What an index is: its parameters, fixed when it is made, and the configuration message they come from.
#pragma once
#include <string>
#include <vector>

#include "bytes.h"
#include "format.h"
#include "messages.h"

inline constexpr uint32_t kMaxDim = 8192;
inline constexpr uint32_t kMaxClusters = 1u << 16;
inline constexpr uint32_t kMaxRows = 1u << 28;

// A vector without a greater component counts as zero wherever it is quantised: what is divided by
// its greatest component stays finite.
inline constexpr float kTiny = 1e-30f;

struct IndexParameters {
  uint32_t rows = 0;      // base rows: those in the file
  uint32_t dim = 0;
  uint32_t code_dim = 0;  // dim rounded up to 16
  PwMetric metric = PwMetric::Cosine;
  PwDtype dtype = PwDtype::F32;
  PwKind kind = PwKind::Scan;
  uint32_t code_bits = 1;
  uint32_t clusters = 1;
  uint32_t m = 16, ef_construction = 100;  // graph
  uint64_t seed = 0;
  int32_t add_exponent = 0, rescale_exponent = 0;  // of the code factors: stored = true * 2^-exponent

  // Bytes of one row of VECTORS, and how many of them a page holds (a row never crosses a page).
  uint32_t row_bytes() const {
    return dtype == PwDtype::F32 ? dim * 4 : dtype == PwDtype::F16 ? dim * 2 : 4 + code_dim;
  }
  uint32_t rows_per_page() const { return kPageBytes / row_bytes(); }
  // Flat has neither codes nor centroids.
  bool has_codes() const { return kind != PwKind::Flat; }
  // Checks every range; PW_BAD_ARGUMENT or PW_CORRUPT (`status`) with a sentence.
  int32_t check(int32_t status) const;
};

struct ColumnSpec {
  PwColumnType type;
  std::string name;
};

struct Config : IndexParameters {
  uint32_t expected_rows = 0;
  uint32_t lexicon_budget = 64u << 20;
  bool keyword = true;
  std::vector<ColumnSpec> columns;

  static int32_t parse(ByteReader message, Config& config);  // PwConfig in messages.h
};
