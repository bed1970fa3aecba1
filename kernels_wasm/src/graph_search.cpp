#include "graph_search.h"

#include <algorithm>

#include "clusters.h"
#include "index.h"
#include "status.h"

namespace {

// What expanding a node costs in estimates made one after another (measured: a list of 32 has about
// 16 rows not seen before).
constexpr uint64_t kEstimatesPerHop = 16;
// Nodes of the beam whose pages are asked for ahead of their turn.
constexpr uint32_t kFrontier = 8;
constexpr uint32_t kWantedAhead = 24;  // pages asked for ahead, at most

}  // namespace

void GraphSearch::begin(const GraphQuery& query) {
  const Head& head = index_.head;
  query_ = query;
  hops_ = codes_ = 0;
  exact_ = false;
  done_before_ = ~0ull;
  candidates_.clear();
  pending_.clear();
  if (!index_.graph->present() || query.ef == 0 || (query.passing && query.passing_rows == 0)) {
    phase_ = Phase::Done;
    return;
  }
  query_.ef = std::min(query.ef, head.rows);
  const bool scans = scan_is_cheaper();
  exact_ = !scans && index_.pages.resident(Section::Vectors);
  if (exact_) {
    rows_per_page_ = head.rows_per_page();
    row_bytes_ = head.row_bytes();
  } else {
    code_query_.set(head, query.distance->rotated());
    base_key_ = index_.clusters->base_key(*query.distance, 0);
    rows_per_page_ = code_query_.shape().rows_per_page();
    row_bytes_ = code_query_.shape().row_bytes();
  }
  rows_first_page_ = head.section(exact_ ? Section::Vectors : Section::Codes).first_page;
  graph_first_page_ = head.section(Section::Graph).first_page;
  neighbours_.resize(index_.graph->layout().m0);
  links_.resize(index_.graph->layout().m);
  best_.reset(query_.ef);
  scan_at_ = 0;
  phase_ = scans ? Phase::Scan : Phase::Enter;
}

// A walk sees one passing row in rows / passing_rows, so it has to expand that many times as many
// nodes; below some selectivity (about a tenth) estimating every passing row is less work, and exact.
bool GraphSearch::scan_is_cheaper() const {
  if (!query_.passing) return false;
  const uint64_t passing = query_.passing_rows;
  return passing * passing <= kEstimatesPerHop * query_.ef * index_.head.rows;
}

int32_t GraphSearch::step(std::vector<uint32_t>& wanted) {
  wanted_ = &wanted;
  room_ = std::max(index_.pages.free_slots(), 1u);
  rows_resident_ = index_.pages.resident(exact_ ? Section::Vectors : Section::Codes);
  graph_resident_ = index_.pages.resident(Section::Graph);
  for (;;) {
    int32_t status = PW_DONE;
    switch (phase_) {
      case Phase::Enter: status = enter(); break;
      case Phase::Descend: status = descend(); break;
      case Phase::Walk: status = walk(); break;
      case Phase::Scan: status = scan(); break;
      case Phase::Done: return PW_DONE;
    }
    if (status != PW_DONE) return status;
  }
}

int32_t GraphSearch::enter() {
  const GraphLayout& layout = index_.graph->layout();
  nearest_ = {layout.entry_row, layout.entry_rank};
  level_ = index_.graph->max_level();
  const uint8_t* bytes = bytes_of(nearest_.row);
  if (!bytes) {
    want(page_of_row(nearest_.row));
    return need(index_.graph->page_of(level_, nearest_.rank));
  }
  nearest_key_ = key_of(bytes);
  listed_ = false;
  phase_ = Phase::Descend;
  return PW_DONE;
}

