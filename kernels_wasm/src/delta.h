// Rows inserted after the base was written. They take the row numbers from base_rows() on and live
// in memory only: making them durable, and compacting them into a new base, is the host's business.
#pragma once
#include <stdint.h>

#include <memory>
#include <string_view>
#include <vector>

#include "codes.h"
#include "delta_store.h"
#include "messages.h"

class Index;
struct RowBatch;

class Delta {
 public:
  int32_t open(Index& index);

  uint32_t rows() const { return rows_; }  // inserted ones, deleted ones included
  size_t bytes() const;                    // memory held

  // Fast-scan codes against Clusters::mean() (none for kind flat). Blocks stand where they would in a flat array of all rows:
  // block i covers rows [first_block_row() + 32 i, + 32). Slots of rows below base_rows() or not
  // inserted yet hold zeros. Runs of kBlockRun blocks (from a multiple of it on) are contiguous.
  static constexpr uint32_t kBlockRun = 16;
  uint32_t first_block_row() const { return base_rows_ / kBlockRows * kBlockRows; }
  uint32_t blocks() const { return blocks_.size(); }
  const uint8_t* block(uint32_t i) const { return blocks_.at(i); }

  // `row` counts from base_rows() on and is below base_rows() + rows(), here and below.
  const uint8_t* vector(uint32_t row) const { return vectors_.at(row - base_rows_); }  // row_bytes(), as in VECTORS
  std::string_view id(uint32_t row) const { return strings_.get(3 * (row - base_rows_)); }
  std::string_view text(uint32_t row) const { return strings_.get(3 * (row - base_rows_) + 1); }
  std::string_view payload(uint32_t row) const { return strings_.get(3 * (row - base_rows_) + 2); }
  // The live row with this id, or kNoRow.
  uint32_t find(std::string_view id) const;

  // Columns are u32 codes (kNoCategory: missing) and f64 numbers (NaN: missing), in runs of
  // kColumnRun rows; run i starts with row base_rows() + kColumnRun * i. All kColumnRun values can be read.
  static constexpr uint32_t kColumnRun = 2048;
  const uint8_t* column_run(uint32_t column, uint32_t i) const { return columns_[column].run(i); }
  double value(uint32_t column, uint32_t row) const;

  // Appends a batch whose rows were all checked: by RowBatch::parse, and its ids against each other
  // and the live rows (op_insert.cpp). PW_DONE, or PW_NO_MEMORY and everything is as before.
  int32_t insert(const RowBatch& batch);
  // A row was deleted: its id may be given again.
  void forget(uint32_t row);

 private:
  struct Column {
    PwColumnType type;
    Chunks values;
    const uint8_t* run(uint32_t i) const { return values.at(i * kColumnRun); }
  };
  bool reserve(const RowBatch& batch);
  void insert_vectors(const RowBatch& batch);
  void insert_columns(const RowBatch& batch);

  Index* index_ = nullptr;
  uint32_t base_rows_ = 0, rows_ = 0;
  std::unique_ptr<RowCoder> coder_;
  RowCode code_;
  std::vector<float> plain_, rotated_;
  Chunks blocks_, vectors_;
  StringStore strings_;  // id, text, payload of every row, in turn
  IdMap ids_;
  std::vector<Column> columns_;
};
