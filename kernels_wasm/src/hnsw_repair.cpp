// Changing a graph without building it anew: links from elsewhere, removal with repair, and the
// guarantee that every node can be reached.
#include <algorithm>

#include "hnsw.h"
#include "sort.h"

void Hnsw::adopt(uint32_t row, std::span<const std::vector<uint32_t>> links) {
  const uint32_t level = static_cast<uint32_t>(links.size()) - 1;
  make_node(row, level);
  for (uint32_t at = 0; at <= level; at++) {
    uint32_t* list = list_of(row, at);
    list[0] = std::min(static_cast<uint32_t>(links[at].size()), most(at));
    std::copy_n(links[at].begin(), list[0], list + 1);
  }
  if (empty() || level > max_level()) entry_ = row;
}

uint32_t Hnsw::drop_dangling() {
  uint32_t dropped = 0;
  for (uint32_t row = 0; row < levels_.size(); row++) {
    for (uint32_t level = 0; contains(row) && level <= level_of(row); level++) {
      uint32_t* list = list_of(row, level);
      uint32_t* end = std::remove_if(list + 1, list + 1 + list[0], [&](uint32_t neighbour) {
        return neighbour == row || !contains(neighbour) || level_of(neighbour) < level;
      });
      const uint32_t kept = static_cast<uint32_t>(end - (list + 1));
      dropped += list[0] - kept;
      list[0] = kept;
    }
  }
  return dropped;
}

void Hnsw::repair(uint32_t row, uint32_t level, const Bitmap& removed) {
  next_epoch();
  visited_[row] = epoch_;
  // Breadth first through removed nodes only: their live neighbours take their place.
  pool_.clear();
  chosen_.clear();
  const auto visit = [&](uint32_t neighbour) {
    if (visited_[neighbour] == epoch_) return;
    visited_[neighbour] = epoch_;
    (removed.get(neighbour) ? pool_ : chosen_).push_back(neighbour);
  };
  for (uint32_t neighbour : links(row, level)) visit(neighbour);
  const uint32_t enough = 4 * most(level);
  for (size_t i = 0; i < pool_.size() && chosen_.size() < enough; i++) {
    for (uint32_t neighbour : links(pool_[i], level)) visit(neighbour);
  }
  vectors_.widen(row, neighbour_query_);
  candidates_.clear();
  for (uint32_t neighbour : chosen_) candidates_.push_back({vectors_.distance(neighbour_query_, neighbour), neighbour});
  sort_items(candidates_.begin(), candidates_.end());
  choose(candidates_, most(level), list_of(row, level));
}

void Hnsw::choose_entry() {
  entry_ = kNoRow;
  for (uint32_t row = 0; row < levels_.size(); row++) {
    if (contains(row) && (empty() || level_of(row) > level_of(entry_))) entry_ = row;
  }
}

void Hnsw::remove(const Bitmap& rows) {
  Bitmap removed(static_cast<uint32_t>(levels_.size()));
  for (uint32_t row = rows.next(0); row < std::min(rows.size(), removed.size()); row = rows.next(row + 1)) {
    if (contains(row)) removed.set(row);
  }
  // Lists of removed nodes stay readable until every repair is done; repaired lists name no removed
  // node, so the order of repairs does not matter.
  for (uint32_t row = 0; row < levels_.size(); row++) {
    if (!contains(row) || removed.get(row)) continue;
    for (uint32_t level = 0; level <= level_of(row); level++) {
      const std::span<const uint32_t> list = links(row, level);
      if (std::any_of(list.begin(), list.end(), [&](uint32_t neighbour) { return removed.get(neighbour); })) {
        repair(row, level, removed);
      }
    }
  }
  for (uint32_t row = removed.next(0); row < removed.size(); row = removed.next(row + 1)) levels_[row] = kNoLevel;
  choose_entry();
  link_unreachable();
}

uint32_t Hnsw::link_unreachable() {
  if (empty()) return 0;
  Bitmap reached(static_cast<uint32_t>(levels_.size()));
  const auto reach = [&](uint32_t from) {
    pool_.assign(1, from);
    reached.set(from);
    while (!pool_.empty()) {
      const uint32_t row = pool_.back();
      pool_.pop_back();
      for (uint32_t neighbour : links(row, 0)) {
        if (reached.get(neighbour)) continue;
        reached.set(neighbour);
        pool_.push_back(neighbour);
      }
    }
  };
  reach(entry_);
  uint32_t linked = 0;
  for (uint32_t row = 0; row < levels_.size(); row++) {
    if (!contains(row) || reached.get(row)) continue;
    vectors_.widen(row, query_);
    search_level(query_, descend(query_, 0), parameters_.ef_construction, 0);
    // The nearest reached node with room gets the link; none has any in a beam's reach very rarely.
    uint32_t from = kNoRow;
    const auto takes_one = [&](uint32_t node) {
      return contains(node) && reached.get(node) && links(node, 0).size() < parameters_.m0();
    };
    for (uint32_t i = 0; i < beam_.size() && from == kNoRow; i++) {
      if (takes_one(beam_[i].row)) from = beam_[i].row;
    }
    for (uint32_t node = 0; node < levels_.size() && from == kNoRow; node++) {
      if (takes_one(node)) from = node;
    }
    if (from == kNoRow) return linked;  // every list of the graph is full
    uint32_t* list = list_of(from, 0);
    list[++list[0]] = row;
    reach(row);
    linked++;
  }
  return linked;
}
