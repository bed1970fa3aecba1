#include "pages.h"

#include <string.h>

#include <algorithm>

#include "head.h"
#include "status.h"

int32_t Pages::open(const Head& head, uint32_t budget) {
  *this = Pages();
  head_ = &head;
  where_.assign(head.total_pages(), kNone);
  set_budget(budget);
  return PW_DONE;
}

bool Pages::present(uint32_t page) const {
  if (page >= where_.size() || where_[page] == kNone) return false;
  return where_[page] == kInPlace || slots_[where_[page]].state == State::Cached;
}

const uint8_t* Pages::find(uint32_t page) {
  if (!present(page)) return nullptr;
  const uint32_t slot = where_[page];
  if (slot == kInPlace) return resident_place(page);
  if (policy_ == Policy::Lru && slot != newest_) {
    unlink(slot);
    link_newest(slot);
  }
  if (slots_[slot].fresh) slots_[slot].fresh = false;
  else slots_[slot].visited = true;
  return slot_bytes(slot);
}

const uint8_t* Pages::resident(Section section) const {
  const Resident& resident = residents_[static_cast<uint32_t>(section)];
  return resident.missing == 0 ? resident.bytes.get() : nullptr;
}

uint8_t* Pages::resident_place(uint32_t page) const {
  const Section section = head_->section_of(page);
  const Resident& resident = residents_[static_cast<uint32_t>(section)];
  if (!resident.bytes) return nullptr;
  return resident.bytes.get() + static_cast<size_t>(page - head_->section(section).first_page) * kPageBytes;
}

void Pages::pin(uint32_t page) {
  const uint32_t slot = where_[page];
  if (slot < slots_.size() && slots_[slot].pins++ == 0) busy_++;
}

void Pages::unpin(uint32_t page) {
  const uint32_t slot = where_[page];
  if (slot < slots_.size() && slots_[slot].pins > 0 && --slots_[slot].pins == 0) busy_--;
}

uint8_t* Pages::buffer(uint32_t page) {
  if (page >= where_.size()) return nullptr;
  if (uint8_t* place = resident_place(page)) {
    // A page that came before is replaced only by one that passes its checksum: it is the same then.
    return place;
  }
  if (where_[page] != kNone) return slot_bytes(where_[page]);
  // What was pinned when the budget shrank can go now.
  if (slots_.size() >= slots_allowed_ + kChunkSlots) fit_budget();
  const uint32_t slot = take_slot();
  if (slot == kNone) return nullptr;
  slots_[slot].page = page;
  slots_[slot].state = State::Loading;
  slots_[slot].visited = false;
  busy_++;
  where_[page] = slot;
  return slot_bytes(slot);
}

int32_t Pages::commit(uint32_t page) {
  if (page >= where_.size()) return fail(PW_BAD_ARGUMENT, "page %u: the index has %zu", page, where_.size());
  uint8_t* const place = resident_place(page);
  const uint32_t slot = where_[page];
  if (!place && slot == kNone) return fail(PW_STATE, "page %u is committed but was never given room", page);
  const Section section = head_->section_of(page);
  const uint32_t index = page - head_->section(section).first_page;
  const uint32_t sum = Head::checksum(place ? place : slot_bytes(slot), section, index);
  if (sum != head_->sum(page)) {
    abandon(page);
    return fail(PW_CORRUPT, "page %u (section %u, page %u of it, file offset %llu): checksum %08x, expected %08x", page,
                static_cast<uint32_t>(section), index, static_cast<unsigned long long>(page) * kPageBytes, sum, head_->sum(page));
  }
  if (place) {
    if (slot == kNone) {
      where_[page] = kInPlace;
      residents_[static_cast<uint32_t>(section)].missing--;
      fetched_++;
    }
  } else if (slots_[slot].state == State::Loading) {
    slots_[slot].state = State::Cached;
    slots_[slot].fresh = true;
    busy_--;
    cached_++;
    fetched_++;
    link_newest(slot);
  }
  return PW_DONE;
}

void Pages::abandon(uint32_t page) {
  if (page >= where_.size() || where_[page] == kNone) return;
  const uint32_t slot = where_[page];
  if (slot == kInPlace) {
    residents_[static_cast<uint32_t>(head_->section_of(page))].missing++;
    where_[page] = kNone;
  } else if (slots_[slot].state == State::Loading) {
    busy_--;
    release(slot);
  } else if (slots_[slot].pins == 0) {
    evict(slot);
  }
}

