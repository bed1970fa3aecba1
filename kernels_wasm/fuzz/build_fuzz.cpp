// What a host may hand to a build: the configuration, training vectors, row batches, neighbour lists
// and a calibration table. Input: {u8 call, u16 bytes, data}*, the configuration first.
#include <stdio.h>

#include "fuzz_site.h"

namespace {

void drain() {
  uint32_t section, index, bytes;
  while (pw_build_take(&section, &index) != nullptr) {}
  while (pw_build_spill(&bytes) != nullptr) {}
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteReader input(data, size);
  std::vector<uint64_t> aligned;
  uint32_t dim = 0;
  for (int count = 0; count < 10 && input.left() >= 3; count++) {
    const uint32_t call = input.get<uint8_t>() % 5;
    const uint32_t bytes = static_cast<uint32_t>(std::min<size_t>(input.get<uint16_t>(), input.left()));
    aligned.assign(bytes / 8 + 1, 0);
    if (bytes != 0) memcpy(aligned.data(), input.take(bytes), bytes);
    if (count == 0) {
      // Large dimensions and many clusters are slow, not wrong: the rest of the budget is for parsing.
      PwConfig config{};
      memcpy(&config, aligned.data(), std::min<size_t>(bytes, sizeof config));
      if (config.dim > 256 || config.clusters > 64 || config.m > 32 || config.ef_construction > 100) return 0;
      dim = config.dim;
      if (pw_build_begin(aligned.data(), bytes) != PW_DONE) return 0;
      continue;
    }
    const float* floats = reinterpret_cast<const float*>(aligned.data());
    const uint32_t vectors = dim == 0 ? 0 : bytes / 4 / dim;
    std::vector<uint32_t> clusters(vectors);
    if (call == 0) pw_build_rows(aligned.data(), bytes);
    if (call == 1) pw_build_train(floats, vectors);
    if (call == 2) pw_build_assign(floats, vectors, clusters.data());
    if (call == 3) pw_build_links(aligned.data(), bytes);
    if (call == 4)
      for (int step = 0; step < 100 && pw_build_train_step() == PW_NEED; step++) {}
    drain();
  }
  for (int step = 0; step < 1000 && pw_build_finish() == PW_NEED; step++) drain();
  drain();
  uint32_t bytes = 0, calibrated_bytes = 0;
  const void* head = pw_build_head(&bytes);
  if (head == nullptr) return 0;
  Index index;
  if (index.open(head, bytes, 0) != PW_DONE) {  // what the builder writes, the reader takes
    fprintf(stderr, "%s\n", pw_error());
    abort();
  }
  if (pw_head_calibrate(head, bytes, aligned.data(), static_cast<uint32_t>(aligned.size() * 8), &calibrated_bytes) &&
      calibrated_bytes == 0)
    abort();
  return 0;
}
