#include "delta_store.h"

#include <string.h>

#include <algorithm>

bool Chunks::reserve(uint32_t count) {
  const size_t before = chunks_.size(), needed = (size_t{count} + per_chunk_ - 1) / per_chunk_;
  while (chunks_.size() < needed) {
    uint8_t* chunk = static_cast<uint8_t*>(calloc(per_chunk_, item_bytes_));
    if (chunk == nullptr) {
      chunks_.resize(before);
      return false;
    }
    chunks_.emplace_back(chunk);
  }
  return true;
}

bool StringStore::reserve(uint32_t count, size_t bytes) {
  if (!places_.reserve(places_.size() + count)) return false;
  if (bytes <= left_) return true;
  // What is left of the last chunk is given up: less than one batch.
  const size_t chunk_bytes = std::max(bytes, kChunkBytes);
  char* chunk = static_cast<char*>(malloc(chunk_bytes));
  if (chunk == nullptr) return false;
  chunks_.emplace_back(chunk);
  chunk_bytes_ += chunk_bytes;
  free_ = chunk;
  left_ = chunk_bytes;
  return true;
}

void StringStore::add(std::string_view text) {
  const Place place{free_, static_cast<uint32_t>(text.size())};
  if (!text.empty()) memcpy(free_, text.data(), text.size());
  free_ += text.size();
  left_ -= text.size();
  const uint32_t i = places_.size();
  places_.resize(i + 1);
  memcpy(places_.at(i), &place, sizeof(Place));
}

std::string_view StringStore::get(uint32_t i) const {
  Place place;
  memcpy(&place, places_.at(i), sizeof(Place));
  return std::string_view(place.data, place.bytes);
}

bool IdMap::reserve(uint32_t count) {
  // At most two thirds full, counting removed entries; those are left out when the table is rebuilt.
  if (uint64_t{used_} + count <= capacity_ / 3 * 2) return true;
  uint32_t live = 0;
  for (uint32_t i = 0; i < capacity_; i++) live += entries_.get()[i].row < kRemoved;
  uint32_t capacity = 64;
  while (capacity / 3 * 2 < uint64_t{live} + count) capacity *= 2;
  Entry* entries = static_cast<Entry*>(malloc(capacity * sizeof(Entry)));
  if (entries == nullptr) return false;
  for (uint32_t i = 0; i < capacity; i++) entries[i] = {0, kNone};
  std::unique_ptr<Entry, FreeDeleter> before(entries);
  std::swap(before, entries_);
  std::swap(capacity, capacity_);
  used_ = 0;
  for (uint32_t i = 0; i < capacity; i++)
    if (before.get()[i].row < kRemoved) add(before.get()[i].hash, before.get()[i].row);
  return true;
}

void IdMap::add(uint64_t hash, uint32_t row) {
  uint32_t i = place(hash);
  while (entries_.get()[i].row != kNone) i = (i + 1) & (capacity_ - 1);
  entries_.get()[i] = {hash, row};
  used_++;
}

void IdMap::remove(uint64_t hash, uint32_t row) {
  if (capacity_ == 0) return;
  for (uint32_t i = place(hash); entries_.get()[i].row != kNone; i = (i + 1) & (capacity_ - 1)) {
    if (entries_.get()[i].row == row) {
      entries_.get()[i].row = kRemoved;
      return;
    }
  }
}
