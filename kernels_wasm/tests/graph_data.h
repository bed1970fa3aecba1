// Vectors for the graph tests: seeded, in clusters, with their exact neighbours.
#pragma once
#include <math.h>
#include <stdint.h>

#include <algorithm>
#include <vector>

#include "random.h"

struct GraphData {
  uint32_t dim;
  std::vector<std::vector<float>> rows, queries;  // unit length
};

inline float normal(SplitMix64& random) {  // Box-Muller
  const double u = (static_cast<double>(random.next() >> 11) + 1) * 0x1p-53;
  const double v = static_cast<double>(random.next() >> 11) * 0x1p-53;
  return static_cast<float>(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

// Points around `centres` centres, each as far from its centre as the centres are from the origin.
inline GraphData graph_data(uint32_t rows, uint32_t queries, uint32_t dim, uint32_t centres, uint64_t seed) {
  SplitMix64 random(seed);
  std::vector<float> middles(static_cast<size_t>(centres) * dim);
  for (float& value : middles) value = normal(random);
  GraphData data{dim, {}, {}};
  for (uint32_t i = 0; i < rows + queries; i++) {
    const float* middle = middles.data() + static_cast<size_t>(random.below(centres)) * dim;
    std::vector<float> row(dim);
    double square = 0;
    for (uint32_t j = 0; j < dim; j++) {
      row[j] = middle[j] + normal(random);
      square += static_cast<double>(row[j]) * row[j];
    }
    for (float& value : row) value = static_cast<float>(value / sqrt(square));
    (i < rows ? data.rows : data.queries).push_back(std::move(row));
  }
  return data;
}

// The k rows of `live` with the greatest inner product, nearest first.
inline std::vector<uint32_t> exact_neighbours(const std::vector<std::vector<float>>& rows, const std::vector<uint32_t>& live,
                                              const std::vector<float>& query, size_t k) {
  std::vector<std::pair<double, uint32_t>> keys;
  for (uint32_t row : live) {
    double product = 0;
    for (size_t j = 0; j < query.size(); j++) product += static_cast<double>(rows[row][j]) * query[j];
    keys.push_back({-product, row});
  }
  std::sort(keys.begin(), keys.end());
  std::vector<uint32_t> nearest;
  for (size_t i = 0; i < std::min(k, keys.size()); i++) nearest.push_back(keys[i].second);
  return nearest;
}

inline uint32_t in_common(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  return static_cast<uint32_t>(std::count_if(a.begin(), a.end(), [&](uint32_t row) {
    return std::find(b.begin(), b.end(), row) != b.end();
  }));
}
