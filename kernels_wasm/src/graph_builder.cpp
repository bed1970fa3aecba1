#include "graph_builder.h"

#include <algorithm>
#include <utility>

#include "graph_layout.h"
#include "random.h"
#include "status.h"

namespace {

constexpr uint32_t kRowsPerStep = 256;  // some tens of milliseconds: a host shows progress between steps

// A permutation that depends on nothing but its arguments (Fisher-Yates).
void shuffle(std::vector<uint32_t>& rows, uint64_t seed) {
  SplitMix64 random(seed);
  for (uint32_t i = static_cast<uint32_t>(rows.size()); i > 1; i--) std::swap(rows[i - 1], rows[random.below(i)]);
}

}  // namespace

GraphBuilder::GraphBuilder(const IndexParameters& parameters, PageQueue& queue)
    : parameters_(parameters),
      queue_(queue),
      vectors_(parameters.code_dim, parameters.metric),
      graph_(vectors_, {parameters.m, parameters.ef_construction, parameters.seed}) {}

int32_t GraphBuilder::links(ByteReader message) {
  while (message.left() > 0) {
    const uint32_t row = message.get<uint32_t>(), levels = message.get<uint32_t>();
    if (!message.ok() || levels == 0 || levels > kMaxGraphLevels || row >= kMaxRows) {
      return fail(PW_BAD_ARGUMENT, "links, word %zu: row %u with %u levels, expected a row below %u with 1 to %u",
                  message.at() / 4, row, levels, kMaxRows, kMaxGraphLevels);
    }
    given_.push_back(row);
    given_.push_back(levels);
    for (uint32_t level = 0; level < levels; level++) {
      const uint32_t count = message.get<uint32_t>(), most = level == 0 ? 2 * parameters_.m : parameters_.m;
      const uint8_t* rows = message.ok() && count <= most ? message.take(size_t{4} * count) : nullptr;
      if (!rows) {
        return fail(PW_BAD_ARGUMENT, "links of row %u, level %u: %u neighbours, expected at most %u, all in the message",
                    row, level, count, most);
      }
      given_.push_back(count);
      const size_t at = given_.size();
      given_.resize(at + count);
      if (count) memcpy(given_.data() + at, rows, size_t{4} * count);
    }
    given_nodes_++;
  }
  return PW_DONE;
}

int32_t GraphBuilder::adopt_given() {
  const uint32_t rows = vectors_.size(), numbers = rows + given_nodes_;
  Bitmap gone(numbers);
  std::vector<std::vector<uint32_t>> lists;
  for (size_t at = 0; at < given_.size();) {
    const uint32_t row = given_[at++], levels = given_[at++];
    if (row >= numbers || graph_.contains(row)) {
      return fail(PW_BAD_ARGUMENT, "links of row %u: %s", row,
                  row >= numbers ? "there is no such row, and not that many removed ones" : "given twice");
    }
    lists.resize(levels);
    for (std::vector<uint32_t>& list : lists) {
      const uint32_t count = given_[at++];
      list.assign(given_.begin() + static_cast<ptrdiff_t>(at), given_.begin() + static_cast<ptrdiff_t>(at + count));
      at += count;
    }
    graph_.adopt(row, lists);
    if (row >= rows) gone.set(row);
  }
  given_ = std::vector<uint32_t>();
  graph_.drop_dangling();
  if (gone.next(0) < gone.size()) graph_.remove(gone);
  return PW_DONE;
}

int32_t GraphBuilder::start() {
  if (int32_t status = adopt_given(); status < 0) return status;
  // Rows come in cluster order. Inserted so, a cluster's first rows would find no near neighbours
  // and the clusters would hang together by few links; a random order is what HNSW supposes.
  for (uint32_t row = 0; row < vectors_.size(); row++) {
    if (!graph_.contains(row)) order_.push_back(row);
  }
  shuffle(order_, parameters_.seed);
  started_ = true;
  return PW_DONE;
}

int32_t GraphBuilder::step() {
  if (!started_) {
    if (int32_t status = start(); status < 0) return status;
  }
  const size_t end = std::min(order_.size(), inserted_ + kRowsPerStep);
  while (inserted_ < end) graph_.insert(order_[inserted_++]);
  if (inserted_ < order_.size()) return PW_NEED;
  if (!connected_) {
    graph_.link_unreachable();
    connected_ = true;
  }
  return PW_DONE;
}

void GraphBuilder::finish(HeadWriter& head) {
  if (graph_.empty()) return;
  GraphLayout layout;
  layout.m = parameters_.m;
  layout.m0 = 2 * parameters_.m;
  layout.id_bytes = GraphLayout::id_bytes_for(vectors_.size());
  layout.entry_row = graph_.entry();

  SectionWriter writer(Section::Graph, queue_);
  std::vector<uint32_t> rows(vectors_.size());  // of the level, in order
  std::vector<uint32_t> ranks(vectors_.size()), ranks_below;
  for (uint32_t row = 0; row < rows.size(); row++) rows[row] = row;
  for (uint32_t level = 0; level <= graph_.max_level(); level++) {
    std::erase_if(rows, [&](uint32_t row) { return graph_.level_of(row) < level; });
    ranks_below = ranks;
    for (uint32_t rank = 0; rank < rows.size(); rank++) ranks[rows[rank]] = rank;
    layout.counts.push_back(static_cast<uint32_t>(rows.size()));
    layout.entry_rank = ranks[layout.entry_row];

    std::vector<uint8_t> record(layout.record_bytes(level));
    for (uint32_t row : rows) {
      const std::span<const uint32_t> links = graph_.links(row, level);
      uint8_t* to = record.data();
      std::fill(record.begin(), record.end(), 0);
      if (level > 0) {
        put_id(to, ranks_below[row], 4);
        to += 4;
      }
      put_id(to, static_cast<uint32_t>(links.size()), 2);
      to += 2;
      for (uint32_t neighbour : links) {
        put_id(to, neighbour, layout.id_bytes);
        to += layout.id_bytes;
        if (level == 0) continue;
        put_id(to, ranks[neighbour], layout.id_bytes);
        to += layout.id_bytes;
      }
      if (writer.room() < record.size()) writer.end_page();
      writer.put(record.data(), record.size());
    }
    writer.end_page();
  }
  head.section(writer);
  ByteWriter chunk;
  layout.write(chunk);
  head.chunk(kTagGraph, chunk);
}
