#include "postings.h"

#include <math.h>

#include <algorithm>

uint8_t bm25_impact(uint32_t frequency, uint32_t length, float average_length) {
  const double tf = frequency;
  const double ratio = average_length > 0 ? length / static_cast<double>(average_length) : 1;
  const double share = tf / (tf + kBm25K1 * (1.0 - kBm25B + kBm25B * ratio));
  return static_cast<uint8_t>(std::clamp(share * 255 + 0.5, 1.0, 255.0));
}

float bm25_idf(uint32_t rows, uint32_t document_frequency) {
  const double df = std::min(rows, document_frequency);
  return static_cast<float>(log1p((rows - df + 0.5) / (df + 0.5)));
}

uint8_t encode_postings(std::span<const uint32_t> rows, const uint8_t* impacts, ByteWriter& out) {
  const auto varint_bytes = [](uint32_t value) {
    size_t bytes = 1;
    for (; value >= 128; value >>= 7) bytes++;
    return bytes;
  };
  uint32_t before = PostingCursor::kEnd;
  uint8_t greatest = 0;
  for (size_t from = 0; from < rows.size(); from += kPostingBlock) {
    const size_t to = std::min(from + kPostingBlock, rows.size());
    const uint8_t block_max = *std::max_element(impacts + from, impacts + to);
    greatest = std::max(greatest, block_max);
    if (rows.size() > kPostingBlock) {
      size_t bytes = to - from;
      for (size_t i = from; i < to; i++) bytes += varint_bytes(rows[i] - (i == from ? before : rows[i - 1]) - 1);
      out.varint(rows[to - 1] - before - 1);
      out.varint(static_cast<uint32_t>(bytes));
      out.put(block_max);
    }
    for (size_t i = from; i < to; i++) {
      out.varint(rows[i] - before - 1);
      before = rows[i];
    }
    out.put(impacts + from, to - from);
  }
  return greatest;
}

void PostingCursor::open(std::span<const uint8_t> bytes, uint32_t count, uint32_t end_row) {
  in_ = bytes.data();
  end_ = in_ + bytes.size();
  left_ = count;
  end_row_ = end_row;
  before_ = block_last_ = kEnd;
  blocks_ = count > kPostingBlock;
  block_end_ = in_;
  corrupt_ = false;
  next_block();
}

uint32_t PostingCursor::varint() {
  uint32_t value = 0;
  for (uint32_t shift = 0; shift < 35 && in_ < end_; shift += 7) {
    const uint32_t byte = *in_++;
    value |= (byte & 127) << shift;
    if (byte < 128) return shift == 28 && byte > 15 ? (corrupt_ = true, 0) : value;
  }
  corrupt_ = true;
  return 0;
}

bool PostingCursor::fail() {
  corrupt_ = true;
  row_ = kEnd;
  left_ = at_ = block_count_ = 0;
  decoded_ = true;
  return false;
}

void PostingCursor::next_block() {
  if (read_header()) decode();
}

// Steps over to the next block without looking at its postings. False at the end.
bool PostingCursor::read_header() {
  if (left_ == 0) {
    row_ = kEnd;
    decoded_ = true;
    return false;
  }
  before_ = block_last_;
  block_count_ = std::min(left_, kPostingBlock);
  left_ -= block_count_;
  in_ = block_end_;
  decoded_ = false;
  if (!blocks_) {
    block_end_ = end_;
    block_max_ = 255;
    return true;
  }
  const uint64_t last = uint64_t{before_ + 1} + varint();
  const uint32_t bytes = varint();
  if (corrupt_ || last >= end_row_ || in_ == end_ || bytes > static_cast<size_t>(end_ - in_ - 1)) return fail();
  block_last_ = static_cast<uint32_t>(last);
  block_max_ = *in_++;
  block_end_ = in_ + bytes;
  if (left_ == 0 && block_end_ != end_) return fail();
  return true;
}

// The rows of the block; checks that they ascend to the last one that the header names.
bool PostingCursor::decode() {
  const uint8_t* in = in_;
  const size_t bytes = static_cast<size_t>(block_end_ - in);
  if (bytes < 2 * size_t{block_count_}) return fail();
  const uint8_t* const end = block_end_ - block_count_;  // impacts
  uint64_t row = uint64_t{before_ + 1};
  for (uint32_t i = 0; i < block_count_; i++) {
    if (in == end) return fail();
    uint32_t delta = *in++;
    if (delta >= 128) {
      delta &= 127;
      for (uint32_t shift = 7;; shift += 7) {
        if (in == end || shift > 28) return fail();
        const uint32_t byte = *in++;
        delta |= (byte & 127) << shift;
        if (byte < 128) break;
      }
    }
    row += delta;
    rows_[i] = static_cast<uint32_t>(row);
    row++;
  }
  if (in != end || row > end_row_ || (blocks_ && row - 1 != block_last_)) return fail();
  block_last_ = rows_[block_count_ - 1];
  impacts_ = end;
  decoded_ = true;
  at_ = 0;
  row_ = rows_[0];
  return true;
}

bool PostingCursor::seek_block(uint32_t target) {
  while (block_last_ < target) {
    if (!read_header()) return false;
    row_ = before_;  // less than the target and every row of the block, which is not decoded yet
  }
  return true;
}

void PostingCursor::seek_in_block(uint32_t target) {
  if (!decoded_ && !decode()) return;
  while (row_ < target) row_ = rows_[++at_];  // the block's last row is not less
}
