#include "filter_match.h"

#include <string.h>

#include <algorithm>

#include "simd.h"

namespace {

constexpr uint32_t kFewCodes = 4;  // a set this small is tested code by code
constexpr uint32_t kTableBits = 1 << 16;

// The masks of 16 rows, from comparisons of wider lanes: all ones and all zeros survive saturation.
v128_t narrow32(v128_t a, v128_t b, v128_t c, v128_t d) {
  return wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(a, b), wasm_i16x8_narrow_i32x4(c, d));
}
v128_t halves(v128_t a, v128_t b) {  // the low halves of four 64-bit masks
  return wasm_i32x4_shuffle(a, b, 0, 2, 4, 6);
}

// Each gives the masks, as 16 bytes, of 16 consecutive values.
struct Equal8 {
  v128_t code;
  explicit Equal8(uint32_t value) : code(wasm_i8x16_splat(static_cast<int8_t>(value))) {}
  v128_t rows16(const uint8_t* at) const { return wasm_i8x16_eq(wasm_v128_load(at), code); }
  static constexpr uint32_t kWidth = 1;
};
struct Equal16 {
  v128_t code;
  explicit Equal16(uint32_t value) : code(wasm_i16x8_splat(static_cast<int16_t>(value))) {}
  v128_t rows16(const uint8_t* at) const {
    return wasm_i8x16_narrow_i16x8(wasm_i16x8_eq(wasm_v128_load(at), code),
                                   wasm_i16x8_eq(wasm_v128_load(at + 16), code));
  }
  static constexpr uint32_t kWidth = 2;
};
struct Equal32 {
  v128_t code;
  explicit Equal32(uint32_t value) : code(wasm_i32x4_splat(static_cast<int32_t>(value))) {}
  v128_t four(const uint8_t* at) const { return wasm_i32x4_eq(wasm_v128_load(at), code); }
  v128_t rows16(const uint8_t* at) const { return narrow32(four(at), four(at + 16), four(at + 32), four(at + 48)); }
  static constexpr uint32_t kWidth = 4;
};

// Membership of a byte in any set: the low nibble selects a byte with one bit for each high nibble.
// Mula & Langdale's universal byte classifier.
struct In8 {
  alignas(16) uint8_t low_half[16] = {}, high_half[16] = {};  // high nibbles 0-7, 8-15
  explicit In8(std::span<const uint32_t> codes) {
    for (uint32_t code : codes) {
      if (code >= 0xff) break;  // ascending; 0xff means "missing"
      (code < 128 ? low_half : high_half)[code & 15] |= static_cast<uint8_t>(1 << (code >> 4 & 7));
    }
  }
  v128_t rows16(const uint8_t* at) const {
    const v128_t values = wasm_v128_load(at);
    const v128_t low = wasm_v128_and(values, wasm_i8x16_splat(15));
    const v128_t sets = wasm_v128_bitselect(wasm_i8x16_swizzle(wasm_v128_load(high_half), low),
                                            wasm_i8x16_swizzle(wasm_v128_load(low_half), low),
                                            wasm_i8x16_shr(values, 7));
    const v128_t bits = wasm_i8x16_make(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
    const v128_t bit = wasm_i8x16_swizzle(bits, wasm_u8x16_shr(values, 4));
    return wasm_i8x16_ne(wasm_v128_and(sets, bit), wasm_i8x16_splat(0));
  }
  static constexpr uint32_t kWidth = 1;
};

struct Range32 {
  v128_t low, high;
  Range32(float from, float to) : low(wasm_f32x4_splat(from)), high(wasm_f32x4_splat(to)) {}
  v128_t four(const uint8_t* at) const {
    const v128_t values = wasm_v128_load(at);
    return wasm_v128_and(wasm_f32x4_ge(values, low), wasm_f32x4_le(values, high));
  }
  v128_t rows16(const uint8_t* at) const { return narrow32(four(at), four(at + 16), four(at + 32), four(at + 48)); }
  static constexpr uint32_t kWidth = 4;
};
struct Range64 {
  v128_t low, high;
  Range64(double from, double to) : low(wasm_f64x2_splat(from)), high(wasm_f64x2_splat(to)) {}
  v128_t two(const uint8_t* at) const {
    const v128_t values = wasm_v128_load(at);
    return wasm_v128_and(wasm_f64x2_ge(values, low), wasm_f64x2_le(values, high));
  }
  v128_t four(const uint8_t* at) const { return halves(two(at), two(at + 16)); }
  v128_t rows16(const uint8_t* at) const { return narrow32(four(at), four(at + 32), four(at + 64), four(at + 96)); }
  static constexpr uint32_t kWidth = 8;
};

template <class Test>
void run(const Test& test, const uint8_t* values, uint32_t words, uint64_t* out) {
  for (uint32_t w = 0; w < words; w++, values += 64 * Test::kWidth) {
    uint64_t word = 0;
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
      const v128_t rows = test.rows16(values + quarter * 16 * Test::kWidth);
      word |= static_cast<uint64_t>(static_cast<uint16_t>(wasm_i8x16_bitmask(rows))) << (quarter * 16);
    }
    out[w] = word;
  }
}

