#include "bm25.h"
#include "sort.h"

#include <algorithm>

uint32_t bm25_weight(float idf, uint32_t times) {
  return std::max<uint32_t>(1, static_cast<uint32_t>(idf * 1024 + 0.5f)) * std::min(times, kMaxTermTimes);
}

void Bm25::begin(uint32_t k) {
  k_ = k;
  threshold_ = 0;
  scored_ = 0;
  heap_.clear();
}

bool Bm25::scan(std::span<const PostingList> lists, uint32_t end_row, const Bitmap* passing) {
  const uint32_t count = static_cast<uint32_t>(lists.size());
  order_.clear();
  for (uint32_t i = 0; i < count; i++) order_.push_back(i);
  sort_items(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    const uint64_t x = uint64_t{lists[a].weight} * lists[a].greatest_impact, y = uint64_t{lists[b].weight} * lists[b].greatest_impact;
    return x != y ? x < y : a < b;
  });
  if (lists_.size() < count) lists_.resize(count);
  uint32_t upto = 0;
  for (uint32_t i = 0; i < count; i++) {
    const PostingList& from = lists[order_[i]];
    List& list = lists_[i];
    list.cursor.open(from.bytes, from.count, end_row);
    list.weight = from.weight;
    list.bound = from.weight * from.greatest_impact;
    list.upto = upto += list.bound;
    list.number = order_[i];
  }
  uint32_t essential = 0;  // lists before it can't make a row good enough on their own
  while (essential < count && lists_[essential].upto <= threshold_) essential++;
  while (essential < count) {
    uint32_t row = PostingCursor::kEnd;
    for (uint32_t i = essential; i < count; i++) row = std::min(row, lists_[i].cursor.row());
    if (row == PostingCursor::kEnd) break;
    if (passing && (row >= passing->size() || !passing->get(row))) {
      const uint32_t target = row < passing->size() ? passing->next(row) : end_row;
      for (uint32_t i = essential; i < count; i++) lists_[i].cursor.seek(target);
      continue;
    }
    scored_++;
    uint32_t score = 0;
    for (uint32_t i = essential; i < count; i++) {
      PostingCursor& cursor = lists_[i].cursor;
      if (cursor.row() != row) continue;
      score += lists_[i].weight * cursor.impact();
      if (essential + 1 == count) cursor.next_above(least_impact(lists_[i]));
      else cursor.next();
    }
    for (uint32_t i = essential; i-- > 0;) {
      List& list = lists_[i];
      if (score + list.upto <= threshold_) break;
      const uint32_t others = list.upto - list.bound;
      if (score + list.weight * list.cursor.block_max(row) + others <= threshold_) break;
      list.cursor.seek(row);
      if (list.cursor.row() == row) score += list.weight * list.cursor.impact();
    }
    if (score > threshold_) {
      offer(score, row);
      while (essential < count && lists_[essential].upto <= threshold_) essential++;
    }
  }
  for (uint32_t i = 0; i < count; i++) {
    if (!lists_[i].cursor.corrupt()) continue;
    broken_ = lists_[i].number;
    return false;
  }
  return true;
}

// What the only essential list must add for a row to be good enough.
uint32_t Bm25::least_impact(const List& list) const {
  const uint32_t others = list.upto - list.bound;
  return threshold_ < others ? 0 : (threshold_ - others) / list.weight + 1;
}

void Bm25::offer(uint32_t score, uint32_t row) {
  if (heap_.size() == k_) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  heap_.push_back({score, row});
  std::push_heap(heap_.begin(), heap_.end());
  if (heap_.size() == k_) threshold_ = heap_.front().score;
}

std::span<const ScoredRow> Bm25::best() {
  sort_items(heap_.begin(), heap_.end());
  return heap_;
}
