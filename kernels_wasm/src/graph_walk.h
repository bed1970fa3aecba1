// The candidates of a vector search in an index of kind graph, as SearchVector sees their source:
// graph_search.h, which only a module with graphs has (parts.h).
#pragma once
#include <stdint.h>

#include <vector>

#include "bitmap.h"
#include "distance.h"
#include "topk.h"

struct GraphQuery {
  const DistanceQuery* distance = nullptr;  // outlives the search
  uint32_t ef = 0;                          // candidates to find; the beam's width
  const Bitmap* passing = nullptr;          // rows that may be returned, with at least all base rows'
                                            // bits; null: every row may. Outlives the search
  uint32_t passing_rows = 0;                // how many base rows that is, where `passing` is given
};

class GraphWalk {
 public:
  virtual ~GraphWalk() = default;

  virtual void begin(const GraphQuery& query) = 0;
  // PW_DONE: candidates() are complete. PW_NEED: the pages appended to `wanted` are. PW_CORRUPT.
  virtual int32_t step(std::vector<uint32_t>& wanted) = 0;

  // At most ef rows by key, nearest first.
  const std::vector<Candidate>& candidates() const { return candidates_; }
  uint32_t hops() const { return hops_; }    // lists read
  uint32_t codes() const { return codes_; }  // estimates made (or exact distances)

 protected:
  std::vector<Candidate> candidates_;
  uint32_t hops_ = 0, codes_ = 0;
};
