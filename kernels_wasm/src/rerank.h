// The last step of a vector search: candidates by estimate become hits by exact distance. All
// candidates whose page is in memory are scored at once; the rest are wanted, in as many batches as
// the cache has room for, and, from a slow tier, only as many pages as the caller allows.
//
// What costs is the page, not the distance, and a page often holds several candidates. So a search
// of depth R finds kRerankWidth * R candidates, weighs each by its rank r as exp(-r / (0.75 R)), about
// how its chance to be a hit falls off, and reads the pages whose candidates weigh together what the
// R-th weighs alone: all pages of the first R, and those where enough later ones lie together. For
// the recall of 25 candidates one by one, a depth of 17 does, with a fifth fewer pages (WordNet,
// 117k). Which pages count does not depend on which are in memory, so neither do the hits.
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

inline constexpr uint32_t kRerankWidth = 3;

class Rerank {
 public:
  explicit Rerank(Index& index) : index_(index) {}

  // Candidates nearest first, of which the first `depth` count for sure. `max_pages` bounds the pages
  // asked for, the weightiest first; 0: no bound. `query` outlives it.
  void begin(const DistanceQuery& query, std::span<const Candidate> candidates, uint32_t depth, uint32_t max_pages);
  int32_t step(std::vector<uint32_t>& wanted);  // PW_DONE or PW_NEED
  // At most `k` hits, nearest first; what was not fetched counts with its estimate.
  std::span<const Hit> hits(uint32_t k);

  uint32_t distances() const { return distances_; }
  uint32_t pages_hit() const { return pages_hit_; }
  uint32_t pages_missed() const { return static_cast<uint32_t>(asked_.size()); }

 private:
  void weigh_pages(std::span<const Candidate> candidates, float reach);
  uint32_t page_number(uint32_t row) const;

  Index& index_;
  const DistanceQuery* query_ = nullptr;
  uint32_t max_pages_ = 0;
  std::vector<float> weights_;  // of each page of vectors
  std::vector<Hit> hits_;
  std::vector<uint32_t> pending_;  // of hits_: those without an exact key
  std::vector<uint32_t> asked_;    // pages, ascending
  uint32_t distances_ = 0, pages_hit_ = 0;
};
