// The graph in memory: what it finds, that it is the same every time, and what is left of it after
// rows went and came.
#include "check.h"
#include "graph_data.h"
#include "hnsw.h"

namespace {

constexpr uint32_t kDim = 48, kRows = 3000, kQueries = 100, kFound = 10;

double recall(Hnsw& graph, const GraphData& data, const std::vector<uint32_t>& live, uint32_t ef) {
  uint32_t found = 0;
  for (const std::vector<float>& query : data.queries) {
    const Beam& beam = graph.search(query.data(), ef);
    std::vector<uint32_t> rows;
    for (uint32_t i = 0; i < std::min(kFound, beam.size()); i++) rows.push_back(beam[i].row);
    found += in_common(exact_neighbours(data.rows, live, query, kFound), rows);
  }
  return found / static_cast<double>(kFound * data.queries.size());
}

std::vector<uint32_t> range(uint32_t from, uint32_t to) {
  std::vector<uint32_t> rows;
  for (uint32_t row = from; row < to; row++) rows.push_back(row);
  return rows;
}

bool same(const Hnsw& a, const Hnsw& b, uint32_t rows) {
  if (a.entry() != b.entry()) return false;
  for (uint32_t row = 0; row < rows; row++) {
    if (a.level_of(row) != b.level_of(row)) return false;
    for (uint32_t level = 0; level <= a.level_of(row); level++) {
      const auto x = a.links(row, level), y = b.links(row, level);
      if (!std::equal(x.begin(), x.end(), y.begin(), y.end())) return false;
    }
  }
  return true;
}

// Every link names a live node of its level, no list is too long, and level 0 hangs together.
void check_sound(const Hnsw& graph, const std::vector<uint32_t>& live) {
  uint32_t bad = 0;
  std::vector<uint32_t> stack{graph.entry()};
  std::vector<bool> reached(live.empty() ? 1 : live.back() + 1);
  for (uint32_t row : live) {
    for (uint32_t level = 0; level <= graph.level_of(row); level++) {
      const auto links = graph.links(row, level);
      bad += links.size() > (level ? graph.parameters().m : graph.parameters().m0());
      for (uint32_t link : links) bad += link == row || !graph.contains(link) || graph.level_of(link) < level;
    }
  }
  CHECK_EQ(bad, 0u);
  if (bad) return;
  size_t count = 0;
  reached[graph.entry()] = true;
  while (!stack.empty()) {
    const uint32_t row = stack.back();
    stack.pop_back();
    count++;
    for (uint32_t link : graph.links(row, 0)) {
      if (reached[link]) continue;
      reached[link] = true;
      stack.push_back(link);
    }
  }
  CHECK_EQ(count, live.size());
}

void test_build() {
  const GraphData data = graph_data(kRows, kQueries, kDim, 30, 1);
  HnswVectors vectors(kDim, PwMetric::Cosine);
  for (const auto& row : data.rows) vectors.add(row.data());
  const HnswParameters parameters{8, 60, 7};
  Hnsw graph(vectors, parameters), again(vectors, parameters), seeded(vectors, {8, 60, 8});
  for (uint32_t row = 0; row < kRows; row++) {
    graph.insert(row);
    again.insert(row);
    seeded.insert(row);
  }
  graph.link_unreachable();
  again.link_unreachable();
  CHECK(same(graph, again, kRows));
  CHECK(!same(graph, seeded, kRows));
  check_sound(graph, range(0, kRows));
  CHECK_GT(graph.max_level(), 1u);
  const double low = recall(graph, data, range(0, kRows), 12), high = recall(graph, data, range(0, kRows), 80);
  printf("hnsw: recall %.3f at ef 12, %.3f at ef 80\n", low, high);
  CHECK_GE(high, 0.97);
  CHECK_GT(high, low);
}

void test_small() {
  // Fewer rows than neighbours; equal rows; a row of zeros under the inner product.
  const std::vector<float> one(kDim, 1.f), zero(kDim, 0.f);
  HnswVectors vectors(kDim, PwMetric::InnerProduct);
  Hnsw graph(vectors, {4, 10, 1});
  CHECK(graph.empty());
  CHECK_EQ(graph.search(one.data(), 5).size(), 0u);
  for (int i = 0; i < 40; i++) vectors.add(i == 7 ? zero.data() : one.data());
  for (uint32_t row = 0; row < 40; row++) graph.insert(row);
  graph.link_unreachable();
  check_sound(graph, range(0, 40));
  CHECK_EQ(graph.search(one.data(), 39).size(), 39u);
  Bitmap all(40, true);
  graph.remove(all);
  CHECK(graph.empty());
}

// A third of the rows is removed and as many new ones inserted.
void test_update() {
  constexpr uint32_t kChanged = kRows * 3 / 10;
  const GraphData data = graph_data(kRows + kChanged, kQueries, kDim, 30, 2);
  HnswVectors vectors(kDim, PwMetric::Cosine);
  for (const auto& row : data.rows) vectors.add(row.data());
  Hnsw graph(vectors, {8, 60, 7}), fresh(vectors, {8, 60, 7});
  for (uint32_t row = 0; row < kRows; row++) graph.insert(row);

  Bitmap removed(kRows);
  SplitMix64 random(3);
  for (uint32_t count = 0; count < kChanged;) {
    const uint32_t row = random.below(kRows);
    if (removed.get(row)) continue;
    removed.set(row);
    count++;
  }
  removed.set(graph.entry());  // and the entry point
  graph.remove(removed);
  std::vector<uint32_t> live;
  for (uint32_t row = 0; row < kRows; row++) {
    if (!removed.get(row)) live.push_back(row);
  }
  check_sound(graph, live);
  CHECK(!graph.contains(removed.next(0)));
  const double after_removal = recall(graph, data, live, 40);
  for (uint32_t row = kRows; row < kRows + kChanged; row++) {
    graph.insert(row);
    live.push_back(row);
  }
  graph.link_unreachable();
  check_sound(graph, live);
  for (uint32_t row : live) fresh.insert(row);
  fresh.link_unreachable();
  const double changed = recall(graph, data, live, 40), anew = recall(fresh, data, live, 40);
  printf("hnsw: recall %.3f after removal, %.3f after insertion, %.3f built anew (ef 40)\n", after_removal, changed, anew);
  CHECK_GE(after_removal, 0.95);
  CHECK_GE(changed, anew - 0.01);
}

}  // namespace

int main() {
  test_build();
  test_small();
  test_update();
  return check_result("graph_hnsw");
}
