#include "text_query.h"

#include <algorithm>

#include "index.h"
#include "sort.h"
#include "status.h"

namespace {

bool more_frequent(const TermEntry& a, const TermEntry& b) {
  if (a.count != b.count) return a.count > b.count;
  return a.page != b.page ? a.page < b.page : a.at < b.at;
}

}  // namespace

void TextQuery::begin(std::string_view text, bool prefix) {
  terms_.clear();
  lists_.clear();
  bytes_.clear();
  candidates_.clear();
  pages_hit = pages_missed = 0;
  Segmenter segmenter(text, true);
  uint32_t last = kMaxQueryTerms;
  bool typed = false;
  for (Token token; segmenter.next(token);) {
    last = add_term(token.term);
    if (last == kMaxQueryTerms) continue;
    if (token.lone_character) terms_[last].prefix = true;
    // The singular of a plural is no prefix of what was typed: that word is whole.
    typed = token.end == text.size() && (token.term.back() == 's' || (text.back() | 32) != 's');
  }
  if (!prefix || !typed || last == kMaxQueryTerms) return;
  const std::string_view term = terms_[last].view();
  uint32_t characters = 0;
  for (char c : term) characters += (c & 0xC0) != 0x80;
  if (characters >= kMinPrefixCharacters) terms_[last].prefix = true;
}

// Its number; kMaxQueryTerms when there is no room.
uint32_t TextQuery::add_term(std::string_view text) {
  uint32_t number = 0;
  for (; number < terms_.size(); number++) {
    if (terms_[number].view() != text) continue;
    terms_[number].times++;
    return number;
  }
  if (number == kMaxQueryTerms) return number;
  Term term{};
  std::copy(text.begin(), text.end(), term.text);
  term.bytes = static_cast<uint32_t>(text.size());
  term.times = 1;
  terms_.push_back(term);
  return number;
}

const uint8_t* TextQuery::find(uint32_t page) {
  const uint8_t* bytes = index_.pages.find(page);
  if (bytes) pages_hit++;
  return bytes;
}

void TextQuery::want(uint32_t page) {
  if (wanted_->size() >= wanted_limit_ || std::find(wanted_->begin(), wanted_->end(), page) != wanted_->end()) return;
  wanted_->push_back(page);
  pages_missed++;
}

int32_t TextQuery::step(std::vector<uint32_t>& wanted, size_t room) {
  const size_t before = wanted.size();
  wanted_ = &wanted;
  wanted_limit_ = before + room;
  bool exact = true;
  for (uint32_t i = 0; i < terms_.size(); i++) {
    if (int32_t status = find_exact(i)) return status;
    exact = exact && terms_[i].found;
  }
  // One prefix after another, and after all terms themselves: which lists fit is then always the same.
  for (uint32_t i = 0; i < terms_.size(); i++) {
    if (!terms_[i].prefix || terms_[i].expanded) continue;
    if (int32_t status = find_expansions(i)) return status;
    if (!exact || !terms_[i].expanded) break;
  }
  for (List& list : lists_)
    if (int32_t status = copy(list)) return status;
  return wanted.size() > before ? PW_NEED : PW_DONE;
}

int32_t TextQuery::find_exact(uint32_t number) {
  Term& term = terms_[number];
  if (term.found) return PW_DONE;
  const Lexicon& lexicon = *index_.lexicon;
  const int32_t place = lexicon.page_of(term.view());
  if (place < 0) {
    term.found = true;
    return PW_DONE;
  }
  const Lexicon::Page& page = lexicon.pages()[static_cast<uint32_t>(place)];
  const uint8_t* bytes = find(page.number);
  if (!bytes) {
    // The head knows how long the lists are that leave a page: all of one is asked for at once.
    const bool spans = page.span > 0 && lexicon.last_term(page) == term.view();
    for (uint32_t i = 0; i <= (spans ? page.span : 0); i++)
      if (i == 0 || !index_.pages.find(page.number + i)) want(page.number + i);
    return PW_DONE;
  }
  LexiconPage entries(bytes, page.number, page.span, lexicon.rows());
  for (TermEntry entry; entries.next(entry) && entries.term() <= term.view();)
    if (entries.term() == term.view()) {
      term.rows[0] += entry.count;
      add_list(entry, number, false);
      break;
    }
  term.found = true;
  return entries.status();
}

