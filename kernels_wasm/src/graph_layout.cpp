#include "graph_layout.h"

#include "status.h"

void GraphLayout::write(ByteWriter& chunk) const {
  chunk.put(m);
  chunk.put(m0);
  chunk.put(id_bytes);
  chunk.put(levels());
  chunk.put(entry_row);
  chunk.put(entry_rank);
  for (uint32_t count : counts) chunk.put(count);
}

int32_t GraphLayout::parse(ByteReader chunk, uint32_t rows, GraphLayout& layout) {
  layout = GraphLayout();
  layout.m = chunk.get<uint32_t>();
  layout.m0 = chunk.get<uint32_t>();
  layout.id_bytes = chunk.get<uint32_t>();
  const uint32_t levels = chunk.get<uint32_t>();
  layout.entry_row = chunk.get<uint32_t>();
  layout.entry_rank = chunk.get<uint32_t>();
  if (!chunk.ok() || chunk.left() != size_t{4} * levels) {
    return fail(PW_CORRUPT, "head, chunk GRPH: %zu bytes are left for %u levels, expected 4 each", chunk.left(), levels);
  }
  if (levels == 0 || levels > kMaxGraphLevels) {
    return fail(PW_CORRUPT, "head, chunk GRPH: %u levels, expected 1 to %u", levels, kMaxGraphLevels);
  }
  if (layout.m == 0 || layout.m > kMaxGraphM || layout.m0 < layout.m || layout.m0 > 2 * kMaxGraphM) {
    return fail(PW_CORRUPT, "head, chunk GRPH: m = %u, m0 = %u, expected 1 <= m <= m0, m <= %u, m0 <= %u",
                layout.m, layout.m0, kMaxGraphM, 2 * kMaxGraphM);
  }
  if (layout.id_bytes != id_bytes_for(rows)) {
    return fail(PW_CORRUPT, "head, chunk GRPH: ids of %u bytes, expected %u for %u rows", layout.id_bytes,
                id_bytes_for(rows), rows);
  }
  for (uint32_t level = 0; level < levels; level++) {
    const uint32_t count = chunk.get<uint32_t>();
    const uint32_t most = level == 0 ? rows : layout.counts.back();
    if (count == 0 || count > most || (level == 0 && count != rows)) {
      return fail(PW_CORRUPT, "head, chunk GRPH: %u nodes on level %u, expected %s %u", count, level,
                  level == 0 ? "exactly" : "1 to", most);
    }
    layout.counts.push_back(count);
  }
  if (layout.entry_row >= rows || layout.entry_rank >= layout.counts.back() ||
      (levels == 1 && layout.entry_row != layout.entry_rank)) {
    return fail(PW_CORRUPT, "head, chunk GRPH: entry row %u, rank %u, expected below %u and %u (and equal on level 0)",
                layout.entry_row, layout.entry_rank, rows, layout.counts.back());
  }
  return PW_DONE;
}