void match_equal(uint32_t code, uint32_t width, const uint8_t* values, uint32_t words, uint64_t* out) {
  if (width == 1) run(Equal8(code), values, words, out);
  else if (width == 2) run(Equal16(code), values, words, out);
  else run(Equal32(code), values, words, out);
}

// Sets out[] from one look-up a value.
template <class Code, class Has>
void run_each(const uint8_t* values, uint32_t words, uint64_t* out, Has has) {
  for (uint32_t w = 0; w < words; w++) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < 64; i++, values += sizeof(Code)) {
      Code code;
      memcpy(&code, values, sizeof(Code));
      word |= static_cast<uint64_t>(has(code)) << i;
    }
    out[w] = word;
  }
}

// `codes` has one code at least. A table of bits from the first code to the last where that is
// small, which it is for every 2-byte column.
template <class Code>
void match_in(std::span<const uint32_t> codes, const uint8_t* values, uint32_t words, uint64_t* out) {
  const uint32_t first = codes.front(), range = codes.back() - first;
  if (range >= kTableBits)
    return run_each<Code>(values, words, out,
                          [&](uint32_t code) { return std::binary_search(codes.begin(), codes.end(), code); });
  uint32_t table[kTableBits / 32];
  memset(table, 0, (range / 32 + 1) * 4);
  for (uint32_t code : codes) table[(code - first) / 32] |= 1u << (code - first) % 32;
  run_each<Code>(values, words, out, [&](uint32_t code) {
    const uint32_t at = code - first;  // wraps to something large below `first`
    const uint32_t inside = at <= range;
    return table[inside ? at / 32 : 0] >> at % 32 & inside;
  });
}

// The nearest f32 from above or below: bounds of f64 mean the same to f32 values.
float round_up(double value) {
  const float near = static_cast<float>(value);
  return near < value ? __builtin_nextafterf(near, __builtin_inff()) : near;
}
float round_down(double value) {
  const float near = static_cast<float>(value);
  return near > value ? __builtin_nextafterf(near, -__builtin_inff()) : near;
}

}  // namespace

void match_values(const Match& match, uint32_t width, const uint8_t* values, uint32_t words, uint64_t* out) {
  const uint32_t missing = width >= 4 ? kNoCategory : (1u << width * 8) - 1;
  switch (match.kind) {
    case Match::Equal:
      if (match.code >= missing) break;
      return match_equal(match.code, width, values, words, out);
    case Match::In: {
      std::span<const uint32_t> codes = match.codes;  // without what this width has not got
      codes = codes.first(static_cast<size_t>(std::lower_bound(codes.begin(), codes.end(), missing) - codes.begin()));
      if (width == 1) return run(In8(codes), values, words, out);
      if (codes.size() > kFewCodes)
        return width == 2 ? match_in<uint16_t>(codes, values, words, out) : match_in<uint32_t>(codes, values, words, out);
      memset(out, 0, size_t{words} * 8);
      uint64_t one[64];
      for (uint32_t first = 0; first < words; first += 64) {
        const uint32_t count = std::min(64u, words - first);
        for (uint32_t code : codes) {
          match_equal(code, width, values + size_t{first} * 64 * width, count, one);
          for (uint32_t w = 0; w < count; w++) out[first + w] |= one[w];
        }
      }
      return;
    }
    case Match::Present:
      match_equal(missing, width, values, words, out);
      for (uint32_t w = 0; w < words; w++) out[w] = ~out[w];
      return;
    case Match::Range:
      if (width == 8) return run(Range64(match.low, match.high), values, words, out);
      return run(Range32(round_up(match.low), round_down(match.high)), values, words, out);
    case Match::None:
      break;
  }
  memset(out, 0, size_t{words} * 8);
}
