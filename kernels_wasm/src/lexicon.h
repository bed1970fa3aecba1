// The terms of an index and where their postings are: the section LEXICON and the head chunk LEXI
// (docs/format.md), and the inverted index of inserted rows.
#pragma once
#include <stdint.h>

#include <string_view>
#include <vector>

#include "inverted.h"

class Head;
class Index;

// The entry of a term, as it stands on a page.
struct TermEntry {
  uint32_t page;     // in the file
  uint32_t at;       // of the first byte of its postings on the page
  uint32_t here;     // bytes of them on this page
  uint32_t bytes;    // in all; the rest is in the pages after it
  uint32_t count;    // postings
  uint32_t greatest_impact;
};

// The entries of one page in order.
class LexiconPage {
 public:
  // `bytes` is a page of the file, `number` its number; the postings of its last entry go on in the
  // `span` pages after it. A term is in at most `rows` rows.
  LexiconPage(const uint8_t* bytes, uint32_t number, uint32_t span, uint32_t rows);
  // False: after the last entry, or at one that makes no sense (then status() is not PW_DONE).
  bool next(TermEntry& entry);
  std::string_view term() const { return {term_, term_bytes_}; }
  int32_t status() const;

 private:
  const uint8_t* bytes_;
  uint32_t number_, span_, rows_;
  uint32_t at_, left_;
  bool corrupt_ = false;
  char term_[64];
  uint32_t term_bytes_ = 0;
};

inline constexpr uint32_t kLexiconPageHeader = 4;  // u16 tail bytes, u16 entries
inline constexpr uint32_t kLexiconTail = 16384 - kLexiconPageHeader;
// The part of a list that page `number`, after the first, holds: `left` bytes or a whole page.
// Null when the page does not say so.
const uint8_t* lexicon_tail(const uint8_t* page, uint32_t left);

class Lexicon {
 public:
  int32_t open(const Index& index);
  int32_t open(const Head& head);

  bool enabled() const { return enabled_; }  // the index was built with keyword search
  uint32_t rows() const { return rows_; }
  uint32_t terms() const { return terms_; }

  // A page on which entries begin.
  struct Page {
    uint32_t number;     // in the file
    uint32_t span;       // pages after it in which the postings of its last entry go on
    uint32_t separator;  // its text, in text_: not after the first term, after all terms before it
    uint32_t last_term;  // where span > 0: the text of the last entry's term
    uint16_t separator_bytes, last_term_bytes;
  };
  const std::vector<Page>& pages() const { return pages_; }
  // The one page on which `term` can stand, as an index of pages(), or -1.
  int32_t page_of(std::string_view term) const;
  std::string_view last_term(const Page& page) const { return {text_.data() + page.last_term, page.last_term_bytes}; }

  // --- inserted rows ---
  // Takes in the texts of rows inserted since the last call: keyword search does so when it begins,
  // so that inserting alone does not pay for it. False: there were none.
  bool catch_up(const Index& index);
  const InvertedIndex& inserted() const { return inserted_; }
  uint32_t inserted_length(uint32_t i) const { return inserted_lengths_[i]; }  // terms; i = row - base_rows()
  // Lengths are measured against that of the base, or without one, of the inserted rows.
  float average_length() const;
  size_t inserted_bytes() const { return inserted_.memory() + inserted_lengths_.capacity() * 4; }

 private:
  std::string_view separator(const Page& page) const { return {text_.data() + page.separator, page.separator_bytes}; }

  bool enabled_ = false;
  uint32_t rows_ = 0, terms_ = 0;
  float average_length_ = 0;
  std::vector<Page> pages_;
  std::vector<char> text_;
  InvertedIndex inserted_;
  std::vector<uint32_t> inserted_lengths_;
  uint64_t inserted_total_ = 0;
};