int32_t Pages::make_resident(Section section) {
  const uint32_t number = static_cast<uint32_t>(section);
  if (number == 0 || number >= kSections) return fail(PW_BAD_ARGUMENT, "section %u: expected 1 to %u", number, kSections - 1);
  Resident& resident = residents_[number];
  const SectionRange range = head_->section(section);
  if (resident.bytes || range.pages == 0) return PW_DONE;
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++)
    if (where_[page] != kNone && (slots_[where_[page]].state == State::Loading || slots_[where_[page]].pins))
      return fail(PW_STATE, "section %u can't become resident: its page %u is in use", number, page);
  const uint64_t bytes = static_cast<uint64_t>(range.pages) * kPageBytes;
  if (bytes > UINT32_MAX / 2) return fail(PW_NO_MEMORY, "section %u takes %llu bytes", number, static_cast<unsigned long long>(bytes));
  resident.bytes.reset(static_cast<uint8_t*>(aligned_alloc(16, static_cast<size_t>(bytes))));
  if (!resident.bytes) return fail(PW_NO_MEMORY, "no memory for the %llu bytes of section %u", static_cast<unsigned long long>(bytes), number);
  resident.pages = resident.missing = range.pages;
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++) {
    if (where_[page] == kNone) continue;
    memcpy(resident_place(page), slot_bytes(where_[page]), kPageBytes);
    evict(where_[page]);
    evicted_--;  // it moved
    where_[page] = kInPlace;
    resident.missing--;
  }
  fit_budget();
  return PW_DONE;
}

int32_t Pages::drop_resident(Section section) {
  const uint32_t number = static_cast<uint32_t>(section);
  if (number == 0 || number >= kSections) return fail(PW_BAD_ARGUMENT, "section %u: expected 1 to %u", number, kSections - 1);
  if (!residents_[number].bytes) return PW_DONE;
  residents_[number] = Resident();
  const SectionRange range = head_->section(section);
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++) where_[page] = kNone;
  fit_budget();
  return PW_DONE;
}

void Pages::set_budget(uint32_t bytes) {
  budget_ = bytes;
  fit_budget();
}

void Pages::set_delta_bytes(uint32_t bytes) {
  delta_bytes_ = bytes;
  fit_budget();
}

uint32_t Pages::free_slots() const { return slots_allowed_ > busy_ ? slots_allowed_ - busy_ : 0; }

Pages::Counters Pages::counters() const {
  Counters counters{cached_, slots_allowed_, static_cast<uint32_t>(slots_.size()), fetched_, evicted_, 0};
  for (const Resident& resident : residents_) counters.resident_bytes += static_cast<uint64_t>(resident.pages) * kPageBytes;
  return counters;
}

uint32_t Pages::present_in(Section section) const {
  const SectionRange range = head_->section(section);
  uint32_t count = 0;
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++) count += present(page);
  return count;
}

// --- slots -------------------------------------------------------------------------------

// A slot outside queue and free list, or kNone when all are busy or memory is out.
uint32_t Pages::take_slot() {
  const uint32_t used = static_cast<uint32_t>(slots_.size()) - free_count_;
  if (used >= slots_allowed_ || (free_count_ == 0 && !carve_chunk())) {
    const uint32_t slot = victim();
    if (slot == kNone) return kNone;
    evict(slot);
  }
  const uint32_t slot = free_list_;
  free_list_ = slots_[slot].older;
  free_count_--;
  return slot;
}

bool Pages::carve_chunk() {
  uint8_t* bytes = static_cast<uint8_t*>(aligned_alloc(16, kChunkSlots * kPageBytes));
  if (!bytes) return false;
  chunks_.emplace_back(bytes);
  const uint32_t first = static_cast<uint32_t>(slots_.size());
  slots_.resize(first + kChunkSlots);
  for (uint32_t i = kChunkSlots; i-- > 0;) {
    slots_[first + i].older = free_list_;
    free_list_ = first + i;
  }
  free_count_ += kChunkSlots;
  return true;
}

void Pages::release(uint32_t slot) {
  where_[slots_[slot].page] = kNone;
  slots_[slot] = Slot();
  slots_[slot].older = free_list_;
  free_list_ = slot;
  free_count_++;
}

