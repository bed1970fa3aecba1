// Rows with everything known of them, as they come in (messages.h, PwRowBatch): checked once, then
// read in place.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "config.h"

// count + 1 offsets and the bytes they cut up, checked: ascending, the last one within the bytes.
class Strings {
 public:
  // Reads u32 offsets[count + 1], the bytes, and the padding to 4. False: out of range.
  static bool parse(ByteReader& message, uint32_t count, Strings& strings);
  uint32_t size() const { return count_; }
  std::string_view operator[](uint32_t i) const {
    return std::string_view(bytes_ + offsets_[i], offsets_[i + 1] - offsets_[i]);
  }

 private:
  const uint32_t* offsets_ = nullptr;
  const char* bytes_ = nullptr;
  uint32_t count_ = 0;
};

// Views into the message. Fields whose flag is not set are null or of size 0.
struct RowBatch {
  uint32_t count = 0, flags = 0;
  const float* vectors = nullptr;  // [count][dim]; checked finite, and for cosine not zero
  Strings ids, texts, payloads;
  const uint32_t* clusters = nullptr;  // [count]
  // One a column: u32[count] category codes or f64[count] numbers.
  std::vector<const void*> columns;

  // Checks the batch against the index's dimension and columns. `first_row` only names rows in
  // errors. PW_BAD_ARGUMENT with a sentence. `message` must lie 8-byte aligned.
  static int32_t parse(ByteReader message, const IndexParameters& index, std::span<const ColumnSpec> columns,
                       uint32_t first_row, RowBatch& batch);
};

// PW_BAD_ARGUMENT naming row and component when a vector is not finite, or is zero under cosine.
int32_t check_vector(const float* vector, uint32_t dim, PwMetric metric, const char* what, uint32_t row);