// Greedy search on the levels above 0: move to the nearest node of the list while it is nearer.
int32_t GraphSearch::descend() {
  while (level_ > 0) {
    if (!listed_) {
      const uint32_t page_number = index_.graph->page_of(level_, nearest_.rank);
      const uint8_t* page = graph_page(page_number);
      if (!page) return need(page_number);
      links_.resize(index_.graph->layout().m);
      const int32_t count = index_.graph->links(level_, nearest_.rank, page, links_.data(), below_);
      if (count < 0) return count;
      links_.resize(static_cast<uint32_t>(count));
      next_ = nearest_;
      next_key_ = nearest_key_;
      listed_ = true;
      hops_++;
    }
    // Links whose codes are at hand leave the list; the others stay for the next step.
    size_t left = 0;
    for (const GraphLink& link : links_) {
      if (const uint8_t* bytes = bytes_of(link.row)) {
        const float key = key_of(bytes);
        if (key < next_key_ || (key == next_key_ && link.row < next_.row)) {
          next_ = link;
          next_key_ = key;
        }
      } else {
        links_[left++] = link;
      }
    }
    links_.resize(left);
    if (left > 0) {
      for (const GraphLink& link : links_) want(page_of_row(link.row));
      return PW_NEED;
    }
    listed_ = false;
    if (next_.row != nearest_.row) {
      nearest_ = next_;
      nearest_key_ = next_key_;
    } else {
      level_--;
      nearest_.rank = below_;
    }
  }
  if (nearest_.rank != nearest_.row) {
    return fail(PW_CORRUPT, "graph: row %u is row %u one level lower, expected the same", nearest_.row, nearest_.rank);
  }
  const uint32_t rows = index_.head.rows;
  uint64_t width = query_.ef;
  // With a filter the beam also holds what does not pass, as the way to what does.
  if (query_.passing) width += width * rows / query_.passing_rows * 5 / 4;
  beam_.reset(static_cast<uint32_t>(std::min<uint64_t>(width, rows)));
  visited_.reset(rows);
  visited_.set(nearest_.row);
  see(nearest_.row, nearest_key_);
  phase_ = Phase::Walk;
  return PW_DONE;
}

// Algorithm 2 of the HNSW paper, by estimated keys. Nodes are expanded strictly nearest first, and a
// list is done with before the next is read, so the way does not depend on which pages are present.
int32_t GraphSearch::walk() {
  for (;;) {
    if (!pending_.empty()) {
      estimate_pending();
      if (!pending_.empty()) return need_pending();
    }
    const Candidate* nearest = beam_.nearest();
    if (!nearest || (query_.passing && nearest->key > best_.bound())) return finish();
    const uint32_t row = nearest->row, page_number = index_.graph->page_of(0, row);
    const uint8_t* page = graph_page(page_number);
    if (!page) return need(page_number);
    const int32_t count = index_.graph->neighbours(row, page, neighbours_.data());
    if (count < 0) return count;
    beam_.expand();
    hops_++;
    for (int32_t i = 0; i < count; i++) {
      const uint32_t neighbour = neighbours_[static_cast<uint32_t>(i)];
      if (visited_.get(neighbour)) continue;
      visited_.set(neighbour);
      pending_.push_back(neighbour);
    }
  }
}

int32_t GraphSearch::scan() {
  const Bitmap& passing = *query_.passing;
  const uint32_t rows = index_.head.rows;
  for (uint32_t row; (row = passing.next(scan_at_)) < rows; scan_at_ = row + 1) {
    const uint8_t* bytes = bytes_of(row);
    if (!bytes) {
      // This page and the next ones with passing rows.
      while (row < rows && want(page_of_row(row))) {
        row = passing.next((row / rows_per_page_ + 1) * rows_per_page_);
      }
      return PW_NEED;
    }
    const float key = key_of(bytes);
    if (key <= best_.bound()) best_.push(key, row);
  }
  return finish();
}

int32_t GraphSearch::finish() {
  if (phase_ == Phase::Scan || query_.passing) {
    const std::vector<Candidate>& sorted = best_.sorted();
    candidates_.assign(sorted.begin(), sorted.end());
  } else {
    for (uint32_t i = 0; i < beam_.size(); i++) candidates_.push_back(beam_[i]);
  }
  phase_ = Phase::Done;
  return PW_DONE;
}

