// The second half of a keyword query: every posting list is here, the rows are scored.
#include <algorithm>

#include "index.h"
#include "parts.h"
#include "status.h"
#include "text_query.h"

namespace {

int32_t fail_postings(const TermEntry& entry, uint32_t rows) {
  return fail(PW_CORRUPT, "lexicon: page %u: the postings at byte %u are not %u ascending rows below %u", entry.page,
              entry.at, entry.count, rows);
}

}  // namespace

int32_t TextQuery::score(Bm25& bm25, uint32_t end_row, const Bitmap* passing) {
  lists_of_base_.clear();
  lists_of_inserted_.clear();
  coded_.clear();
  for (uint32_t i = 0; i < terms_.size(); i++)
    if (terms_[i].prefix)
      if (int32_t status = unite_expansions(i)) return status;
  ::gather_inserted(*this, end_row);
  // Frequencies are those of base and inserted rows together: weights only now.
  const auto weight = [&](uint32_t term, bool expansion) {
    return bm25_weight(bm25_idf(end_row, terms_[term].rows[expansion]), terms_[term].times);
  };
  const auto add = [&](const CodedList& list) {
    posting_lists_.push_back({{coded_.data() + list.at, list.bytes}, list.count, list.greatest, weight(list.term, list.expansion)});
  };
  posting_lists_.clear();
  scanned_.clear();
  for (const List& list : lists_) {
    if (list.expansion) continue;
    const TermEntry& entry = list.entry;
    posting_lists_.push_back({{bytes_.data() + list.at, entry.bytes}, entry.count, entry.greatest_impact, weight(list.term, false)});
    scanned_.push_back(&list);
  }
  for (const CodedList& list : lists_of_base_) add(list);
  const uint32_t base_rows = index_.base_rows();
  if (!bm25.scan(posting_lists_, base_rows, passing)) return fail_postings(scanned_[bm25.broken()]->entry, base_rows);
  posting_lists_.clear();
  for (const CodedList& list : lists_of_inserted_) add(list);
  bm25.scan(posting_lists_, end_row, passing);
  return PW_DONE;
}

// The terms that begin with a prefix count as one: as often as any of them is there, as much as the
// one that counts most.
int32_t TextQuery::unite_expansions(uint32_t term) {
  sources_.clear();
  scanned_.clear();
  for (const List& list : lists_) {
    if (!list.expansion || list.term != term) continue;
    sources_.push_back({{bytes_.data() + list.at, list.entry.bytes}, list.entry.count});
    scanned_.push_back(&list);
  }
  const uint32_t rows = index_.base_rows();
  if (!union_.unite(sources_, rows)) return fail_postings(scanned_[union_.broken()]->entry, rows);
  add_coded(lists_of_base_, term, true, union_.rows(), union_.impacts());
  return PW_DONE;
}

void TextQuery::add_coded(std::vector<CodedList>& lists, uint32_t term, bool expansion, std::span<const uint32_t> rows,
                          std::span<const uint8_t> impacts) {
  if (rows.empty()) return;
  const size_t at = coded_.size();
  const uint8_t greatest = encode_postings(rows, impacts.data(), coded_);
  const uint32_t count = static_cast<uint32_t>(rows.size());
  lists.push_back({term, count, greatest, expansion, at, coded_.size() - at});
  terms_[term].rows[expansion] += count;
}

// The lists of inserted rows, in the same form.
void TextQuery::gather_inserted(uint32_t end_row) {
  const InvertedIndex& inserted = index_.lexicon->inserted();
  for (uint32_t i = 0; i < terms_.size(); i++) {
    const std::string_view term = terms_[i].view();
    const uint32_t number = inserted.find(term);
    if (number != InvertedIndex::kNone) {
      read_inserted(number, end_row);
      add_coded(lists_of_inserted_, i, false, rows_, impacts_);
    }
    if (!terms_[i].prefix) continue;
    matching_.clear();
    for (uint32_t other = 0; other < inserted.terms(); other++)
      if (inserted.term(other).starts_with(term) && other != number) matching_.push_back(other);
    const size_t count = std::min<size_t>(matching_.size(), kMaxPrefixTerms);
    const auto end = matching_.begin() + static_cast<int32_t>(count);
    std::partial_sort(matching_.begin(), end, matching_.end(), [&](uint32_t a, uint32_t b) {
      return inserted.row_count(a) != inserted.row_count(b) ? inserted.row_count(a) > inserted.row_count(b) : a < b;
    });
    matching_.resize(count);
    unite_inserted(i, end_row);
  }
}

// The terms in matching_ as one list.
void TextQuery::unite_inserted(uint32_t term, uint32_t end_row) {
  source_bytes_.clear();
  source_ends_.clear();
  sources_.clear();
  for (uint32_t number : matching_) {
    read_inserted(number, end_row);
    if (rows_.empty()) continue;
    encode_postings(rows_, impacts_.data(), source_bytes_);
    source_ends_.push_back(source_bytes_.size());
    sources_.push_back({{}, static_cast<uint32_t>(rows_.size())});
  }
  for (size_t i = 0, at = 0; i < sources_.size(); at = source_ends_[i++])  // now that the bytes stay in place
    sources_[i].bytes = {source_bytes_.data() + at, source_ends_[i] - at};
  union_.unite(sources_, end_row);
  add_coded(lists_of_inserted_, term, true, union_.rows(), union_.impacts());
}

// rows_ and impacts_ become those of an inserted term.
void TextQuery::read_inserted(uint32_t number, uint32_t end_row) {
  const Lexicon& lexicon = *index_.lexicon;
  const InvertedIndex& inserted = lexicon.inserted();
  const float average_length = lexicon.average_length();
  rows_.clear();
  impacts_.clear();
  for (uint32_t i = inserted.last(number); i != InvertedIndex::kNone; i = inserted.posting(i).before) {
    const InvertedIndex::Posting& posting = inserted.posting(i);
    if (posting.row >= end_row) continue;  // inserted after the search began
    const uint32_t length = lexicon.inserted_length(posting.row - index_.base_rows());
    rows_.push_back(posting.row);
    impacts_.push_back(bm25_impact(posting.frequency, length, average_length));
  }
  std::reverse(rows_.begin(), rows_.end());
  std::reverse(impacts_.begin(), impacts_.end());
}
