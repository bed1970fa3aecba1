// Posting lists: which rows hold a term, and how much each counts. docs/format.md has the bytes.
// Rows ascend; an impact is the tf part of BM25 (Robertson and Zaragoza, 2009), quantised to 1..255.
#pragma once
#include <stdint.h>

#include <span>

#include "bytes.h"

inline constexpr uint32_t kPostingBlock = 128;  // postings coded together, and skipped together
inline constexpr float kBm25K1 = 1.2f, kBm25B = 0.75f;

// tf (k1 + 1) / (tf + k1 (1 - b + b length / average_length)), which is below k1 + 1, in steps of
// (k1 + 1) / 255. Lengths count terms.
uint8_t bm25_impact(uint32_t frequency, uint32_t length, float average_length);
inline constexpr float kImpactStep = (kBm25K1 + 1) / 255;
// ln(1 + (rows - df + 0.5) / (df + 0.5)): never negative, as Lucene has it.
float bm25_idf(uint32_t rows, uint32_t document_frequency);

// Appends the coded list; gives its greatest impact. `rows` ascend and are not empty.
uint8_t encode_postings(std::span<const uint32_t> rows, const uint8_t* impacts, ByteWriter& out);

// Walks a coded list that nobody vouches for. At its end, and on bytes that make no sense, row() is
// kEnd; the latter sets corrupt().
class PostingCursor {
 public:
  static constexpr uint32_t kEnd = 0xffffffffu;

  // `count` postings in `bytes`, which must outlive the cursor; every row is below `end_row`.
  void open(std::span<const uint8_t> bytes, uint32_t count, uint32_t end_row);

  uint32_t row() const { return row_; }
  uint32_t impact() const { return impacts_[at_]; }
  void next() {
    if (++at_ < block_count_) row_ = rows_[at_];
    else next_block();
  }
  // The same, but leaves out blocks in which no impact is as great as `least`.
  void next_above(uint32_t least) {
    if (++at_ < block_count_) {
      row_ = rows_[at_];
      return;
    }
    while (read_header())
      if (block_max_ >= least) {
        decode();
        return;
      }
  }
  // To the first row >= target. Blocks that end before it are not decoded.
  void seek(uint32_t target) {
    if (row_ >= target) return;
    if (seek_block(target)) seek_in_block(target);
  }
  // The greatest impact of the block where `target` would be; 0 when the list ends before it.
  uint32_t block_max(uint32_t target) {
    if (row_ < target && !seek_block(target)) return 0;
    return block_max_;
  }
  bool corrupt() const { return corrupt_; }

 private:
  void next_block();
  bool seek_block(uint32_t target);
  void seek_in_block(uint32_t target);
  bool read_header();
  bool decode();
  bool fail();
  uint32_t varint();

  const uint8_t* in_ = nullptr;
  const uint8_t* end_ = nullptr;
  uint32_t left_ = 0;         // postings after the current block
  uint32_t end_row_ = 0;
  uint32_t row_ = kEnd;       // the current row; or, when not decoded_, one before the block
  uint32_t at_ = 0, block_count_ = 0;
  uint32_t before_ = kEnd;    // the last row of the block before; kEnd + 1 = 0 begins the list
  uint32_t block_last_ = 0, block_max_ = 0;
  const uint8_t* block_end_ = nullptr;
  const uint8_t* impacts_ = nullptr;
  bool blocks_ = false;       // the list has block headers
  bool decoded_ = false, corrupt_ = false;
  uint32_t rows_[kPostingBlock];
};
