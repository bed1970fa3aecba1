// The results of the last filters: pages of one list of hits, or a search as it is typed, repeat the
// filter word for word.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <span>
#include <vector>

#include "bitmap.h"

class FilterCache {
 public:
  // The state of the index that a result belongs to. Rows are only ever added and deleted, so the
  // two counts tell states apart and nothing needs to be invalidated by name.
  struct State {
    uint32_t rows, deleted;
    bool operator==(const State&) const = default;
  };
  struct Entry {
    std::vector<uint32_t> program;
    State state{};
    Bitmap bitmap;
    uint32_t passing = 0;
    uint64_t used = 0;
  };

  // The stored result of `program` in `state`, or null.
  const Entry* find(std::span<const uint32_t> program, State state) {
    for (Entry& entry : entries_) {
      if (entry.state == state && std::equal(entry.program.begin(), entry.program.end(), program.begin(), program.end())) {
        entry.used = ++clock_;
        return &entry;
      }
    }
    return nullptr;
  }
  // Stores a copy, in the place of the least recently used entry when the cache is full.
  void put(std::span<const uint32_t> program, State state, const Bitmap& bitmap, uint32_t passing) {
    const size_t room = std::clamp<size_t>(kMaxBytes / (bitmap.size() / 8 + 1), 1, kMaxEntries);
    if (entries_.size() > room) entries_.resize(room);
    if (entries_.size() < room) entries_.emplace_back();
    Entry* oldest = &*std::min_element(entries_.begin(), entries_.end(),
                                       [](const Entry& a, const Entry& b) { return a.used < b.used; });
    oldest->program.assign(program.begin(), program.end());
    oldest->state = state;
    oldest->bitmap = bitmap;
    oldest->passing = passing;
    oldest->used = ++clock_;
  }
  void clear() { entries_.clear(); }
  size_t bytes() const {
    size_t total = 0;
    for (const Entry& entry : entries_) total += entry.bitmap.size() / 8 + entry.program.size() * 4;
    return total;
  }

 private:
  static constexpr size_t kMaxEntries = 8, kMaxBytes = 1 << 20;
  std::vector<Entry> entries_;
  uint64_t clock_ = 0;
};
