// Sorted runs of the lexicon build: what outgrew its memory, in term order, to be merged at the end.
//
// A run is a sequence of records: varint term bytes, the term, varint postings, varint bytes, then
// for each posting varint row - row before (the first: row) and varint frequency. Terms ascend; one
// with many postings takes several records in a row, so a record fits in little memory.
#pragma once
#include <stdint.h>

#include <string>
#include <vector>

#include "inverted.h"
#include "bytes.h"

// Appends the whole index as one run.
void write_run(const InvertedIndex& index, ByteWriter& out);

// Reads a run chunk by chunk. After a failure ok() is false.
class RunReader {
 public:
  explicit RunReader(uint64_t bytes) : total_(bytes) {}

  // Bytes of the run handed over so far; the next ones start there.
  uint64_t fed() const { return fed_; }
  uint64_t missing() const { return total_ - fed_; }
  void feed(const void* data, size_t bytes);  // bytes <= missing()

  // True: term(), postings() are the next record's, or ended(). False: more bytes are needed first,
  // or the run is broken (!ok()).
  bool ready();
  void consume();  // the record of ready()
  bool ended() const { return ended_; }
  bool ok() const { return ok_; }
  const std::string& term() const { return term_; }
  uint32_t count() const { return count_; }
  ByteReader postings() const { return ByteReader(buffer_.data() + postings_at_, postings_bytes_); }

 private:
  uint64_t total_, fed_ = 0;
  std::vector<uint8_t> buffer_;
  size_t at_ = 0, next_ = 0;  // of the record and the one after it
  std::string term_;
  uint32_t count_ = 0;
  size_t postings_at_ = 0, postings_bytes_ = 0;
  bool have_ = false, ended_ = false, ok_ = true;
};
