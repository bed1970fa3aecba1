// The pages of one index that are in memory: resident sections (flat, pinned) and a cache of
// slots under a byte budget. Nothing here does I/O: a page that is absent is wanted from the host.
#pragma once
#include <stdint.h>
#include <stdlib.h>

#include <memory>
#include <vector>

#include "format.h"

class Head;

// SIEVE: Zhang et al., NSDI 2024: hits only mark a page, a hand evicts the first unmarked one.
enum class Policy : uint32_t { Fifo = 0, Lru = 1, Sieve = 2 };

class Pages {
 public:
  // `head` must outlive this. Drops everything held before.
  int32_t open(const Head& head, uint32_t budget);

  // The bytes of a page, or null when it is absent. Tells the replacement policy of the use.
  // The pointer holds until the next buffer() call unless the page is pinned.
  const uint8_t* find(uint32_t page);
  bool present(uint32_t page) const;
  // A resident section as one flat array, or null when it is not resident and complete.
  const uint8_t* resident(Section section) const;

  // A pinned page stays where it is. Only present pages; pins count.
  void pin(uint32_t page);
  void unpin(uint32_t page);

  uint8_t* buffer(uint32_t page);   // see pw_page_buffer
  int32_t commit(uint32_t page);
  void abandon(uint32_t page);
  int32_t make_resident(Section section);
  int32_t drop_resident(Section section);
  void set_budget(uint32_t bytes);
  void set_policy(Policy policy) { policy_ = policy; }
  void set_delta_bytes(uint32_t bytes);  // what inserted rows take out of the budget
  uint32_t free_slots() const;           // how many absent pages may be asked for in one step

  struct Counters {
    uint32_t cached = 0;                  // pages in slots now
    uint32_t slots = 0;                   // that the budget allows
    uint32_t held = 0;                    // slots carved from memory
    uint32_t fetched = 0, evicted = 0;    // pages, since open()
    uint64_t resident_bytes = 0;
  };
  Counters counters() const;
  uint32_t budget() const { return budget_; }
  uint32_t delta_bytes() const { return delta_bytes_; }
  // Pages of a section that are in memory, and whether it is resident.
  uint32_t present_in(Section section) const;
  bool is_resident(Section section) const { return residents_[static_cast<uint32_t>(section)].bytes != nullptr; }

 private:
  struct FreeDeleter {
    void operator()(void* pointer) const { free(pointer); }
  };
  using Bytes = std::unique_ptr<uint8_t, FreeDeleter>;
  struct Resident {
    Bytes bytes;
    uint32_t pages = 0, missing = 0;
  };
  enum class State : uint8_t { Free, Loading, Cached };
  struct Slot {
    uint32_t page = 0;
    uint32_t newer = kNone, older = kNone;  // in the queue; for free slots `older` links the free list
    uint16_t pins = 0;
    State state = State::Free;
    bool visited = false;
    bool fresh = false;  // not read since it came: the read it was fetched for is no sign of reuse
  };

  static constexpr uint32_t kNone = 0xffffffff;      // also: a page that is absent
  static constexpr uint32_t kInPlace = 0xfffffffe;   // a page of a resident section, present
  static constexpr uint32_t kChunkSlots = 16;
  static constexpr uint32_t kLeastSlots = 8;         // whatever the budget

  uint8_t* slot_bytes(uint32_t slot) const { return chunks_[slot / kChunkSlots].get() + slot % kChunkSlots * kPageBytes; }
  uint8_t* resident_place(uint32_t page) const;      // or null
  uint32_t take_slot();
  bool carve_chunk();
  void release(uint32_t slot);
  void link_newest(uint32_t slot);
  void unlink(uint32_t slot);
  uint32_t victim();
  void evict(uint32_t slot);
  void fit_budget();
  void give_back_chunks();
  bool move_out_of(uint32_t chunk);

  const Head* head_ = nullptr;
  Policy policy_ = Policy::Sieve;
  uint32_t budget_ = 0, delta_bytes_ = 0;
  std::vector<uint32_t> where_;        // slot of each page, kInPlace or kNone
  Resident residents_[kSections];
  std::vector<Bytes> chunks_;
  std::vector<Slot> slots_;
  uint32_t free_list_ = kNone, free_count_ = 0;
  uint32_t newest_ = kNone, oldest_ = kNone, hand_ = kNone;
  uint32_t slots_allowed_ = 0, busy_ = 0;  // busy: loading or pinned
  uint32_t cached_ = 0, fetched_ = 0, evicted_ = 0;
};
