// Neighbour lists and row-major codes that a hostile builder made, and any chunk GRPH: walked with
// everything resident, where a bad number would be a bad address at once.
// Input: u8 (1: parse the rest as GRPH), else u8 ef, u8 filter, then edits {u8 section, u16 page, u16
// offset, u8 bytes, data}.
#include "fuzz_site.h"
#include "graph.h"
#include "graph_search.h"
#include "rotate.h"

namespace {

constexpr uint32_t kGraphSite = 3;

// The index with GRAPH, CODES and (if asked) VECTORS resident, and their bytes as they were.
struct Resident {
  explicit Resident(bool vectors) {
    const Site& site = fuzz_site(kGraphSite);
    if (index.open(site.head.data(), site.head.size(), 0) != PW_DONE) abort();
    for (Section section : {Section::Graph, Section::Codes, Section::Vectors}) {
      if (section == Section::Vectors && !vectors) continue;
      if (index.pages.make_resident(section) != PW_DONE) abort();
      const SectionRange range = index.head.section(section);
      std::vector<uint32_t> pages;
      for (uint32_t i = 0; i < range.pages; i++) pages.push_back(range.first_page + i);
      if (bring_pages(index, site, pages) != PW_DONE || !index.pages.resident(section)) abort();
    }
  }
  Index index;
};

void walk(Index& index, ByteReader input) {
  const uint32_t ef = 1 + input.get<uint8_t>() % 64, every = input.get<uint8_t>() % 8;
  struct Saved {
    uint8_t* at;
    std::vector<uint8_t> bytes;
  };
  std::vector<Saved> saved;
  while (input.left() >= 6) {
    const Section section = input.get<uint8_t>() & 1 ? Section::Codes : Section::Graph;
    const uint32_t pages = index.head.section(section).pages;
    const uint32_t page = input.get<uint16_t>() % pages, offset = input.get<uint16_t>() % kPageBytes;
    const size_t bytes = std::min<size_t>({input.get<uint8_t>(), input.left(), kPageBytes - offset});
    const uint8_t* from = input.take(bytes);
    uint8_t* at = const_cast<uint8_t*>(index.pages.resident(section)) + size_t{page} * kPageBytes + offset;
    saved.push_back({at, std::vector<uint8_t>(at, at + bytes)});
    if (bytes) memcpy(at, from, bytes);
  }
  Bitmap passing(index.base_rows());
  for (uint32_t row = 0; every && row < passing.size(); row += every) passing.set(row);
  std::vector<float> query(index.head.dim, 1.f);
  query[0] = -3;
  DistanceQuery distance;
  distance.set(index.head, *index.rotation, query.data());
  GraphSearch search(index);
  search.begin({&distance, ef, every ? &passing : nullptr, passing.count()});
  std::vector<uint32_t> wanted;
  const int32_t status = search.step(wanted);
  if (status == PW_NEED || search.candidates().size() > ef) abort();  // nothing is absent
  for (const Candidate& candidate : search.candidates()) {
    if (candidate.row >= index.base_rows() || (every && !passing.get(candidate.row))) abort();
  }
  for (auto edit = saved.rbegin(); edit != saved.rend(); ++edit) {
    if (!edit->bytes.empty()) memcpy(edit->at, edit->bytes.data(), edit->bytes.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  static Resident codes(false), vectors(true);
  if (data[0] & 1) {
    GraphLayout layout;
    if (GraphLayout::parse(ByteReader(data + 1, size - 1), kFuzzRows, layout) == PW_DONE) layout.total_pages();
    return 0;
  }
  walk(data[0] & 2 ? vectors.index : codes.index, ByteReader(data + 1, size - 1));
  return 0;
}
