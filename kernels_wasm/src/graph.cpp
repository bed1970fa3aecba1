#include "graph.h"

#include <string.h>

#include "index.h"
#include "rowcode.h"
#include "status.h"

namespace {

// With a constant id_bytes the copy is a load or two.
inline uint32_t get_id(const uint8_t* from, uint32_t id_bytes) {
  uint32_t id = 0;
  memcpy(&id, from, id_bytes);
  return id;
}

// Copies `count` ids of kBytes each; gives the greatest.
template <uint32_t kBytes>
uint32_t unpack(const uint8_t* from, uint32_t count, uint32_t* to) {
  uint32_t greatest = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t id = get_id(from + i * kBytes, kBytes);
    to[i] = id;
    greatest = id > greatest ? id : greatest;
  }
  return greatest;
}

}  // namespace

int32_t Graph::open(Index& index) {
  layout_ = GraphLayout();
  first_pages_.clear();
  per_page_.clear();
  const Head& head = index.head;
  if (head.kind != PwKind::Graph || head.rows == 0) return PW_DONE;
  const std::span<const uint8_t> chunk = head.chunk(kTagGraph);
  if (chunk.empty()) return fail(PW_CORRUPT, "head: no chunk GRPH, expected one in an index of kind graph");
  GraphLayout layout;
  if (int32_t status = GraphLayout::parse(ByteReader(chunk.data(), chunk.size()), head.rows, layout); status < 0) {
    return status;
  }
  const SectionRange section = head.section(Section::Graph);
  if (section.pages != layout.total_pages()) {
    return fail(PW_CORRUPT, "section GRAPH has %u pages, expected %u", section.pages, layout.total_pages());
  }
  // The codes a walk reads: row-major ones.
  const uint32_t per_page = RowCodeShape{head.code_dim, head.code_bits}.rows_per_page();
  const uint32_t code_pages = (head.rows + per_page - 1) / per_page;
  if (head.section(Section::Codes).pages != code_pages) {
    return fail(PW_CORRUPT, "section CODES has %u pages, expected %u for %u rows", head.section(Section::Codes).pages,
                code_pages, head.rows);
  }
  uint32_t first_page = section.first_page;
  for (uint32_t level = 0; level < layout.levels(); level++) {
    first_pages_.push_back(first_page);
    per_page_.push_back(layout.records_per_page(level));
    first_page += layout.pages(level);
  }
  layout_ = std::move(layout);
  return PW_DONE;
}

int32_t Graph::neighbours(uint32_t row, const uint8_t* page, uint32_t* rows) const {
  const uint8_t* record = page + row % per_page_[0] * (2 + layout_.m0 * layout_.id_bytes);
  const uint32_t count = get_id(record, 2);
  if (count > layout_.m0) {
    return fail(PW_CORRUPT, "graph page %u: row %u has %u neighbours, expected at most %u", page_of(0, row), row,
                count, layout_.m0);
  }
  const uint8_t* ids = record + 2;
  const uint32_t greatest = layout_.id_bytes == 2   ? unpack<2>(ids, count, rows)
                            : layout_.id_bytes == 3 ? unpack<3>(ids, count, rows)
                                                    : unpack<4>(ids, count, rows);
  if (greatest >= layout_.counts[0]) {
    return fail(PW_CORRUPT, "graph page %u: row %u has the neighbour %u, expected below %u", page_of(0, row), row,
                greatest, layout_.counts[0]);
  }
  return static_cast<int32_t>(count);
}

int32_t Graph::links(uint32_t level, uint32_t rank, const uint8_t* page, GraphLink* links, uint32_t& below) const {
  const uint8_t* record = page + rank % per_page_[level] * layout_.record_bytes(level);
  below = get_id(record, 4);
  const uint32_t count = get_id(record + 4, 2);
  if (below >= layout_.counts[level - 1] || count > layout_.m) {
    return fail(PW_CORRUPT, "graph page %u: node %u of level %u has rank %u below and %u links, expected below %u and at most %u",
                page_of(level, rank), rank, level, below, count, layout_.counts[level - 1], layout_.m);
  }
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t* pair = record + 6 + 2 * i * layout_.id_bytes;
    links[i] = {get_id(pair, layout_.id_bytes), get_id(pair + layout_.id_bytes, layout_.id_bytes)};
    if (links[i].row >= layout_.counts[0] || links[i].rank >= layout_.counts[level]) {
      return fail(PW_CORRUPT, "graph page %u: node %u of level %u has the link (row %u, rank %u), expected below (%u, %u)",
                  page_of(level, rank), rank, level, links[i].row, links[i].rank, layout_.counts[0],
                  layout_.counts[level]);
    }
  }
  return static_cast<int32_t>(count);
}
