// Work that can pause for pages. Objects are pooled by kind and reuse their buffers, so a steady
// stream of queries allocates nothing.
#pragma once
#include <stdint.h>

#include <vector>

#include "bytes.h"

class Operation {
 public:
  virtual ~Operation() = default;
  // Checks and takes the message (which does not outlive the call). PW_DONE or an error.
  virtual int32_t begin(ByteReader message) = 0;
  // PW_DONE: result is complete. PW_NEED: `wanted` lists the pages, and step() is called again
  // when some or all have come (perhaps not all: what is still absent is wanted again).
  virtual int32_t step() = 0;
  virtual void end() {}  // releases pins

  std::vector<uint32_t> wanted;  // page numbers; sorted and made unique by the caller of step()
  ByteWriter result;
};
