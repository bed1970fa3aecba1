// A set of rows as bits: which rows pass a filter, which are deleted.
#pragma once
#include <stdint.h>

#include <algorithm>
#include <vector>

class Bitmap {
 public:
  Bitmap() = default;
  explicit Bitmap(uint32_t size, bool value = false) { reset(size, value); }

  // Makes it a bitmap of `size` bits, all equal to `value`; keeps its memory.
  void reset(uint32_t size, bool value = false) {
    size_ = size;
    words_.assign((size + 63ull) / 64, value ? ~0ull : 0);
    clear_tail();
  }
  // Grows (new bits are `value`) or shrinks; the bits in common stay.
  void resize(uint32_t size, bool value = false) {
    const uint32_t before = size_;
    words_.resize((size + 63ull) / 64, value ? ~0ull : 0);
    size_ = size;
    if (value && size > before && before % 64) words_[before / 64] |= ~0ull << (before % 64);
    clear_tail();
  }
  uint32_t size() const { return size_; }
  bool get(uint32_t i) const { return words_[i >> 6] >> (i & 63) & 1; }
  void set(uint32_t i) { words_[i >> 6] |= 1ull << (i & 63); }
  void clear(uint32_t i) { words_[i >> 6] &= ~(1ull << (i & 63)); }
  // Sets or clears [from, to).
  void set_range(uint32_t from, uint32_t to, bool value) {
    for (uint32_t i = from; i < to;) {
      const uint32_t end = std::min(to, (i | 63) + 1);
      const uint64_t mask = mask_of(i & 63, end - i);
      if (value) words_[i >> 6] |= mask;
      else words_[i >> 6] &= ~mask;
      i = end;
    }
  }
  // The operands have one size.
  void and_with(const Bitmap& other) { for (size_t i = 0; i < words_.size(); i++) words_[i] &= other.words_[i]; }
  void or_with(const Bitmap& other) { for (size_t i = 0; i < words_.size(); i++) words_[i] |= other.words_[i]; }
  void and_not(const Bitmap& other) { for (size_t i = 0; i < words_.size(); i++) words_[i] &= ~other.words_[i]; }
  void flip() {
    for (uint64_t& word : words_) word = ~word;
    clear_tail();
  }
  uint32_t count() const {
    uint32_t total = 0;
    for (uint64_t word : words_) total += static_cast<uint32_t>(__builtin_popcountll(word));
    return total;
  }
  bool any_in(uint32_t from, uint32_t to) const {
    for (uint32_t i = from; i < to;) {
      const uint32_t end = std::min(to, (i | 63) + 1);
      if (words_[i >> 6] & mask_of(i & 63, end - i)) return true;
      i = end;
    }
    return false;
  }
  uint32_t count_in(uint32_t from, uint32_t to) const {
    uint32_t total = 0;
    for (uint32_t i = from; i < to;) {
      const uint32_t end = std::min(to, (i | 63) + 1);
      total += static_cast<uint32_t>(__builtin_popcountll(words_[i >> 6] & mask_of(i & 63, end - i)));
      i = end;
    }
    return total;
  }
  // The 32 bits from `from` on, a multiple of 32; bits past the end are zero.
  uint32_t bits32(uint32_t from) const {
    return from < size_ ? static_cast<uint32_t>(words_[from >> 6] >> (from & 32)) : 0;
  }
  // The first set bit at or after `from`, or size().
  uint32_t next(uint32_t from) const {
    if (from >= size_) return size_;
    uint64_t word = words_[from >> 6] & (~0ull << (from & 63));
    for (size_t i = from >> 6;;) {
      if (word) return static_cast<uint32_t>(i * 64) + static_cast<uint32_t>(__builtin_ctzll(word));
      if (++i == words_.size()) return size_;
      word = words_[i];
    }
  }
  uint64_t* words() { return words_.data(); }
  const uint64_t* words() const { return words_.data(); }

 private:
  static uint64_t mask_of(uint32_t first, uint32_t bits) {
    return (bits >= 64 ? ~0ull : (1ull << bits) - 1) << first;
  }
  void clear_tail() {
    if (size_ % 64) words_.back() &= (1ull << (size_ % 64)) - 1;
  }

  std::vector<uint64_t> words_;
  uint32_t size_ = 0;
};
