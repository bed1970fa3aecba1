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
  size_t first = 0;
  while (first < lines_.size() && lines_[first].recall < recall - 1e-4f) first++;
  if (first == lines_.size()) first--;
  const float chosen = lines_[first].recall;
  while (first > 0 && lines_[first - 1].recall == chosen) first--;
  size_t end = first;
  while (end < lines_.size() && lines_[end].recall == chosen) end++;
  size_t above = first;
  while (above < end && static_cast<float>(lines_[above].rank) < rank) above++;
  if (above == first) return {lines_[first].nprobe, lines_[first].ef_search, lines_[first].rerank};
  const PwCalibration& low = lines_[above - 1];
  if (above == end) {
    // Beyond what was measured: in proportion.
    const double factor = static_cast<double>(rank) / low.rank;
    return {at_most(low.nprobe * factor, kMostEffort), at_most(low.ef_search * factor, kMostEffort),
            at_most(low.rerank * sqrt(factor), kMostEffort)};
  }
  const PwCalibration& high = lines_[above];
  const double part = (static_cast<double>(rank) - low.rank) / (high.rank - low.rank);
  const auto between = [part](uint32_t a, uint32_t b) { return at_most(a + part * (static_cast<double>(b) - a), kMostEffort); };
  return {between(low.nprobe, high.nprobe), between(low.ef_search, high.ef_search), between(low.rerank, high.rerank)};
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
