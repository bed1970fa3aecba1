#include "posting_union.h"

#include <string.h>

#include <algorithm>

bool PostingUnion::unite(std::span<const Source> sources, uint32_t end_row) {
  rows_.clear();
  impacts_.clear();
  if (cursors_.size() < sources.size()) cursors_.resize(sources.size());
  for (size_t i = 0; i < sources.size(); i++) cursors_[i].open(sources[i].bytes, sources[i].count, end_row);
  for (;;) {
    uint32_t first = PostingCursor::kEnd;
    for (size_t i = 0; i < sources.size(); i++) first = std::min(first, cursors_[i].row());
    if (first == PostingCursor::kEnd) break;
    memset(window_, 0, sizeof window_);
    for (size_t i = 0; i < sources.size(); i++) {
      PostingCursor& cursor = cursors_[i];
      for (uint32_t at; (at = cursor.row() - first) < kWindow && cursor.row() != PostingCursor::kEnd; cursor.next())
        window_[at] = std::max(window_[at], static_cast<uint8_t>(cursor.impact()));
    }
    for (uint32_t word = 0; word < kWindow; word += 8) {
      uint64_t eight;
      memcpy(&eight, window_ + word, 8);
      if (eight == 0) continue;
      for (uint32_t at = word; at < word + 8; at++) {
        if (window_[at] == 0) continue;
        rows_.push_back(first + at);
        impacts_.push_back(window_[at]);
      }
    }
  }
  for (broken_ = 0; broken_ < sources.size(); broken_++)
    if (cursors_[broken_].corrupt()) return false;
  return true;
}
