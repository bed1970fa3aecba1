// A keyword query on its way: its terms, the posting lists they need, and the pages those need.
#pragma once
#include <stdint.h>

#include <string_view>
#include <vector>

#include "bm25.h"
#include "bytes.h"
#include "lexicon.h"
#include "posting_union.h"
#include "segment.h"

class Index;

inline constexpr uint32_t kMaxQueryTerms = 64;       // further ones are left out
inline constexpr uint32_t kMaxPrefixTerms = 64;      // a prefix stands for the most frequent of its terms
inline constexpr uint32_t kMaxExpansions = 256;      // of all prefixes of a query
inline constexpr uint32_t kMaxPrefixPages = 8;       // among those on so many pages
inline constexpr uint32_t kMinPrefixCharacters = 2;  // of the word being typed

class TextQuery {
 public:
  explicit TextQuery(Index& index) : index_(index) {}

  // Cuts the text into terms. `prefix`: the last word, if the text ends with it, is still being typed.
  void begin(std::string_view text, bool prefix);
  // Gathers the posting lists. PW_NEED: pages were appended to `wanted`, `room` at most. Lists are
  // copied out of the pages: a long one may exceed the cache, and no page stays pinned.
  int32_t step(std::vector<uint32_t>& wanted, size_t room);
  // After PW_DONE: scores the base's rows, then the inserted ones below `end_row`.
  int32_t score(Bm25& bm25, uint32_t end_row, const Bitmap* passing);
  // A part of score(), called through parts.h: the lists of inserted rows.
  void gather_inserted(uint32_t end_row);

  uint32_t pages_hit = 0, pages_missed = 0;

 private:
  struct Term {
    char text[kMaxTermBytes];
    uint32_t bytes, times;
    bool prefix;                      // also stands for the terms that begin with it
    bool found, expanded;             // its lists are in lists_
    uint32_t next, end;               // expanding: the directory's pages still to be read
    uint32_t rows[2];                 // with the term itself; with one that begins with it
    std::string_view view() const { return {text, bytes}; }
  };
  struct List {
    TermEntry entry;
    uint32_t term;   // of terms_
    bool expansion;  // of the prefix, not the term itself
    size_t at;       // in bytes_
    uint32_t copied;
  };
  struct CodedList {
    uint32_t term, count, greatest;
    bool expansion;
    size_t at, bytes;  // in coded_
  };

  uint32_t add_term(std::string_view text);
  const uint8_t* find(uint32_t page);
  void want(uint32_t page);
  int32_t find_exact(uint32_t term);
  int32_t find_expansions(uint32_t term);
  int32_t read_candidates(const Term& term, const Lexicon::Page& page, const uint8_t* bytes);
  int32_t copy(List& list);
  void add_list(const TermEntry& entry, uint32_t term, bool expansion);
  int32_t unite_expansions(uint32_t term);
  void unite_inserted(uint32_t term, uint32_t end_row);
  void read_inserted(uint32_t number, uint32_t end_row);
  void add_coded(std::vector<CodedList>& lists, uint32_t term, bool expansion, std::span<const uint32_t> rows,
                 std::span<const uint8_t> impacts);

  Index& index_;
  std::vector<Term> terms_;
  std::vector<List> lists_;
  std::vector<uint8_t> bytes_;
  std::vector<TermEntry> candidates_;  // of the prefix being expanded: a heap, the rarest in front
  std::vector<uint32_t>* wanted_ = nullptr;
  size_t wanted_limit_ = 0;

  // What score() makes: the expansions of a prefix as one list, and the lists of inserted rows.
  std::vector<CodedList> lists_of_base_, lists_of_inserted_;
  ByteWriter coded_;
  PostingUnion union_;
  std::vector<PostingUnion::Source> sources_;
  ByteWriter source_bytes_;           // of inserted terms to be united
  std::vector<size_t> source_ends_;   // in it
  std::vector<const List*> scanned_;  // the lists that were given to bm25 or union_
  std::vector<uint32_t> rows_;
  std::vector<uint8_t> impacts_;
  std::vector<uint32_t> matching_;  // inserted terms with a prefix
  std::vector<PostingList> posting_lists_;
};
