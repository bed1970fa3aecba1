#include "row_batch.h"

#include <math.h>

#include "status.h"

namespace {
constexpr uint32_t kMaxBatchRows = 1u << 22;
constexpr float kLargest = 1e16f;  // squares of sums of it stay finite
}  // namespace

bool Strings::parse(ByteReader& message, uint32_t count, Strings& strings) {
  if (count >= message.left() / 4) return false;  // before multiplying: size_t has 32 bits in Wasm
  const uint8_t* offsets = message.take((static_cast<size_t>(count) + 1) * 4);
  strings.offsets_ = reinterpret_cast<const uint32_t*>(offsets);
  strings.count_ = count;
  if (strings.offsets_[0] != 0) return false;
  for (uint32_t i = 0; i < count; i++)
    if (strings.offsets_[i] > strings.offsets_[i + 1]) return false;
  strings.bytes_ = reinterpret_cast<const char*>(message.take(strings.offsets_[count]));
  message.align(4);
  return message.ok();
}

int32_t check_vector(const float* vector, uint32_t dim, PwMetric metric, const char* what, uint32_t row) {
  bool zero = true;
  for (uint32_t i = 0; i < dim; i++) {
    if (!(fabsf(vector[i]) <= kLargest))
      return fail(PW_BAD_ARGUMENT, "%s %u: component %u is %g, expected a finite number of at most 1e16", what, row, i,
                  static_cast<double>(vector[i]));
    zero = zero && vector[i] == 0;
  }
  if (zero && metric == PwMetric::Cosine)
    return fail(PW_BAD_ARGUMENT, "%s %u: every component is zero, which has no direction for the cosine metric", what, row);
  return PW_DONE;
}

int32_t RowBatch::parse(ByteReader message, const IndexParameters& index, std::span<const ColumnSpec> columns,
                        uint32_t first_row, RowBatch& batch) {
  batch.vectors = nullptr;
  batch.ids = batch.texts = batch.payloads = Strings();
  batch.clusters = nullptr;
  batch.columns.clear();
  const PwRowBatch fixed = message.get<PwRowBatch>();
  if (!message.ok()) return fail(PW_BAD_ARGUMENT, "a row batch of %zu bytes: expected at least %zu", message.at() + message.left(), sizeof fixed);
  batch.count = fixed.count;
  batch.flags = fixed.flags;
  if (fixed.count > kMaxBatchRows) return fail(PW_BAD_ARGUMENT, "a batch of %u rows: expected at most %u", fixed.count, kMaxBatchRows);
  if (fixed.flags >= 2 * kBatchColumns) return fail(PW_BAD_ARGUMENT, "row batch: flags %u are unknown", fixed.flags);
  if (fixed.flags & kBatchVectors) {
    if (fixed.dim != index.dim) return fail(PW_BAD_ARGUMENT, "row %u: a vector of dimension %u, the index has %u", first_row, fixed.dim, index.dim);
    const bool fits = fixed.count <= message.left() / (size_t{fixed.dim} * 4);
    if (fits) batch.vectors = reinterpret_cast<const float*>(message.take(static_cast<size_t>(fixed.count) * fixed.dim * 4));
    if (!fits) return fail(PW_BAD_ARGUMENT, "row batch: %u vectors of %u floats leave the message", fixed.count, fixed.dim);
    for (uint32_t i = 0; i < fixed.count; i++)
      if (int32_t status = check_vector(batch.vectors + static_cast<size_t>(i) * fixed.dim, fixed.dim, index.metric, "row", first_row + i))
        return status;
  }
  const struct {
    uint32_t flag;
    Strings& strings;
    const char* name;
  } strings[] = {{kBatchIds, batch.ids, "ids"}, {kBatchTexts, batch.texts, "texts"}, {kBatchPayloads, batch.payloads, "payloads"}};
  for (const auto& one : strings)
    if (fixed.flags & one.flag && !Strings::parse(message, fixed.count, one.strings))
      return fail(PW_BAD_ARGUMENT, "row batch: the %s: expected %u ascending offsets within the message", one.name, fixed.count + 1);
  if (fixed.flags & kBatchClusters) {
    batch.clusters = reinterpret_cast<const uint32_t*>(message.take(static_cast<size_t>(fixed.count) * 4));
    if (!batch.clusters) return fail(PW_BAD_ARGUMENT, "row batch: %u clusters leave the message", fixed.count);
  }
  if (fixed.flags & kBatchColumns) {
    if (fixed.columns != columns.size()) return fail(PW_BAD_ARGUMENT, "row batch: %u columns, the index has %zu", fixed.columns, columns.size());
    for (const ColumnSpec& column : columns) {
      message.align(8);
      const size_t width = column.type == PwColumnType::Number ? 8 : 4;
      const uint8_t* values = message.take(static_cast<size_t>(fixed.count) * width);
      if (!message.ok()) return fail(PW_BAD_ARGUMENT, "row batch: the values of column %s leave the message", column.name.c_str());
      batch.columns.push_back(values);
    }
  }
  return PW_DONE;
}
