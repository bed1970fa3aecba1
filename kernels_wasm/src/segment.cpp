#include "segment.h"

#include <string.h>

#include <algorithm>

#include "stem.h"

namespace {

bool is_lower(uint32_t code) { return code - 'a' < 26; }
bool is_upper(uint32_t code) { return code - 'A' < 26; }
bool is_apostrophe(uint32_t code) { return code == '\'' || code == 0x2019 || code == 0xFF07; }

}  // namespace

bool Segmenter::next(Token& token) {
  for (;;) {
    if (pending_at_ < pending_count_) {
      const Pending& one = pending_[pending_at_++];
      token = {one.start, one.end, {terms_ + one.at, one.bytes}, false};
      return true;
    }
    if (run_ > 0) {
      if (next_bigram(token)) return true;
      continue;
    }
    if (!find_start()) return false;
    if (class_at(at_) == CharClass::Bigram) {
      read_cluster(previous_);
      run_ = 1;
    } else {
      read_word();
    }
  }
}

// Moves to the next character that begins a word or a run of bigrams. Underscores begin a word when
// a letter or digit follows them.
bool Segmenter::find_start() {
  while (at_ < text_.size()) {
    const CodePoint code = peek(at_);
    if (code.value == '_') {
      size_t end = at_;
      while (end < text_.size() && text_[end] == '_') end++;
      const CharClass after = class_at(end);
      if (after == CharClass::Letter || after == CharClass::Digit) {
        at_ = std::max(at_, end - std::min<size_t>(end, 2));
        return true;
      }
      at_ = end;
      continue;
    }
    const CharClass kind = char_class(code.value);
    if (kind == CharClass::Letter || kind == CharClass::Digit || kind == CharClass::Bigram) return true;
    at_ += code.bytes;
  }
  return false;
}

void Segmenter::read_word() {
  word_bytes_ = part_count_ = 0;
  before_ = 0;
  class_before_ = CharClass::Separator;
  const uint32_t start = static_cast<uint32_t>(at_);
  parts_[part_count_++] = {0, 0, start, start, Joint::Dot};
  while (at_ < text_.size() && word_bytes_ + kMaxFoldBytes < kWordBytes) {
    const CodePoint code = peek(at_);
    const CharClass kind = char_class(code.value);
    if (kind == CharClass::Letter || kind == CharClass::Digit) {
      if (!read_letter(code)) break;
      class_before_ = kind;
      before_ = code.value;
    } else if (kind == CharClass::Mark) {
      word_bytes_ += encode_utf8(code.value, word_ + word_bytes_);
      at_ += code.bytes;
    } else if (kind == CharClass::Ignored) {
      at_ += code.bytes;
    } else {
      if (!read_joint(code)) break;
      continue;  // it has closed the part
    }
    parts_[part_count_ - 1].to = word_bytes_;
    parts_[part_count_ - 1].end = static_cast<uint32_t>(at_);
  }
  emit_word();
}

bool Segmenter::read_letter(CodePoint code) {
  if (case_joint(code.value) && !begin_part(Joint::Case, 0, 0)) return false;
  at_ += code.bytes;
  if (code.value < 128) {
    word_[word_bytes_++] = static_cast<char>(is_upper(code.value) ? code.value + 32 : code.value);
    return true;
  }
  const Folded folded = fold(code.value);
  memcpy(word_ + word_bytes_, folded.data, folded.bytes);
  word_bytes_ += folded.bytes;
  return true;
}

// camelCase: a capital after a small letter or digit, or the last capital of several with a small
// letter after it (HTTPServer), a plural's s excepted (URLs).
bool Segmenter::case_joint(uint32_t code) const {
  if (!is_upper(code)) return false;
  if (is_lower(before_) || before_ - '0' < 10) return true;
  const uint32_t after = peek(at_ + 1).value;
  if (!is_upper(before_) || !is_lower(after)) return false;
  return after != 's' || class_at(at_ + 2) == CharClass::Letter;
}

// Characters that join what is on both sides into one word.
bool Segmenter::read_joint(CodePoint code) {
  const CharClass after = class_at(at_ + code.bytes);
  const bool word_after = after == CharClass::Letter || after == CharClass::Digit;
  if (code.value == '_') return begin_part(Joint::Underscore, 1, '_');
  if (code.value == '.' && before_ && (word_after || peek(at_ + 1).value == '_')) return begin_part(Joint::Dot, 1, '.');
  if (is_apostrophe(code.value) && class_before_ == CharClass::Letter && after == CharClass::Letter)
    return begin_part(Joint::Apostrophe, code.bytes, 0);
  if (code.value == ',' && thousands()) {
    at_++;
    return true;
  }
  return false;
}

// At a comma between digits with exactly three digits after it: 1,000.
bool Segmenter::thousands() const {
  if (class_before_ != CharClass::Digit) return false;
  for (size_t i = 1; i <= 3; i++)
    if (peek(at_ + i).value - '0' >= 10) return false;
  return peek(at_ + 4).value - '0' >= 10;
}

