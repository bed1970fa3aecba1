// Scores rows by BM25 a row at a time over the posting lists of a query, and keeps the k best.
//
// MaxScore (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995) with block
// maxima (Ding and Suel, SIGIR 2011): lists that can't lift a row above the k-th best on their own
// are only looked into for rows that the others bring. Scores are summed as integers, so that the
// order of summing does not matter.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "bitmap.h"
#include "postings.h"

struct PostingList {
  std::span<const uint8_t> bytes;
  uint32_t count;            // postings
  uint32_t greatest_impact;
  uint32_t weight;           // of the term: bm25_weight
};

inline constexpr uint32_t kMaxPostingLists = 128;  // of a query: 32-bit sums of scores can't overflow
inline constexpr uint32_t kMaxTermTimes = 4;       // a term of the query counts at most this often
// idf in steps of 1/1024, as often as the term is in the query.
uint32_t bm25_weight(float idf, uint32_t times);
inline constexpr float kScoreStep = kImpactStep / 1024;

struct ScoredRow {
  uint32_t score, row;
  bool operator<(const ScoredRow& other) const {  // "is better": a heap then has the worst in front
    return score > other.score || (score == other.score && row < other.row);
  }
};

class Bm25 {
 public:
  void begin(uint32_t k);
  // Scores the rows below `end_row` in the lists, at most kMaxPostingLists; called again with lists of
  // greater rows, it goes on. `passing` (null: every row does) tells which rows count. False: list
  // `broken()` is corrupt.
  bool scan(std::span<const PostingList> lists, uint32_t end_row, const Bitmap* passing);
  uint32_t broken() const { return broken_; }
  uint64_t scored() const { return scored_; }  // rows looked at
  // Best first; ends the search.
  std::span<const ScoredRow> best();

 private:
  struct List {
    PostingCursor cursor;
    uint32_t weight, bound;  // bound: of what it can add
    uint32_t upto;           // the bounds of this and all lists before it
    uint32_t number;         // in the caller's order
  };
  uint32_t least_impact(const List& list) const;
  void offer(uint32_t score, uint32_t row);

  std::vector<List> lists_;
  std::vector<uint32_t> order_;
  std::vector<ScoredRow> heap_;
  uint32_t k_ = 0, threshold_ = 0, broken_ = 0;
  uint64_t scored_ = 0;
};
