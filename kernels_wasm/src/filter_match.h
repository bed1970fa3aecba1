// The inner loops of a filter: one condition over a run of one column's values, 64 rows a word.
#pragma once
#include <stdint.h>

#include <span>

#include "messages.h"

// A condition on one column, ready to run. `None` is one that no row can meet.
struct Match {
  enum Kind : uint32_t { None, Equal, In, Present, Range };  // Present: of a category
  Kind kind = None;
  uint32_t column = 0;
  uint32_t code = 0;                 // Equal
  std::span<const uint32_t> codes;   // In: ascending
  double low = 0, high = 0;          // Range: both closed; a missing value (NaN) is in no range
};

// Bit i of `out` [words] = row i of `values` meets the condition. `values` holds words * 64 values
// of `width` bytes: numbers (4: f32, 8: f64) for Range, else category codes (1, 2, 4), all ones being
// "missing", which only fails Present: no Equal and no In names it.
void match_values(const Match& match, uint32_t width, const uint8_t* values, uint32_t words, uint64_t* out);
