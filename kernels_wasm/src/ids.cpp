#include "ids.h"

#include <algorithm>

#include "delta.h"
#include "index.h"
#include "operations.h"
#include "records.h"
#include "sort.h"
#include "status.h"
#include "xxh64.h"

namespace {

struct IdEntry {
  uint64_t hash;
  uint32_t row;
};
IdEntry entry_at(const uint8_t* page, uint32_t i) {
  IdEntry entry;
  memcpy(&entry.hash, page + i * kIdEntryBytes, 8);
  memcpy(&entry.row, page + i * kIdEntryBytes + 8, 4);
  return entry;
}

}  // namespace

uint64_t id_hash(std::string_view id, uint64_t seed) { return xxh64(id.data(), id.size(), seed); }

int32_t IdsBuilder::add(std::string_view id) {
  if (places_.size() < 2 * entries_.size() + 2) grow();
  const Entry entry{hash_(id, 0), id_hash(id, 1)};
  const size_t mask = places_.size() - 1;
  size_t place = (entry.hash >> 20) & mask;
  for (; places_[place]; place = (place + 1) & mask) {
    const Entry& other = entries_[places_[place] - 1];
    if (other.hash == entry.hash && other.second == entry.second)
      return fail(PW_DUPLICATE, "id \"%.*s\" of row %zu was given before, to row %u",
                  static_cast<int>(std::min<size_t>(id.size(), 200)), id.data(), entries_.size(), places_[place] - 1);
  }
  entries_.push_back(entry);
  places_[place] = static_cast<uint32_t>(entries_.size());
  return PW_DONE;
}

void IdsBuilder::grow() {
  const size_t size = std::max<size_t>(places_.size() * 2, 1024);
  places_.assign(size, 0);
  for (size_t i = 0; i < entries_.size(); i++) {
    size_t place = (entries_[i].hash >> 20) & (size - 1);
    while (places_[place]) place = (place + 1) & (size - 1);
    places_[place] = static_cast<uint32_t>(i + 1);
  }
}

int32_t IdsBuilder::finish(HeadWriter& head) {
  places_.resize(entries_.size());
  for (size_t i = 0; i < places_.size(); i++) places_[i] = static_cast<uint32_t>(i);
  sort_items(places_.begin(), places_.end(), [this](uint32_t a, uint32_t b) {
    return entries_[a].hash != entries_[b].hash ? entries_[a].hash < entries_[b].hash : a < b;
  });
  for (uint32_t row : places_) {
    if (writer_.room() < kIdEntryBytes) writer_.end_page();
    writer_.put(&entries_[row].hash, 8);
    writer_.put(&row, 4);
  }
  writer_.end_page();
  head.section(writer_);
  return PW_DONE;
}

int32_t Ids::open(const Index& index, IdHash hash) {
  const SectionRange section = index.head.section(Section::Ids);
  hash_ = hash;
  first_page_ = section.first_page;
  count_ = section.pages ? index.head.rows : 0;
  const uint32_t pages = (count_ + kIdsPerPage - 1) / kIdsPerPage;
  const uint64_t bytes = pages ? (pages - 1ull) * kPageBytes + (count_ - (pages - 1) * kIdsPerPage) * kIdEntryBytes : 0;
  if (section.pages != pages || section.bytes != bytes)
    return fail(PW_CORRUPT, "index head: IDS has %llu bytes in %u pages, expected %llu in %u for %u rows",
                static_cast<unsigned long long>(section.bytes), section.pages, static_cast<unsigned long long>(bytes),
                pages, index.head.rows);
  return PW_DONE;
}

void IdLookup::begin(const Strings& ids) {
  ids_.clear();
  searches_.clear();
  rows_.assign(ids.size(), kNoRow);
  const uint32_t count = index_.ids->count();
  for (uint32_t i = 0; i < ids.size(); i++) {
    const std::string_view text = ids[i];
    const uint64_t hash = index_.ids->hash()(text, 0);
    const uint32_t pages = (count + kIdsPerPage - 1) / kIdsPerPage;
    const uint32_t guess = static_cast<uint32_t>((hash >> 32) * count >> 32) / kIdsPerPage;
    rows_[i] = index_.delta->find(text);
    const bool done = rows_[i] != kNoRow || count == 0;
    searches_.push_back({hash, static_cast<uint32_t>(ids_.size()), static_cast<uint32_t>(text.size()), 0,
                         pages ? pages - 1 : 0, guess, 0, done ? State::Done : State::Locate});
    ids_.text(text);
  }
}

