// XXH64 (Yann Collet, xxHash specification 0.1.1): the checksum of pages, heads and manifests.
#pragma once
#include <stdint.h>
#include <string.h>

namespace xxh64_detail {
inline constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                          kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;
template <class T>
inline uint64_t read(const uint8_t* from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}
// Inlined even where the rest is compiled for size (Makefile: FAST): as calls, these two made a page's
// checksum eight times slower.
[[gnu::always_inline]] inline uint64_t rotl(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }
[[gnu::always_inline]] inline uint64_t round(uint64_t lane, uint64_t input) { return rotl(lane + input * kPrime2, 31) * kPrime1; }
inline uint64_t merge(uint64_t hash, uint64_t lane) { return (hash ^ round(0, lane)) * kPrime1 + kPrime4; }
}  // namespace xxh64_detail

inline uint64_t xxh64(const void* data, size_t bytes, uint64_t seed = 0) {
  using namespace xxh64_detail;
  const uint8_t* at = static_cast<const uint8_t*>(data);
  const uint8_t* const end = at + bytes;
  uint64_t hash;
  if (bytes >= 32) {
    uint64_t a = seed + kPrime1 + kPrime2, b = seed + kPrime2, c = seed, d = seed - kPrime1;
    for (; end - at >= 32; at += 32) {
      a = round(a, read<uint64_t>(at));
      b = round(b, read<uint64_t>(at + 8));
      c = round(c, read<uint64_t>(at + 16));
      d = round(d, read<uint64_t>(at + 24));
    }
    hash = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18);
    hash = merge(merge(merge(merge(hash, a), b), c), d);
  } else {
    hash = seed + kPrime5;
  }
  hash += bytes;
  for (; end - at >= 8; at += 8) hash = rotl(hash ^ round(0, read<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  if (end - at >= 4) {
    hash = rotl(hash ^ read<uint32_t>(at) * kPrime1, 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; at++) hash = rotl(hash ^ *at * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}
