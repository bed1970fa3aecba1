// A graph index from end to end: built, opened, searched with everything in memory and with next to
// nothing, filtered, and given pages that lie.
#include "check.h"
#include "graph.h"
#include "graph_builder.h"
#include "graph_data.h"
#include "graph_search.h"
#include "site.h"
#include "xxh64.h"

namespace {

constexpr uint32_t kDim = 48, kRows = 3000, kQueries = 60, kFound = 10;
constexpr uint32_t kNoBudget = 0, kLeastBudget = 1;

PwConfig graph_config(PwDtype dtype, PwMetric metric = PwMetric::Cosine) {
  PwConfig config{};
  config.dim = kDim;
  config.metric = metric;
  config.dtype = dtype;
  config.kind = PwKind::Graph;
  config.code_bits = 2;
  config.m = 8;
  config.ef_construction = 60;
  config.seed_low = 5;
  config.flags = 1;
  return config;
}

// Column "tenth" of a row is row % 1000: category c < n passes n in a thousand.
Site graph_site(const GraphData& data, const PwConfig& config) {
  std::vector<TestRow> rows;
  for (uint32_t i = 0; i < data.rows.size(); i++) rows.push_back({data.rows[i], std::to_string(i), "", "", {}, {double(i % 1000)}});
  return build_site(config, std::move(rows), {{PwColumnType::Number, "thousandth"}});
}

void make_resident(Index& index, const Site& site, Section section) {
  CHECK_EQ(index.pages.make_resident(section), PW_DONE);
  const SectionRange range = index.head.section(section);
  std::vector<uint32_t> pages;
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++) pages.push_back(page);
  CHECK_EQ(bring_pages(index, site, pages), PW_DONE);
  CHECK(index.pages.resident(section) != nullptr);
}

struct Found {
  std::vector<uint32_t> rows;
  std::vector<float> scores;
  PwHits head{};
  uint32_t steps = 0;
  int32_t status = 0;
};

Found search(Index& index, const Site& site, const std::vector<float>& query, uint32_t ef, uint32_t passing_of_1000 = 1000) {
  ByteWriter message, filter;
  if (passing_of_1000 < 1000) {
    filter.put(PwFilter::Range);
    filter.put(0u);
    filter.put(2u | 8u);  // value < high
    filter.put(0.0);
    filter.put(static_cast<double>(passing_of_1000));
  }
  message.put(PwVectorSearch{kFound, 0, 0, ef, 40, 0, kNoRow, static_cast<uint32_t>(filter.size())});
  message.put(filter.data(), filter.size());
  message.put(query.data(), query.size() * 4);
  const Outcome outcome = run_operation(index, site, PwOperation::SearchVector, message);
  Found found;
  found.status = outcome.status;
  found.steps = outcome.steps;
  found.head = outcome.at<PwHits>(0);
  for (uint32_t i = 0; i < found.head.count && outcome.status == PW_DONE; i++) {
    const PwHit hit = outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit));
    found.rows.push_back(hit.row);
    found.scores.push_back(hit.score);
  }
  return found;
}

std::vector<uint32_t> passing_rows(uint32_t passing_of_1000) {
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < kRows; row++) {
    if (row % 1000 < passing_of_1000) rows.push_back(row);
  }
  return rows;
}

double recall(Index& index, const Site& site, const GraphData& data, uint32_t ef, uint32_t passing_of_1000 = 1000) {
  uint32_t found = 0, expected = 0;
  for (const std::vector<float>& query : data.queries) {
    const std::vector<uint32_t> nearest = exact_neighbours(data.rows, passing_rows(passing_of_1000), query, kFound);
    const Found hits = search(index, site, query, ef, passing_of_1000);
    CHECK_EQ(hits.status, PW_DONE);
    found += in_common(nearest, hits.rows);
    expected += static_cast<uint32_t>(nearest.size());
    for (uint32_t row : hits.rows) CHECK_LT(row % 1000, passing_of_1000);
  }
  return static_cast<double>(found) / expected;
}

