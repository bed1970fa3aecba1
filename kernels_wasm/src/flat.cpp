#include "flat.h"

#include <algorithm>

#include "delta.h"
#include "index.h"
#include "status.h"

void FlatScan::begin(const DistanceQuery& query, uint32_t k, const Bitmap* passing) {
  query_ = &query;
  passing_ = passing;
  row_ = 0;
  end_ = passing ? passing->size() : index_.rows();
  best_.reset(k);
  distances_ = 0;
}

int32_t FlatScan::step(std::vector<uint32_t>& wanted) {
  const auto next = [this](uint32_t row) { return passing_ ? passing_->next(row) : row; };
  const uint32_t base = std::min(end_, index_.base_rows());
  const uint32_t row_bytes = index_.head.row_bytes(), per_page = index_.head.rows_per_page();
  for (row_ = next(row_); row_ < base;) {
    const uint32_t page = index_.vector_page(row_);
    const uint8_t* bytes = index_.pages.find(page);
    if (!bytes) {
      // This one and the absent ones after it, as many as there is room for.
      const size_t room = wanted.size() + std::max(1u, index_.pages.free_slots());
      for (uint32_t row = row_; row < base && wanted.size() < room; row = next((row / per_page + 1) * per_page))
        if (!index_.pages.present(index_.vector_page(row))) wanted.push_back(index_.vector_page(row));
      return PW_NEED;
    }
    const uint32_t end = std::min(base, (row_ / per_page + 1) * per_page);
    for (; row_ < end; row_ = next(row_ + 1), distances_++) best_.push(query_->key(bytes + row_ % per_page * row_bytes), row_);
  }
  for (row_ = std::max(row_, index_.base_rows()), row_ = next(row_); row_ < end_; row_ = next(row_ + 1), distances_++)
    best_.push(query_->key(index_.delta->vector(row_)), row_);
  return PW_DONE;
}
