// Keyword search against a brute-force BM25 over the same terms; the build under small budgets; long
// lists, prefixes, filters, inserted and deleted rows; pages that lie.
#include "lexicon.h"

#include <math.h>

#include <map>
#include <random>
#include <set>

#include "bm25.h"
#include "check.h"
#include "delta.h"
#include "lexicon_builder.h"
#include "segment.h"
#include "site.h"

namespace {

// Words with the frequencies of a language (Zipf), documents of very different lengths.
std::string random_text(std::mt19937& random, uint32_t vocabulary, uint32_t longest) {
  std::string text;
  const uint32_t words = random() % (1 + random() % longest);
  for (uint32_t i = 0; i < words; i++) {
    const double u = (random() % 1000000 + 1) / 1000001.0;
    text += "w" + std::to_string(static_cast<uint32_t>(pow(vocabulary, u)) - 1) + "x ";
  }
  return text;
}
std::vector<TestRow> random_rows(uint32_t count, uint32_t vocabulary, uint32_t longest, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TestRow> rows(count);
  for (uint32_t i = 0; i < count; i++) {
    rows[i].vector = {static_cast<float>(i), 1};
    rows[i].id = "id" + std::to_string(seed) + "-" + std::to_string(i);
    rows[i].text = random_text(random, vocabulary, longest);
    rows[i].categories = {i % 7};
  }
  return rows;
}

ByteWriter text_message(std::string_view text, uint32_t k, bool prefix = false, std::span<const uint32_t> filter = {}) {
  ByteWriter message;
  message.put(PwTextSearch{k, prefix, static_cast<uint32_t>(filter.size() * 4), static_cast<uint32_t>(text.size())});
  message.put(filter.data(), filter.size() * 4);
  message.text(text);
  message.align(4);
  return message;
}
std::vector<PwHit> hits_of(const Outcome& outcome) {
  std::vector<PwHit> hits(outcome.at<PwHits>(0).count);
  for (size_t i = 0; i < hits.size(); i++) hits[i] = outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit));
  return hits;
}

using Terms = std::map<std::string, uint32_t>;
Terms terms_of(std::string_view text, bool query, uint32_t* length = nullptr) {
  Terms terms;
  Segmenter segmenter(text, query);
  for (Token token; segmenter.next(token);) {
    terms[std::string(token.term)]++;
    if (length) ++*length;
  }
  return terms;
}

// BM25 as the books have it, in double precision, and with the engine's quantisation. `base` rows
// set the average length.
struct BruteForce {
  std::vector<Terms> rows;
  std::vector<uint32_t> lengths;
  double average = 0;
  std::map<std::string, uint32_t> frequency;

  BruteForce(const std::vector<std::string>& texts, size_t base) {
    for (const std::string& text : texts) {
      uint32_t length = 0;
      rows.push_back(terms_of(text, false, &length));
      lengths.push_back(length);
      for (const auto& [term, times] : rows.back()) frequency[term]++;
    }
    if (base == 0) base = texts.size();
    for (size_t i = 0; i < base; i++) average += lengths[i];
    average /= static_cast<double>(base);
  }
  struct Scored {
    double exact;
    uint64_t coded;
    uint32_t row;
  };
  std::vector<Scored> search(std::string_view query, const std::set<uint32_t>* passing = nullptr) const {
    const Terms wanted = terms_of(query, true);
    std::vector<Scored> found;
    for (uint32_t row = 0; row < rows.size(); row++) {
      if (passing && !passing->count(row)) continue;
      Scored one{0, 0, row};
      for (const auto& [term, times] : wanted) {
        const auto has = rows[row].find(term);
        if (has == rows[row].end()) continue;
        const double n = static_cast<double>(rows.size()), df = frequency.at(term), tf = has->second;
        const double idf = log(1 + (n - df + 0.5) / (df + 0.5));
        one.exact += times * idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths[row] / average));
        one.coded += uint64_t{bm25_weight(bm25_idf(static_cast<uint32_t>(rows.size()), frequency.at(term)), times)} *
                     bm25_impact(has->second, lengths[row], static_cast<float>(average));
      }
      if (one.coded > 0) found.push_back(one);
    }
    std::sort(found.begin(), found.end(), [](const Scored& a, const Scored& b) { return a.coded != b.coded ? a.coded > b.coded : a.row < b.row; });
    return found;
  }
};

void compare(const std::vector<PwHit>& hits, const std::vector<BruteForce::Scored>& expected, uint32_t k) {
  if (!CHECK_EQ(hits.size(), std::min<size_t>(k, expected.size()))) return;
  std::vector<double> best;
  for (const auto& one : expected) best.push_back(one.exact);
  std::sort(best.rbegin(), best.rend());
  for (size_t i = 0; i < hits.size(); i++) {
    CHECK_EQ(hits[i].row, expected[i].row);
    CHECK_LT(fabs(hits[i].score - expected[i].exact), 0.01 + 0.004 * expected[i].exact + 0.02);
    CHECK_GT(expected[i].exact, best[i] * 0.98 - 0.06);  // the ranking of exact scores, up to quantisation
  }
}

