// Where inserted rows are kept: arrays in chunks that never move, so growing copies nothing and
// costs one chunk at most, and the map from ids to rows. Reserving comes before filling: it alone
// can fail, and then nothing has changed.
#pragma once
#include <stdint.h>
#include <stdlib.h>

#include <memory>
#include <string_view>
#include <vector>

struct FreeDeleter {
  void operator()(void* pointer) const { free(pointer); }
};

// A growing array of items of `item_bytes`, zero at first; `per_chunk` consecutive ones are contiguous.
class Chunks {
 public:
  Chunks() = default;
  Chunks(uint32_t item_bytes, uint32_t per_chunk) : item_bytes_(item_bytes), per_chunk_(per_chunk) {}

  // Room for `count` items in all. False: no memory; size and items are as before.
  bool reserve(uint32_t count);
  void resize(uint32_t count) { size_ = count; }  // up, within what was reserved
  uint32_t size() const { return size_; }
  uint8_t* at(uint32_t i) { return chunks_[i / per_chunk_].get() + size_t{i % per_chunk_} * item_bytes_; }
  const uint8_t* at(uint32_t i) const { return chunks_[i / per_chunk_].get() + size_t{i % per_chunk_} * item_bytes_; }
  size_t bytes() const { return chunks_.size() * (size_t{item_bytes_} * per_chunk_ + sizeof(chunks_[0])); }

 private:
  uint32_t item_bytes_ = 1, per_chunk_ = 1, size_ = 0;
  std::vector<std::unique_ptr<uint8_t, FreeDeleter>> chunks_;
};

// Strings one after another. A string lies in one piece; one longer than a chunk gets its own.
class StringStore {
 public:
  StringStore() : places_(sizeof(Place), 1024) {}
  // Room for `count` more strings of `bytes` in all. False: no memory, nothing changed.
  bool reserve(uint32_t count, size_t bytes);
  void add(std::string_view text);  // within what was reserved
  std::string_view get(uint32_t i) const;
  uint32_t size() const { return places_.size(); }
  size_t bytes() const { return places_.bytes() + chunk_bytes_; }

 private:
  struct Place {
    const char* data;
    uint32_t bytes;
  };
  static constexpr size_t kChunkBytes = 1 << 16;

  Chunks places_;
  std::vector<std::unique_ptr<char, FreeDeleter>> chunks_;
  char* free_ = nullptr;  // the rest of the last chunk
  size_t left_ = 0, chunk_bytes_ = 0;
};

// Open addressing from the hash of an id to a row; the owner compares the ids themselves.
class IdMap {
 public:
  // Room for `count` more entries. False: no memory, nothing changed.
  bool reserve(uint32_t count);
  void add(uint64_t hash, uint32_t row);  // within what was reserved
  void remove(uint64_t hash, uint32_t row);
  // The first row with this hash for which `same(row)` holds, or kNone.
  static constexpr uint32_t kNone = 0xffffffffu;
  template <class Same>
  uint32_t find(uint64_t hash, Same same) const {
    if (capacity_ == 0) return kNone;
    for (uint32_t i = place(hash);; i = (i + 1) & (capacity_ - 1)) {
      const Entry& entry = entries_.get()[i];
      if (entry.row == kNone) return kNone;
      if (entry.row != kRemoved && entry.hash == hash && same(entry.row)) return entry.row;
    }
  }
  size_t bytes() const { return size_t{capacity_} * sizeof(Entry); }

 private:
  struct Entry {
    uint64_t hash;
    uint32_t row;
  };
  static constexpr uint32_t kRemoved = 0xfffffffeu;
  uint32_t place(uint64_t hash) const { return static_cast<uint32_t>(hash >> 20) & (capacity_ - 1); }

  std::unique_ptr<Entry, FreeDeleter> entries_;
  uint32_t capacity_ = 0, used_ = 0;  // used: removed ones included; capacity 0 or a power of two
};
