// The operation SearchVector: filter, then candidates by the index's kind, then exact distances.
#include <math.h>
#include <string.h>

#include <algorithm>

#include "calibration.h"
#include "cluster_scan.h"
#include "clusters.h"
#include "delta.h"
#include "filter.h"
#include "flat.h"
#include "graph_walk.h"
#include "index.h"
#include "operations.h"
#include "parts.h"
#include "rerank.h"
#include "row_batch.h"
#include "sort.h"
#include "status.h"

namespace {

constexpr uint32_t kHitExact = 1;

class SearchVector : public Operation {
 public:
  explicit SearchVector(Index& index)
      : index_(index), filter_(index), flat_(index), scan_(index), graph_(make_graph_walk(index)), rerank_(index) {}

  int32_t begin(ByteReader message) override;
  int32_t step() override;

 private:
  enum class Stage { Filter, Centroids, Candidates, Rerank, Done };

  int32_t plan();
  int32_t start_graph();
  int32_t candidates();
  void merge_inserted();
  void finish(std::span<const Hit> hits);
  uint32_t passing_rows() const {
    return filter_.passing() != kNoRow ? filter_.passing() : index_.rows() - index_.deleted_count;
  }

  Index& index_;
  PwVectorSearch request_{};
  std::vector<float> vector_;
  std::vector<uint32_t> program_;
  DistanceQuery query_;
  FilterState filter_;
  FlatScan flat_;
  ClusterScan scan_;
  std::unique_ptr<GraphWalk> graph_;  // null in a module without graphs
  Rerank rerank_;
  Stage stage_ = Stage::Done;
  uint32_t wanted_hits_ = 0;  // k and room for the excluded row, but no more than there are rows
  std::vector<Candidate> found_;
  std::vector<Hit> exact_;
};

int32_t SearchVector::begin(ByteReader message) {
  result.clear();
  stage_ = Stage::Done;
  request_ = message.get<PwVectorSearch>();
  const uint32_t dim = index_.head.dim;
  if (!message.ok() || request_.filter_bytes % 4 || request_.filter_bytes > message.left())
    return fail(PW_BAD_ARGUMENT, "vector search: a filter of %u bytes does not fit in the message", request_.filter_bytes);
  program_.resize(request_.filter_bytes / 4);
  if (!program_.empty()) memcpy(program_.data(), message.take(request_.filter_bytes), request_.filter_bytes);
  if (message.left() != dim * 4ull)
    return fail(PW_BAD_ARGUMENT, "vector search: the query has dimension %zu, the index has %u", message.left() / 4, dim);
  if (request_.k == 0) return fail(PW_BAD_ARGUMENT, "vector search: k is 0, expected at least 1");
  if (!(request_.recall >= 0 && request_.recall <= 1))
    return fail(PW_BAD_ARGUMENT, "vector search: recall %g, expected 0 to 1", static_cast<double>(request_.recall));
  vector_.resize(dim);
  memcpy(vector_.data(), message.take(dim * 4), dim * 4);
  if (int32_t status = check_vector(vector_.data(), dim, index_.head.metric, "query", 0)) return status;
  if (int32_t status = filter_.begin(program_)) return status;
  query_.set(index_.head, *index_.rotation, vector_.data());
  stage_ = Stage::Filter;
  return PW_DONE;
}

int32_t SearchVector::step() {
  while (stage_ != Stage::Done) {
    switch (stage_) {
      case Stage::Filter:
        if (int32_t status = filter_.step(wanted)) return status;
        if (int32_t status = plan()) return status;
        break;
      case Stage::Centroids:
        if (int32_t status = index_.clusters->ready(wanted)) return status;
        if (int32_t status = start_graph()) return status;
        break;
      case Stage::Candidates:
        if (int32_t status = candidates()) return status;
        break;
      case Stage::Rerank:
        if (int32_t status = rerank_.step(wanted)) return status;
        finish(rerank_.hits(wanted_hits_));
        break;
      case Stage::Done: break;
    }
  }
  return PW_DONE;
}

int32_t SearchVector::plan() {
  const Bitmap* passing = filter_.bitmap();
  const uint32_t rows = index_.rows(), passing_count = passing_rows();
  const bool excludes = request_.exclude != kNoRow;
  wanted_hits_ = std::min(passing_count, request_.k < UINT32_MAX - 1 ? request_.k + excludes : request_.k);
  stage_ = Stage::Candidates;
  if (wanted_hits_ == 0) {
    rerank_.begin(query_, {}, 0, 0);
    stage_ = Stage::Rerank;
    return PW_DONE;
  }
  if (index_.head.kind == PwKind::Flat) {
    flat_.begin(query_, wanted_hits_, passing);
    return PW_DONE;
  }
  const bool graph = index_.head.kind == PwKind::Graph;
  // A walk of the graph goes on until enough rows pass; a scan must look where they may be.
  const float selectivity = graph ? 1 : static_cast<float>(passing_count) / static_cast<float>(rows);
  const float recall = request_.recall > 0 ? request_.recall : 0.95f;
  const float per_cluster = static_cast<float>(rows) / static_cast<float>(index_.head.clusters);
  const Effort effort = index_.calibration->effort(recall, static_cast<float>(std::max(10u, wanted_hits_)) / selectivity);
  uint32_t rerank = request_.rerank;
  if (rerank == 0) {
    // Calibrated for ten hits; the margin that more of them need grows slower than they do.
    const float growth = sqrtf(std::max(1.f, static_cast<float>(wanted_hits_) / 10));
    rerank = static_cast<uint32_t>(static_cast<float>(effort.rerank) * growth);
  }
  rerank = std::clamp(rerank, wanted_hits_, std::max(wanted_hits_, passing_count));
  if (graph) {
    // Over resident vectors distances are exact: nothing to re-rank, and a narrower beam is enough,
    // which the table has in nprobe's place where it was measured.
    const bool exact = index_.pages.resident(Section::Vectors) != nullptr;
    if (exact && request_.rerank == 0) rerank = wanted_hits_;
    const uint32_t beam = exact && effort.nprobe > 1 ? effort.nprobe : effort.ef_search;
    request_.ef_search = std::max(request_.ef_search ? request_.ef_search : beam, rerank);
    request_.rerank = rerank;
    stage_ = Stage::Centroids;
    return PW_DONE;
  }
  uint32_t nprobe = request_.nprobe ? request_.nprobe : effort.nprobe;
  // So few pass that visiting them all costs no more than the clusters one would visit without a
  // filter: then every cluster with one of them is visited.
  const float unfiltered = static_cast<float>(index_.calibration->effort(recall, 10).nprobe) * per_cluster / kBlockRows;
  if (request_.nprobe == 0 && static_cast<float>(passing_count) <= std::max(unfiltered, 4.f * static_cast<float>(rerank)))
    nprobe = index_.head.clusters;
  // Enough clusters that k rows can be in them at all.
  const float least = static_cast<float>(wanted_hits_) / std::max(1.f, per_cluster * selectivity);
  nprobe = std::max(nprobe, static_cast<uint32_t>(std::min(least, 1e9f)));
  request_.rerank = rerank;
  const uint64_t candidates = std::min<uint64_t>(static_cast<uint64_t>(rerank) * kRerankWidth, passing_count);
  scan_.begin(query_, {std::max(1u, nprobe), static_cast<uint32_t>(candidates), passing});
  return PW_DONE;
}

int32_t SearchVector::start_graph() {
  const Bitmap* passing = filter_.bitmap();
  graph_->begin({&query_, request_.ef_search, passing,
                 passing ? passing->count_in(0, std::min(passing->size(), index_.base_rows())) : 0});
  stage_ = Stage::Candidates;
  return PW_DONE;
}

int32_t SearchVector::candidates() {
  stage_ = Stage::Rerank;
  switch (index_.head.kind) {
    case PwKind::Flat:
      if (int32_t status = flat_.step(wanted)) return stage_ = Stage::Candidates, status;
      exact_.clear();
      for (const Candidate& one : flat_.take()) exact_.push_back({one.key, one.row, true});
      finish(exact_);
      return PW_DONE;
    case PwKind::Graph: {
      if (int32_t status = graph_->step(wanted)) return stage_ = Stage::Candidates, status;
      const std::vector<Candidate>& near = graph_->candidates();
      found_.assign(near.begin(), near.begin() + static_cast<ptrdiff_t>(std::min<size_t>(near.size(), request_.rerank)));
      if (index_.delta->rows()) merge_inserted();
      break;
    }
    default:
      if (int32_t status = scan_.step(wanted)) return stage_ = Stage::Candidates, status;
      found_.swap(scan_.take());
  }
  rerank_.begin(query_, found_, request_.rerank, request_.max_pages);
  return PW_DONE;
}

// The graph holds base rows only; inserted ones are few and scanned.
void SearchVector::merge_inserted() {
  scan_.begin(query_, {0, request_.rerank, filter_.bitmap()});
  scan_.step(wanted);  // no cluster, no page: it is done at once
  const std::vector<Candidate>& inserted = scan_.take();
  found_.insert(found_.end(), inserted.begin(), inserted.end());
  sort_items(found_.begin(), found_.end());
  if (found_.size() > request_.rerank) found_.resize(request_.rerank);
}

void SearchVector::finish(std::span<const Hit> hits) {
  stage_ = Stage::Done;
  const bool flat = index_.head.kind == PwKind::Flat, graph = index_.head.kind == PwKind::Graph;
  PwHits head{};
  head.passing = filter_.passing();
  head.hops = graph ? graph_->hops() : 0;
  head.codes = flat || wanted_hits_ == 0 ? 0 : graph ? graph_->codes() : scan_.codes();
  head.clusters = flat || graph || wanted_hits_ == 0 ? 0 : scan_.clusters();
  head.distances = flat ? flat_.distances() : rerank_.distances();
  head.pages_hit = flat ? 0 : rerank_.pages_hit();
  head.pages_missed = flat ? 0 : rerank_.pages_missed();
  result.put(head);
  for (const Hit& hit : hits) {
    // A row may have been deleted while the search waited for pages.
    if (head.count == request_.k || hit.row == request_.exclude || !index_.live(hit.row)) continue;
    result.put(PwHit{hit.row, score_of_key(index_.head.metric, hit.key), hit.exact ? kHitExact : 0, 0});
    head.count++;
  }
  result.patch(0, head);
}

}  // namespace

std::unique_ptr<Operation> make_search_vector(Index& index) { return std::make_unique<SearchVector>(index); }
