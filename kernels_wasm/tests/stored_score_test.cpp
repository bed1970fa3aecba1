// A row's exact score is the same whether it was built in, inserted, or read and stored again, as
// compaction does; and int8 keeps a row's length under cosine.
#include <math.h>

#include "check.h"
#include "distance.h"
#include "graph_data.h"
#include "site.h"

namespace {

constexpr uint32_t kRows = 90;

std::vector<TestRow> random_rows(uint32_t dim, uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<TestRow> rows(kRows);
  for (uint32_t i = 0; i < kRows; i++) {
    rows[i].id = "built " + std::to_string(i);
    for (uint32_t d = 0; d < dim; d++) rows[i].vector.push_back(normal(random) * 3 + 0.5f);
  }
  return rows;
}

Site site_of(PwKind kind, PwMetric metric, PwDtype dtype, uint32_t dim) {
  PwConfig config{};
  config.dim = dim;
  config.metric = metric;
  config.dtype = dtype;
  config.kind = kind;
  config.code_bits = 2;
  config.clusters = kind == PwKind::Clusters ? 4 : 1;
  config.m = 8;
  config.ef_construction = 60;
  return build_site(config, random_rows(dim, dim), {});
}

// Every row's exact score for a query.
std::vector<float> scores(Index& index, const Site& site, const std::vector<float>& query) {
  PwVectorSearch search{};
  search.k = search.ef_search = search.rerank = index.rows();
  search.nprobe = 4;
  search.exclude = kNoRow;
  ByteWriter message;
  message.put(search);
  message.put(query.data(), query.size() * 4);
  const Outcome outcome = run_operation(index, site, PwOperation::SearchVector, message);
  CHECK_EQ(outcome.status, PW_DONE);
  CHECK_EQ(outcome.at<uint32_t>(0), index.rows());
  std::vector<float> found(index.rows(), NAN);
  for (uint32_t i = 0; i < outcome.at<uint32_t>(0); i++) {
    const PwHit hit = outcome.at<PwHit>(sizeof(PwHits) + i * sizeof(PwHit));
    CHECK_EQ(hit.flags & 1, 1u);
    if (CHECK_LT(hit.row, index.rows())) found[hit.row] = hit.score;
  }
  return found;
}

void inserted_scores_are_the_built_ones(PwKind kind, PwMetric metric, PwDtype dtype, uint32_t dim) {
  const Site site = site_of(kind, metric, dtype, dim);
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  std::vector<TestRow> again = site.rows;
  for (TestRow& row : again) row.id = "inserted " + row.id;
  ByteWriter message;
  message.put(uint64_t{0});
  put_batch(message, again, {});
  if (!CHECK_EQ(run_operation(index, site, PwOperation::Insert, message).status, PW_DONE)) return;
  for (uint32_t q = 0; q < kRows; q += 7) {
    const std::vector<float> found = scores(index, site, site.rows[q].vector);
    for (uint32_t row = 0; row < kRows; row++)
      CHECK_LE(fabsf(found[row] - found[kRows + row]), 1e-6f * (1 + fabsf(found[row])));
    if (metric == PwMetric::Cosine) CHECK_LE(fabsf(found[q] - 1), dtype == PwDtype::I8 ? 1e-4f : 1e-6f + 1e-3f * (dtype == PwDtype::F16));
  }
}

// Denormal vectors: nothing may be divided by what is too small to be divided by.
void tiny_vectors_are_zeros(PwKind kind, PwMetric metric, PwDtype dtype) {
  Site site = site_of(kind, metric, dtype, 32);
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  std::vector<TestRow> tiny(2);
  for (uint32_t i = 0; i < 2; i++) {
    tiny[i].id = "tiny " + std::to_string(i);
    tiny[i].vector.assign(32, 0);
    tiny[i].vector[3 + i] = i ? -1e-44f : 1e-38f;
  }
  ByteWriter message;
  message.put(uint64_t{0});
  put_batch(message, tiny, {});
  CHECK_EQ(run_operation(index, site, PwOperation::Insert, message).status, PW_DONE);
  for (const TestRow& row : tiny)
    for (float score : scores(index, site, row.vector)) CHECK(isfinite(score));
}

// dim is a multiple of 16, so that a stored row has no part outside the input's space.
void storing_again_changes_nothing(uint32_t dim) {
  IndexParameters parameters;
  parameters.dim = parameters.code_dim = dim;
  parameters.dtype = PwDtype::I8;
  const Rotation rotation(dim, dim, 3);
  std::vector<float> plain(dim), rotated(dim), scratch(dim);
  std::vector<uint8_t> stored(4 + dim), again(4 + dim);
  for (const TestRow& row : random_rows(dim, 5)) {
    normalise(PwMetric::Cosine, row.vector.data(), dim, plain.data());
    rotation.apply(plain.data(), rotated.data());
    store_row(parameters, plain.data(), rotated.data(), stored.data());
    load_row(parameters, rotation, stored.data(), plain.data(), scratch.data());
    double square = 0;
    for (float value : plain) square += static_cast<double>(value) * value;
    CHECK_LT(fabs(square - 1), 1e-5);
    normalise(PwMetric::Cosine, plain.data(), dim, plain.data());
    rotation.apply(plain.data(), rotated.data());
    store_row(parameters, plain.data(), rotated.data(), again.data());
    CHECK(stored == again);
  }
}

}  // namespace

int main() {
  for (PwKind kind : {PwKind::Flat, PwKind::Scan, PwKind::Clusters, PwKind::Graph})
    for (PwMetric metric : {PwMetric::Cosine, PwMetric::InnerProduct, PwMetric::L2})
      for (PwDtype dtype : {PwDtype::F32, PwDtype::F16, PwDtype::I8})
        inserted_scores_are_the_built_ones(kind, metric, dtype, kind == PwKind::Scan ? 20 : 32);
  for (PwKind kind : {PwKind::Flat, PwKind::Scan, PwKind::Clusters, PwKind::Graph})
    for (PwMetric metric : {PwMetric::InnerProduct, PwMetric::L2})
      for (PwDtype dtype : {PwDtype::F32, PwDtype::F16, PwDtype::I8}) tiny_vectors_are_zeros(kind, metric, dtype);
  for (uint32_t dim : {32u, 48u, 384u}) storing_again_changes_nothing(dim);
  return check_result("stored_score");
}
