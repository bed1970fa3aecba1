// Inserts, replacements and deletes against a model: what searches, look-ups and listings say must
// be what a brute force over the live rows says, whatever the kind of the index.
#include "delta.h"

#include <math.h>

#include <map>
#include <random>

#include "check.h"
#include "columns.h"
#include "site.h"

namespace {

std::mt19937 random_bits(5);
uint32_t below(uint32_t n) { return random_bits() % n; }
float normal() { return std::normal_distribution<float>()(random_bits); }

constexpr uint32_t kDim = 24;
const std::vector<ColumnSpec> kColumns = {{PwColumnType::Category, "topic"}, {PwColumnType::Number, "year"}};

TestRow random_row(const std::string& id) {
  TestRow row;
  row.id = id;
  row.text = "shared w" + std::to_string(below(50)) + " text of " + id;
  row.payload = "{\"n\":" + std::to_string(below(1000)) + "}";
  for (uint32_t d = 0; d < kDim; d++) row.vector.push_back(normal() + 0.5f);
  row.categories = {below(6) == 0 ? kNoCategory : below(5)};
  row.numbers = {below(6) == 0 ? NAN : 2000.0 + below(20)};
  return row;
}

double key(PwMetric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0, l2 = 0;
  for (uint32_t d = 0; d < kDim; d++) {
    dot += double{a[d]} * b[d];
    aa += double{a[d]} * a[d];
    bb += double{b[d]} * b[d];
    l2 += (double{a[d]} - b[d]) * (double{a[d]} - b[d]);
  }
  return metric == PwMetric::L2 ? l2 : metric == PwMetric::Cosine ? -dot / sqrt(aa * bb) : -dot;
}

class Session {
 public:
  Session(PwKind kind, PwMetric metric, PwDtype dtype, uint32_t base, uint32_t budget) : metric_(metric), dtype_(dtype) {
    std::vector<TestRow> rows;
    for (uint32_t i = 0; i < base; i++) rows.push_back(random_row("base " + std::to_string(i)));
    PwConfig config{};
    config.dim = kDim;
    config.metric = metric;
    config.dtype = dtype;
    config.kind = kind;
    config.code_bits = 2;
    config.clusters = kind == PwKind::Clusters ? 8 : 1;
    config.m = 8;
    config.ef_construction = 60;
    site_ = build_site(config, std::move(rows), kColumns);
    if (!CHECK_EQ(site_.status, PW_DONE)) printf("  %s\n", pw_error());
    ok_ = CHECK_EQ(index_.open(site_.head.data(), site_.head.size(), budget), PW_DONE);
    if (!ok_) printf("  %s\n", pw_error());
    for (const TestRow& row : site_.rows) {
      live_[row.id] = next_row_++;
      by_row_.push_back(row);
    }
  }
  bool ok() const { return ok_; }

  Outcome insert(const std::vector<TestRow>& rows, bool replace) {
    ByteWriter message;
    message.put(uint32_t{replace});
    message.put(uint32_t{0});
    put_batch(message, rows, kColumns);
    return run(PwOperation::Insert, message);
  }

  void insert_some() {
    std::vector<TestRow> rows;
    const bool replace = below(2) == 0;
    for (uint32_t i = 1 + below(60); i > 0; i--) {
      const bool again = replace && !live_.empty() && below(2) == 0;
      const std::string id = again ? random_id() : "new " + std::to_string(next_id_++);
      if (std::any_of(rows.begin(), rows.end(), [&](const TestRow& row) { return row.id == id; })) continue;
      rows.push_back(random_row(id));
    }
    const Outcome outcome = insert(rows, replace);
    if (!CHECK_EQ(outcome.status, PW_DONE)) printf("  %s\n", pw_error());
    const std::vector<uint32_t> given = outcome.rows();
    if (!CHECK_EQ(given.size(), rows.size())) return;
    for (size_t i = 0; i < rows.size(); i++) {
      CHECK_EQ(given[i], next_row_);
      live_[rows[i].id] = next_row_++;
      by_row_.push_back(rows[i]);
    }
  }

