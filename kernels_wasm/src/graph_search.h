// Walks the graph: the candidates of a vector search in an index of kind graph. Distances are
// estimated from codes; where the vectors themselves are resident, they are exact (a random access
// costs the same, and a narrower beam is enough). It pauses for pages; what it finds does not depend
// on which of them were at hand.
#pragma once
#include <stdint.h>

#include <vector>

#include "bitmap.h"
#include "distance.h"
#include "graph.h"
#include "graph_beam.h"
#include "graph_walk.h"
#include "rowcode.h"
#include "topk.h"

class Index;

class GraphSearch final : public GraphWalk {
 public:
  explicit GraphSearch(Index& index) : index_(index) {}

  void begin(const GraphQuery& query) override;
  int32_t step(std::vector<uint32_t>& wanted) override;
  bool exact() const { return exact_; }  // the keys are exact ones

 private:
  enum class Phase { Enter, Descend, Walk, Scan, Done };

  bool scan_is_cheaper() const;
  int32_t enter();
  int32_t descend();
  int32_t walk();
  int32_t scan();
  int32_t finish();

  // A page's bytes, or null when it is absent.
  const uint8_t* graph_page(uint32_t page);
  uint32_t page_of_row(uint32_t row) const { return rows_first_page_ + row / rows_per_page_; }
  // A row's code (or vector), or null when its page is absent.
  const uint8_t* bytes_of(uint32_t row);
  float key_of(const uint8_t* bytes);
  void see(uint32_t row, float key);
  void estimate_pending();

  // Asking for pages: what is needed now first, then what the next steps of the walk will need.
  int32_t need(uint32_t page);
  int32_t need_pending();
  bool want(uint32_t page);  // false: no more may be asked for
  void want_frontier();

  Index& index_;
  GraphQuery query_;
  RowCodeQuery code_query_;
  Phase phase_ = Phase::Done;
  float base_key_ = 0;                        // of query and centroid
  bool exact_ = false;
  uint32_t rows_first_page_ = 0, rows_per_page_ = 1, row_bytes_ = 0;  // of CODES, or VECTORS
  const uint8_t* rows_resident_ = nullptr;    // set by every step
  const uint8_t* graph_resident_ = nullptr;
  uint32_t graph_first_page_ = 0;
  std::vector<uint32_t>* wanted_ = nullptr;
  uint32_t room_ = 0;                         // pages that may be asked for in this step
  uint64_t done_before_ = ~0ull;              // hops_ + codes_ when pages were last asked for

  // Descend.
  uint32_t level_ = 0, below_ = 0;  // of the nearest node: its level, its rank one level lower
  GraphLink nearest_{};
  float nearest_key_ = 0;
  GraphLink next_{};                // the nearest of the list being read
  float next_key_ = 0;
  bool listed_ = false;             // links_ holds nearest_'s list
  std::vector<GraphLink> links_;

  // Walk and scan.
  Beam beam_;
  TopK best_;                        // of a scan; of a walk with a filter: those that pass
  Bitmap visited_;
  std::vector<uint32_t> pending_;    // rows of the list being read that have no estimate yet
  std::vector<const uint8_t*> addresses_;  // of their codes or vectors
  volatile uint32_t touched_ = 0;          // keeps loads that only warm the cache from being dropped
  std::vector<uint32_t> neighbours_;
  uint32_t scan_at_ = 0;
};