void test_search(const Site& site, const GraphData& data) {
  Index resident, paged;
  CHECK_EQ(resident.open(site.head.data(), site.head.size(), kNoBudget), PW_DONE);
  CHECK_EQ(paged.open(site.head.data(), site.head.size(), kLeastBudget), PW_DONE);
  make_resident(resident, site, Section::Codes);
  make_resident(resident, site, Section::Graph);
  uint32_t steps = 0;
  for (const std::vector<float>& query : data.queries) {
    for (const uint32_t passing : {1000u, 500u, 5u}) {
      const Found a = search(resident, site, query, 40, passing), b = search(paged, site, query, 40, passing);
      CHECK_EQ(a.status, PW_DONE);
      CHECK_EQ(b.status, PW_DONE);
      CHECK(a.rows == b.rows && a.scores == b.scores);
      CHECK_EQ(a.head.hops, b.head.hops);
      CHECK_EQ(a.head.codes, b.head.codes);
      steps += b.steps;
    }
  }
  CHECK_GT(steps, 3 * data.queries.size() * 5);  // the small cache did make it wait
  CHECK_GE(recall(resident, site, data, 60), 0.96);

  // With the vectors at hand the walk is over exact distances.
  make_resident(resident, site, Section::Vectors);
  CHECK_GE(recall(resident, site, data, 60), 0.98);
}

void test_filters(const Site& site, const GraphData& data) {
  Index index;
  CHECK_EQ(index.open(site.head.data(), site.head.size(), kNoBudget), PW_DONE);
  for (const uint32_t passing : {1u, 10u, 100u, 300u, 500u, 900u}) {
    const double share = recall(index, site, data, 60, passing);
    CHECK_GE(share, passing <= 100 ? 0.99 : 0.96);
  }
  make_resident(index, site, Section::Vectors);
  CHECK_GE(recall(index, site, data, 60, 500), 0.96);
}

void test_deterministic(const Site& site, const GraphData& data, const PwConfig& config) {
  const Site again = graph_site(data, config);
  CHECK(again.head == site.head);
  CHECK(again.pages == site.pages);
}

// Changes bytes and makes every checksum right again, as a hostile builder would.
Site with_page(const Site& site, uint32_t page, uint32_t offset, std::vector<uint8_t> bytes) {
  Site changed = site;
  Head head;
  CHECK_EQ(Head::parse(site.head.data(), site.head.size(), head), PW_DONE);
  std::copy(bytes.begin(), bytes.end(), changed.pages[page].begin() + offset);
  const Section section = head.section_of(page);
  const uint32_t sum = Head::checksum(changed.pages[page].data(), section, page - head.section(section).first_page);
  const std::span<const uint8_t> sums = head.chunk(kTagSums);
  const size_t at = static_cast<size_t>(sums.data() - head.bytes().data()) + 4 * page;
  memcpy(changed.head.data() + at, &sum, 4);
  const uint64_t all = xxh64(changed.head.data() + 24, changed.head.size() - 24, 0);
  memcpy(changed.head.data() + 16, &all, 8);
  return changed;
}