  // Batches that must change nothing.
  void insert_bad() {
    const size_t delta_bytes = index_.delta->bytes();
    std::vector<TestRow> rows = {random_row("bad 1"), random_row("bad 2"), random_row("bad 3")};
    std::vector<TestRow> twice = rows, zero = rows, infinite = rows, known = rows, nameless = rows, wide = rows;
    twice[2].id = "bad 1";
    CHECK_EQ(insert(twice, false).status, PW_DUPLICATE);
    CHECK_EQ(insert(twice, true).status, PW_DUPLICATE);
    zero[1].vector.assign(kDim, 0.0f);
    if (metric_ == PwMetric::Cosine) CHECK_EQ(insert(zero, false).status, PW_BAD_ARGUMENT);
    for (float bad : {INFINITY, -INFINITY, NAN}) {
      infinite[2].vector[kDim - 1] = bad;
      CHECK_EQ(insert(infinite, true).status, PW_BAD_ARGUMENT);
    }
    if (!live_.empty()) {
      known[1].id = random_id();
      CHECK_EQ(insert(known, false).status, PW_DUPLICATE);
      CHECK(strstr(pw_error(), known[1].id.c_str()) != nullptr);
    }
    nameless[2].id = "";
    CHECK_EQ(insert(nameless, false).status, PW_BAD_ARGUMENT);
    for (TestRow& row : wide) row.vector.push_back(1);
    CHECK_EQ(insert(wide, false).status, PW_BAD_ARGUMENT);
    ByteWriter without_columns;
    without_columns.put(uint64_t{0});
    put_batch(without_columns, rows, {});
    CHECK_EQ(run(PwOperation::Insert, without_columns).status, PW_BAD_ARGUMENT);
    CHECK_EQ(run(PwOperation::Insert, ByteWriter()).status, PW_BAD_ARGUMENT);
    CHECK_EQ(index_.rows(), next_row_);
    CHECK_EQ(index_.delta->bytes(), delta_bytes);
    CHECK((rows_of({"bad 1", "bad 2", "bad 3"}) == std::vector<uint32_t>{kNoRow, kNoRow, kNoRow}));
  }

  void remove_some() {
    std::vector<std::string> ids;
    std::vector<uint32_t> expected;
    for (uint32_t i = 1 + below(12); i > 0; i--) {
      const bool known = !live_.empty() && below(5) != 0;
      ids.push_back(known ? random_id() : "nobody " + std::to_string(below(100)));
      const auto found = live_.find(ids.back());
      expected.push_back(found == live_.end() ? kNoRow : found->second);
      if (found != live_.end()) live_.erase(found);  // a second time it is unknown
    }
    ByteWriter message;
    message.put(static_cast<uint32_t>(ids.size()));
    message.put(uint32_t{0});
    put_strings(message, ids);
    const Outcome outcome = run(PwOperation::Delete, message);
    CHECK_EQ(outcome.status, PW_DONE);
    CHECK(outcome.rows() == expected);
    CHECK_EQ(outcome.at<uint32_t>(4), expected.size() - static_cast<size_t>(std::count(expected.begin(), expected.end(), kNoRow)));
  }

  // Everything that can be asked, against the model.
  void check() {
    CHECK_EQ(index_.rows() - index_.deleted_count, live_.size());
    std::vector<uint32_t> rows;
    std::vector<std::string> ids;
    for (const auto& [id, row] : live_) {
      rows.push_back(row);
      ids.push_back(id);
    }
    CHECK(rows_of(ids) == rows);
    std::sort(rows.begin(), rows.end());
    check_listing(rows);
    check_records(rows);
    check_columns(rows);
    check_vectors(rows);
    for (int i = 0; i < 3; i++) check_search(i == 1);
    check_text();
  }

 private:
  Outcome run(PwOperation kind, const ByteWriter& message) { return run_operation(index_, site_, kind, message); }

  std::string random_id() const {
    auto one = live_.begin();
    std::advance(one, below(static_cast<uint32_t>(live_.size())));
    return one->first;
  }

  std::vector<uint32_t> rows_of(const std::vector<std::string>& ids) {
    ByteWriter message;
    message.put(static_cast<uint32_t>(ids.size()));
    message.put(uint32_t{0});
    put_strings(message, ids);
    return run(PwOperation::RowsOfIds, message).rows();
  }

  static ByteWriter rows_message(const std::vector<uint32_t>& rows) {
    ByteWriter message;
    message.put(PwRows{static_cast<uint32_t>(rows.size()), 0});
    message.put(rows.data(), rows.size() * 4);
    return message;
  }

  void check_listing(const std::vector<uint32_t>& rows) {
    std::vector<uint32_t> listed;
    for (uint32_t from = 0;;) {
      ByteWriter message;
      message.put(from);
      message.put(uint32_t{100});
      const Outcome outcome = run(PwOperation::LiveRows, message);
      CHECK_EQ(outcome.at<uint32_t>(4), live_.size());
      const std::vector<uint32_t> some = outcome.rows();
      if (some.empty()) break;
      listed.insert(listed.end(), some.begin(), some.end());
      from = some.back() + 1;
    }
    CHECK(listed == rows);
  }