std::vector<std::string> texts_of(const std::vector<TestRow>& rows) {
  std::vector<std::string> texts;
  for (const TestRow& row : rows) texts.push_back(row.text);
  return texts;
}

void against_brute_force(uint32_t count, uint32_t vocabulary, uint32_t longest, uint32_t budget) {
  const Site site = build_site(flat_config(true), random_rows(count, vocabulary, longest, count), {{PwColumnType::Category, "c"}});
  if (!CHECK_EQ(site.status, PW_DONE)) return;
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), budget), PW_DONE)) return;
  const BruteForce brute(texts_of(site.rows), 0);
  std::set<uint32_t> third;
  for (uint32_t row = 0; row < count; row++)
    if (site.rows[row].categories[0] == 3) third.insert(row);
  const uint32_t filter[] = {static_cast<uint32_t>(PwFilter::Equal), 0, 3};
  std::mt19937 random(7);
  for (int i = 0; i < 60; i++) {
    std::string query = random_text(random, vocabulary, 6) + "w0x w1x";
    const uint32_t k = 1 + random() % 30;
    const Outcome plain = run_operation(index, site, PwOperation::SearchText, text_message(query, k));
    if (!CHECK_EQ(plain.status, PW_DONE)) return;
    compare(hits_of(plain), brute.search(query), k);
    CHECK_EQ(plain.at<PwHits>(0).passing, kNoRow);
    const Outcome filtered = run_operation(index, site, PwOperation::SearchText, text_message(query, k, false, filter));
    if (!CHECK_EQ(filtered.status, PW_DONE)) return;
    compare(hits_of(filtered), brute.search(query, &third), k);
    CHECK_EQ(filtered.at<PwHits>(0).passing, third.size());
  }
  CHECK_EQ(hits_of(run_operation(index, site, PwOperation::SearchText, text_message("?!", 5))).size(), 0u);
  CHECK_EQ(hits_of(run_operation(index, site, PwOperation::SearchText, text_message("unheard of", 5))).size(), 0u);
  CHECK_EQ(run_operation(index, site, PwOperation::SearchText, text_message("w1x", 0)).status, PW_BAD_ARGUMENT);
  CHECK_LE(hits_of(run_operation(index, site, PwOperation::SearchText, text_message("w1x", 0xffffffff))).size(), count);
}

// Base rows, inserted ones and deleted ones together, also on an index that had no rows at first.
void with_inserted(uint32_t base, uint32_t inserted) {
  const Site site = build_site(flat_config(true), random_rows(base, 300, 30, 5), {{PwColumnType::Category, "c"}});
  Index index;
  if (!CHECK_EQ(site.status, PW_DONE) || !CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  const std::vector<TestRow> added = random_rows(inserted, 300, 60, 6);
  ByteWriter insert;
  insert.put(uint64_t{0});
  put_batch(insert, added, site.columns);
  if (!CHECK_EQ(run_operation(index, site, PwOperation::Insert, insert).status, PW_DONE)) return;
  std::vector<std::string> texts = texts_of(site.rows);
  for (const TestRow& row : added) texts.push_back(row.text);
  const BruteForce brute(texts, base);
  std::mt19937 random(8);
  std::set<uint32_t> live;
  for (uint32_t row = 0; row < texts.size(); row++) live.insert(row);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 40; i++) {
      const std::string query = random_text(random, 300, 6) + "w0x w2x";
      const Outcome outcome = run_operation(index, site, PwOperation::SearchText, text_message(query, 12));
      if (!CHECK_EQ(outcome.status, PW_DONE)) return;
      compare(hits_of(outcome), brute.search(query, &live), 12);
    }
    std::vector<std::string> ids;
    for (uint32_t row = 0; row < texts.size(); row += 3) {
      live.erase(row);
      ids.push_back(row < base ? site.rows[row].id : added[row - base].id);
    }
    ByteWriter remove;
    uint32_t bytes = 0;
    for (const std::string& id : ids) bytes += static_cast<uint32_t>(id.size());
    remove.put(PwStrings{static_cast<uint32_t>(ids.size()), bytes});
    put_strings(remove, ids);
    if (round == 0) CHECK_EQ(run_operation(index, site, PwOperation::Delete, remove).status, PW_DONE);
  }
}

