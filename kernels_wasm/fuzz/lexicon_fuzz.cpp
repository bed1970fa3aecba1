// A page of the lexicon that a hostile builder made, read to the end: entries, postings, unions and
// scores of them. Input: u8 span, u8 rows (a power of two), then the page.
#include <stdlib.h>

#include "bm25.h"
#include "lexicon.h"
#include "posting_union.h"
#include "status.h"

#include "format.h"

namespace {

// Every row once, in order, below `rows`.
uint32_t walk(std::span<const uint8_t> bytes, uint32_t count, uint32_t rows) {
  PostingCursor cursor;
  cursor.open(bytes, count, rows);
  uint32_t found = 0;
  for (uint32_t last = 0; cursor.row() != PostingCursor::kEnd; found++) {
    if (cursor.row() >= rows || (found > 0 && cursor.row() <= last)) abort();
    last = cursor.row();
    if (cursor.impact() > 255) abort();
    if (found % 7 == 3) cursor.seek(last + 1 + (last & 255));
    else cursor.next();
  }
  if (found > count) abort();
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint32_t span = data[0] % 4, rows = 1u << data[1] % 20;
  static uint8_t page[kPageBytes];
  memset(page, 0, sizeof page);
  memcpy(page, data + 2, std::min<size_t>(size - 2, sizeof page));
  LexiconPage entries(page, 0, span, rows);
  std::vector<PostingList> lists;
  std::vector<PostingUnion::Source> sources;
  for (TermEntry entry; entries.next(entry);) {
    if (entries.term().empty() || entries.term().size() > 64) abort();
    if (entry.at + entry.here > kPageBytes || entry.here > entry.bytes || entry.count > rows) abort();
    const std::span<const uint8_t> here(page + entry.at, entry.here);
    walk(here, entry.count, rows);
    if (lists.size() == 20) continue;
    lists.push_back({here, entry.count, entry.greatest_impact, 1 + entry.greatest_impact * 7});
    sources.push_back({here, entry.count});
  }
  if (const int32_t status = entries.status(); status != PW_DONE && status != PW_CORRUPT) abort();
  lexicon_tail(page, rows);
  static Bm25 bm25;
  static PostingUnion united;
  bm25.begin(10);
  if (!bm25.scan(lists, rows, nullptr) && bm25.broken() >= lists.size()) abort();
  for (const ScoredRow& one : bm25.best())
    if (one.row >= rows) abort();
  if (!united.unite(sources, rows) && united.broken() >= sources.size()) abort();
  if (united.rows().size() > rows || united.rows().size() != united.impacts().size()) abort();
  return 0;
}
