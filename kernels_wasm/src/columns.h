// Metadata columns, for filters: one flat array a column in section COLUMNS, each starting on a
// page (docs/format.md). Category codes take 1, 2 or 4 bytes with all ones for "missing"; numbers
// are f32 where every value is one exactly, else f64, with NaN for "missing".
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "config.h"
#include "filter_cache.h"
#include "head.h"

class Index;
struct RowBatch;

// What a filter can know of one page without reading it.
struct Zone {
  double low, high;  // of its values; low > high when all are missing
  uint32_t missing;  // rows without a value
};

struct ColumnLayout {
  uint32_t width = 1;       // bytes a value: category 1, 2, 4; number 4, 8
  uint32_t first_page = 0;  // in the file
  uint32_t codes = 0;       // category: the greatest code + 1
  double low = 0, high = 0; // number: of all base rows; low > high when there is no value
  std::vector<Zone> zones;  // number: one a page, or none

  uint32_t rows_per_page() const { return kPageBytes / width; }  // a multiple of 64
  uint32_t pages(uint32_t rows) const {
    return static_cast<uint32_t>((uint64_t{rows} * width + kPageBytes - 1) / kPageBytes);
  }
  // The code that means "missing" in `width` bytes.
  uint32_t missing_code() const { return width == 4 ? kNoCategory : (1u << width * 8) - 1; }
};

class Columns {
 public:
  int32_t open(Index& index);

  uint32_t size() const { return static_cast<uint32_t>(specs_.size()); }
  const ColumnSpec& spec(uint32_t column) const { return specs_[column]; }
  std::span<const ColumnSpec> specs() const { return specs_; }
  const ColumnLayout& layout(uint32_t column) const { return layouts_[column]; }

  // Where the value of base row `row` lies: its page, and how to read it from the page's bytes as
  // what ColumnValues returns (missing category: kNoCategory; missing number: NaN).
  uint32_t page_of(uint32_t column, uint32_t row) const {
    return layouts_[column].first_page + row / layouts_[column].rows_per_page();
  }
  double value(uint32_t column, const uint8_t* page, uint32_t row) const;

  FilterCache cache;  // filter.h

 private:
  std::vector<ColumnSpec> specs_;
  std::vector<ColumnLayout> layouts_;
};

// Collects the columns row batch by row batch, as narrow as the values seen so far allow.
class ColumnsBuilder {
 public:
  ColumnsBuilder(PageQueue& queue, std::vector<ColumnSpec> specs);
  void add(const RowBatch& batch);  // batch.columns: one a column, checked by RowBatch::parse
  // Writes the section and the COLS chunk. PW_DONE.
  int32_t finish(HeadWriter& head);

 private:
  struct Values {
    std::vector<uint8_t> bytes;
    uint32_t width = 1;
    uint32_t codes = 0;
  };
  void add_codes(Values& values, const uint32_t* codes, uint32_t count);
  void add_numbers(Values& values, const double* numbers, uint32_t count);

  PageQueue& queue_;
  std::vector<ColumnSpec> specs_;
  std::vector<Values> values_;
};