std::vector<PwHit> search(const std::vector<std::string>& texts, std::string_view query, bool prefix = false) {
  std::vector<TestRow> rows(texts.size());
  for (size_t i = 0; i < texts.size(); i++) rows[i] = {{1, static_cast<float>(i)}, std::to_string(i), texts[i], "", {}, {}};
  const Site site = build_site(flat_config(true), rows, {});
  Index index;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE);
  const Outcome outcome = run_operation(index, site, PwOperation::SearchText, text_message(query, 10, prefix));
  CHECK_EQ(outcome.status, PW_DONE);
  return hits_of(outcome);
}
std::string rows_found(const std::vector<PwHit>& hits) {
  std::set<uint32_t> rows;
  for (const PwHit& hit : hits) rows.insert(hit.row);
  std::string text;
  for (uint32_t row : rows) text += std::to_string(row) + " ";
  return text;
}

void meaning() {
  const std::vector<std::string> docs = {
      "class tempfile.TemporaryDirectory: creates a temporary directory", "heapq.nlargest(n, iterable)",
      "Parse dates from strings", "datetime.date objects", "数据结构和搜索引擎", "子犬と犬", "犬小屋", "การค้นหาข้อความ",
      "데이터 검색을 위한", "Die Straße nach Łódź", "café", "datagram sockets"};
  CHECK_EQ(search(docs, "temporary directory")[0].row, 0u);
  CHECK_EQ(search(docs, "TemporaryDirectory")[0].row, 0u);
  CHECK_EQ(search(docs, "heapq.nlargest")[0].row, 1u);
  CHECK_EQ(search(docs, "nlargest")[0].row, 1u);
  CHECK_EQ(rows_found(search(docs, "date")), "2 3 ");
  CHECK_EQ(rows_found(search(docs, "搜索引擎")), "4 ");
  CHECK_EQ(rows_found(search(docs, "犬")), "5 6 ");  // within a run, at its end, alone
  CHECK_EQ(rows_found(search(docs, "ค้นหา")), "7 ");
  CHECK_EQ(rows_found(search(docs, "검색")), "8 ");
  CHECK_EQ(rows_found(search(docs, "strasse lodz")), "9 ");
  CHECK_EQ(rows_found(search(docs, "CAFE\xCC\x81")), "10 ");
  CHECK_EQ(rows_found(search(docs, "dat")), "");
  CHECK_EQ(rows_found(search(docs, "dat", true)), "2 3 11 ");
  CHECK_EQ(rows_found(search(docs, "dat ", true)), "");    // the word is finished
  CHECK_EQ(rows_found(search(docs, "d", true)), "");       // too short to mean anything
  CHECK_EQ(rows_found(search(docs, "tempfile.Temp", true)), "0 ");
  CHECK_EQ(rows_found(search(docs, "\xFF\xFE")), "");
  CHECK_EQ(search({}, "anything").size(), 0u);
  CHECK_EQ(search({"", "", ""}, "anything").size(), 0u);
}

// Prefixes over many pages: bounded, and the most frequent terms come in.
void prefixes() {
  std::vector<TestRow> rows(30000);
  for (uint32_t i = 0; i < rows.size(); i++) {
    rows[i] = {{1, static_cast<float>(i)}, std::to_string(i), "word" + std::to_string(i) + (i % 100 == 0 ? " wordfrequent" : ""), "", {}, {}};
  }
  const Site site = build_site(flat_config(true), rows, {});
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  CHECK_GT(index.lexicon->pages().size(), kLexiconPageHeader * 3u);
  Outcome outcome = run_operation(index, site, PwOperation::SearchText, text_message("word", 1000, true));
  CHECK_EQ(outcome.status, PW_DONE);
  CHECK_LE(outcome.at<PwHits>(0).pages_missed, 9u);
  CHECK_EQ(hits_of(outcome).size(), 64u);
  outcome = run_operation(index, site, PwOperation::SearchText, text_message("wordf", 1000, true));
  CHECK_EQ(hits_of(outcome).size(), 300u);
}

struct Built {
  PageQueue pages;
  std::vector<uint8_t> head;
  size_t runs = 0;
};
Built build_lexicon(const std::vector<std::string>& texts, uint32_t budget, uint32_t chunk) {
  Built built;
  LexiconBuilder builder(built.pages, budget);
  std::vector<std::vector<uint8_t>> runs;
  for (const std::string& text : texts) {
    CHECK_EQ(builder.add(text), PW_DONE);
    while (const ByteWriter* run = builder.take_spill()) runs.emplace_back(run->data(), run->data() + run->size());
  }
  HeadWriter head;
  int32_t status;
  while ((status = builder.finish(head)) == PW_NEED) {
    uint32_t run, offset;
    if (!builder.run_wanted(run, offset)) continue;
    const uint32_t bytes = std::min<uint32_t>(chunk, static_cast<uint32_t>(runs[run].size()) - offset);
    if (!CHECK_EQ(builder.run_feed(runs[run].data() + offset, bytes), PW_DONE)) return built;
  }
  CHECK_EQ(status, PW_DONE);
  IndexParameters parameters;
  parameters.rows = static_cast<uint32_t>(texts.size());
  parameters.dim = 2;
  parameters.code_dim = 16;
  built.head = head.finish(parameters);
  built.runs = runs.size();
  return built;
}

