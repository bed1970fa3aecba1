#include "cluster_scan.h"

#include <string.h>

#include <algorithm>

#include "clusters.h"
#include "delta.h"
#include "index.h"
#include "status.h"

void ClusterScan::begin(const DistanceQuery& query, const ScanPlan& plan) {
  query_ = &query;
  plan_ = plan;
  scan_.set(index_.head, query.rotated());
  best_.reset(plan.candidates);
  probes_.clear();
  chosen_ = false;
  probe_ = codes_ = 0;
}

int32_t ClusterScan::step(std::vector<uint32_t>& wanted) {
  if (!chosen_) {
    if (int32_t status = index_.clusters->ready(wanted)) return status;
    choose_probes();
    // Rows that were inserted later are not in the filter's bitmap, and not in this search.
    scan_delta();
    chosen_ = true;
    row_ = probes_.empty() ? 0 : index_.clusters->first_row(probes_[0].row);
  }
  const uint8_t* blocks = index_.pages.resident(Section::Codes);
  if (!blocks) return scan_pages(wanted);
  const size_t bytes = scan_.shape().block_bytes();
  for (; probe_ < probes_.size(); probe_++) {
    const uint32_t cluster = probes_[probe_].row;
    const uint32_t first = row_ ? row_ : index_.clusters->first_row(cluster);
    row_ = 0;
    codes_ += scan_blocks(scan_, blocks + first / kBlockRows * bytes, first, index_.clusters->end_row(cluster),
                          probes_[probe_].key, plan_.passing, 0, best_);
  }
  return PW_DONE;
}

void ClusterScan::choose_probes() {
  if (plan_.nprobe == 0) return;
  const Clusters& clusters = *index_.clusters;
  base_keys_.resize(clusters.count());
  nearest_clusters_.reset(std::min(plan_.nprobe, clusters.count()));
  for (uint32_t c = 0; c < clusters.count(); c++) {
    const uint32_t first = clusters.first_row(c), end = clusters.end_row(c);
    if (first == end || (plan_.passing && !plan_.passing->any_in(first, end))) continue;
    base_keys_[c] = clusters.base_key(*query_, c);
    nearest_clusters_.push(clusters.probe_key(c, base_keys_[c]), c);
  }
  for (const Candidate& one : nearest_clusters_.sorted()) probes_.push_back({base_keys_[one.row], one.row});
}

void ClusterScan::scan_delta() {
  const Delta& delta = *index_.delta;
  if (delta.rows() == 0) return;
  const float g = index_.clusters->mean_key(*query_);
  const uint32_t offset = delta.first_block_row(), first = index_.base_rows() - offset;
  const uint32_t end = first + delta.rows();
  for (uint32_t block = 0; block < delta.blocks(); block++) {
    const uint32_t from = block * kBlockRows;
    codes_ += scan_blocks(scan_, delta.block(block), from < first ? first : from,
                          end < from + kBlockRows ? end : from + kBlockRows, g, plan_.passing, offset, best_);
  }
}

int32_t ClusterScan::scan_pages(std::vector<uint32_t>& wanted) {
  for (; probe_ < probes_.size(); probe_++) {
    const uint32_t cluster = probes_[probe_].row, end = index_.clusters->end_row(cluster);
    if (row_ < index_.clusters->first_row(cluster) || row_ >= end) row_ = index_.clusters->first_row(cluster);
    while (row_ < end) {
      const uint32_t block = row_ / kBlockRows;
      const uint32_t block_end = (block + 1) * kBlockRows < end ? (block + 1) * kBlockRows : end;
      if (!plan_.passing || plan_.passing->any_in(row_, block_end)) {
        const uint8_t* bytes = block_bytes(block);
        if (!bytes) return want_ahead(wanted);
        codes_ += scan_blocks(scan_, bytes, row_, block_end, probes_[probe_].key, plan_.passing, 0, best_);
      }
      row_ = block_end;
    }
  }
  return PW_DONE;
}

// The block in one piece, or null when a page of it is absent.
const uint8_t* ClusterScan::block_bytes(uint32_t block) {
  const size_t bytes = scan_.shape().block_bytes();
  const uint64_t start = static_cast<uint64_t>(block) * bytes;
  const uint32_t first_page = index_.head.section(Section::Codes).first_page;
  uint32_t page = first_page + static_cast<uint32_t>(start / kPageBytes);
  size_t at = start % kPageBytes;
  if (at + bytes <= kPageBytes) {
    const uint8_t* found = index_.pages.find(page);
    return found ? found + at : nullptr;
  }
  crossing_.resize(bytes);
  for (size_t done = 0; done < bytes; page++, at = 0) {
    const uint8_t* found = index_.pages.find(page);
    if (!found) return nullptr;
    const size_t part = bytes - done < kPageBytes - at ? bytes - done : kPageBytes - at;
    memcpy(crossing_.data() + done, found + at, part);
    done += part;
  }
  return crossing_.data();
}

// Wants what is absent from here on, in the order in which it will be scanned.
int32_t ClusterScan::want_ahead(std::vector<uint32_t>& wanted) {
  const size_t bytes = scan_.shape().block_bytes();
  const uint32_t first_page = index_.head.section(Section::Codes).first_page;
  // A block longer than a page needs all its pages at once, whatever the cache has room for.
  const size_t least = bytes / kPageBytes + 2;
  const size_t most = wanted.size() + std::max<size_t>(index_.pages.free_slots(), least);
  uint32_t row = row_;
  for (uint32_t probe = probe_; probe < probes_.size(); probe++) {
    const uint32_t cluster = probes_[probe].row, end = index_.clusters->end_row(cluster);
    if (probe > probe_) row = index_.clusters->first_row(cluster);
    uint32_t last = kNoRow;
    for (; row < end; row = (row / kBlockRows + 1) * kBlockRows) {
      const uint32_t block = row / kBlockRows;
      const uint32_t block_end = (block + 1) * kBlockRows < end ? (block + 1) * kBlockRows : end;
      if (plan_.passing && !plan_.passing->any_in(row, block_end)) continue;
      const uint64_t start = static_cast<uint64_t>(block) * bytes;
      for (uint64_t page = start / kPageBytes; page <= (start + bytes - 1) / kPageBytes; page++) {
        const uint32_t number = first_page + static_cast<uint32_t>(page);
        if (number == last || index_.pages.present(number)) continue;
        if (wanted.size() >= most) return PW_NEED;
        wanted.push_back(last = number);
      }
    }
  }
  return PW_NEED;
}