void test_hostile_pages(const Site& site, const GraphData& data) {
  Index good;
  CHECK_EQ(good.open(site.head.data(), site.head.size(), kNoBudget), PW_DONE);
  const GraphLayout layout = good.graph->layout();
  CHECK_EQ(layout.id_bytes, 2u);
  const uint32_t entry_page = good.graph->page_of(good.graph->max_level(), layout.entry_rank);
  const uint32_t entry_at = layout.entry_rank % layout.records_per_page(good.graph->max_level()) *
                            layout.record_bytes(good.graph->max_level());
  const uint32_t first_page = good.graph->page_of(0, 0);
  const auto status_with = [&](uint32_t page, uint32_t offset, std::vector<uint8_t> bytes) {
    const Site site_changed = with_page(site, page, offset, std::move(bytes));
    Index index;
    CHECK_EQ(index.open(site_changed.head.data(), site_changed.head.size(), kNoBudget), PW_DONE);
    int32_t status = PW_DONE;
    for (const std::vector<float>& query : data.queries) {
      if (status == PW_DONE) status = search(index, site_changed, query, 100).status;
    }
    return status;
  };
  CHECK_EQ(status_with(first_page, 0, {}), PW_DONE);
  CHECK_EQ(status_with(entry_page, entry_at, {0xff, 0xff, 0xff, 0xff}), PW_CORRUPT);  // rank below
  CHECK_EQ(status_with(entry_page, entry_at + 4, {0xff, 0x7f}), PW_CORRUPT);          // count
  CHECK_EQ(status_with(entry_page, entry_at + 4, {8, 0, 0xff, 0xff}), PW_CORRUPT);    // row
  CHECK_EQ(status_with(entry_page, entry_at + 4, {8, 0, 0, 0, 0xff, 0xff}), PW_CORRUPT);  // rank
  // Every record of the first page of level 0, so that the walks meet one: count, then a row.
  std::vector<uint8_t> page = site.pages[first_page];
  for (uint32_t i = 0; i < layout.records_per_page(0); i++) page[i * layout.record_bytes(0)] = 17;
  CHECK_EQ(status_with(first_page, 0, page), PW_CORRUPT);
  page = site.pages[first_page];
  for (uint32_t i = 0; i < layout.records_per_page(0); i++) {
    memset(page.data() + i * layout.record_bytes(0), 0xff, layout.record_bytes(0));
    memset(page.data() + i * layout.record_bytes(0), 0, 2);
    page[i * layout.record_bytes(0)] = 1;
  }
  CHECK_EQ(status_with(first_page, 0, page), PW_CORRUPT);
  // Codes may say anything: estimates then are nonsense, even no numbers, but nothing breaks.
  const uint32_t code_page = good.head.section(Section::Codes).first_page;
  CHECK_EQ(status_with(code_page, 0, std::vector<uint8_t>(kPageBytes, 0xff)), PW_DONE);
}

void test_hostile_chunk() {
  const GraphLayout good{8, 16, 2, 7, 1, {100, 9, 2}};
  const auto parse = [&](GraphLayout layout, uint32_t rows = 100, size_t cut = 0) {
    ByteWriter chunk;
    layout.write(chunk);
    GraphLayout parsed;
    return GraphLayout::parse(ByteReader(chunk.data(), chunk.size() - cut), rows, parsed);
  };
  const auto with = [&](auto change) {
    GraphLayout layout = good;
    change(layout);
    return parse(layout);
  };
  CHECK_EQ(parse(good), PW_DONE);
  CHECK_EQ(parse(good, 99), PW_CORRUPT);
  CHECK_EQ(parse(good, 100, 4), PW_CORRUPT);
  CHECK_EQ(parse(good, 100, 30), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.m = 0; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.m = 17; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.m0 = 5000; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.id_bytes = 3; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.entry_row = 100; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.entry_rank = 2; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.counts = {100, 9, 10}; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.counts = {100, 0}; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.counts = {}; }), PW_CORRUPT);
  CHECK_EQ(with([](GraphLayout& x) { x.counts.assign(33, 100); }), PW_CORRUPT);
}

