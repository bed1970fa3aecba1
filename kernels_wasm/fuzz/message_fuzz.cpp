// Messages that a host got wrong, one after another, on a valid index: searches, filter programs,
// row batches, lists of ids and rows. Input: u8 site, then {u8 operation, u16 bytes, message}*.
#include "fuzz_site.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const Site& site = fuzz_site(data[0]);
  Index index;
  if (index.open(site.head.data(), site.head.size(), 0) != PW_DONE) abort();
  ByteReader input(data + 1, size - 1);
  for (int count = 0; count < 12 && input.left() >= 3; count++) {
    const PwOperation kind = kAllOperations[input.get<uint8_t>() % std::size(kAllOperations)];
    const size_t bytes = std::min<size_t>(input.get<uint16_t>(), input.left());
    ByteWriter message;
    if (bytes != 0) message.put(input.take(bytes), bytes);
    const uint32_t rows = index.rows(), deleted = index.deleted_count;
    const Outcome outcome = run_bounded(index, site, kind, message);
    if (outcome.status < 0 && (index.rows() != rows || index.deleted_count != deleted)) abort();
  }
  // What was inserted and deleted holds together.
  if (index.rows() == index.base_rows() && index.deleted_count == 0) return 0;
  FuzzBits bits(1);
  for (PwOperation kind : kAllOperations)
    if (run_bounded(index, site, kind, message_of(kind, bits)).status == PW_CORRUPT) abort();
  return 0;
}
