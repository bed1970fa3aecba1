// The candidates of a vector search in an index of kind scan or clusters: the codes of the nearest
// clusters and of the inserted rows, scanned nearest cluster first. It pauses for pages of CENTROIDS
// and CODES; the result does not depend on which pages were at hand.
#pragma once
#include <stdint.h>

#include <vector>

#include "bitmap.h"
#include "distance.h"
#include "scan.h"
#include "topk.h"

class Index;

struct ScanPlan {
  uint32_t nprobe = 1;               // clusters to visit, of those with rows that may be returned; 0: inserted rows only
  uint32_t candidates = 1;           // rows to find
  const Bitmap* passing = nullptr;   // rows that may be returned; null: all. Outlives the scan
};

class ClusterScan {
 public:
  explicit ClusterScan(Index& index) : index_(index) {}

  // `query` outlives the scan.
  void begin(const DistanceQuery& query, const ScanPlan& plan);
  // PW_DONE: take() gives the candidates. PW_NEED: the pages appended to `wanted` are.
  int32_t step(std::vector<uint32_t>& wanted);
  // By estimated key, nearest first. Ends the scan.
  std::vector<Candidate>& take() { return best_.sorted(); }
  uint32_t codes() const { return codes_; }        // estimates made
  uint32_t clusters() const { return static_cast<uint32_t>(probes_.size()); }  // visited

 private:
  void choose_probes();
  void scan_delta();
  int32_t scan_pages(std::vector<uint32_t>& wanted);
  const uint8_t* block_bytes(uint32_t block);
  int32_t want_ahead(std::vector<uint32_t>& wanted);

  Index& index_;
  const DistanceQuery* query_ = nullptr;
  ScanPlan plan_;
  ScanQuery scan_;
  TopK best_, nearest_clusters_;
  std::vector<float> base_keys_;    // by cluster
  std::vector<Candidate> probes_;   // clusters and their base keys, nearest first
  bool chosen_ = false;
  uint32_t probe_ = 0, row_ = 0;    // where the scan is: probes_[probe_], and its next row
  std::vector<uint8_t> crossing_;   // a block that crosses a page end
  uint32_t codes_ = 0;
};
