#include "lexicon_builder.h"

#include <algorithm>

#include "postings.h"
#include "status.h"

namespace {

constexpr uint32_t kPageHeader = 4;  // u16 tail bytes, u16 entries

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}
void put_coded(ByteWriter& out, std::string_view text, std::string_view before) {
  const size_t shared = common_prefix(text, before);
  out.varint(static_cast<uint32_t>(shared));
  out.varint(static_cast<uint32_t>(text.size() - shared));
  out.text(text.substr(shared));
}

}  // namespace

void LexiconWriter::add(std::string_view term, uint32_t count, uint8_t greatest_impact, const ByteWriter& postings) {
  ByteWriter entry;
  for (;;) {
    if (page_.size() == 0) {
      page_.put(uint32_t{0});
      entries_ = 0;
    }
    entry.clear();
    put_coded(entry, term, entries_ ? before_ : std::string_view());
    entry.varint(count);
    entry.put(greatest_impact);
    entry.varint(static_cast<uint32_t>(postings.size()));
    const size_t room = kPageBytes - page_.size();
    if (entry.size() + postings.size() <= room) break;
    if (entry.size() < room && postings.size() > kLongPostingBytes) break;
    end_page(0);
  }
  // The directory names a page by the shortest string that parts its first term from the one before.
  if (entries_++ == 0) separator_ = term.substr(0, std::min(term.size(), common_prefix(term, before_) + 1));
  page_.put(entry.data(), entry.size());
  size_t done = std::min(postings.size(), kPageBytes - page_.size());
  page_.put(postings.data(), done);
  before_ = term;
  terms_++;
  if (done == postings.size()) {
    if (page_.size() == kPageBytes) end_page(0);
    return;
  }
  const uint32_t part = kPageBytes - kPageHeader;
  end_page(static_cast<uint32_t>((postings.size() - done + part - 1) / part));
  while (done < postings.size()) {
    const size_t bytes = std::min<size_t>(part, postings.size() - done);
    page_.put(static_cast<uint16_t>(bytes));
    page_.put(uint16_t{0});
    page_.put(postings.data() + done, bytes);
    done += bytes;
    if (page_.size() == kPageBytes) end_page(0);
  }
}

// `span`: pages after this one that the postings of its last entry go on in.
void LexiconWriter::end_page(uint32_t span) {
  if (entries_ > 0) {
    directory_.varint(writer_.pages() - written_pages_);
    put_coded(directory_, separator_, written_separator_);
    directory_.varint(span);
    if (span) put_coded(directory_, before_, separator_);
    written_separator_ = separator_;
    written_pages_ = writer_.pages() + 1;
  }
  page_.patch(2, static_cast<uint16_t>(entries_));
  writer_.put(page_.data(), page_.size());
  writer_.end_page();
  page_.clear();
  entries_ = 0;
}

int32_t LexiconWriter::finish(HeadWriter& head, uint32_t rows, float average_length) {
  if (page_.size()) end_page(0);
  ByteWriter chunk;
  chunk.put(rows);
  chunk.put(terms_);
  chunk.put(average_length);
  chunk.put(kBm25K1);
  chunk.put(kBm25B);
  chunk.put(directory_.data(), directory_.size());
  head.section(writer_);
  head.chunk(kTagLexicon, chunk);
  return PW_DONE;
}

int32_t LexiconBuilder::add(std::string_view text) {
  const uint32_t length = index_.add(static_cast<uint32_t>(lengths_.size()), text);
  lengths_.push_back(length);
  total_length_ += length;
  if (index_.bytes() > budget_ && !spill_full_) {
    spill_.clear();
    write_run(index_, spill_);
    index_.clear();
    spill_full_ = true;
  }
  return PW_DONE;
}

const ByteWriter* LexiconBuilder::take_spill() {
  if (!spill_full_) return nullptr;
  spill_full_ = false;
  run_bytes_.push_back(spill_.size());
  return &spill_;
}

