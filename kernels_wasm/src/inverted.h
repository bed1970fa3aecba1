// An inverted index in memory: what the builder collects before it spills, and what inserted rows
// are found by.
#pragma once
#include <stdint.h>

#include <string_view>
#include <vector>

class InvertedIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  struct Posting {
    uint32_t row, frequency;
    uint32_t before;  // the term's posting before, or kNone
  };

  // Segments `text` and adds its terms. Rows come in ascending order. Gives the number of terms.
  uint32_t add(uint32_t row, std::string_view text);

  uint32_t terms() const { return static_cast<uint32_t>(terms_.size()); }
  std::string_view term(uint32_t term) const { return {text_.data() + terms_[term].at, terms_[term].bytes}; }
  uint32_t find(std::string_view term) const;  // or kNone
  // How many rows have it, and its last posting: a term's postings are linked from last to first.
  uint32_t row_count(uint32_t term) const { return terms_[term].rows; }
  uint32_t last(uint32_t term) const { return terms_[term].last; }
  const Posting& posting(uint32_t i) const { return postings_[i]; }

  size_t bytes() const;   // that the contents take
  size_t memory() const;  // that is held for them
  void clear();          // keeps the memory

 private:
  struct Term {
    uint32_t at, bytes;  // of text_
    uint32_t rows, last;
    uint32_t hash;
  };
  uint32_t find_or_add(std::string_view term);
  void grow();

  std::vector<char> text_;
  std::vector<Term> terms_;
  std::vector<Posting> postings_;
  std::vector<uint32_t> places_;  // open addressing by hash: term + 1, or 0
};
