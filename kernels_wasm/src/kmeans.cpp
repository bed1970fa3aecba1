#include "kmeans.h"

#include <math.h>

#include <algorithm>

#include "random.h"
#include "simd.h"

namespace {

constexpr uint32_t kPanel = 8;

// For `kRows` rows and a panel of eight centroids: <r, c> in out[kRows][8].
template <uint32_t kRows>
inline void multiply(const float* rows, const float* panel, uint32_t dim, float* out) {
  v128_t sums[kRows][2];
#pragma clang loop unroll(full)
  for (uint32_t r = 0; r < kRows; r++) sums[r][0] = sums[r][1] = wasm_f32x4_splat(0);
  for (uint32_t i = 0; i < dim; i++, panel += kPanel) {
    const v128_t b0 = wasm_v128_load(panel), b1 = wasm_v128_load(panel + 4);
#pragma clang loop unroll(full)
    for (uint32_t r = 0; r < kRows; r++) {
      const v128_t a = wasm_v128_load32_splat(rows + static_cast<size_t>(r) * dim + i);
      sums[r][0] = wasm_f32x4_add(sums[r][0], wasm_f32x4_mul(a, b0));
      sums[r][1] = wasm_f32x4_add(sums[r][1], wasm_f32x4_mul(a, b1));
    }
  }
#pragma clang loop unroll(full)
  for (uint32_t r = 0; r < kRows; r++) {
    wasm_v128_store(out + r * kPanel, sums[r][0]);
    wasm_v128_store(out + r * kPanel + 4, sums[r][1]);
  }
}

float square(const float* v, uint32_t dim) {
  float sum = 0;
  for (uint32_t i = 0; i < dim; i++) sum += v[i] * v[i];
  return sum;
}

}  // namespace

void Assigner::set(const float* centroids, uint32_t count, uint32_t dim, bool spherical) {
  count_ = count;
  dim_ = dim;
  const uint32_t panels = (count + kPanel - 1) / kPanel;
  panels_.assign(static_cast<size_t>(panels) * dim * kPanel, 0);
  halves_.assign(static_cast<size_t>(panels) * kPanel, 1e38f);
  for (uint32_t c = 0; c < count; c++) {
    const float* from = centroids + static_cast<size_t>(c) * dim;
    float* to = panels_.data() + static_cast<size_t>(c / kPanel) * dim * kPanel + c % kPanel;
    const float squared = square(from, dim), scale = spherical && squared > 0 ? 1 / sqrtf(squared) : 1;
    for (uint32_t i = 0; i < dim; i++) to[i * kPanel] = from[i] * scale;
    halves_[c] = spherical ? 0.5f : squared / 2;
  }
}

void Assigner::assign(const float* rows, uint32_t n, uint32_t* nearest, float* distances) const {
  constexpr uint32_t kRows = 4;    // of one register tile
  constexpr uint32_t kTile = 32;   // rows that take turns on one panel while it is in the first cache
  const uint32_t panels = static_cast<uint32_t>(halves_.size() / kPanel);
  for (uint32_t from = 0; from < n; from += kTile) {
    const uint32_t count = std::min(kTile, n - from);
    float best[kTile];
    uint32_t at[kTile];
    std::fill_n(best, kTile, 1e38f);
    std::fill_n(at, kTile, 0u);
    for (uint32_t p = 0; p < panels; p++) {
      const float* panel = panels_.data() + static_cast<size_t>(p) * dim_ * kPanel;
      const float* halves = halves_.data() + p * kPanel;
      for (uint32_t r = 0; r < count; r += kRows) {
        float products[kRows * kPanel];
        const float* first = rows + static_cast<size_t>(from + r) * dim_;
        const uint32_t tile = std::min(kRows, count - r);
        if (tile == kRows) multiply<kRows>(first, panel, dim_, products);
        else
          for (uint32_t i = 0; i < tile; i++) multiply<1>(first + static_cast<size_t>(i) * dim_, panel, dim_, products + i * kPanel);
        for (uint32_t i = 0; i < tile; i++) {
          for (uint32_t c = 0; c < kPanel; c++) {
            const float key = halves[c] - products[i * kPanel + c];
            if (key < best[r + i]) {
              best[r + i] = key;
              at[r + i] = p * kPanel + c;
            }
          }
        }
      }
    }
    for (uint32_t i = 0; i < count; i++) {
      nearest[from + i] = at[i];
      if (distances) distances[from + i] = 2 * best[i];
    }
  }
}