const uint8_t* GraphSearch::graph_page(uint32_t page) {
  if (graph_resident_) return graph_resident_ + static_cast<size_t>(page - graph_first_page_) * kPageBytes;
  return index_.pages.find(page);
}

const uint8_t* GraphSearch::bytes_of(uint32_t row) {
  const uint32_t page = row / rows_per_page_, place = row - page * rows_per_page_;
  const uint8_t* bytes = rows_resident_ ? rows_resident_ + static_cast<size_t>(page) * kPageBytes
                                         : index_.pages.find(rows_first_page_ + page);
  return bytes ? bytes + place * row_bytes_ : nullptr;
}

float GraphSearch::key_of(const uint8_t* bytes) {
  codes_++;
  return exact_ ? query_.distance->key(bytes) : base_key_ + code_query_.key(bytes);
}

void GraphSearch::see(uint32_t row, float key) {
  // Written so that a NaN, which damaged factors can make, never enters.
  if (query_.passing && key <= best_.bound() && query_.passing->get(row)) best_.push(key, row);
  if (key <= beam_.bound()) beam_.insert(key, row);
}

void GraphSearch::estimate_pending() {
  if (rows_resident_) {
    // One pass of loads before the arithmetic, so that the cache misses of a whole list overlap:
    // Wasm has no prefetch, and the processor does not look far enough ahead by itself.
    constexpr uint32_t kCacheLine = 64;
    addresses_.clear();
    uint32_t sum = 0;
    for (const uint32_t row : pending_) {
      const uint8_t* bytes = bytes_of(row);
      addresses_.push_back(bytes);
      for (uint32_t at = 0; at < row_bytes_; at += kCacheLine) sum += bytes[at];
    }
    touched_ = sum;
    for (size_t i = 0; i < pending_.size(); i++) see(pending_[i], key_of(addresses_[i]));
    pending_.clear();
    return;
  }
  size_t left = 0;
  for (const uint32_t row : pending_) {
    if (const uint8_t* bytes = bytes_of(row)) see(row, key_of(bytes));
    else pending_[left++] = row;
  }
  pending_.resize(left);
}

bool GraphSearch::want(uint32_t page) {
  if (std::find(wanted_->begin(), wanted_->end(), page) != wanted_->end()) return true;
  if (wanted_->size() >= room_) return false;
  wanted_->push_back(page);
  return true;
}

int32_t GraphSearch::need(uint32_t page) {
  want(page);
  want_frontier();
  return PW_NEED;
}

int32_t GraphSearch::need_pending() {
  for (const uint32_t row : pending_) {
    if (!want(page_of_row(row))) return PW_NEED;
  }
  want_frontier();
  return PW_NEED;
}

void GraphSearch::want_frontier() {
  // Where the pages that came last time were gone again before they could be used, a small cache
  // shared with other searches is thrashing: ask for what is needed and nothing else.
  const uint64_t done = static_cast<uint64_t>(hops_) + codes_;
  const bool stuck = done == done_before_;
  done_before_ = done;
  if (phase_ != Phase::Walk || stuck) return;
  room_ = std::min(room_, kWantedAhead);
  for (uint32_t i = 0, seen = 0; i < beam_.size() && seen < kFrontier; i++) {
    if (beam_.expanded(i)) continue;
    seen++;
    const uint32_t row = beam_[i].row, page_number = index_.graph->page_of(0, row);
    const uint8_t* page = graph_page(page_number);
    if (!page) {
      if (!want(page_number)) return;
      continue;
    }
    const int32_t count = rows_resident_ ? 0 : index_.graph->neighbours(row, page, neighbours_.data());
    for (int32_t j = 0; j < count; j++) {
      const uint32_t neighbour = neighbours_[static_cast<uint32_t>(j)];
      if (visited_.get(neighbour) || index_.pages.find(page_of_row(neighbour))) continue;
      if (!want(page_of_row(neighbour))) return;
    }
  }
}
