// From text to the terms that keyword search knows: words, parts of identifiers, pairs of
// characters. docs/format.md gives the rules; queries and documents go through the same.
#pragma once
#include <stdint.h>

#include <string_view>

#include "unicode.h"

inline constexpr uint32_t kMaxTermBytes = 64;  // longer ones are cut, at a character

struct Token {
  uint32_t start, end;    // bytes of the text
  std::string_view term;  // folded; holds until the next call of next()
  bool lone_character;    // of a script without spaces: it stands for the words that begin with it
};

// A cursor over the tokens of a text (of less than 4 GiB, which outlives it). Allocates nothing.
class Segmenter {
 public:
  // `query`: leave out what only documents need, the single character that ends a run of bigrams.
  explicit Segmenter(std::string_view text, bool query = false) : text_(text), query_(query) {}
  bool next(Token& token);

 private:
  static constexpr uint32_t kWordBytes = 512;  // folded, of a word with its joints; a longer one is cut in two
  static constexpr uint32_t kMaxParts = 32;
  static constexpr uint32_t kMaxPending = 2 * kMaxParts + 1;
  static constexpr uint32_t kClusterBytes = 24;

  enum class Joint : uint8_t { Dot, Underscore, Case, Apostrophe };
  struct Part {
    uint32_t from, to;    // of word_
    uint32_t start, end;  // of the text
    Joint joint;          // what is before it
    uint32_t size() const { return to - from; }
  };
  struct Pending {
    uint32_t start, end;  // of the text
    uint32_t at, bytes;   // of terms_
  };
  struct Cluster {  // a character with the marks on it
    uint32_t start, end, bytes;
    char data[kClusterBytes];
  };

  CodePoint peek(size_t at) const {
    if (at >= text_.size()) return {0, 0};
    const uint8_t first = static_cast<uint8_t>(text_[at]);
    return first < 128 ? CodePoint{first, 1} : decode_utf8(text_, at);
  }
  CharClass class_at(size_t at) const { return char_class(peek(at).value); }
  bool find_start();

  void read_word();
  bool read_letter(CodePoint code);
  bool read_joint(CodePoint code);
  bool case_joint(uint32_t code) const;
  bool thousands() const;
  bool begin_part(Joint joint, uint32_t text_skipped, char folded);
  void emit_word();
  void emit_piece(uint32_t first, uint32_t last);
  void emit(uint32_t from, uint32_t to, uint32_t start, uint32_t end, bool to_singular);

  bool next_bigram(Token& token);
  bool read_cluster(Cluster& cluster);

  std::string_view text_;
  bool query_;
  size_t at_ = 0;

  char word_[kWordBytes];
  uint32_t word_bytes_ = 0;
  uint32_t before_ = 0;  // the code point before, as it stands in the text
  CharClass class_before_ = CharClass::Separator;
  Part parts_[kMaxParts];
  uint32_t part_count_ = 0;

  Pending pending_[kMaxPending];
  uint32_t pending_count_ = 0, pending_at_ = 0;
  char terms_[kMaxPending * (kMaxTermBytes + 1)];
  uint32_t terms_bytes_ = 0;

  uint32_t run_ = 0;  // characters of the run of bigrams read so far; 0: not in one
  Cluster previous_, current_;
  char bigram_[2 * kClusterBytes];
};
