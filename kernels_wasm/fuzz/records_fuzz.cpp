// Pages of records that a hostile builder made, and the chunk that says which rows they hold.
// Input: u8 records to pass over, then the bytes of a page or of a run of pages.
#include <stdlib.h>

#include "records.h"
#include "status.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::vector<uint8_t> pages((size - 1 + kPageBytes - 1) / kPageBytes * kPageBytes + kPageBytes);
  memcpy(pages.data(), data + 1, size - 1);
  const Records::Place place{0, static_cast<uint32_t>(pages.size() / kPageBytes), data[0]};
  const auto inside = [&](std::string_view part) {
    const uint8_t* from = reinterpret_cast<const uint8_t*>(part.data());
    return part.empty() || (from >= pages.data() && from + part.size() <= pages.data() + pages.size());
  };
  Record record;
  const int32_t status = Records::parse(pages.data(), pages.size(), place, 7, record);
  if (status == PW_DONE && !(inside(record.id) && inside(record.text) && inside(record.payload))) abort();
  if (status != PW_DONE && status != PW_CORRUPT) abort();
  std::string_view id;
  const int32_t id_status = Records::parse_id(pages.data(), place, 7, id);
  if (id_status == PW_DONE && (!inside(id) || (status == PW_DONE && id != record.id))) abort();
  return 0;
}