// Closes the part before and begins the next one after `text_skipped` bytes; `folded`, unless zero,
// is what the joint is in the term. False: no room, the word ends here.
bool Segmenter::begin_part(Joint joint, uint32_t text_skipped, char folded) {
  if (part_count_ == kMaxParts) return false;
  if (folded) word_[word_bytes_++] = folded;
  at_ += text_skipped;
  if (joint != Joint::Case) {
    class_before_ = CharClass::Separator;
    before_ = joint == Joint::Dot ? 0 : '_';
  }
  const uint32_t start = static_cast<uint32_t>(at_);
  parts_[part_count_++] = {word_bytes_, word_bytes_, start, start, joint};
  return true;
}

void Segmenter::emit_word() {
  pending_at_ = pending_count_ = terms_bytes_ = 0;
  uint32_t pieces = 1;
  for (uint32_t i = 1; i < part_count_; i++) pieces += parts_[i].joint == Joint::Dot;
  if (pieces > 1) emit(0, word_bytes_, parts_[0].start, static_cast<uint32_t>(at_), false);
  const bool number = std::all_of(word_, word_ + word_bytes_, [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
  if (pieces > 1 && number) return;
  for (uint32_t first = 0; first < part_count_;) {
    uint32_t last = first + 1;
    while (last < part_count_ && parts_[last].joint != Joint::Dot) last++;
    emit_piece(first, last);
    first = last;
  }
}

// The parts [first, last) between two dots: all of it, then the parts.
void Segmenter::emit_piece(uint32_t first, uint32_t last) {
  while (last - first > 1 && parts_[last - 1].joint == Joint::Apostrophe && parts_[last - 1].size() == 1 &&
         word_[parts_[last - 1].from] == 's')
    last--;
  const Part& tail = parts_[last - 1];
  // An underscore at the end belongs to the word; its part is empty.
  emit(parts_[first].from, tail.to, parts_[first].start, std::max(tail.start, tail.end), true);
  if (last - first == 1) return;
  for (uint32_t i = first; i < last; i++) {
    const Part& part = parts_[i];
    const bool after_apostrophe = i > first && part.joint == Joint::Apostrophe;
    const bool before_apostrophe = i + 1 < last && parts_[i + 1].joint == Joint::Apostrophe;
    if (part.size() < (after_apostrophe || before_apostrophe ? 3 : 2)) continue;
    if (before_apostrophe && parts_[i + 1].size() < 3) continue;
    emit(part.from, part.to, part.start, part.end, true);
  }
}

void Segmenter::emit(uint32_t from, uint32_t to, uint32_t start, uint32_t end, bool to_singular) {
  std::string_view term(word_ + from, to - from);
  if (term.find_first_not_of('_') == std::string_view::npos) return;
  if (term.size() > kMaxTermBytes) {
    size_t keep = kMaxTermBytes;
    while ((term[keep] & 0xC0) == 0x80) keep--;
    term = term.substr(0, keep);
  }
  const Stem singular = to_singular ? stem(term) : Stem{term.size(), {}};
  const uint32_t at = terms_bytes_;
  memcpy(terms_ + at, term.data(), singular.keep);
  if (!singular.append.empty()) memcpy(terms_ + at + singular.keep, singular.append.data(), singular.append.size());
  const uint32_t bytes = static_cast<uint32_t>(singular.keep + singular.append.size());
  terms_bytes_ += bytes;
  pending_[pending_count_++] = {start, end, at, bytes};
}

// The pair of the last character and the next; at the end of the run, the last one alone.
bool Segmenter::next_bigram(Token& token) {
  if (read_cluster(current_)) {
    memcpy(bigram_, previous_.data, previous_.bytes);
    memcpy(bigram_ + previous_.bytes, current_.data, current_.bytes);
    token = {previous_.start, current_.end, {bigram_, previous_.bytes + current_.bytes}, false};
    previous_ = current_;
    run_ = 2;
    return true;
  }
  const bool lone = run_ == 1;
  run_ = 0;
  if (query_ && !lone) return false;
  memcpy(bigram_, previous_.data, previous_.bytes);
  token = {previous_.start, previous_.end, {bigram_, previous_.bytes}, lone};
  return true;
}

// A character of a script without spaces, with what is written on it.
bool Segmenter::read_cluster(Cluster& cluster) {
  CodePoint code = peek(at_);
  if (char_class(code.value) != CharClass::Bigram) return false;
  cluster.start = static_cast<uint32_t>(at_);
  uint32_t base = fold_one(code.value);
  char marks[kClusterBytes];
  uint32_t marks_bytes = 0;
  for (at_ += code.bytes; (code = peek(at_)).bytes; at_ += code.bytes) {
    const CharClass kind = char_class(code.value);
    const uint32_t folded = fold_one(code.value);
    const uint32_t composed = marks_bytes ? 0 : compose(base, folded);
    if (composed) {
      base = composed;
    } else if (kind == CharClass::Mark) {
      if (marks_bytes + 8 <= kClusterBytes) marks_bytes += encode_utf8(folded, marks + marks_bytes);
    } else if (kind != CharClass::Ignored) {
      break;
    }
  }
  cluster.end = static_cast<uint32_t>(at_);
  cluster.bytes = encode_utf8(base, cluster.data);
  memcpy(cluster.data + cluster.bytes, marks, marks_bytes);
  cluster.bytes += marks_bytes;
  return true;
}
