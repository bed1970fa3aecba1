// Lloyd's k-means over a sample, for the clusters of an index: deterministic, SIMD-blocked.
#pragma once
#include <stdint.h>

#include <vector>

// Centroids packed for assignment: panels of eight, components in turn.
class Assigner {
 public:
  // centroids[count][dim]; dim a multiple of 4. Spherical: the centroid of greatest cosine is the
  // nearest one, whatever its length.
  void set(const float* centroids, uint32_t count, uint32_t dim, bool spherical);
  // The nearest centroid (squared L2 or cosine, ties to the lower number) of each of rows[n][dim],
  // and, if `distances` is given, |r - c|^2 - |r|^2 (spherical: of the centroids scaled to length 1).
  void assign(const float* rows, uint32_t n, uint32_t* nearest, float* distances) const;

 private:
  uint32_t count_ = 0, dim_ = 0;
  std::vector<float> panels_;  // [ceil(count / 8)][dim][8]
  std::vector<float> halves_;  // |c|^2 / 2, padded with a very large number
};

class KMeans {
 public:
  // Spherical for rows of length 1: clusters are cones then, and neither assignment nor probing
  // prefers one for how far its mean lies from the origin. Centroids are means in either case.
  KMeans(uint32_t dim, uint32_t clusters, bool spherical, uint64_t seed)
      : dim_(dim), clusters_(clusters), spherical_(spherical), seed_(seed) {}

  // The sample grows until the first step. row[dim].
  void add(const float* row) { sample_.insert(sample_.end(), row, row + dim_); }
  uint32_t sample_rows() const { return static_cast<uint32_t>(sample_.size() / dim_); }
  const std::vector<float>& sample() const { return sample_; }
  // One iteration; the first one also chooses the start. True while another one is worth while.
  bool step();
  // After the last step: numbers the centroids so that near ones follow one another.
  void order();
  const std::vector<float>& centroids() const { return centroids_; }  // [clusters][dim]
  void release_sample() { sample_ = {}; }

 private:
  void start();
  void reseed_empty(const std::vector<uint32_t>& sizes, const std::vector<uint32_t>& nearest, std::vector<float>& distances);

  static constexpr uint32_t kIterations = 10;
  uint32_t dim_, clusters_;
  bool spherical_;
  uint64_t seed_;
  uint32_t iteration_ = 0;
  std::vector<float> sample_, centroids_;
};
