// Operations on many rows at once: FilterCount, LiveRows, ColumnValues.
#include <string.h>

#include <algorithm>

#include "columns.h"
#include "delta.h"
#include "filter.h"
#include "index.h"
#include "operations.h"
#include "row_list.h"
#include "status.h"

namespace {

class FilterCount : public Operation {
 public:
  explicit FilterCount(Index& index) : index_(index), filter_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    program_.resize(message.left() / 4);
    if (message.left() % 4 != 0)
      return fail(PW_BAD_ARGUMENT, "filter: %zu bytes, expected a multiple of 4", message.left());
    const size_t bytes = message.left();
    if (bytes != 0) memcpy(program_.data(), message.take(bytes), bytes);
    return filter_.begin(program_);
  }
  int32_t step() override {
    wanted.clear();
    if (const int32_t status = filter_.step(wanted); status != PW_DONE) return status;
    const uint32_t passing = filter_.passing();
    result.put(PwRows{0, passing == kNoRow ? index_.rows() - index_.deleted_count : passing});
    return PW_DONE;
  }

 private:
  Index& index_;
  FilterState filter_;
  std::vector<uint32_t> program_;
};

class LiveRows : public Operation {
 public:
  explicit LiveRows(Index& index) : index_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    from_ = message.get<uint32_t>();
    limit_ = message.get<uint32_t>();
    if (!message.ok() || message.left() != 0) return fail(PW_BAD_ARGUMENT, "live rows: expected 8 bytes");
    return PW_DONE;
  }
  int32_t step() override {
    wanted.clear();
    result.put(PwRows{0, index_.rows() - index_.deleted_count});
    uint32_t count = 0;
    for (uint32_t row = from_; row < index_.rows() && count < limit_; row++) {
      if (!index_.live(row)) continue;
      result.put(row);
      count++;
    }
    result.patch(0, count);
    return PW_DONE;
  }

 private:
  Index& index_;
  uint32_t from_ = 0, limit_ = 0;
};

class ColumnValues : public Operation {
 public:
  explicit ColumnValues(Index& index) : index_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    column_ = message.get<uint32_t>();
    message.get<uint32_t>();
    if (!message.ok() || column_ >= index_.columns->size())
      return fail(PW_BAD_ARGUMENT, "column values: column %u of %u", column_, index_.columns->size());
    if (const int32_t status = rows_.parse(message, index_.rows(), "column values"); status != PW_DONE) return status;
    values_.assign(rows_.size(), 0.0);
    return PW_DONE;
  }
  int32_t step() override {
    wanted.clear();
    const bool done = rows_.visit(
        index_.pages, wanted,
        [&](uint32_t row) { return row < index_.base_rows() ? index_.columns->page_of(column_, row) : RowList::kNoPage; },
        [&](uint32_t i, uint32_t row, const uint8_t* page) {
          values_[i] = page ? index_.columns->value(column_, page, row) : index_.delta->value(column_, row);
        });
    if (!done) return PW_NEED;
    result.put(values_.data(), values_.size() * sizeof(double));
    return PW_DONE;
  }

 private:
  Index& index_;
  uint32_t column_ = 0;
  RowList rows_;
  std::vector<double> values_;
};

}  // namespace

std::unique_ptr<Operation> make_filter_count(Index& index) { return std::make_unique<FilterCount>(index); }
std::unique_ptr<Operation> make_live_rows(Index& index) { return std::make_unique<LiveRows>(index); }
std::unique_ptr<Operation> make_column_values(Index& index) { return std::make_unique<ColumnValues>(index); }
