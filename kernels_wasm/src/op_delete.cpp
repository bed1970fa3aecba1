// The operation Delete.
#include "op_delete.h"

#include <string.h>

#include "columns.h"
#include "delta.h"
#include "ids.h"
#include "index.h"
#include "lexicon.h"
#include "operations.h"
#include "row_batch.h"
#include "status.h"

void delete_row(Index& index, uint32_t row) {
  index.deleted.set(row);
  index.deleted_count++;
  if (row >= index.base_rows()) index.delta->forget(row);
}

void note_delta_bytes(Index& index) {
  index.pages.set_delta_bytes(static_cast<uint32_t>(index.delta->bytes() + index.lexicon->inserted_bytes() +
                                                    index.columns->cache.bytes()));
}

namespace {

class Delete : public Operation {
 public:
  explicit Delete(Index& index) : index_(index), lookup_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    const uint32_t count = message.get<uint32_t>();
    const uint32_t bytes = message.get<uint32_t>();
    const size_t left = message.ok() ? message.left() : 0;
    message_.resize(left);
    if (left != 0) memcpy(message_.data(), message.take(left), left);
    ByteReader strings(message_.data(), left);
    if (!Strings::parse(strings, count, ids_))
      return fail(PW_BAD_ARGUMENT, "delete: %u ids of %u bytes do not fit in the message", count, bytes);
    lookup_.begin(ids_);
    return PW_DONE;
  }

  int32_t step() override {
    wanted.clear();
    if (const int32_t status = lookup_.step(wanted); status != PW_DONE) return status;
    result.put(PwRows{static_cast<uint32_t>(lookup_.rows().size()), 0});
    uint32_t removed = 0;
    for (uint32_t i = 0; i < ids_.size(); i++) {
      // An id may be given twice, and its row may have gone or been replaced while the look-up
      // waited for pages.
      uint32_t row = lookup_.rows()[i];
      if (row == kNoRow || !index_.live(row)) row = index_.delta->find(ids_[i]);
      const bool live = row != kNoRow;
      if (live) delete_row(index_, row);
      removed += live;
      result.put(live ? row : kNoRow);
    }
    result.patch(4, removed);
    note_delta_bytes(index_);
    return PW_DONE;
  }

 private:
  Index& index_;
  IdLookup lookup_;
  std::vector<uint8_t> message_;
  Strings ids_;
};

}  // namespace

std::unique_ptr<Operation> make_delete(Index& index) { return std::make_unique<Delete>(index); }
