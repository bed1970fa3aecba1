#include "lexicon.h"

#include <math.h>

#include <algorithm>

#include "delta.h"
#include "index.h"
#include "postings.h"
#include "segment.h"
#include "status.h"

LexiconPage::LexiconPage(const uint8_t* bytes, uint32_t number, uint32_t span, uint32_t rows)
    : bytes_(bytes), number_(number), span_(span), rows_(rows) {
  uint16_t header[2];
  memcpy(header, bytes, kLexiconPageHeader);
  at_ = kLexiconPageHeader + header[0];
  left_ = header[1];
  corrupt_ = at_ > kPageBytes;
}

bool LexiconPage::next(TermEntry& entry) {
  if (corrupt_ || left_ == 0) return false;
  left_--;
  ByteReader reader(bytes_ + at_, kPageBytes - at_);
  const uint32_t shared = reader.varint();
  const uint32_t suffix = reader.varint();
  const std::string_view text = reader.text(suffix);
  entry.count = reader.varint();
  entry.greatest_impact = reader.get<uint8_t>();
  entry.bytes = reader.varint();
  corrupt_ = true;
  if (!reader.ok() || shared > term_bytes_ || suffix > kMaxTermBytes - shared) return false;
  memcpy(term_ + shared, text.data(), suffix);
  term_bytes_ = shared + suffix;
  // A posting takes two bytes at least; only the last list goes on beyond the page, as the head knows.
  if (term_bytes_ == 0 || entry.count == 0 || entry.count > rows_ || entry.bytes / 2 < entry.count) return false;
  entry.page = number_;
  entry.at = at_ + static_cast<uint32_t>(reader.at());
  entry.here = std::min(entry.bytes, kPageBytes - entry.at);
  const uint32_t beyond = entry.bytes - entry.here;
  if (beyond > 0 && (left_ > 0 || (beyond - 1) / kLexiconTail + 1 != span_)) return false;
  at_ = entry.at + entry.here;
  corrupt_ = false;
  return true;
}

int32_t LexiconPage::status() const {
  return corrupt_ ? fail(PW_CORRUPT, "lexicon: page %u has an entry that makes no sense, before byte %u", number_, at_)
                  : PW_DONE;
}

const uint8_t* lexicon_tail(const uint8_t* page, uint32_t left) {
  uint16_t tail;
  memcpy(&tail, page, sizeof tail);
  return tail == std::min(left, kLexiconTail) ? page + kLexiconPageHeader : nullptr;
}

int32_t Lexicon::open(const Index& index) { return open(index.head); }

int32_t Lexicon::open(const Head& head) {
  const SectionRange section = head.section(Section::Lexicon);
  const std::span<const uint8_t> chunk = head.chunk(kTagLexicon);
  pages_.clear();
  text_.clear();
  enabled_ = !chunk.empty();
  if (!enabled_) return PW_DONE;
  ByteReader reader(chunk.data(), chunk.size());
  rows_ = reader.get<uint32_t>();
  terms_ = reader.get<uint32_t>();
  average_length_ = reader.get<float>();
  const float k1 = reader.get<float>(), b = reader.get<float>();
  if (!reader.ok() || rows_ != head.rows || !(average_length_ >= 0) || isinf(average_length_) || k1 != kBm25K1 || b != kBm25B)
    return fail(PW_CORRUPT, "index head: LEXI has %u rows, expected %u, an average length and the k1 and b of this format",
                rows_, head.rows);
  // A term and the one it is coded against: shared bytes, then what differs.
  const auto read_text = [&](std::string_view against, uint32_t& at, uint16_t& bytes) {
    const uint32_t shared = reader.varint();
    const std::string_view rest = reader.text(reader.varint());
    if (!reader.ok() || shared > against.size() || shared + rest.size() > kMaxTermBytes || shared + rest.size() == 0) return false;
    char text[kMaxTermBytes];
    if (shared != 0) memcpy(text, against.data(), shared);
    if (!rest.empty()) memcpy(text + shared, rest.data(), rest.size());
    at = static_cast<uint32_t>(text_.size());
    bytes = static_cast<uint16_t>(shared + rest.size());
    text_.insert(text_.end(), text, text + bytes);
    return true;
  };
  text_.reserve(chunk.size() * 2);
  for (uint64_t next = 0; reader.left() > 0;) {
    Page page{};
    next += reader.varint();
    const std::string_view previous = pages_.empty() ? std::string_view() : separator(pages_.back());
    bool ok = read_text(previous, page.separator, page.separator_bytes);
    page.span = reader.varint();
    ok = ok && reader.ok() && next + page.span < section.pages;
    if (ok && page.span > 0) ok = read_text(separator(page), page.last_term, page.last_term_bytes);
    ok = ok && (pages_.empty() || separator(page) > separator(pages_.back()));
    ok = ok && (pages_.empty() || next + section.first_page >= pages_.back().number + pages_.back().span);
    if (!ok)
      return fail(PW_CORRUPT, "index head: LEXI: the entry of page %llu (%zu of the directory) makes no sense",
                  static_cast<unsigned long long>(next), pages_.size());
    page.number = section.first_page + static_cast<uint32_t>(next);
    pages_.push_back(page);
    next++;
  }
  pages_.shrink_to_fit();
  text_.shrink_to_fit();
  return PW_DONE;
}

int32_t Lexicon::page_of(std::string_view term) const {
  const auto after = std::upper_bound(pages_.begin(), pages_.end(), term,
                                      [this](std::string_view t, const Page& page) { return t < separator(page); });
  return static_cast<int32_t>(after - pages_.begin()) - 1;
}

bool Lexicon::catch_up(const Index& index) {
  if (!enabled_ || inserted_lengths_.size() == index.delta->rows()) return false;
  for (uint32_t i = static_cast<uint32_t>(inserted_lengths_.size()); i < index.delta->rows(); i++) {
    const uint32_t row = index.base_rows() + i;
    inserted_lengths_.push_back(inserted_.add(row, index.delta->text(row)));
    inserted_total_ += inserted_lengths_.back();
  }
  return true;
}

float Lexicon::average_length() const {
  if (average_length_ > 0 || inserted_lengths_.empty()) return average_length_;
  return static_cast<float>(static_cast<double>(inserted_total_) / static_cast<double>(inserted_lengths_.size()));
}
