#include "calibration.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "index.h"
#include "status.h"

namespace {
constexpr uint32_t kMaxLines = 4096;
constexpr uint32_t kMostEffort = 1u << 24;

uint32_t at_most(double value, uint32_t most) {
  return value >= most ? most : value < 1 ? 1 : static_cast<uint32_t>(ceil(value));
}

Effort effort_of(const PwCalibration& line) {
  return {line.nprobe, line.ef_search, line.rerank};
}

Effort between(const Effort& low, const Effort& high, double part) {
  const auto mix = [part](uint32_t a, uint32_t b) { return at_most(a + part * (static_cast<double>(b) - a), kMostEffort); };
  return {mix(low.nprobe, high.nprobe), mix(low.ef_search, high.ef_search), mix(low.rerank, high.rerank)};
}
}  // namespace

int32_t Calibration::open(Index& index) {
  index_ = &index;
  const std::span<const uint8_t> chunk = index.head.chunk(kTagCalibration);
  if (chunk.size() % sizeof(PwCalibration) || chunk.size() / sizeof(PwCalibration) > kMaxLines)
    return fail(PW_CORRUPT, "index head: CALI has %zu bytes, expected at most %u lines of %zu", chunk.size(), kMaxLines, sizeof(PwCalibration));
  lines_.resize(chunk.size() / sizeof(PwCalibration));
  if (!lines_.empty()) memcpy(lines_.data(), chunk.data(), chunk.size());
  for (size_t i = 0; i < lines_.size(); i++) {
    const PwCalibration& line = lines_[i];
    const bool ascending = i == 0 || lines_[i - 1].recall < line.recall ||
                           (lines_[i - 1].recall == line.recall && lines_[i - 1].rank < line.rank);
    if (!(line.recall > 0 && line.recall <= 1) || line.rank == 0 || !ascending || line.nprobe > kMostEffort ||
        line.ef_search > kMostEffort || line.rerank > kMostEffort)
      return fail(PW_CORRUPT, "index head: CALI line %zu: recall %g, rank %u: expected lines by ascending recall and rank",
                  i, static_cast<double>(line.recall), line.rank);
  }
  return PW_DONE;
}

Effort Calibration::effort(float recall, float rank) const {
  if (lines_.empty()) return guess(recall, rank);
  // The lines of the least recall that is enough, or of the greatest there is.
  const auto less = [](const PwCalibration& line, float wanted) { return line.recall < wanted; };
  const auto lines_of = [&](float chosen) {
    const auto first = std::lower_bound(lines_.begin(), lines_.end(), chosen, less);
    const auto end = std::find_if(first, lines_.end(), [&](const PwCalibration& line) { return line.recall != chosen; });
    return std::span(lines_).subspan(static_cast<size_t>(first - lines_.begin()), static_cast<size_t>(end - first));
  };
  auto enough = std::lower_bound(lines_.begin(), lines_.end(), recall - 1e-4f, less);
  if (enough == lines_.end()) enough--;
  const Effort more = at_rank(lines_of(enough->recall), rank);
  const auto before = std::lower_bound(lines_.begin(), lines_.end(), enough->recall, less);
  if (before == lines_.begin() || recall >= enough->recall) return more;
  // Each further cluster or candidate brings fewer neighbours than the one before, so recall is
  // concave in the effort: between two that were measured a straight line promises too little.
  const float least = (before - 1)->recall;
  return between(at_rank(lines_of(least), rank), more, (recall - least) / (enough->recall - least));
}

// By the lines of one recall.
Effort Calibration::at_rank(std::span<const PwCalibration> lines, float rank) {
  size_t above = 0;
  while (above < lines.size() && static_cast<float>(lines[above].rank) < rank) above++;
  if (above == 0) return effort_of(lines[0]);
  const PwCalibration& low = lines[above - 1];
  if (above == lines.size()) {
    // Beyond what was measured: in proportion.
    const double factor = static_cast<double>(rank) / low.rank;
    return {at_most(low.nprobe * factor, kMostEffort), at_most(low.ef_search * factor, kMostEffort),
            at_most(low.rerank * sqrt(factor), kMostEffort)};
  }
  const PwCalibration& high = lines[above];
  return between(effort_of(low), effort_of(high), (static_cast<double>(rank) - low.rank) / (high.rank - low.rank));
}

Effort Calibration::guess(float recall, float rank) const {
  const Head& head = index_->head;
  const double clusters = head.clusters, growth = sqrt(std::max(1.0, rank / 10.0));
  const double nprobe = head.kind == PwKind::Graph ? std::max(48.0, 2.0 * rank) : std::max(8.0, clusters / 12) * growth;
  // Inserted rows are coded against one centroid: on clustered data their estimates are wider than
  // those of a built index (1 bit, 50k x 384: recall 0.91 at 100), and nothing has been measured.
  const double rerank = head.code_bits == 1 ? 200 : head.code_bits == 2 ? 80 : 40;
  return {at_most(nprobe, kMostEffort), at_most(std::max(64.0, 4.0 * rank), kMostEffort),
          at_most(recall >= 0.99f ? 3 * rerank : rerank, kMostEffort)};
}
