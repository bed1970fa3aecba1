// Build and search from end to end, natively: recall against brute force for every dtype, number of
// bits and metric; the same answers from a tiny cache as from memory; several searches at once;
// filters down to one row in a thousand; hostile messages and pages.
#include <set>

#include "check.h"
#include "graph_data.h"
#include "site.h"

namespace {

constexpr uint32_t kDim = 48, kRows = 3000, kQueries = 40;

PwConfig config_for(PwKind kind, PwDtype dtype, uint32_t bits, PwMetric metric) {
  PwConfig config{};
  config.dim = kDim;
  config.metric = metric;
  config.dtype = dtype;
  config.kind = kind;
  config.code_bits = bits;
  config.clusters = 30;
  config.seed_low = 9;
  config.flags = 1;
  return config;
}

// A number column holds row % 1000 in the order of the input.
Site make_site(const GraphData& data, const PwConfig& config) {
  std::vector<TestRow> rows;
  for (uint32_t i = 0; i < data.rows.size(); i++)
    rows.push_back({data.rows[i], std::to_string(i), "", "", {}, {static_cast<double>(i % 1000)}});
  return build_site(config, std::move(rows), {{PwColumnType::Number, "thousandth"}});
}

GraphData scaled(GraphData data, float scale) {
  SplitMix64 random(4);
  for (auto* vectors : {&data.rows, &data.queries})
    for (std::vector<float>& vector : *vectors) {
      const float length = scale * (0.5f + static_cast<float>(random.below(1000)) / 1000);
      for (float& value : vector) value *= length;
    }
  return data;
}

double key_of(PwMetric metric, const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, square = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); i++) {
    dot += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
    square += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  }
  return metric == PwMetric::L2 ? square : metric == PwMetric::Cosine ? -dot / sqrt(aa * bb) : -dot;
}

// Rows (of the index) of the nearest k with thousandth < passing.
std::vector<uint32_t> truth(const Site& site, PwMetric metric, const std::vector<float>& query, size_t k, uint32_t passing) {
  std::vector<std::pair<double, uint32_t>> keys;
  for (uint32_t row = 0; row < site.rows.size(); row++)
    if (site.rows[row].numbers[0] < passing) keys.push_back({key_of(metric, query, site.rows[row].vector), row});
  std::sort(keys.begin(), keys.end());
  std::vector<uint32_t> nearest;
  for (size_t i = 0; i < std::min(k, keys.size()); i++) nearest.push_back(keys[i].second);
  return nearest;
}

struct Options {
  uint32_t k = 10, nprobe = 0, rerank = 0, max_pages = 0, passing = 1000, exclude = kNoRow;
};

ByteWriter search_message(const std::vector<float>& query, const Options& options) {
  ByteWriter filter, message;
  if (options.passing < 1000) {
    filter.put(PwFilter::Range);
    filter.put(0u);
    filter.put(2u | 8u);  // value < high
    filter.put(0.0);
    filter.put(static_cast<double>(options.passing));
  }
  message.put(PwVectorSearch{options.k, 0, options.nprobe, 0, options.rerank, options.max_pages, options.exclude,
                             static_cast<uint32_t>(filter.size())});
  message.put(filter.data(), filter.size());
  message.put(query.data(), query.size() * 4);
  return message;
}

std::vector<uint32_t> rows_of(const Outcome& outcome) {
  std::vector<uint32_t> rows;
  for (uint32_t i = 0; i < outcome.at<PwHits>(0).count; i++) rows.push_back(outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit)).row);
  return rows;
}

double recall(Index& index, const Site& site, const GraphData& data, const Options& options) {
  uint32_t found = 0, all = 0;
  for (const std::vector<float>& query : data.queries) {
    const Outcome outcome = run_operation(index, site, PwOperation::SearchVector, search_message(query, options));
    if (!CHECK_EQ(outcome.status, PW_DONE)) return 0;
    const std::vector<uint32_t> right = truth(site, index.head.metric, query, options.k, options.passing);
    const std::vector<uint32_t> rows = rows_of(outcome);
    CHECK_EQ(rows.size(), right.size());
    CHECK_EQ(std::set<uint32_t>(rows.begin(), rows.end()).size(), rows.size());
    found += in_common(rows, right);
    all += static_cast<uint32_t>(right.size());
    for (uint32_t i = 0; i < rows.size(); i++) {
      const PwHit hit = outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit));
      const double key = key_of(index.head.metric, query, site.rows[hit.row].vector);
      const double score = index.head.metric == PwMetric::L2 ? hit.score : -hit.score;
      CHECK_EQ(hit.flags, 1u);
      CHECK_LT(fabs(score - key), 0.02 * (fabs(key) + fabs(key_of(PwMetric::InnerProduct, query, query))));
      CHECK_LT(site.rows[hit.row].numbers[0], options.passing);
    }
  }
  return static_cast<double>(found) / all;
}