int32_t IdLookup::step(std::vector<uint32_t>& wanted) {
  const size_t room = std::max<size_t>(index_.pages.free_slots(), 1);
  const size_t before = wanted.size();
  for (size_t i = 0; i < searches_.size(); i++) {
    if (searches_[i].state == State::Done) continue;
    uint32_t page = 0;
    const int32_t status = advance(searches_[i], rows_[i], page);
    if (status < 0) return status;
    if (status == PW_NEED && wanted.size() - before < room && (wanted.empty() || wanted.back() != page))
      wanted.push_back(page);
  }
  return wanted.size() > before ? PW_NEED : PW_DONE;
}

// As far as the pages at hand reach: PW_DONE, PW_NEED with the page, or PW_CORRUPT.
int32_t IdLookup::advance(Search& search, uint32_t& result, uint32_t& wanted_page) {
  const Ids& ids = *index_.ids;
  while (search.state == State::Locate) {
    wanted_page = ids.first_page() + search.next;
    const uint8_t* page = index_.pages.find(wanted_page);
    if (!page) return PW_NEED;
    if (locate(search, page)) search.state = State::Verify;
  }
  for (; search.entry < ids.count(); search.entry++) {
    wanted_page = ids.first_page() + search.entry / kIdsPerPage;
    const uint8_t* page = index_.pages.find(wanted_page);
    if (!page) return PW_NEED;
    const IdEntry entry = entry_at(page, search.entry % kIdsPerPage);
    if (entry.hash != search.hash) break;
    if (entry.row >= index_.base_rows())
      return fail(PW_CORRUPT, "ids: page %u: entry %u has row %u, expected one below %u", wanted_page,
                  search.entry % kIdsPerPage, entry.row, index_.base_rows());
    if (!index_.live(entry.row)) continue;
    const Records::Place place = index_.records->place(entry.row);
    wanted_page = place.page;
    std::string_view stored;
    if (place.pages == 0) break;
    page = index_.pages.find(place.page);
    if (!page) return PW_NEED;
    if (int32_t status = Records::parse_id(page, place, entry.row, stored)) return status;
    if (stored == id(search)) {
      result = entry.row;
      break;
    }
  }
  search.state = State::Done;
  return PW_DONE;
}

// Narrows the pages down by `page`, number search.next. True: search.entry is the first one whose
// hash is not less (perhaps the one past the last). Each call takes a page out of [low, high].
bool IdLookup::locate(Search& search, const uint8_t* page) const {
  const uint32_t first = search.next * kIdsPerPage;
  const uint32_t entries = std::min(kIdsPerPage, index_.ids->count() - first);
  if (entry_at(page, entries - 1).hash < search.hash) {
    search.low = search.next + 1;
    if (search.low > search.high) {
      search.entry = first + entries;
      return true;
    }
    search.next++;
    return false;
  }
  if (entry_at(page, 0).hash >= search.hash && search.next > search.low) {
    search.high = search.next;
    search.next--;
    return false;
  }
  uint32_t low = 0, high = entries - 1;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (entry_at(page, middle).hash < search.hash) low = middle + 1;
    else high = middle;
  }
  search.entry = first + low;
  return true;
}

namespace {

class RowsOfIds final : public Operation {
 public:
  explicit RowsOfIds(Index& index) : lookup_(index) {}

  int32_t begin(ByteReader message) override {
    const uint32_t count = message.get<uint32_t>();
    const uint32_t bytes = message.get<uint32_t>();
    Strings ids;
    if (!message.ok() || !Strings::parse(message, count, ids))
      return fail(PW_BAD_ARGUMENT, "rows of ids: %u ids of %u bytes do not fit in the message", count, bytes);
    result.clear();
    lookup_.begin(ids);
    return PW_DONE;
  }
  int32_t step() override {
    wanted.clear();
    if (int32_t status = lookup_.step(wanted)) return status;
    const std::vector<uint32_t>& rows = lookup_.rows();
    result.put(static_cast<uint32_t>(rows.size()));
    result.put(static_cast<uint32_t>(rows.size()) - static_cast<uint32_t>(std::count(rows.begin(), rows.end(), kNoRow)));
    result.put(rows.data(), rows.size() * 4);
    return PW_DONE;
  }

 private:
  IdLookup lookup_;
};

}  // namespace

std::unique_ptr<Operation> make_rows_of_ids(Index& index) { return std::make_unique<RowsOfIds>(index); }
