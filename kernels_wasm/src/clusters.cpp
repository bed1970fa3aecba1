#include "clusters.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "head.h"
#include "index.h"
#include "status.h"

int32_t Clusters::open(Index& index) {
  index_ = &index;
  const Head& head = index.head;
  const uint32_t row_bytes = 4 + head.code_dim;
  first_rows_ = {0, head.rows};
  mean_row_.assign(row_bytes, 0);
  mean_.assign(head.code_dim, 0);
  const std::span<const uint8_t> mean = head.chunk(kTagMean);
  if (!mean.empty()) {
    float scale = 0;
    if (mean.size() >= 4) memcpy(&scale, mean.data(), 4);
    if (mean.size() != row_bytes || !(fabsf(scale) < 1e18f))
      return fail(PW_CORRUPT, "index head: MEAN has %zu bytes and scale %g, expected %u bytes and a finite scale", mean.size(), static_cast<double>(scale), row_bytes);
    mean_row_.assign(mean.begin(), mean.end());
    load_i8(mean_row_.data(), head.code_dim, mean_.data());
  }
  if (head.kind != PwKind::Clusters) return PW_DONE;
  const std::span<const uint8_t> chunk = head.chunk(kTagClusters);
  if (chunk.size() != (head.clusters + 1ull) * 4)
    return fail(PW_CORRUPT, "index head: CLUS has %zu bytes, expected %llu for %u clusters", chunk.size(), (head.clusters + 1ull) * 4, head.clusters);
  first_rows_.resize(head.clusters + 1);
  memcpy(first_rows_.data(), chunk.data(), chunk.size());
  if (first_rows_.front() != 0 || first_rows_.back() != head.rows || !std::is_sorted(first_rows_.begin(), first_rows_.end()))
    return fail(PW_CORRUPT, "index head: CLUS: expected ascending rows from 0 to %u", head.rows);
  if (head.section(Section::Centroids).bytes != static_cast<uint64_t>(head.clusters) * row_bytes)
    return fail(PW_CORRUPT, "index head: section CENTROIDS has %llu bytes, expected %llu",
                static_cast<unsigned long long>(head.section(Section::Centroids).bytes), static_cast<unsigned long long>(head.clusters) * row_bytes);
  return PW_DONE;
}

uint32_t Clusters::cluster_of(uint32_t row) const {
  return static_cast<uint32_t>(std::upper_bound(first_rows_.begin(), first_rows_.end(), row) - first_rows_.begin()) - 1;
}

int32_t Clusters::ready(std::vector<uint32_t>& wanted) {
  if (index_->head.kind != PwKind::Clusters) return PW_DONE;
  const uint8_t* const before = centroids_;
  centroids_ = index_->pages.resident(Section::Centroids);
  if (centroids_ && centroids_ != before) measure_norms();
  if (centroids_) return PW_DONE;
  if (int32_t status = index_->pages.make_resident(Section::Centroids)) return status;
  const SectionRange range = index_->head.section(Section::Centroids);
  for (uint32_t page = range.first_page; page < range.first_page + range.pages; page++)
    if (!index_->pages.present(page)) wanted.push_back(page);
  return PW_NEED;
}

void Clusters::measure_norms() {
  if (index_->head.metric != PwMetric::Cosine) return;
  std::vector<float> values(index_->head.code_dim);
  inverse_norms_.resize(count());
  for (uint32_t c = 0; c < count(); c++) {
    load_i8(centroid(c), index_->head.code_dim, values.data());
    float square = 0;
    for (float value : values) square += value * value;
    inverse_norms_[c] = square > 0 ? 1 / sqrtf(square) : 0;
  }
}

void write_clusters(HeadWriter& head, std::span<const uint32_t> first_rows, std::span<const uint8_t> mean_row) {
  ByteWriter rows, mean;
  rows.put(first_rows.data(), first_rows.size_bytes());
  mean.put(mean_row.data(), mean_row.size());
  head.chunk(kTagClusters, rows);
  head.chunk(kTagMean, mean);
}