int32_t TextQuery::find_expansions(uint32_t number) {
  Term& term = terms_[number];
  const Lexicon& lexicon = *index_.lexicon;
  if (term.end == 0) {
    char past[kMaxTermBytes + 1];
    std::copy(term.text, term.text + term.bytes, past);
    past[term.bytes] = '\xFF';  // in no UTF-8
    term.next = static_cast<uint32_t>(std::max(lexicon.page_of(term.view()), 0));
    term.end = std::min(static_cast<uint32_t>(lexicon.page_of({past, term.bytes + 1}) + 1), term.next + kMaxPrefixPages);
  }
  for (; term.next < term.end; term.next++) {
    const Lexicon::Page& page = lexicon.pages()[term.next];
    const uint8_t* bytes = find(page.number);
    if (!bytes) break;
    if (int32_t status = read_candidates(term, page, bytes)) return status;
  }
  for (uint32_t i = term.next; i < term.end; i++)
    if (!index_.pages.find(lexicon.pages()[i].number)) want(lexicon.pages()[i].number);
  for (const Term& one : terms_)
    if (!one.found) return PW_DONE;
  if (term.next < term.end) return PW_DONE;
  sort_items(candidates_.begin(), candidates_.end(), more_frequent);
  for (const TermEntry& entry : candidates_) {
    if (lists_.size() == kMaxQueryTerms + kMaxExpansions) break;
    add_list(entry, number, true);
  }
  candidates_.clear();
  term.expanded = true;
  return PW_DONE;
}

// Keeps the most frequent terms that begin with the prefix and are not the prefix itself.
int32_t TextQuery::read_candidates(const Term& term, const Lexicon::Page& page, const uint8_t* bytes) {
  LexiconPage entries(bytes, page.number, page.span, index_.lexicon->rows());
  for (TermEntry entry; entries.next(entry);) {
    if (!entries.term().starts_with(term.view()) || entries.term() == term.view()) continue;
    candidates_.push_back(entry);
    std::push_heap(candidates_.begin(), candidates_.end(), more_frequent);
    if (candidates_.size() <= kMaxPrefixTerms) continue;
    std::pop_heap(candidates_.begin(), candidates_.end(), more_frequent);
    candidates_.pop_back();
  }
  return entries.status();
}

void TextQuery::add_list(const TermEntry& entry, uint32_t term, bool expansion) {
  lists_.push_back({entry, term, expansion, bytes_.size(), 0});
  bytes_.resize(bytes_.size() + entry.bytes);
}

int32_t TextQuery::copy(List& list) {
  const TermEntry& entry = list.entry;
  while (list.copied < entry.bytes) {
    const bool first = list.copied < entry.here;
    const uint32_t page = entry.page + (first ? 0 : 1 + (list.copied - entry.here) / kLexiconTail);
    const uint8_t* from = find(page);
    if (!from) break;
    const uint32_t left = entry.bytes - list.copied;
    const uint32_t part = std::min(left, first ? entry.here : kLexiconTail);
    from = first ? from + entry.at : lexicon_tail(from, left);
    if (!from)
      return fail(PW_CORRUPT, "lexicon: page %u does not go on with the postings of page %u", page, entry.page);
    std::copy(from, from + part, bytes_.data() + list.at + list.copied);
    list.copied += part;
  }
  if (list.copied == entry.bytes) return PW_DONE;
  const uint32_t next = list.copied < entry.here ? 0 : 1 + (list.copied - entry.here) / kLexiconTail;
  const uint32_t last = (entry.bytes - entry.here + kLexiconTail - 1) / kLexiconTail;
  for (uint32_t i = next; i <= last; i++)
    if (!index_.pages.find(entry.page + i)) want(entry.page + i);
  return PW_DONE;
}

