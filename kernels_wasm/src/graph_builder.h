// Builds the GRAPH section: rows come in their final order, the graph is made from them (or from
// links that exist already, and repaired), then written as pages.
#pragma once
#include <stdint.h>

#include <vector>

#include "bytes.h"
#include "config.h"
#include "head.h"
#include "hnsw.h"
#include "section_writer.h"

class GraphBuilder {
 public:
  GraphBuilder(const IndexParameters& parameters, PageQueue& queue);

  void add(const float* rotated) { vectors_.add(rotated); }  // [code_dim]; the next row

  // Links made elsewhere (an imported graph, the index that is being compacted), in any number of
  // messages before the first step(). Per node: u32 row, u32 levels >= 1, then for each level from 0
  // on u32 count and the rows. Numbers from the number of rows on are nodes that are gone: they are
  // removed with repair. Rows without links are inserted. PW_BAD_ARGUMENT with a sentence.
  int32_t links(ByteReader message);

  // Does a part of the work: PW_NEED while there is more.
  int32_t step();
  // After the last step: writes pages and the chunk GRPH. An empty graph writes neither.
  void finish(HeadWriter& head);
  const Hnsw& graph() const { return graph_; }

 private:
  int32_t adopt_given();
  int32_t start();

  IndexParameters parameters_;
  PageQueue& queue_;
  HnswVectors vectors_;
  Hnsw graph_;
  std::vector<uint32_t> given_;  // links(), word by word
  uint32_t given_nodes_ = 0;
  std::vector<uint32_t> order_;  // of insertion
  size_t inserted_ = 0;
  bool started_ = false, connected_ = false;
};