void runs() {
  const std::vector<std::string> texts = texts_of(random_rows(6000, 5000, 40, 3));
  const Built whole = build_lexicon(texts, 1 << 30, 1000);
  CHECK_EQ(whole.runs, 0u);
  for (uint32_t budget : {20000u, 100000u, 700000u}) {
    for (uint32_t chunk : {97u, 65536u}) {
      if (budget == 20000 && chunk == 97) continue;
      const Built parts = build_lexicon(texts, budget, chunk);
      CHECK_GT(parts.runs, 0u);
      CHECK(parts.head == whole.head);
      if (!CHECK_EQ(parts.pages.size(), whole.pages.size())) return;
      for (size_t i = 0; i < parts.pages.size(); i++) CHECK(parts.pages[i].bytes == whole.pages[i].bytes);
    }
  }
  // A run that comes back damaged is refused; it can't crash the build.
  std::mt19937 random(4);
  for (int i = 0; i < 20; i++) {
    PageQueue pages;
    LexiconBuilder builder(pages, 100000);
    std::vector<uint8_t> run;
    for (const std::string& text : texts) {
      builder.add(text);
      while (const ByteWriter* one = builder.take_spill())
        if (run.empty()) run.assign(one->data(), one->data() + one->size());
    }
    for (int n = 0; n < 50; n++) run[random() % run.size()] ^= static_cast<uint8_t>(1 << random() % 8);
    HeadWriter head;
    uint32_t number, offset;
    CHECK_EQ(builder.finish(head), PW_NEED);
    CHECK(builder.run_wanted(number, offset));
    CHECK_EQ(builder.run_feed(run.data(), 0), PW_BAD_ARGUMENT);
    CHECK_EQ(builder.run_feed(run.data(), static_cast<uint32_t>(run.size())), PW_DONE);
    CHECK_LE(builder.finish(head), 1);
  }
}

// Every byte of a lexicon page may be a lie: an error or other hits, never a crash or an endless loop.
void damaged() {
  const Site site = build_site(flat_config(true), random_rows(3000, 200, 20, 9), {{PwColumnType::Category, "c"}});
  std::mt19937 random(10);
  uint32_t corrupt = 0;
  for (int i = 0; i < 300; i++) {
    Index index;
    if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
    for (uint32_t page = 0; page < index.head.section(Section::Lexicon).pages; page++) {
      uint8_t* to = index.pages.buffer(page);
      memcpy(to, site.pages[page].data(), kPageBytes);
      index.pages.commit(page);  // the damage comes after the checksum
      for (uint32_t n = 0; n < 1 + random() % 400; n++) to[random() % kPageBytes] = static_cast<uint8_t>(random());
    }
    const Outcome outcome = run_operation(index, site, PwOperation::SearchText, text_message("w0x w1x w5x w33x w1", 20, true));
    CHECK(outcome.status == PW_DONE || outcome.status == PW_CORRUPT);
    corrupt += outcome.status == PW_CORRUPT;
    for (const PwHit& hit : hits_of(outcome)) CHECK_LT(hit.row, 3000u);
  }
  CHECK_GT(corrupt, 100u);
}

void tokenized() {
  uint32_t bytes = 0;
  const std::string text = "Parse_dates 犬";
  const uint32_t* words = static_cast<const uint32_t*>(pw_tokenize(text.data(), static_cast<uint32_t>(text.size()), &bytes));
  CHECK_EQ(words[0], 4u);
  CHECK_EQ(words[1], 0u);
  CHECK_EQ(words[2], 11u);
  const char* terms = reinterpret_cast<const char*>(words + 1 + 4 * 4);
  CHECK_EQ(std::string(terms + words[1 + 8 + 2], words[1 + 8 + 3]), "date");
  CHECK_EQ(words[1 + 12], 12u);
  CHECK_EQ(words[1 + 12 + 1], 15u);
  CHECK_EQ(bytes % 4, 0u);
}

}  // namespace

int main() {
  meaning();
  against_brute_force(50, 20, 10, 0);
  against_brute_force(2000, 400, 60, 0);
  against_brute_force(40000, 300, 20, 6 * kPageBytes);  // lists longer than the cache
  with_inserted(3000, 800);
  with_inserted(0, 900);
  prefixes();
  runs();
  damaged();
  tokenized();
  return check_result("lexicon");
}
