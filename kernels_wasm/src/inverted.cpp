#include "inverted.h"

#include <algorithm>

#include "segment.h"
#include "xxh64.h"

namespace {
uint32_t hash_of(std::string_view term) { return static_cast<uint32_t>(xxh64(term.data(), term.size())); }
}  // namespace

uint32_t InvertedIndex::add(uint32_t row, std::string_view text) {
  uint32_t length = 0;
  Segmenter segmenter(text);
  for (Token token; segmenter.next(token); length++) {
    Term& term = terms_[find_or_add(token.term)];
    if (term.last != kNone && postings_[term.last].row == row) {
      postings_[term.last].frequency++;
      continue;
    }
    postings_.push_back({row, 1, term.last});
    term.last = static_cast<uint32_t>(postings_.size() - 1);
    term.rows++;
  }
  return length;
}

uint32_t InvertedIndex::find(std::string_view term) const {
  if (places_.empty()) return kNone;
  const uint32_t hash = hash_of(term);
  for (size_t place = hash & (places_.size() - 1); places_[place]; place = (place + 1) & (places_.size() - 1)) {
    const uint32_t i = places_[place] - 1;
    if (terms_[i].hash == hash && this->term(i) == term) return i;
  }
  return kNone;
}

uint32_t InvertedIndex::find_or_add(std::string_view term) {
  if (places_.size() < 2 * terms_.size() + 2) grow();
  const uint32_t hash = hash_of(term);
  size_t place = hash & (places_.size() - 1);
  for (; places_[place]; place = (place + 1) & (places_.size() - 1)) {
    const uint32_t i = places_[place] - 1;
    if (terms_[i].hash == hash && this->term(i) == term) return i;
  }
  terms_.push_back({static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(term.size()), 0, kNone, hash});
  text_.insert(text_.end(), term.begin(), term.end());
  places_[place] = static_cast<uint32_t>(terms_.size());
  return static_cast<uint32_t>(terms_.size() - 1);
}

void InvertedIndex::grow() {
  const size_t size = std::max<size_t>(places_.size() * 2, 1024);
  places_.assign(size, 0);
  for (size_t i = 0; i < terms_.size(); i++) {
    size_t place = terms_[i].hash & (size - 1);
    while (places_[place]) place = (place + 1) & (size - 1);
    places_[place] = static_cast<uint32_t>(i + 1);
  }
}

size_t InvertedIndex::bytes() const {
  return text_.size() + terms_.size() * sizeof(Term) + postings_.size() * sizeof(Posting) + places_.size() * 4;
}

size_t InvertedIndex::memory() const {
  return text_.capacity() + terms_.capacity() * sizeof(Term) + postings_.capacity() * sizeof(Posting) + places_.capacity() * 4;
}

void InvertedIndex::clear() {
  text_.clear();
  terms_.clear();
  postings_.clear();
  std::fill(places_.begin(), places_.end(), 0);
}