bool LexiconBuilder::run_wanted(uint32_t& run, uint32_t& offset) const {
  if (!merging_ || run_ >= run_bytes_.size() || runs_[run_].missing() == 0) return false;
  run = run_;
  offset = static_cast<uint32_t>(runs_[run_].fed());
  return true;
}

int32_t LexiconBuilder::run_feed(const void* data, uint32_t bytes) {
  uint32_t run, offset;
  if (!run_wanted(run, offset)) return fail(PW_STATE, "lexicon build: %u bytes of a run came, but none are wanted", bytes);
  if (bytes == 0 || bytes > runs_[run].missing())
    return fail(PW_BAD_ARGUMENT, "lexicon build: %u bytes of run %u from %u on, expected 1 to %llu", bytes, run, offset,
                static_cast<unsigned long long>(runs_[run].missing()));
  runs_[run].feed(data, bytes);
  return PW_DONE;
}

int32_t LexiconBuilder::finish(HeadWriter& head) {
  if (spill_full_) return fail(PW_STATE, "lexicon build: a spilled run was not taken before finish");
  if (!merging_) begin_merge();
  for (uint32_t terms = 0; terms < 20000; terms++) {
    if (!collecting_) {
      if (int32_t status = prepare()) return status;
      const RunReader* least = nullptr;
      for (const RunReader& run : runs_)
        if (!run.ended() && (!least || run.term() < least->term())) least = &run;
      if (!least) return writer_.finish(head, static_cast<uint32_t>(lengths_.size()), average_length_);
      term_ = least->term();
      collecting_ = true;
      run_ = 0;
    }
    for (; run_ < runs_.size(); run_++)
      if (int32_t status = collect(runs_[run_])) return status;
    write_term();
    collecting_ = false;
    run_ = 0;
  }
  return PW_NEED;
}

// What is still in memory is the last run; it never leaves.
void LexiconBuilder::begin_merge() {
  merging_ = true;
  average_length_ = lengths_.empty() ? 0 : static_cast<float>(static_cast<double>(total_length_) / static_cast<double>(lengths_.size()));
  for (uint64_t bytes : run_bytes_) runs_.emplace_back(bytes);
  spill_.clear();
  write_run(index_, spill_);
  index_ = InvertedIndex();
  runs_.emplace_back(spill_.size());
  runs_.back().feed(spill_.data(), spill_.size());
  spill_ = ByteWriter();
}

// Sees to it that every run has its next record at hand.
int32_t LexiconBuilder::prepare() {
  for (; run_ < runs_.size(); run_++)
    if (!runs_[run_].ready()) return runs_[run_].ok() ? PW_NEED : fail_run();
  return PW_DONE;
}

// Takes all records of term_ out of a run. Runs hold ascending rows, each those after the one before.
int32_t LexiconBuilder::collect(RunReader& run) {
  for (;;) {
    if (!run.ready()) return run.ok() ? PW_NEED : fail_run();
    if (run.ended() || run.term() != term_) return PW_DONE;
    ByteReader postings = run.postings();
    uint32_t row = 0;
    for (uint32_t i = 0; i < run.count(); i++) {
      const uint32_t step = postings.varint();
      const uint32_t frequency = postings.varint();
      row += step;
      if (!postings.ok() || row >= lengths_.size() || frequency == 0 || (!rows_.empty() && row <= rows_.back()))
        return fail_run();
      rows_.push_back(row);
      impacts_.push_back(bm25_impact(frequency, lengths_[row], average_length_));
    }
    run.consume();
  }
}

int32_t LexiconBuilder::fail_run() const {
  return fail(PW_CORRUPT, "lexicon build: run %u comes back other than it was spilled, before byte %llu", run_,
              static_cast<unsigned long long>(runs_[run_].fed()));
}

void LexiconBuilder::write_term() {
  coded_.clear();
  const uint8_t greatest = encode_postings(rows_, impacts_.data(), coded_);
  writer_.add(term_, static_cast<uint32_t>(rows_.size()), greatest, coded_);
  rows_.clear();
  impacts_.clear();
}
