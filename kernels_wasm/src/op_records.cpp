// PwOperation::Records: PwRows -> PwStrings x 3 (ids, texts, payloads), in the order asked for.
#include <algorithm>

#include "delta.h"
#include "index.h"
#include "operations.h"
#include "records.h"
#include "status.h"

namespace {

class RecordsOperation final : public Operation {
 public:
  explicit RecordsOperation(Index& index) : index_(index) {}

  int32_t begin(ByteReader message) override {
    const uint32_t count = message.get<uint32_t>();
    message.get<uint32_t>();  // total: not used in a question
    if (!message.ok() || count > message.left() / 4)
      return fail(PW_BAD_ARGUMENT, "records: a message of %u rows has %zu bytes", count, message.left());
    result.clear();
    slots_.clear();
    bytes_.clear();
    long_bytes_.clear();
    long_pages_ = 0;
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t row = message.get<uint32_t>();
      if (row >= index_.rows()) return fail(PW_BAD_ARGUMENT, "records: row %u of %u", row, index_.rows());
      slots_.push_back({row, false, 0, {}});
    }
    return PW_DONE;
  }

  int32_t step() override {
    wanted.clear();
    const size_t room = std::max<size_t>(index_.pages.free_slots(), 1);
    bool long_first = true;  // long records are put together one after another
    for (Slot& slot : slots_) {
      if (slot.done) continue;
      if (int32_t status = read(slot, room, long_first)) return status;
    }
    if (!wanted.empty()) return PW_NEED;
    write_result();
    return PW_DONE;
  }

 private:
  struct Slot {
    uint32_t row;
    bool done;
    size_t at;  // in bytes_: id, text, payload one after another
    uint32_t sizes[3];
  };

  int32_t read(Slot& slot, size_t room, bool& long_first) {
    if (slot.row >= index_.base_rows()) {
      const Delta& delta = *index_.delta;
      keep(slot, {delta.id(slot.row), delta.text(slot.row), delta.payload(slot.row)});
      return PW_DONE;
    }
    const Records::Place place = index_.records->place(slot.row);
    Record record;
    if (place.pages == 0) {
      keep(slot, record);
    } else if (place.pages == 1) {
      const uint8_t* page = index_.pages.find(place.page);
      if (!page) return want(place.page, room);
      if (int32_t status = Records::parse(page, kPageBytes, place, slot.row, record)) return status;
      keep(slot, record);
    } else if (long_first) {
      long_first = false;
      if (!gather(place, room)) return PW_DONE;
      if (int32_t status = Records::parse(long_bytes_.data(), long_bytes_.size(), place, slot.row, record)) return status;
      keep(slot, record);
      long_bytes_.clear();
      long_pages_ = 0;
      long_first = true;
    }
    return PW_DONE;
  }

  // Copies the pages of a long record as they come, so that it may be longer than the cache.
  bool gather(const Records::Place& place, size_t room) {
    for (; long_pages_ < place.pages; long_pages_++) {
      const uint8_t* page = index_.pages.find(place.page + long_pages_);
      if (!page) break;
      long_bytes_.put(page, kPageBytes);
    }
    for (uint32_t i = long_pages_; i < place.pages; i++)
      if (i == long_pages_ || !index_.pages.find(place.page + i)) want(place.page + i, room);
    return long_pages_ == place.pages;
  }

  int32_t want(uint32_t page, size_t room) {
    if (wanted.size() < room && (wanted.empty() || wanted.back() != page)) wanted.push_back(page);
    return PW_DONE;
  }

  void keep(Slot& slot, const Record& record) {
    slot.done = true;
    slot.at = bytes_.size();
    const std::string_view parts[3] = {record.id, record.text, record.payload};
    for (int i = 0; i < 3; i++) {
      slot.sizes[i] = static_cast<uint32_t>(parts[i].size());
      bytes_.text(parts[i]);
    }
  }

  void write_result() {
    for (int part = 0; part < 3; part++) {
      result.put(static_cast<uint32_t>(slots_.size()));
      const size_t total_at = result.size();
      result.put(uint32_t{0});
      uint32_t offset = 0;
      result.put(offset);
      for (const Slot& slot : slots_) result.put(offset += slot.sizes[part]);
      result.patch(total_at, offset);
      for (const Slot& slot : slots_) {
        size_t at = slot.at;
        for (int before = 0; before < part; before++) at += slot.sizes[before];
        result.put(bytes_.data() + at, slot.sizes[part]);
      }
      result.align(4);
    }
  }

  Index& index_;
  std::vector<Slot> slots_;
  ByteWriter bytes_;       // what has been read
  ByteWriter long_bytes_;  // pages of the long record being put together
  uint32_t long_pages_ = 0;
};

}  // namespace

std::unique_ptr<Operation> make_records(Index& index) { return std::make_unique<RecordsOperation>(index); }
