// The operation Insert. All of a batch or nothing of it: every check comes before the first change.
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "columns.h"
#include "delta.h"
#include "ids.h"
#include "index.h"
#include "op_delete.h"
#include "operations.h"
#include "records.h"
#include "row_batch.h"
#include "sort.h"
#include "status.h"

namespace {

class Insert : public Operation {
 public:
  explicit Insert(Index& index) : index_(index), lookup_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    replace_ = message.get<uint32_t>() != 0;
    message.get<uint32_t>();
    const size_t bytes = message.left();
    const uint8_t* from = message.take(bytes);
    if (!message.ok() || bytes == 0) return fail(PW_BAD_ARGUMENT, "insert: the message has no row batch");
    message_.reset(malloc(bytes));
    if (message_ == nullptr) return fail(PW_NO_MEMORY, "insert: no memory for a message of %zu bytes", bytes);
    memcpy(message_.get(), from, bytes);
    const ByteReader batch(message_.get(), bytes);
    if (const int32_t status =
            RowBatch::parse(batch, index_.head, index_.columns->specs(), index_.rows(), batch_);
        status != PW_DONE)
      return status;
    if (const int32_t status = check_batch(); status != PW_DONE) return status;
    lookup_.begin(batch_.ids);
    return PW_DONE;
  }

  int32_t step() override {
    wanted.clear();
    if (const int32_t status = lookup_.step(wanted); status != PW_DONE) return status;
    if (const int32_t status = find_replaced(); status != PW_DONE) return status;
    const uint32_t first = index_.rows();
    if (const int32_t status = index_.delta->insert(batch_); status != PW_DONE) return status;
    index_.deleted.resize(index_.rows());
    for (uint32_t row : replaced_) delete_row(index_, row);
    note_delta_bytes(index_);
    result.put(PwRows{batch_.count, batch_.count});
    for (uint32_t i = 0; i < batch_.count; i++) result.put(first + i);
    return PW_DONE;
  }

  void end() override { message_.reset(); }

 private:
  // What RowBatch::parse leaves open: an inserted row is complete, and its record can be compacted
  // into a base later.
  int32_t check_batch() {
    const uint32_t needed = kBatchVectors | kBatchIds | (index_.columns->size() ? kBatchColumns : 0);
    if ((batch_.flags & needed) != needed)
      return fail(PW_BAD_ARGUMENT, "insert: rows need vectors, ids%s; the batch has flags %u, expected %u",
                  index_.columns->size() ? " and columns" : "", batch_.flags, needed);
    for (uint32_t i = 0; i < batch_.count; i++) {
      const size_t id = batch_.ids[i].size();
      const size_t record = id + (batch_.texts.size() ? batch_.texts[i].size() : 0) +
                            (batch_.payloads.size() ? batch_.payloads[i].size() : 0);
      if (id == 0 || id > kMaxIdBytes)
        return fail(PW_BAD_ARGUMENT, "insert: row %u: its id has %zu bytes, expected 1 to %u", i, id, kMaxIdBytes);
      if (record > kMaxRecordBytes)
        return fail(PW_BAD_ARGUMENT, "insert: row %u: its record has %zu bytes, expected at most %u", i, record,
                    kMaxRecordBytes);
    }
    return check_unique();
  }

  int32_t check_unique() {
    order_.resize(batch_.count);
    for (uint32_t i = 0; i < batch_.count; i++) order_[i] = i;
    sort_items(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) { return batch_.ids[a] < batch_.ids[b]; });
    for (uint32_t i = 1; i < batch_.count; i++) {
      if (batch_.ids[order_[i]] == batch_.ids[order_[i - 1]])
        return fail(PW_DUPLICATE, "insert: rows %u and %u have the id \"%.*s\"", std::min(order_[i - 1], order_[i]),
                    std::max(order_[i - 1], order_[i]), print_bytes(order_[i]), batch_.ids[order_[i]].data());
    }
    return PW_DONE;
  }

  // The live rows with the batch's ids. Rows may have come and gone while the look-up waited for
  // pages, so what it found is asked again.
  int32_t find_replaced() {
    replaced_.clear();
    for (uint32_t i = 0; i < batch_.count; i++) {
      uint32_t row = lookup_.rows()[i];
      if (row == kNoRow || !index_.live(row)) row = index_.delta->find(batch_.ids[i]);
      if (row == kNoRow) continue;
      if (!replace_)
        return fail(PW_DUPLICATE, "insert: row %u: the id \"%.*s\" exists, as row %u", i, print_bytes(i),
                    batch_.ids[i].data(), row);
      replaced_.push_back(row);
    }
    return PW_DONE;
  }

  int print_bytes(uint32_t i) const { return static_cast<int>(std::min<size_t>(batch_.ids[i].size(), 200)); }

  Index& index_;
  IdLookup lookup_;
  bool replace_ = false;
  std::unique_ptr<void, FreeDeleter> message_;
  RowBatch batch_;
  std::vector<uint32_t> order_, replaced_;
};

}  // namespace

std::unique_ptr<Operation> make_insert(Index& index) { return std::make_unique<Insert>(index); }