void recall_of_every_variant(const GraphData& data) {
  for (PwMetric metric : {PwMetric::Cosine, PwMetric::InnerProduct, PwMetric::L2}) {
    const GraphData used = metric == PwMetric::Cosine ? data : scaled(data, metric == PwMetric::L2 ? 3000.f : 0.01f);
    for (PwDtype dtype : {PwDtype::F32, PwDtype::F16, PwDtype::I8}) {
      const Site flat = make_site(used, config_for(PwKind::Flat, dtype, 1, metric));
      Index index;
      if (!CHECK_EQ(flat.status, PW_DONE) || !CHECK_EQ(index.open(flat.head.data(), flat.head.size(), 0), PW_DONE)) continue;
      CHECK_GT(recall(index, flat, used, {}), dtype == PwDtype::I8 ? 0.95 : 0.995);
    }
    for (uint32_t bits : {1u, 2u, 4u}) {
      for (PwKind kind : {PwKind::Scan, PwKind::Clusters}) {
        const Site site = make_site(used, config_for(kind, PwDtype::F16, bits, metric));
        Index index;
        if (!CHECK_EQ(site.status, PW_DONE) || !CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) continue;
        CHECK_GT(recall(index, site, used, {.nprobe = 30, .rerank = 120}), 0.97);
        // More bits find as much with fewer rows re-ranked.
        CHECK_GT(recall(index, site, used, {.nprobe = 30, .rerank = bits == 1 ? 60u : bits == 2 ? 30u : 15u}), 0.8);
      }
    }
  }
}

void tiny_cache_finds_the_same(const GraphData& data) {
  for (PwKind kind : {PwKind::Flat, PwKind::Scan, PwKind::Clusters}) {
    const Site site = make_site(data, config_for(kind, PwDtype::F32, 2, PwMetric::Cosine));
    Index roomy, tight;
    CHECK_EQ(roomy.open(site.head.data(), site.head.size(), 0), PW_DONE);
    CHECK_EQ(tight.open(site.head.data(), site.head.size(), 1), PW_DONE);  // 8 slots, the least
    for (Section section : {Section::Codes, Section::Vectors}) {
      CHECK_EQ(roomy.pages.make_resident(section), PW_DONE);
      const SectionRange range = roomy.head.section(section);
      std::vector<uint32_t> pages;
      for (uint32_t i = 0; i < range.pages; i++) pages.push_back(range.first_page + i);
      CHECK_EQ(bring_pages(roomy, site, pages), PW_DONE);
    }
    for (uint32_t passing : {1000u, 30u}) {
      for (const std::vector<float>& query : data.queries) {
        const ByteWriter message = search_message(query, {.nprobe = 9, .rerank = 80, .passing = passing});
        const Outcome a = run_operation(roomy, site, PwOperation::SearchVector, message);
        const Outcome b = run_operation(tight, site, PwOperation::SearchVector, message);
        if (!CHECK_EQ(b.status, PW_DONE)) return;
        CHECK(rows_of(a) == rows_of(b));
        CHECK_GT(rows_of(a).size(), 0u);
      }
    }
    CHECK_LE(tight.pages.counters().held, 16u);
    CHECK_GT(tight.pages.counters().evicted, 100u);
  }
}

void filters_keep_recall(const GraphData& data) {
  const Site site = make_site(data, config_for(PwKind::Clusters, PwDtype::F16, 2, PwMetric::Cosine));
  Index index;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE);
  for (uint32_t passing : {1u, 3u, 10u, 100u, 500u}) CHECK_GT(recall(index, site, data, {.passing = passing}), 0.95);
  CHECK_EQ(recall(index, site, data, {.k = 5, .passing = 1}), 1);  // three rows pass
}

