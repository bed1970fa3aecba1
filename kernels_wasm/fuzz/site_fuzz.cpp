// An index whose pages and head a hostile builder made: opens it and runs every operation.
// Input: u8 site, u8 options (1: a small cache, 2: resident sections), then edits (fuzz_site.h).
#include "fuzz_site.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  Site& site = fuzz_site(data[0]);
  const uint8_t options = data[1];
  Edits edits(site);
  edits.apply(ByteReader(data + 2, size - 2));
  Index index;
  if (index.open(site.head.data(), site.head.size(), options & 1 ? 1 : 0) == PW_DONE &&
      index.head.total_pages() == site.pages.size()) {
    if (options & 2)
      for (Section section : {Section::Codes, Section::Vectors, Section::Graph})
        index.pages.make_resident(section);
    FuzzBits bits(options);
    for (int round = 0; round < 2; round++)
      for (PwOperation kind : kAllOperations) run_bounded(index, site, kind, message_of(kind, bits));
  }
  edits.undo();
  return 0;
}
