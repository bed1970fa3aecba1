// The pages of one index that are in memory: resident sections (flat, pinned) and a cache of
// slots under a byte budget. Nothing here does I/O: a page that is absent is wanted from the host.
#pragma once
#include <stdint.h>

#include <vector>

#include "format.h"

class Head;

enum class Policy : uint32_t { Fifo = 0, Lru = 1, Sieve = 2 };

class Pages {
 public:
  int32_t open(const Head& head, uint32_t budget);

  // The bytes of a page, or null when it is absent. Tells the replacement policy of the use.
  // The pointer holds until the next buffer() call unless the page is pinned.
  const uint8_t* find(uint32_t page);
  // A resident section as one flat array, or null when it is not resident and complete.
  const uint8_t* resident(Section section) const;

  void pin(uint32_t page);
  void unpin(uint32_t page);

  uint8_t* buffer(uint32_t page);   // see pw_page_buffer
  int32_t commit(uint32_t page);
  void abandon(uint32_t page);
  int32_t make_resident(Section section);
  int32_t drop_resident(Section section);
  void set_budget(uint32_t bytes);
  void set_policy(Policy policy);
  void set_delta_bytes(uint32_t bytes);  // what inserted rows take out of the budget
  uint32_t free_slots() const;           // how many absent pages may be asked for in one step
};