  void check_records(const std::vector<uint32_t>& rows) {
    const Outcome outcome = run(PwOperation::Records, rows_message(rows));
    CHECK_EQ(outcome.status, PW_DONE);
    size_t at = 0;
    for (std::string TestRow::*part : {&TestRow::id, &TestRow::text, &TestRow::payload}) {
      const size_t bytes_at = at + 8 + 4 * (rows.size() + 1);
      uint32_t wrong = 0;
      for (size_t i = 0; i < rows.size(); i++) {
        const uint32_t from = outcome.at<uint32_t>(at + 8 + 4 * i), to = outcome.at<uint32_t>(at + 12 + 4 * i);
        const std::string& expected = by_row_[rows[i]].*part;
        wrong += to - from != expected.size() || bytes_at + to > outcome.result.size() ||
                 memcmp(outcome.result.data() + bytes_at + from, expected.data(), expected.size()) != 0;
      }
      CHECK_EQ(wrong, 0u);
      at = bytes_at + (outcome.at<uint32_t>(at + 4) + 3) / 4 * 4;
    }
  }

  void check_columns(const std::vector<uint32_t>& rows) {
    for (uint32_t column : {0u, 1u}) {
      ByteWriter message;
      message.put(column);
      message.put(uint32_t{0});
      const ByteWriter list = rows_message(rows);
      message.put(list.data(), list.size());
      const Outcome outcome = run(PwOperation::ColumnValues, message);
      CHECK_EQ(outcome.status, PW_DONE);
      uint32_t wrong = 0;
      for (size_t i = 0; i < rows.size(); i++) {
        const double value = outcome.at<double>(8 * i);
        const double expected = column == 0 ? by_row_[rows[i]].categories[0] : by_row_[rows[i]].numbers[0];
        wrong += !(value == expected || (isnan(value) && isnan(expected)));
      }
      CHECK_EQ(wrong, 0u);
    }
  }

  void check_vectors(const std::vector<uint32_t>& rows) {
    const Outcome outcome = run(PwOperation::Vectors, rows_message(rows));
    CHECK_EQ(outcome.status, PW_DONE);
    const double tolerance = dtype_ == PwDtype::F32 ? 1e-5 : dtype_ == PwDtype::F16 ? 3e-3 : 0.08;
    double worst = 0;
    for (size_t i = 0; i < rows.size(); i++) {
      const std::vector<float>& expected = by_row_[rows[i]].vector;
      double norm = 0;
      for (float value : expected) norm += double{value} * value;
      const double scale = metric_ == PwMetric::Cosine ? 1 / sqrt(norm) : 1;
      for (uint32_t d = 0; d < kDim; d++)
        worst = std::max(worst, fabs(outcome.at<float>((i * kDim + d) * 4) - expected[d] * scale));
    }
    CHECK_LE(worst, tolerance);
  }

  // With every cluster scanned and every row re-ranked the search is exact.
  void check_search(bool filtered) {
    std::vector<float> query;
    for (uint32_t d = 0; d < kDim; d++) query.push_back(normal() + 0.5f);
    PwVectorSearch search{};
    search.k = 10;
    search.nprobe = 8;
    search.ef_search = 1000;
    search.rerank = 4000;
    search.exclude = kNoRow;
    const uint32_t program[] = {static_cast<uint32_t>(PwFilter::Equal), 0, 3};
    search.filter_bytes = filtered ? sizeof program : 0;
    ByteWriter message;
    message.put(search);
    if (filtered) message.put(program, sizeof program);
    message.put(query.data(), kDim * 4);
    const Outcome outcome = run(PwOperation::SearchVector, message);
    if (!CHECK_EQ(outcome.status, PW_DONE)) {
      printf("  %s\n", pw_error());
      return;
    }
    std::vector<double> keys;
    for (const auto& [id, row] : live_)
      if (!filtered || by_row_[row].categories[0] == 3) keys.push_back(key(metric_, query, by_row_[row].vector));
    const size_t expected = std::min<size_t>(keys.size(), search.k);
    std::sort(keys.begin(), keys.end());
    const uint32_t count = outcome.at<uint32_t>(0);
    if (!CHECK_EQ(count, expected)) return;
    const double tolerance = dtype_ == PwDtype::F32 ? 1e-4 : 0.3;
    for (uint32_t i = 0; i < count; i++) {
      const PwHit hit = outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit));
      if (!CHECK_LT(hit.row, by_row_.size())) return;
      const TestRow& row = by_row_[hit.row];
      const auto alive = live_.find(row.id);
      CHECK(alive != live_.end() && alive->second == hit.row);
      CHECK(!filtered || row.categories[0] == 3);
      const double of_row = key(metric_, query, row.vector);
      CHECK_LE(fabs(of_row - keys[i]), tolerance * (1 + fabs(keys[i])));
      CHECK_LE(fabs((metric_ == PwMetric::L2 ? 1 : -1) * hit.score - of_row), tolerance * (1 + fabs(of_row)));
    }
  }

  // Every live row with a word, and no other.
  void check_text() {
    const std::string word = "w" + std::to_string(below(50));
    ByteWriter message;
    message.put(PwTextSearch{5000, 0, 0, static_cast<uint32_t>(word.size())});
    message.text(word);
    message.align(4);
    const Outcome outcome = run(PwOperation::SearchText, message);
    if (!CHECK_EQ(outcome.status, PW_DONE)) printf("  %s\n", pw_error());
    std::vector<uint32_t> found, expected;
    for (uint32_t i = 0; i < outcome.at<uint32_t>(0); i++)
      found.push_back(outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit)).row);
    for (const auto& [id, row] : live_)
      if (by_row_[row].text.find(" " + word + " ") != std::string::npos) expected.push_back(row);
    std::sort(found.begin(), found.end());
    std::sort(expected.begin(), expected.end());
    CHECK(found == expected);
  }

  PwMetric metric_;
  PwDtype dtype_;
  Site site_;
  Index index_;
  bool ok_ = false;
  std::map<std::string, uint32_t> live_;
  std::vector<TestRow> by_row_;
  uint32_t next_row_ = 0, next_id_ = 0;
};

