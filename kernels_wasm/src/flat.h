// Exact search without codes (kind flat): every row that passes, by its exact distance.
#pragma once
#include <stdint.h>

#include <vector>

#include "bitmap.h"
#include "distance.h"
#include "topk.h"

class Index;

class FlatScan {
 public:
  explicit FlatScan(Index& index) : index_(index) {}

  // `query` and `passing` (null: all rows) outlive it.
  void begin(const DistanceQuery& query, uint32_t k, const Bitmap* passing);
  int32_t step(std::vector<uint32_t>& wanted);  // PW_DONE or PW_NEED: pages of VECTORS
  std::vector<Candidate>& take() { return best_.sorted(); }
  uint32_t distances() const { return distances_; }

 private:
  Index& index_;
  const DistanceQuery* query_ = nullptr;
  const Bitmap* passing_ = nullptr;
  uint32_t row_ = 0, end_ = 0;
  TopK best_;
  uint32_t distances_ = 0;
};
