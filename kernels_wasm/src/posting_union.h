// Several posting lists as one: a row is in it that is in any of them, with its greatest impact.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "postings.h"

class PostingUnion {
 public:
  struct Source {
    std::span<const uint8_t> bytes;
    uint32_t count;
  };
  // Rows are below `end_row`. False: source `broken()` is corrupt.
  bool unite(std::span<const Source> sources, uint32_t end_row);
  const std::vector<uint32_t>& rows() const { return rows_; }
  const std::vector<uint8_t>& impacts() const { return impacts_; }
  size_t broken() const { return broken_; }

 private:
  static constexpr uint32_t kWindow = 4096;  // rows that are united at a time
  std::vector<PostingCursor> cursors_;
  std::vector<uint32_t> rows_;
  std::vector<uint8_t> impacts_;
  size_t broken_ = 0;
  alignas(8) uint8_t window_[kWindow];
};
