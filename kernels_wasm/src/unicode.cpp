#include "unicode.h"

#include <algorithm>
#include <vector>

#include "bytes.h"
#include "unicode_tables.h"

namespace {

// One type for all three tables: every visitor downloads the code that handles it.
struct Entry {
  uint32_t first, last;
  uint32_t kind;   // of a class: CharClass; of a run: its mode (pywasm/tools/unicode_tables.py); of a string: its bytes
  uint32_t value;  // of a run: the target; of a string: where it begins in kFoldStringBlob
};

struct Table {
  std::vector<Entry> entries;

  // Null when no entry holds `code`.
  const Entry* find(uint32_t code) const {
    const auto after = std::upper_bound(entries.begin(), entries.end(), code,
                                        [](uint32_t c, const Entry& entry) { return c < entry.first; });
    return after == entries.begin() || code > (after - 1)->last ? nullptr : &*(after - 1);
  }
};

struct Tables {
  Table classes, runs, strings;

  Tables() {
    ByteReader ranges(kClassBlob, sizeof kClassBlob);
    for (uint32_t at = 128; ranges.left();) {
      const uint32_t gap = ranges.varint();
      const uint32_t first = at + gap / 8;
      at = first + ranges.varint();
      classes.entries.push_back({first, at - 1, gap % 8, 0});
    }
    ByteReader gaps(kFoldGaps, sizeof kFoldGaps), counts(kFoldCounts, sizeof kFoldCounts),
        targets(kFoldTargets, sizeof kFoldTargets);
    for (uint32_t last = 127, after = 0; gaps.left();) {
      const uint32_t first = last + gaps.varint();
      const uint32_t count = counts.varint(), zigzag = targets.varint();
      const uint32_t mode = count % 4, step = mode == 1 ? 2 : 1;
      const uint32_t target = after + ((zigzag >> 1) ^ -(zigzag & 1));
      last = first + (count / 4 - 1) * step;
      after = mode == 2 ? target : target + count / 4 * step;
      runs.entries.push_back({first, last, mode, target});
    }
    ByteReader texts(kFoldStringBlob, sizeof kFoldStringBlob);
    for (uint32_t code = 127; texts.left();) {
      code += texts.varint();
      const uint32_t bytes = texts.varint();
      strings.entries.push_back({code, code, bytes, static_cast<uint32_t>(texts.at())});
      texts.take(bytes);
    }
  }
};

const Tables& tables() {
  static const Tables expanded;
  return expanded;
}

bool is_kanji_or_syllable(uint32_t code) {
  return (code >= 0x4E00 && code <= 0x9FFC) || (code >= 0xAC00 && code <= 0xD7A3);
}

}  // namespace

CodePoint decode_utf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const uint32_t bytes = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() - at < bytes) return {0xFFFD, 1};
  uint32_t value = first & (0x7F >> bytes);
  for (uint32_t i = 1; i < bytes; i++) {
    if ((byte(i) & 0xC0) != 0x80) return {0xFFFD, 1};
    value = value << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[bytes] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return {0xFFFD, 1};
  return {value, bytes};
}

uint32_t encode_utf8(uint32_t code, char* out) {
  if (code < 0x80) {
    out[0] = static_cast<char>(code);
    return 1;
  }
  const uint32_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (uint32_t i = bytes - 1; i > 0; i--, code >>= 6) out[i] = static_cast<char>(0x80 | (code & 0x3F));
  out[0] = static_cast<char>((0xF00 >> bytes) | code);
  return bytes;
}

CharClass wide_char_class(uint32_t code) {
  if (is_kanji_or_syllable(code)) return CharClass::Bigram;
  const Entry* const range = tables().classes.find(code);
  return range ? static_cast<CharClass>(range->kind) : CharClass::Separator;
}

uint32_t fold_one(uint32_t code) {
  if (code < 128) return code - 'A' < 26 ? code + 32 : code;
  if (is_kanji_or_syllable(code)) return code;
  const Entry* const run = tables().runs.find(code);
  if (!run || (run->kind == 1 && (code - run->first) % 2)) return code;
  return run->kind == 2 ? run->value : run->value + (code - run->first);
}

Folded fold(uint32_t code) {
  Folded folded;
  const uint32_t one = fold_one(code);
  if (one == code && code >= 128) {
    if (const Entry* const found = tables().strings.find(code)) {
      memcpy(folded.data, kFoldStringBlob + found->value, found->kind);
      folded.bytes = found->kind;
      return folded;
    }
  }
  folded.bytes = encode_utf8(one, folded.data);
  return folded;
}

uint32_t compose(uint32_t first, uint32_t second) {
  // Hangul: The Unicode Standard, section 3.12.
  if (first - 0x1100 < 19 && second - 0x1161 < 21) return 0xAC00 + ((first - 0x1100) * 21 + second - 0x1161) * 28;
  if (first - 0xAC00 < 11172 && (first - 0xAC00) % 28 == 0 && second - 0x11A8 < 27) return first + second - 0x11A7;
  if (second != 0x3099 && second != 0x309A) return 0;
  const bool katakana = first >= 0x30A1;
  const uint32_t kana = katakana ? first - 0x60 : first;  // as hiragana
  const bool ha_row = kana >= 0x306F && kana <= 0x307B && kana % 3 == 0;
  if (second == 0x309A) return ha_row ? first + 2 : 0;
  const bool voiced = ha_row || (kana >= 0x304B && kana <= 0x3061 && kana % 2 == 1) ||
                      (kana >= 0x3064 && kana <= 0x3068 && kana % 2 == 0);
  if (voiced) return first + 1;
  if (kana == 0x3046) return katakana ? 0x30F4 : 0x3094;  // vu
  return 0;
}
