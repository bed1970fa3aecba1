// The rows of a PwRows message, visited in whatever order their pages are present.
#pragma once
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "bytes.h"
#include "messages.h"
#include "pages.h"
#include "sort.h"
#include "status.h"

class RowList {
 public:
  static constexpr uint32_t kNoPage = 0xffffffffu;  // the row is in memory anyway

  // Reads a PwRows; every row must be below `rows`. PW_BAD_ARGUMENT says so in the name of `what`.
  int32_t parse(ByteReader& message, uint32_t rows, const char* what) {
    const PwRows header = message.get<PwRows>();
    if (!message.ok() || message.left() != uint64_t{header.count} * 4)
      return fail(PW_BAD_ARGUMENT, "%s: %zu bytes of rows, expected %u rows", what, message.left(), header.count);
    rows_.resize(header.count);
    if (header.count != 0) memcpy(rows_.data(), message.take(size_t{header.count} * 4), size_t{header.count} * 4);
    pending_.clear();
    for (uint32_t i = 0; i < header.count; i++) {
      if (rows_[i] >= rows) return fail(PW_BAD_ARGUMENT, "%s: row %u of %u", what, rows_[i], rows);
      pending_.push_back(i);
    }
    return PW_DONE;
  }
  uint32_t size() const { return static_cast<uint32_t>(rows_.size()); }

  // Calls use(i, row, page bytes, or null for kNoPage) for each row not visited yet whose page
  // `page_of(row)` is present. False: some are left, and as many of their pages were appended to
  // `wanted` as have room.
  template <class PageOf, class Use>
  bool visit(Pages& pages, std::vector<uint32_t>& wanted, PageOf page_of, Use use) {
    size_t left = 0;
    for (uint32_t i : pending_) {
      const uint32_t page = page_of(rows_[i]);
      const uint8_t* bytes = page == kNoPage ? nullptr : pages.find(page);
      if (page == kNoPage || bytes != nullptr) use(i, rows_[i], bytes);
      else pending_[left++] = i;
    }
    pending_.resize(left);
    const size_t limit = std::max(pages.free_slots(), 1u);
    std::vector<uint32_t>& numbers = page_numbers_;
    numbers.clear();
    for (uint32_t i : pending_) numbers.push_back(page_of(rows_[i]));
    sort_items(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    if (numbers.size() > limit) numbers.resize(limit);
    wanted.insert(wanted.end(), numbers.begin(), numbers.end());
    return pending_.empty();
  }

 private:
  std::vector<uint32_t> rows_, pending_, page_numbers_;
};
