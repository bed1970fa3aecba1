// Code points: out of UTF-8 that nobody vouches for, their classes, and what they are folded to.
#pragma once
#include <stdint.h>

#include <string_view>

enum class CharClass : uint8_t {
  Separator,
  Letter,
  Digit,    // any number; decimal digits are folded to 0-9
  Mark,     // stays with what is before it
  Ignored,  // diacritics, vowel points, joiners: neither parts a word nor is part of it
  Bigram,   // of a script without spaces between words
};

struct CodePoint {
  uint32_t value;
  uint32_t bytes;  // that it takes in the text
};
// The code point at `at` < text.size(). Invalid UTF-8 gives one byte as U+FFFD, a separator.
CodePoint decode_utf8(std::string_view text, size_t at);
// Writes at most 4 bytes; returns how many.
uint32_t encode_utf8(uint32_t code, char* out);

CharClass wide_char_class(uint32_t code);  // from 128 on
inline CharClass char_class(uint32_t code) {
  if (code >= 128) return wide_char_class(code);
  if ((code | 32) - 'a' < 26) return CharClass::Letter;
  return code - '0' < 10 ? CharClass::Digit : CharClass::Separator;
}

// What a code point is folded to: lower case, compatibility decomposition, no diacritics.
inline constexpr uint32_t kMaxFoldBytes = 16;
struct Folded {
  char data[kMaxFoldBytes];
  uint32_t bytes;
};
Folded fold(uint32_t code);

// The one code point that `first` and `second` make together when they are conjoining Hangul, or
// kana and a (semi-)voiced sound mark; 0 when they stay two.
uint32_t compose(uint32_t first, uint32_t second);
// Folding within the class Bigram, where it gives one code point.
uint32_t fold_one(uint32_t code);
