// Reading bytes nobody vouches for, and writing our own: little-endian cursors.
#pragma once
#include <stdint.h>
#include <string.h>

#include <string_view>
#include <vector>

// A read cursor that can't leave its range: a read past the end gives zeros and sets `ok` false,
// so a parser reads a whole struct and checks once.
class ByteReader {
 public:
  ByteReader(const void* data, size_t bytes) : data_(static_cast<const uint8_t*>(data)), bytes_(bytes) {}

  template <class T>
  T get() {
    T value{};
    if (const uint8_t* from = take(sizeof(T))) memcpy(&value, from, sizeof(T));
    return value;
  }
  // `bytes` raw bytes, or null past the end.
  const uint8_t* take(size_t bytes) {
    if (!ok_ || bytes > bytes_ - at_) {
      ok_ = false;
      return nullptr;
    }
    const uint8_t* from = data_ + at_;
    at_ += bytes;
    return from;
  }
  std::string_view text(size_t bytes) {
    const uint8_t* from = take(bytes);
    return from ? std::string_view(reinterpret_cast<const char*>(from), bytes) : std::string_view();
  }
  void align(size_t multiple) { take((multiple - at_ % multiple) % multiple); }
  // LEB128, at most 5 bytes.
  uint32_t varint() {
    uint32_t value = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
      const uint8_t byte = get<uint8_t>();
      if (shift == 28 && byte > 15) ok_ = false;
      value |= static_cast<uint32_t>(byte & 127) << shift;
      if (byte < 128) return ok_ ? value : 0;
    }
    ok_ = false;
    return 0;
  }
  bool ok() const { return ok_; }
  size_t at() const { return at_; }
  size_t left() const { return bytes_ - at_; }

 private:
  const uint8_t* data_;
  size_t bytes_;
  size_t at_ = 0;
  bool ok_ = true;
};

class ByteWriter {
 public:
  template <class T>
  void put(T value) { put(&value, sizeof(T)); }
  void put(const void* data, size_t bytes) {
    const uint8_t* from = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), from, from + bytes);
  }
  void text(std::string_view text) { put(text.data(), text.size()); }
  void align(size_t multiple) { bytes_.resize((bytes_.size() + multiple - 1) / multiple * multiple); }
  void varint(uint32_t value) {
    for (; value >= 128; value >>= 7) bytes_.push_back(static_cast<uint8_t>(value | 128));
    bytes_.push_back(static_cast<uint8_t>(value));
  }
  template <class T>
  void patch(size_t at, T value) { memcpy(bytes_.data() + at, &value, sizeof(T)); }
  size_t size() const { return bytes_.size(); }
  const uint8_t* data() const { return bytes_.data(); }
  void clear() { bytes_.clear(); }

 private:
  std::vector<uint8_t> bytes_;
};
