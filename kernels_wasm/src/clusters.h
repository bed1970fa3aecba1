// The clusters of an index: their centroids (section CENTROIDS, int8 with a scale a row), which rows
// each one holds (chunk CLUS), and the centroid of all rows (chunk MEAN). Kinds scan and graph have
// one cluster, whose centroid is the mean; kind flat has none.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "bytes.h"
#include "config.h"
#include "distance.h"

class Index;
class HeadWriter;

class Clusters {
 public:
  int32_t open(Index& index);

  uint32_t count() const { return static_cast<uint32_t>(first_rows_.size()) - 1; }
  uint32_t first_row(uint32_t cluster) const { return first_rows_[cluster]; }
  uint32_t end_row(uint32_t cluster) const { return first_rows_[cluster + 1]; }
  uint32_t cluster_of(uint32_t row) const;  // row < base rows

  // PW_DONE when the centroids are in memory; else makes their section resident and wants its pages.
  int32_t ready(std::vector<uint32_t>& wanted);
  // What an estimate of a row of `cluster` has from query and centroid alone. Needs ready().
  float base_key(const DistanceQuery& query, uint32_t cluster) const { return query.key_i8(centroid(cluster)); }
  // The order in which clusters are probed: smaller first. Under cosine a centroid's direction
  // counts, not its length, as in the assignment of rows.
  float probe_key(uint32_t cluster, float base_key) const {
    return inverse_norms_.empty() ? base_key : base_key * inverse_norms_[cluster];
  }
  // base_key for the centroid of all rows, which inserted rows are coded against.
  float mean_key(const DistanceQuery& query) const { return query.key_i8(mean_row_.data()); }
  const std::vector<float>& mean() const { return mean_; }  // [code_dim], rotated, exactly as stored

 private:
  void measure_norms();
  const uint8_t* centroid(uint32_t cluster) const {
    return centroids_ ? centroids_ + static_cast<size_t>(cluster) * mean_row_.size() : mean_row_.data();
  }

  Index* index_ = nullptr;
  const uint8_t* centroids_ = nullptr;  // the resident section, or null
  std::vector<uint32_t> first_rows_;    // [count + 1]
  std::vector<float> inverse_norms_;    // of the centroids, for cosine; empty otherwise
  std::vector<uint8_t> mean_row_;       // i8 layout
  std::vector<float> mean_;
};

// What the builder leaves in the head; centroid rows go to section CENTROIDS.
void write_clusters(HeadWriter& head, std::span<const uint32_t> first_rows, std::span<const uint8_t> mean_row);
