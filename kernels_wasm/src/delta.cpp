#include "delta.h"

#include <string.h>

#include <algorithm>

#include "clusters.h"
#include "columns.h"
#include "distance.h"
#include "index.h"
#include "rotate.h"
#include "row_batch.h"
#include "status.h"
#include "xxh64.h"

namespace {

constexpr uint32_t kVectorChunkBytes = 1 << 16;
// What the vectors' bookkeeping may grow by in one insert; asked for before anything changes.
constexpr size_t kHeadroom = 1 << 18;

}  // namespace

int32_t Delta::open(Index& index) {
  index_ = &index;
  const Head& head = index.head;
  base_rows_ = head.rows;
  rows_ = 0;
  plain_.resize(head.dim);
  rotated_.resize(head.code_dim);
  vectors_ = Chunks(head.row_bytes(), std::max(1u, kVectorChunkBytes / head.row_bytes()));
  if (head.has_codes()) {
    coder_ = std::make_unique<RowCoder>(head);
    blocks_ = Chunks(coder_->shape().block_bytes(), kBlockRun);
  }
  strings_ = StringStore();
  ids_ = IdMap();
  columns_.clear();
  for (const ColumnSpec& spec : index.columns->specs())
    columns_.push_back({spec.type, Chunks(spec.type == PwColumnType::Number ? 8 : 4, kColumnRun)});
  return PW_DONE;
}

size_t Delta::bytes() const {
  if (rows_ == 0) return 0;
  size_t total = blocks_.bytes() + vectors_.bytes() + strings_.bytes() + ids_.bytes();
  for (const Column& column : columns_) total += column.values.bytes();
  return total;
}

uint32_t Delta::find(std::string_view id) const {
  return ids_.find(xxh64(id.data(), id.size()), [&](uint32_t row) { return this->id(row) == id; });
}

double Delta::value(uint32_t column, uint32_t row) const {
  const uint8_t* from = columns_[column].values.at(row - base_rows_);
  if (columns_[column].type == PwColumnType::Number) {
    double value;
    memcpy(&value, from, 8);
    return value;
  }
  uint32_t code;
  memcpy(&code, from, 4);
  return code;
}

// Asks for all the memory that the batch will take.
bool Delta::reserve(const RowBatch& batch) {
  const uint32_t rows = rows_ + batch.count;
  size_t string_bytes = 0;
  for (const Strings* strings : {&batch.ids, &batch.texts, &batch.payloads})
    for (uint32_t i = 0; i < strings->size(); i++) string_bytes += (*strings)[i].size();
  if (!vectors_.reserve(rows) || !strings_.reserve(3 * batch.count, string_bytes) || !ids_.reserve(batch.count))
    return false;
  if (coder_ && !blocks_.reserve((base_rows_ % kBlockRows + rows + kBlockRows - 1) / kBlockRows)) return false;
  for (Column& column : columns_)
    if (!column.values.reserve(rows)) return false;
  const std::unique_ptr<void, FreeDeleter> headroom(malloc(kHeadroom));
  return headroom != nullptr;
}

int32_t Delta::insert(const RowBatch& batch) {
  if (batch.count > kMaxRows - base_rows_ - rows_)
    return fail(PW_BAD_ARGUMENT, "insert: %u rows after %u, at most %u", batch.count, base_rows_ + rows_, kMaxRows);
  if (!reserve(batch)) return fail(PW_NO_MEMORY, "insert: no memory for %u rows", batch.count);
  insert_vectors(batch);
  insert_columns(batch);
  for (uint32_t i = 0; i < batch.count; i++) {
    const std::string_view id = batch.ids[i];
    strings_.add(id);
    strings_.add(batch.texts.size() ? batch.texts[i] : std::string_view());
    strings_.add(batch.payloads.size() ? batch.payloads[i] : std::string_view());
    ids_.add(xxh64(id.data(), id.size()), base_rows_ + rows_ + i);
  }
  rows_ += batch.count;
  return PW_DONE;
}

void Delta::insert_vectors(const RowBatch& batch) {
  const Head& head = index_->head;
  vectors_.resize(rows_ + batch.count);
  if (coder_) blocks_.resize((base_rows_ % kBlockRows + rows_ + batch.count + kBlockRows - 1) / kBlockRows);
  for (uint32_t i = 0; i < batch.count; i++) {
    normalise(head.metric, batch.vectors + size_t{i} * head.dim, head.dim, plain_.data());
    if (coder_ || head.dtype == PwDtype::I8) index_->rotation->apply(plain_.data(), rotated_.data());
    store_row(head, plain_.data(), rotated_.data(), vectors_.at(rows_ + i));
    if (!coder_) continue;
    const uint32_t slot = base_rows_ % kBlockRows + rows_ + i;
    coder_->encode(rotated_.data(), index_->clusters->mean().data(), code_);
    coder_->place(code_, blocks_.at(slot / kBlockRows), slot % kBlockRows);
  }
}

void Delta::insert_columns(const RowBatch& batch) {
  for (size_t c = 0; c < columns_.size(); c++) {
    Chunks& values = columns_[c].values;
    const uint32_t width = columns_[c].type == PwColumnType::Number ? 8 : 4;
    const uint8_t* from = static_cast<const uint8_t*>(batch.columns[c]);
    values.resize(rows_ + batch.count);
    for (uint32_t i = 0; i < batch.count; i++) memcpy(values.at(rows_ + i), from + size_t{i} * width, width);
  }
}

void Delta::forget(uint32_t row) {
  const std::string_view id = this->id(row);
  ids_.remove(xxh64(id.data(), id.size()), row);
}
