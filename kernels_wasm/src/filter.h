// Filters: the postfix program of messages.h turned into the set of rows that pass. It is the first
// step of every search, and pauses for column pages like any other.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "bitmap.h"
#include "filter_match.h"
#include "messages.h"

class Index;

inline constexpr uint32_t kMaxFilterWords = 1u << 20;  // 4 MiB: a set of a million codes
inline constexpr uint32_t kMaxFilterDepth = 32;        // bitmaps on the stack

// One evaluation; reused from query to query it allocates nothing.
class FilterState {
 public:
  explicit FilterState(Index& index) : index_(index) {}

  // Checks and copies the program (empty: no filter). PW_DONE, or PW_BAD_ARGUMENT naming the column.
  int32_t begin(std::span<const uint32_t> program);
  // PW_DONE: bitmap() and passing() stand. PW_NEED: column pages were appended to `wanted`.
  int32_t step(std::vector<uint32_t>& wanted);

  // The live rows that pass, or null: every row of the index does (no filter and nothing deleted).
  // A copy of the state when the filter ran: rows inserted since are beyond its size(). Holds until
  // the next begin().
  const Bitmap* bitmap() const { return all_ ? nullptr : &stack_[0]; }
  uint32_t passing() const { return passing_; }  // rows in bitmap(); kNoRow without a filter

 private:
  int32_t check() const;
  int32_t check_column(uint32_t at, PwColumnType type, const char* name) const;
  uint32_t instruction_words(uint32_t at) const;  // 0: it does not fit in the program
  Match match_at(uint32_t at) const;
  bool evaluate_match(const Match& match, Bitmap& bitmap);
  void want_pages(const Match& match, uint32_t first_page, size_t limit, std::vector<uint32_t>& wanted) const;
  void combine(PwFilter operation);
  void remove_deleted(Bitmap& bitmap) const;

  Index& index_;
  std::vector<uint32_t> program_;
  std::vector<Bitmap> stack_;
  uint32_t depth_ = 0;      // bitmaps on the stack
  uint32_t at_ = 0;         // the instruction being evaluated
  uint32_t page_ = 0;       // of its column, the next to be read
  uint32_t rows_ = 0;       // of the index at begin()
  uint32_t deleted_ = 0;    // deleted rows at begin()
  bool all_ = true, done_ = true;
  uint32_t passing_ = kNoRow;
};
