// How much of an index a search must visit for a wished recall: measured at build time (chunk CALI),
// or a cautious guess where nothing was measured.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "messages.h"

class Index;

struct Effort {
  uint32_t nprobe, ef_search, rerank;
};

class Calibration {
 public:
  int32_t open(Index& index);
  // What it takes that the `rank` nearest of all rows are found with this recall. A filter that one
  // row in n passes makes the k-th hit about the (k * n)-th nearest of all.
  Effort effort(float recall, float rank) const;

 private:
  static Effort at_rank(std::span<const PwCalibration> lines, float rank);
  Effort guess(float recall, float rank) const;

  const Index* index_ = nullptr;
  std::vector<PwCalibration> lines_;  // by recall, then by rank
};