void KMeans::start() {
  centroids_.assign(static_cast<size_t>(clusters_) * dim_, 0);
  const uint32_t rows = sample_rows();
  if (rows == 0) return;
  // Distinct rows of the sample, by a partial Fisher-Yates shuffle; some twice if there are too few.
  SplitMix64 random(seed_ ^ 0x6b6d65616e73);
  std::vector<uint32_t> order(rows);
  for (uint32_t i = 0; i < rows; i++) order[i] = i;
  for (uint32_t c = 0; c < clusters_; c++) {
    const uint32_t i = c % rows;
    std::swap(order[i], order[i + random.below(rows - i)]);
    std::copy_n(sample_.data() + static_cast<size_t>(order[i]) * dim_, dim_, centroids_.data() + static_cast<size_t>(c) * dim_);
  }
}

bool KMeans::step() {
  const uint32_t rows = sample_rows();
  if (iteration_ == 0) start();
  if (rows == 0) return false;
  std::vector<uint32_t> nearest(rows, 0), sizes(clusters_, 0);
  std::vector<float> distances(rows, 0);
  if (clusters_ > 1) {
    Assigner assigner;
    assigner.set(centroids_.data(), clusters_, dim_, spherical_);
    assigner.assign(sample_.data(), rows, nearest.data(), distances.data());
  }
  std::fill(centroids_.begin(), centroids_.end(), 0.f);
  for (uint32_t row = 0; row < rows; row++) {
    sizes[nearest[row]]++;
    const float* from = sample_.data() + static_cast<size_t>(row) * dim_;
    float* to = centroids_.data() + static_cast<size_t>(nearest[row]) * dim_;
    for (uint32_t i = 0; i < dim_; i++) to[i] += from[i];
    distances[row] += square(from, dim_);
  }
  for (uint32_t c = 0; c < clusters_; c++) {
    const float inverse = sizes[c] ? 1 / static_cast<float>(sizes[c]) : 0;
    for (uint32_t i = 0; i < dim_; i++) centroids_[static_cast<size_t>(c) * dim_ + i] *= inverse;
  }
  reseed_empty(sizes, nearest, distances);
  return ++iteration_ < kIterations && clusters_ > 1;
}

// An empty cluster restarts at the row that is worst served, each row being taken once.
void KMeans::reseed_empty(const std::vector<uint32_t>& sizes, const std::vector<uint32_t>& nearest, std::vector<float>& distances) {
  for (uint32_t c = 0; c < clusters_; c++) {
    if (sizes[c]) continue;
    uint32_t worst = 0;
    for (uint32_t row = 1; row < distances.size(); row++)
      if (sizes[nearest[row]] > 1 && distances[row] > distances[worst]) worst = row;
    distances[worst] = -1;
    std::copy_n(sample_.data() + static_cast<size_t>(worst) * dim_, dim_, centroids_.data() + static_cast<size_t>(c) * dim_);
  }
}

void KMeans::order() {
  // A greedy chain from centroid to its nearest one left: neighbours in number are neighbours in space.
  if (clusters_ < 3 || centroids_.empty()) return;  // no step yet, no centroids
  std::vector<float> ordered;
  ordered.reserve(centroids_.size());
  std::vector<uint32_t> left(clusters_);
  for (uint32_t c = 0; c < clusters_; c++) left[c] = c;
  uint32_t at = 0;  // index in `left`
  while (true) {
    const float* current = centroids_.data() + static_cast<size_t>(left[at]) * dim_;
    ordered.insert(ordered.end(), current, current + dim_);
    left[at] = left.back();
    left.pop_back();
    if (left.empty()) break;
    float nearest = 3e38f;
    at = 0;
    for (uint32_t i = 0; i < left.size(); i++) {
      const float* other = centroids_.data() + static_cast<size_t>(left[i]) * dim_;
      v128_t sum = wasm_f32x4_splat(0);
      for (uint32_t j = 0; j < dim_; j += 4) {
        const v128_t difference = wasm_f32x4_sub(wasm_v128_load(current + j), wasm_v128_load(other + j));
        sum = wasm_f32x4_add(sum, wasm_f32x4_mul(difference, difference));
      }
      const float distance = wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) +
                             wasm_f32x4_extract_lane(sum, 2) + wasm_f32x4_extract_lane(sum, 3);
      if (distance < nearest) {
        nearest = distance;
        at = i;
      }
    }
  }
  centroids_ = std::move(ordered);
}
