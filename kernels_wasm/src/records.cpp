#include "records.h"

#include <algorithm>

#include "index.h"
#include "status.h"

namespace {

struct Sizes {
  uint32_t id, text, payload;
  uint64_t total() const { return uint64_t{id} + text + payload; }
};

// The sizes in front of a record; false when they can't be those of one.
bool read_sizes(ByteReader& reader, Sizes& sizes) {
  sizes.id = reader.varint();
  sizes.text = reader.varint();
  sizes.payload = reader.varint();
  return reader.ok() && sizes.id <= kMaxIdBytes && sizes.total() <= kMaxRecordBytes;
}

int32_t fail_record(const Records::Place& place, uint32_t row) {
  return fail(PW_CORRUPT, "records: page %u does not hold the record of row %u where it should", place.page, row);
}

// Moves past the records before the wanted one; sizes are those of the wanted one.
bool seek(ByteReader& reader, const Records::Place& place, Sizes& sizes) {
  for (uint32_t i = 0; i < place.skip; i++)
    if (!read_sizes(reader, sizes) || !reader.take(sizes.total())) return false;
  return read_sizes(reader, sizes);
}

}  // namespace

int32_t RecordsBuilder::add(const Record& record) {
  const uint64_t bytes = uint64_t{record.id.size()} + record.text.size() + record.payload.size();
  const int shown = static_cast<int>(std::min<size_t>(record.id.size(), 200));
  if (record.id.size() > kMaxIdBytes)
    return fail(PW_BAD_ARGUMENT, "id \"%.*s...\" of row %u has %zu bytes, expected at most %u", shown, record.id.data(),
                rows_, record.id.size(), kMaxIdBytes);
  if (bytes > kMaxRecordBytes)
    return fail(PW_BAD_ARGUMENT, "record \"%.*s\" (row %u) has %llu bytes, expected at most %u", shown,
                record.id.data(), rows_, static_cast<unsigned long long>(bytes), kMaxRecordBytes);
  record_.clear();
  for (std::string_view part : {record.id, record.text, record.payload})
    record_.varint(static_cast<uint32_t>(part.size()));
  for (std::string_view part : {record.id, record.text, record.payload}) record_.text(part);
  if (record_.size() > writer_.room()) writer_.end_page();
  note_page();
  writer_.put(record_.data(), record_.size());
  if (record_.size() > kPageBytes) {
    writer_.end_page();
    while (noted_pages_ < writer_.pages()) note_page();
  }
  rows_++;
  return PW_DONE;
}

// Tells the head which row the page being filled begins with, unless it has been told.
void RecordsBuilder::note_page() {
  if (noted_pages_ > writer_.pages()) return;
  first_rows_.varint(rows_ - last_noted_);
  last_noted_ = rows_;
  noted_pages_++;
}

int32_t RecordsBuilder::finish(HeadWriter& head) {
  writer_.end_page();
  head.section(writer_);
  head.chunk(kTagRecords, first_rows_);
  return PW_DONE;
}

int32_t Records::open(const Index& index) {
  const SectionRange section = index.head.section(Section::Records);
  const std::span<const uint8_t> chunk = index.head.chunk(kTagRecords);
  first_page_ = section.first_page;
  first_rows_.clear();
  if (section.pages > chunk.size())
    return fail(PW_CORRUPT, "index head: RECS has %zu bytes for %u pages of records", chunk.size(), section.pages);
  first_rows_.reserve(section.pages);
  ByteReader reader(chunk.data(), chunk.size());
  uint64_t row = 0;
  for (uint32_t page = 0; page < section.pages; page++) {
    const uint32_t step = reader.varint();
    row += step;
    const bool long_before = page >= 2 && step != 0 && first_rows_[page - 1] == first_rows_[page - 2];
    if (!reader.ok() || row >= index.head.rows || (page == 0 && row != 0) || (long_before && step != 1))
      return fail(PW_CORRUPT, "index head: RECS says that page %u of the records begins with row %llu of %u", page,
                  static_cast<unsigned long long>(row), index.head.rows);
    first_rows_.push_back(static_cast<uint32_t>(row));
  }
  if (reader.left() != 0)
    return fail(PW_CORRUPT, "index head: RECS has %zu bytes more than its %u pages", reader.left(), section.pages);
  return PW_DONE;
}

Records::Place Records::place(uint32_t row) const {
  if (first_rows_.empty()) return {};
  const auto after = std::upper_bound(first_rows_.begin(), first_rows_.end(), row);
  const uint32_t first_row = *(after - 1);
  const auto begin = std::lower_bound(first_rows_.begin(), after, first_row);
  return {first_page_ + static_cast<uint32_t>(begin - first_rows_.begin()), static_cast<uint32_t>(after - begin),
          row - first_row};
}

int32_t Records::parse(const uint8_t* bytes, size_t size, const Place& place, uint32_t row, Record& record) {
  ByteReader reader(bytes, size);
  Sizes sizes;
  if (!seek(reader, place, sizes)) return fail_record(place, row);
  record.id = reader.text(sizes.id);
  record.text = reader.text(sizes.text);
  record.payload = reader.text(sizes.payload);
  return reader.ok() ? PW_DONE : fail_record(place, row);
}

int32_t Records::parse_id(const uint8_t* page, const Place& place, uint32_t row, std::string_view& id) {
  ByteReader reader(page, kPageBytes);
  Sizes sizes;
  if (!seek(reader, place, sizes)) return fail_record(place, row);
  id = reader.text(sizes.id);
  return reader.ok() ? PW_DONE : fail_record(place, row);
}
