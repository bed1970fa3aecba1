// The last step of a vector search: candidates by estimate become hits by exact distance. All
// candidates whose page is in memory are scored at once; the rest are wanted, in as many batches as
// the cache has room for, and, from a slow tier, only as many pages as the caller allows.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "distance.h"
#include "topk.h"

class Index;

struct Hit {
  float key;
  uint32_t row;
  bool exact;
};

class Rerank {
 public:
  explicit Rerank(Index& index) : index_(index) {}

  // Candidates nearest first. `max_pages` bounds the pages asked for; 0: no bound. `query` outlives it.
  void begin(const DistanceQuery& query, std::span<const Candidate> candidates, uint32_t max_pages);
  int32_t step(std::vector<uint32_t>& wanted);  // PW_DONE or PW_NEED
  // At most `k` hits, nearest first; what was not fetched counts with its estimate.
  std::span<const Hit> hits(uint32_t k);

  uint32_t distances() const { return distances_; }
  uint32_t pages_hit() const { return pages_hit_; }
  uint32_t pages_missed() const { return static_cast<uint32_t>(asked_.size()); }

 private:
  Index& index_;
  const DistanceQuery* query_ = nullptr;
  uint32_t max_pages_ = 0;
  std::vector<Hit> hits_;
  std::vector<uint32_t> pending_;  // of hits_: those without an exact key
  std::vector<uint32_t> asked_;    // pages, ascending
  uint32_t distances_ = 0, pages_hit_ = 0;
};