// Links from elsewhere: those of a graph over all rows, some of which are gone by now.
void test_given_links() {
  const GraphData data = graph_data(1200, 50, kDim, 12, 9);
  HnswVectors vectors(kDim, PwMetric::Cosine);
  for (const auto& row : data.rows) vectors.add(row.data());
  Hnsw old(vectors, {8, 60, 1});
  for (uint32_t row = 0; row < 1000; row++) old.insert(row);  // 200 come later

  IndexParameters parameters;
  parameters.dim = parameters.code_dim = kDim;
  parameters.kind = PwKind::Graph;
  parameters.m = 8;
  parameters.ef_construction = 60;
  PageQueue pages;
  GraphBuilder builder(parameters, pages);
  // Every fourth of the old rows is gone: the others move up, the gone ones get numbers past the end.
  std::vector<uint32_t> kept, number(1000);
  for (uint32_t row = 0; row < 1200; row++) {
    if (row >= 1000 || row % 4) {
      if (row < 1000) number[row] = static_cast<uint32_t>(kept.size());
      kept.push_back(row);
      builder.add(data.rows[row].data());
    }
  }
  for (uint32_t row = 0, gone = static_cast<uint32_t>(kept.size()); row < 1000; row += 4) number[row] = gone++;
  for (uint32_t row = 0; row < 1000; row++) {
    ByteWriter message;
    message.put(number[row]);
    message.put(old.level_of(row) + 1);
    for (uint32_t level = 0; level <= old.level_of(row); level++) {
      message.put(static_cast<uint32_t>(old.links(row, level).size()));
      for (uint32_t link : old.links(row, level)) message.put(number[link]);
    }
    CHECK_EQ(builder.links(ByteReader(message.data(), message.size())), PW_DONE);
  }
  int32_t status;
  while ((status = builder.step()) == PW_NEED) {}
  CHECK_EQ(status, PW_DONE);
  uint32_t found = 0, same_lists = 0;
  Hnsw graph = builder.graph();
  for (const std::vector<float>& query : data.queries) {
    const Beam& beam = graph.search(query.data(), 60);
    std::vector<uint32_t> rows;
    for (uint32_t i = 0; i < std::min(kFound, beam.size()); i++) rows.push_back(kept[beam[i].row]);
    found += in_common(exact_neighbours(data.rows, kept, query, kFound), rows);
  }
  CHECK_GE(found, 0.97 * kFound * data.queries.size());
  for (uint32_t row = 0; row < kept.size(); row++) CHECK(graph.contains(row));
  for (uint32_t row = 0; row < 1000; row++) {
    if (row % 4 == 0) continue;
    CHECK_EQ(graph.level_of(number[row]), old.level_of(row));
    same_lists += graph.links(number[row], 0).size() && number[old.links(row, 0)[0]] == graph.links(number[row], 0)[0];
  }
  CHECK_GT(same_lists, 300u);  // lists were kept, not made anew

  const auto refused = [&](std::vector<uint32_t> words) {
    PageQueue queue;
    GraphBuilder fresh(parameters, queue);
    fresh.add(data.rows[0].data());
    const int32_t given = fresh.links(ByteReader(words.data(), words.size() * 4));
    return given < 0 ? given : fresh.step();
  };
  CHECK_EQ(refused({0, 1, 0}), PW_DONE);
  CHECK_EQ(refused({0, 1}), PW_BAD_ARGUMENT);            // ends early
  CHECK_EQ(refused({0, 0}), PW_BAD_ARGUMENT);            // no level
  CHECK_EQ(refused({0, 1, 17}), PW_BAD_ARGUMENT);        // too many links
  CHECK_EQ(refused({0, 1, 2, 0}), PW_BAD_ARGUMENT);      // a link short
  CHECK_EQ(refused({0, 1, 0, 0, 1, 0}), PW_BAD_ARGUMENT);  // twice
  CHECK_EQ(refused({9, 1, 0}), PW_BAD_ARGUMENT);         // no such row
  CHECK_EQ(refused({0, 1, 3, 0, 5, 1u << 30}), PW_DONE);   // links to nothing are dropped
}

void test_empty_and_one() {
  for (const uint32_t count : {0u, 1u, 2u}) {
    GraphData data = graph_data(count, 1, kDim, 1, 4);
    const Site site = graph_site(data, graph_config(PwDtype::F32, PwMetric::L2));
    CHECK_EQ(site.status, PW_DONE);
    Index index;
    if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), kNoBudget), PW_DONE)) continue;
    CHECK_EQ(index.graph->present(), count > 0);
    const Found found = search(index, site, data.queries[0], 10);
    CHECK_EQ(found.status, PW_DONE);
    CHECK_EQ(found.rows.size(), count);
  }
}

}  // namespace

int main() {
  const GraphData data = graph_data(kRows, kQueries, kDim, 30, 1);
  for (const PwDtype dtype : {PwDtype::F32, PwDtype::I8}) {
    const PwConfig config = graph_config(dtype);
    const Site site = graph_site(data, config);
    if (!CHECK_EQ(site.status, PW_DONE)) {
      printf("%s\n", pw_error());
      continue;
    }
    test_search(site, data);
    test_filters(site, data);
    if (dtype == PwDtype::F32) continue;
    test_deterministic(site, data, config);
    test_hostile_pages(site, data);
  }
  test_hostile_chunk();
  test_given_links();
  test_empty_and_one();
  return check_result("graph");
}