void max_pages_bounds_what_is_asked_for(const GraphData& data) {
  const Site site = make_site(data, config_for(PwKind::Clusters, PwDtype::F32, 1, PwMetric::Cosine));
  Index index;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE);
  run_operation(index, site, PwOperation::SearchVector, search_message(data.queries[0], {.nprobe = 30, .rerank = 1, .max_pages = 1}));
  const uint32_t before = index.pages.counters().fetched;  // codes and centroids are there now
  const Outcome outcome = run_operation(index, site, PwOperation::SearchVector, search_message(data.queries[1], {.nprobe = 30, .rerank = 60, .max_pages = 3}));
  CHECK_EQ(outcome.status, PW_DONE);
  CHECK_EQ(index.pages.counters().fetched - before, 3u);
  const PwHits head = outcome.at<PwHits>(0);
  CHECK_EQ(head.pages_missed, 3u);
  CHECK_EQ(head.count, 10u);
  uint32_t exact = 0;
  for (uint32_t i = 0; i < head.count; i++) exact += outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit)).flags;
  CHECK_GT(exact, 0u);
}

// Candidates after the first R count where they share pages, and the hits do not depend on which
// pages are in memory.
void candidates_that_share_pages_count(const GraphData& data) {
  const Site site = make_site(data, config_for(PwKind::Clusters, PwDtype::I8, 1, PwMetric::Cosine));
  Index cold, warm;
  CHECK_EQ(cold.open(site.head.data(), site.head.size(), 1), PW_DONE);  // the smallest cache there is
  CHECK_EQ(warm.open(site.head.data(), site.head.size(), 0), PW_DONE);
  constexpr uint32_t kDepth = 12;
  uint32_t more = 0;
  for (const std::vector<float>& query : data.queries) {
    const ByteWriter message = search_message(query, {.nprobe = 30, .rerank = kDepth});
    const Outcome outcome = run_operation(warm, site, PwOperation::SearchVector, message);
    const PwHits head = outcome.at<PwHits>(0);
    CHECK(head.distances >= kDepth && head.distances <= 3 * kDepth);
    more += head.distances - kDepth;
    CHECK(rows_of(outcome) == rows_of(run_operation(cold, site, PwOperation::SearchVector, message)));
  }
  CHECK_GT(more, 0u);
}

void searches_in_flight_do_not_mix(const GraphData& data) {
  const Site site = make_site(data, config_for(PwKind::Clusters, PwDtype::F32, 1, PwMetric::Cosine));
  Index index, alone;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), 1), PW_DONE);
  CHECK_EQ(alone.open(site.head.data(), site.head.size(), 0), PW_DONE);
  std::vector<std::unique_ptr<Operation>> running;
  std::vector<std::vector<uint64_t>> messages;
  for (uint32_t i = 0; i < 6; i++) {
    const ByteWriter message = search_message(data.queries[i], {.nprobe = 5, .rerank = 50, .exclude = i});
    messages.emplace_back((message.size() + 7) / 8);
    memcpy(messages.back().data(), message.data(), message.size());
    running.push_back(make_operation(static_cast<uint32_t>(PwOperation::SearchVector), index));
    CHECK_EQ(running.back()->begin(ByteReader(messages.back().data(), message.size())), PW_DONE);
  }
  std::vector<bool> done(running.size(), false);
  std::vector<std::vector<uint32_t>> wanted(running.size());
  for (uint32_t round = 0, left = 6; left && CHECK_LT(round, 10000u); round++) {
    const uint32_t i = round * 5 % 6;
    if (done[i]) continue;
    // As hosts do: pages arrive while others were stepped, and are used at once.
    CHECK_EQ(bring_pages(index, site, wanted[i]), PW_DONE);
    running[i]->wanted.clear();
    const int32_t status = running[i]->step();
    CHECK(status == PW_DONE || status == PW_NEED);
    wanted[i] = running[i]->wanted;
    done[i] = status != PW_NEED;
    left -= done[i];
  }
  for (uint32_t i = 0; i < 6; i++) {
    Outcome outcome;
    outcome.result.assign(running[i]->result.data(), running[i]->result.data() + running[i]->result.size());
    const Outcome expected = run_operation(alone, site, PwOperation::SearchVector,
                                           search_message(data.queries[i], {.nprobe = 5, .rerank = 50, .exclude = i}));
    CHECK(rows_of(outcome) == rows_of(expected));
  }
}