void random_session(PwKind kind, PwMetric metric, PwDtype dtype, uint32_t base, uint32_t budget) {
  const int failures = check_failures;
  Session session(kind, metric, dtype, base, budget);
  for (int round = 0; session.ok() && round < 12; round++) {
    if (below(3) != 0) session.insert_some();
    else session.remove_some();
    if (round % 4 == 1) session.insert_bad();
    session.check();
  }
  if (check_failures != failures)
    printf("  in a session of kind %u, metric %u, dtype %u, %u rows, budget %u\n", static_cast<uint32_t>(kind),
           static_cast<uint32_t>(metric), static_cast<uint32_t>(dtype), base, budget);
}

void stores() {
  Chunks chunks(12, 5);
  CHECK(chunks.reserve(11));
  CHECK_EQ(chunks.bytes() >= 15 * 12, true);
  chunks.resize(11);
  for (uint32_t i = 0; i < 11; i++) memset(chunks.at(i), static_cast<int>(i), 12);
  const uint8_t* third = chunks.at(3);
  CHECK(chunks.reserve(1000));
  CHECK(chunks.at(3) == third);  // nothing moves
  CHECK_EQ(uint32_t{chunks.at(10)[11]}, 10u);

  StringStore strings;
  const std::string long_one(200000, 'x');
  CHECK(strings.reserve(3, long_one.size() + 5));
  for (const std::string& text : {std::string("hello"), std::string(), long_one}) strings.add(text);
  CHECK(strings.get(0) == "hello" && strings.get(1).empty() && strings.get(2) == long_one);

  IdMap map;
  std::map<uint32_t, uint64_t> model;
  CHECK_EQ(map.find(5, [](uint32_t) { return true; }), IdMap::kNone);
  for (uint32_t i = 0; i < 20000; i++) {
    const uint32_t row = below(3000);
    const uint64_t hash = uint64_t{row % 700} * 0x9E3779B185EBCA87;  // several rows share one
    const auto found = model.find(row);
    if (found != model.end()) {
      map.remove(hash, row);
      model.erase(found);
    } else {
      if (!CHECK(map.reserve(1))) return;
      map.add(hash, row);
      model[row] = hash;
    }
    const uint32_t asked = below(3000);
    const uint32_t answer = map.find(uint64_t{asked % 700} * 0x9E3779B185EBCA87, [&](uint32_t r) { return r == asked; });
    CHECK_EQ(answer, model.count(asked) ? asked : IdMap::kNone);
  }
  CHECK_LE(map.bytes(), 16u * 65536);
}

}  // namespace

int main() {
  stores();
  for (PwKind kind : {PwKind::Flat, PwKind::Scan, PwKind::Clusters, PwKind::Graph})
    for (uint32_t base : {0u, 300u}) random_session(kind, PwMetric::Cosine, PwDtype::F32, base, 0);
  random_session(PwKind::Scan, PwMetric::L2, PwDtype::F32, 130, 0);
  random_session(PwKind::Clusters, PwMetric::InnerProduct, PwDtype::F32, 999, 0);
  random_session(PwKind::Scan, PwMetric::Cosine, PwDtype::F16, 64, 0);
  random_session(PwKind::Clusters, PwMetric::Cosine, PwDtype::I8, 500, 0);
  random_session(PwKind::Scan, PwMetric::Cosine, PwDtype::F32, 2000, 300 << 10);
  return check_result("delta");
}
