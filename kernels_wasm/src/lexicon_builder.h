// Builds the section LEXICON and the head chunk LEXI (docs/format.md) from the rows' texts.
//
// Texts are inverted in memory; what outgrows the budget leaves as a sorted run (take_spill). finish
// merges the runs, whatever their number, into the same bytes.
#pragma once
#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

#include "head.h"
#include "inverted.h"
#include "lexicon_runs.h"
#include "section_writer.h"

// A list with more bytes may begin on a page that does not hold all of it; a shorter one never does.
inline constexpr uint32_t kLongPostingBytes = 2048;

// Lays entries out on pages.
class LexiconWriter {
 public:
  explicit LexiconWriter(PageQueue& queue) : writer_(Section::Lexicon, queue) {}
  // Terms come in byte order. `postings` as encode_postings left them.
  void add(std::string_view term, uint32_t count, uint8_t greatest_impact, const ByteWriter& postings);
  // LEXI: statistics, then the directory of pages.
  int32_t finish(HeadWriter& head, uint32_t rows, float average_length);

 private:
  void end_page(uint32_t span);

  SectionWriter writer_;
  ByteWriter page_, directory_;
  std::string before_;             // the term before
  std::string separator_;          // of the page being filled, once an entry is on it
  std::string written_separator_;  // the last one in the directory
  uint32_t written_pages_ = 0;     // pages up to and with that one
  uint32_t entries_ = 0;           // on the page
  uint32_t terms_ = 0;
};

class LexiconBuilder {
 public:
  // `budget`: bytes of postings held before a run is spilled.
  LexiconBuilder(PageQueue& queue, uint32_t budget) : writer_(queue), budget_(budget) {}

  // Rows come in order, from 0 on; a row without text takes an empty one.
  int32_t add(std::string_view text);
  // A run to be stored, or null. Runs are numbered in the order they are taken; the bytes hold until
  // the next call.
  const ByteWriter* take_spill();

  // True: finish needs bytes of run `run` from `offset` on. Any number of them helps.
  bool run_wanted(uint32_t& run, uint32_t& offset) const;
  int32_t run_feed(const void* data, uint32_t bytes);  // of the run wanted
  // PW_NEED: call again, after run_feed when run_wanted. PW_DONE: section and chunk are written.
  int32_t finish(HeadWriter& head);

 private:
  void begin_merge();
  int32_t prepare();
  int32_t collect(RunReader& run);
  void write_term();
  int32_t fail_run() const;

  LexiconWriter writer_;
  uint32_t budget_;
  InvertedIndex index_;
  std::vector<uint32_t> lengths_;  // terms of each row
  uint64_t total_length_ = 0;
  float average_length_ = 0;
  ByteWriter spill_;
  bool spill_full_ = false;
  std::vector<uint64_t> run_bytes_;  // of the runs taken

  bool merging_ = false, collecting_ = false;
  std::vector<RunReader> runs_;
  uint32_t run_ = 0;  // the one that is read, or waits for bytes
  std::string term_;  // being collected
  std::vector<uint32_t> rows_;
  std::vector<uint8_t> impacts_;
  ByteWriter coded_;
};