void refuses_bad_searches(const GraphData& data) {
  const Site site = make_site(data, config_for(PwKind::Clusters, PwDtype::I8, 1, PwMetric::Cosine));
  Index index;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE);
  const auto status_of = [&](std::vector<float> query, const Options& options) {
    return run_operation(index, site, PwOperation::SearchVector, search_message(query, options)).status;
  };
  const std::vector<float>& good = data.queries[0];
  CHECK_EQ(status_of(good, {.k = 0}), PW_BAD_ARGUMENT);
  std::vector<float> bad = good;
  bad.pop_back();
  CHECK_EQ(status_of(bad, {}), PW_BAD_ARGUMENT);
  CHECK(std::string(pw_error()).find("47") != std::string::npos);
  bad = good;
  bad[7] = __builtin_nanf("");
  CHECK_EQ(status_of(bad, {}), PW_BAD_ARGUMENT);
  CHECK(std::string(pw_error()).find("component 7") != std::string::npos);
  bad[7] = __builtin_inff();
  CHECK_EQ(status_of(bad, {}), PW_BAD_ARGUMENT);
  CHECK_EQ(status_of(std::vector<float>(kDim, 0.f), {}), PW_BAD_ARGUMENT);
  // k beyond the number of rows gives every row.
  for (uint32_t k : {kRows, kRows + 5, 0xffffffffu}) {
    const Outcome outcome = run_operation(index, site, PwOperation::SearchVector, search_message(good, {.k = k, .nprobe = 30}));
    CHECK_EQ(outcome.status, PW_DONE);
    CHECK_EQ(outcome.at<PwHits>(0).count, kRows);
  }
  CHECK_EQ(run_operation(index, site, PwOperation::SearchVector, search_message(good, {.k = 5, .exclude = 3})).at<PwHits>(0).count, 5u);
}

void build_refuses_bad_rows() {
  const PwConfig config = config_for(PwKind::Flat, PwDtype::F32, 1, PwMetric::Cosine);
  std::vector<TestRow> rows(3, {std::vector<float>(kDim, 1.f), "a", "", "", {}, {0}});
  rows[1].id = "b";
  rows[2].id = "c";
  rows[2].vector[5] = __builtin_nanf("");
  CHECK_EQ(build_site(config, rows, {{PwColumnType::Number, "thousandth"}}).status, PW_BAD_ARGUMENT);
  rows[2].vector.assign(kDim, 0.f);
  CHECK_EQ(build_site(config, rows, {{PwColumnType::Number, "thousandth"}}).status, PW_BAD_ARGUMENT);
  rows[2] = rows[0];
  CHECK_EQ(build_site(config, rows, {{PwColumnType::Number, "thousandth"}}).status, PW_DUPLICATE);
  rows[2].id = "c";
  CHECK_EQ(build_site(config, rows, {{PwColumnType::Number, "thousandth"}}).status, PW_DONE);
}

// Pages whose checksum is right but whose bytes are noise: a search ends, with whatever it finds.
void survives_pages_that_lie(const GraphData& data) {
  for (PwDtype dtype : {PwDtype::F32, PwDtype::F16, PwDtype::I8}) {
    Site site = make_site(data, config_for(PwKind::Clusters, dtype, 2, PwMetric::L2));
    Head head;
    CHECK_EQ(Head::parse(site.head.data(), site.head.size(), head), PW_DONE);
    SplitMix64 random(8);
    const size_t sums = static_cast<size_t>(head.chunk(kTagSums).data() - head.bytes().data());
    for (uint32_t page = 0; page < head.total_pages(); page++) {
      const Section section = head.section_of(page);
      if (section == Section::Columns) continue;
      for (uint8_t& byte : site.pages[page]) byte = static_cast<uint8_t>(random.below(256));
      const uint32_t sum = Head::checksum(site.pages[page].data(), section, page - head.section(section).first_page);
      memcpy(site.head.data() + sums + page * 4, &sum, 4);
    }
    const uint64_t seal = pw_xxh64(site.head.data() + 24, static_cast<uint32_t>(site.head.size() - 24), 0);
    memcpy(site.head.data() + 16, &seal, 8);
    Index index;
    if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) continue;
    for (const std::vector<float>& query : data.queries)
      CHECK_EQ(run_operation(index, site, PwOperation::SearchVector, search_message(query, {.nprobe = 30, .rerank = 100})).status, PW_DONE);
  }
}

}  // namespace

int main() {
  const GraphData data = graph_data(kRows, kQueries, kDim, 40, 1);
  recall_of_every_variant(data);
  tiny_cache_finds_the_same(data);
  filters_keep_recall(data);
  max_pages_bounds_what_is_asked_for(data);
  candidates_that_share_pages_count(data);
  searches_in_flight_do_not_mix(data);
  refuses_bad_searches(data);
  build_refuses_bad_rows();
  survives_pages_that_lie(data);
  return check_result("search");
}