void Pages::link_newest(uint32_t slot) {
  slots_[slot].newer = kNone;
  slots_[slot].older = newest_;
  if (newest_ != kNone) slots_[newest_].newer = slot;
  else oldest_ = slot;
  newest_ = slot;
}

void Pages::unlink(uint32_t slot) {
  const Slot& one = slots_[slot];
  if (hand_ == slot) hand_ = one.newer;
  if (one.newer != kNone) slots_[one.newer].older = one.older;
  else newest_ = one.older;
  if (one.older != kNone) slots_[one.older].newer = one.newer;
  else oldest_ = one.newer;
}

uint32_t Pages::victim() {
  if (policy_ != Policy::Sieve) {
    for (uint32_t slot = oldest_; slot != kNone; slot = slots_[slot].newer)
      if (slots_[slot].pins == 0) return slot;
    return kNone;
  }
  // Two rounds at most: the first clears every mark.
  uint32_t slot = hand_ != kNone ? hand_ : oldest_;
  for (uint64_t steps = 0; slot != kNone && steps <= 2ull * cached_; steps++) {
    // A page that nobody has read yet is spared once: else the pages of one step could push each
    // other out for ever in a small cache.
    if (slots_[slot].pins == 0 && !slots_[slot].visited && !slots_[slot].fresh) {
      hand_ = slot;  // evict() moves it on to the next newer one
      return slot;
    }
    slots_[slot].visited = slots_[slot].fresh = false;
    slot = slots_[slot].newer != kNone ? slots_[slot].newer : oldest_;
  }
  return kNone;
}

void Pages::evict(uint32_t slot) {
  unlink(slot);
  release(slot);
  cached_--;
  evicted_++;
}

void Pages::fit_budget() {
  uint64_t slots = where_.size();
  if (budget_ != 0) {
    const uint64_t taken = counters().resident_bytes + delta_bytes_ + where_.size() * sizeof(uint32_t) +
                           (head_ ? head_->bytes().size() : 0);
    slots = std::min(slots, taken < budget_ ? (budget_ - taken) / (kPageBytes + sizeof(Slot)) : 0);
  }
  slots_allowed_ = static_cast<uint32_t>(std::max<uint64_t>(slots, kLeastSlots));
  while (slots_.size() - free_count_ > slots_allowed_) {
    const uint32_t slot = victim();
    if (slot == kNone) break;  // the rest is busy, and goes when it is replaced
    evict(slot);
  }
  give_back_chunks();
}

// Frees the chunks that the allowed slots do not need: their pages move to free slots elsewhere.
void Pages::give_back_chunks() {
  const size_t needed = (slots_allowed_ + kChunkSlots - 1) / kChunkSlots;
  while (chunks_.size() > needed && move_out_of(static_cast<uint32_t>(chunks_.size() - 1))) {
    slots_.resize(slots_.size() - kChunkSlots);
    chunks_.pop_back();
  }
}

// Empties the last chunk, or leaves all as it is and answers false.
bool Pages::move_out_of(uint32_t chunk) {
  const uint32_t first = chunk * kChunkSlots;
  uint32_t used = 0;
  for (uint32_t slot = first; slot < slots_.size(); slot++) {
    if (slots_[slot].state == State::Loading || slots_[slot].pins) return false;
    used += slots_[slot].state == State::Cached;
  }
  if (free_count_ - (kChunkSlots - used) < used) return false;
  // The free list without the slots of this chunk.
  uint32_t kept = kNone;
  for (uint32_t slot = free_list_; slot != kNone;) {
    const uint32_t next = slots_[slot].older;
    if (slot < first) {
      slots_[slot].older = kept;
      kept = slot;
    } else {
      free_count_--;
    }
    slot = next;
  }
  free_list_ = kept;
  for (uint32_t slot = first; slot < slots_.size(); slot++) {
    if (slots_[slot].state != State::Cached) continue;
    const uint32_t to = free_list_;
    free_list_ = slots_[to].older;
    free_count_--;
    memcpy(slot_bytes(to), slot_bytes(slot), kPageBytes);
    slots_[to] = slots_[slot];
    const Slot& moved = slots_[to];
    where_[moved.page] = to;
    (moved.newer != kNone ? slots_[moved.newer].older : newest_) = to;
    (moved.older != kNone ? slots_[moved.older].newer : oldest_) = to;
    if (hand_ == slot) hand_ = to;
  }
  return true;
}
