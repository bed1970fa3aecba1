// Heads of any bytes: the chunks are the input, magic, version, length and hash are made to fit, so
// that the chunks' parsers are reached. Input: u8 (1: leave it unsealed), then the chunks.
#include "fuzz_site.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::vector<uint8_t> head;
  if (data[0] & 1) {
    head.assign(data + 1, data + size);
  } else {
    head.assign(kHeadChunksAt, 0);
    head.insert(head.end(), data + 1, data + size);
    memcpy(head.data(), "PWIX", 4);
    const uint16_t version = kFormatVersion;
    memcpy(&head[4], &version, 2);
    const uint32_t bytes = static_cast<uint32_t>(head.size());
    memcpy(&head[8], &bytes, 4);
    seal_head(head);
  }
  Index index;
  index.open(head.data(), head.size(), 1);
  return 0;
}
