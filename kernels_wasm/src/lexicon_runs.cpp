#include "lexicon_runs.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "segment.h"
#include "sort.h"

namespace {
constexpr uint32_t kRecordPostings = 4096;
constexpr size_t kMaxRecordBytes = 3 * 5 + kMaxTermBytes + kRecordPostings * 10;
}  // namespace

void write_run(const InvertedIndex& index, ByteWriter& out) {
  std::vector<uint32_t> order(index.terms());
  std::vector<InvertedIndex::Posting> postings;
  std::iota(order.begin(), order.end(), 0);
  sort_items(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return index.term(a) < index.term(b); });
  ByteWriter coded;
  for (uint32_t term : order) {
    postings.clear();
    for (uint32_t i = index.last(term); i != InvertedIndex::kNone; i = postings.back().before) postings.push_back(index.posting(i));
    std::reverse(postings.begin(), postings.end());
    for (size_t from = 0; from < postings.size(); from += kRecordPostings) {
      const size_t to = std::min<size_t>(from + kRecordPostings, postings.size());
      coded.clear();
      uint32_t before = 0;
      for (size_t i = from; i < to; i++) {
        coded.varint(postings[i].row - before);
        coded.varint(postings[i].frequency);
        before = postings[i].row;
      }
      out.varint(static_cast<uint32_t>(index.term(term).size()));
      out.text(index.term(term));
      out.varint(static_cast<uint32_t>(to - from));
      out.varint(static_cast<uint32_t>(coded.size()));
      out.put(coded.data(), coded.size());
    }
  }
}

void RunReader::feed(const void* data, size_t bytes) {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(at_));
  if (have_) postings_at_ -= at_, next_ -= at_;
  at_ = 0;
  const uint8_t* from = static_cast<const uint8_t*>(data);
  buffer_.insert(buffer_.end(), from, from + bytes);
  fed_ += bytes;
}

bool RunReader::ready() {
  if (have_ || ended_) return true;
  if (at_ == buffer_.size() && missing() == 0) return ended_ = true;
  ByteReader reader(buffer_.data() + at_, buffer_.size() - at_);
  const std::string_view term = reader.text(reader.varint());
  const uint32_t count = reader.varint();
  const uint32_t bytes = reader.varint();
  const size_t before_postings = at_ + reader.at();
  reader.take(bytes);
  if (!reader.ok()) {
    ok_ = missing() > 0 && buffer_.size() - at_ < kMaxRecordBytes;  // else no more bytes can complete it
    return false;
  }
  if (term.empty() || term.size() > kMaxTermBytes || count == 0 || count > kRecordPostings || term < term_) {
    ok_ = false;
    return false;
  }
  term_ = term;
  count_ = count;
  postings_at_ = before_postings;
  postings_bytes_ = bytes;
  next_ = at_ + reader.at();
  return have_ = true;
}

void RunReader::consume() {
  have_ = false;
  at_ = next_;
}
