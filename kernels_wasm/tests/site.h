// A host in miniature, for tests and fuzzing: builds an index in this process through the engine's
// own interface (abi.h), keeps its pages, and runs operations on it.
#pragma once
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "abi.h"
#include "bytes.h"
#include "config.h"
#include "head.h"
#include "index.h"
#include "messages.h"
#include "operation.h"
#include "operations.h"
#include "parts.h"

struct TestRow {
  std::vector<float> vector;
  std::string id, text, payload;
  std::vector<uint32_t> categories;  // of the category columns, in their order
  std::vector<double> numbers;       // of the number columns
};

inline void put_strings(ByteWriter& out, std::span<const std::string> strings) {
  uint32_t offset = 0;
  out.put(offset);
  for (const std::string& text : strings) out.put(offset += static_cast<uint32_t>(text.size()));
  for (const std::string& text : strings) out.text(text);
  out.align(4);
}

// A PwRowBatch message of `rows`; `clusters` may be empty.
inline void put_batch(ByteWriter& out, std::span<const TestRow> rows, std::span<const ColumnSpec> columns,
                      std::span<const uint32_t> clusters = {}) {
  const size_t start = out.size();
  const uint32_t dim = rows.empty() ? 0 : static_cast<uint32_t>(rows[0].vector.size());
  uint32_t flags = kBatchVectors | kBatchIds | kBatchTexts | kBatchPayloads;
  if (!clusters.empty()) flags |= kBatchClusters;
  if (!columns.empty()) flags |= kBatchColumns;
  out.put(PwRowBatch{static_cast<uint32_t>(rows.size()), dim, flags, static_cast<uint32_t>(columns.size())});
  for (const TestRow& row : rows) out.put(row.vector.data(), row.vector.size() * 4);
  std::vector<std::string> strings(rows.size());
  for (std::string TestRow::*part : {&TestRow::id, &TestRow::text, &TestRow::payload}) {
    for (size_t i = 0; i < rows.size(); i++) strings[i] = rows[i].*part;
    put_strings(out, strings);
  }
  for (uint32_t cluster : clusters) out.put(cluster);
  size_t category = 0, number = 0;
  for (const ColumnSpec& column : columns) {
    while ((out.size() - start) % 8 != 0) out.put(uint8_t{0});
    if (column.type == PwColumnType::Number) {
      for (const TestRow& row : rows) out.put(row.numbers[number]);
      number++;
    } else {
      for (const TestRow& row : rows) out.put(row.categories[category]);
      category++;
    }
  }
}

inline void put_config(ByteWriter& out, PwConfig config, std::span<const ColumnSpec> columns) {
  config.columns = static_cast<uint32_t>(columns.size());
  out.put(config);
  for (const ColumnSpec& column : columns) {
    out.put(static_cast<uint32_t>(column.type));
    out.put(static_cast<uint32_t>(column.name.size()));
    out.text(column.name);
    out.align(4);
  }
}

// For tests of what vectors have no part in: two dimensions, compared as they are.
inline PwConfig flat_config(bool keyword) {
  PwConfig config{};
  config.dim = 2;
  config.metric = PwMetric::L2;
  config.kind = PwKind::Flat;
  config.code_bits = 1;
  config.clusters = 1;
  config.flags = keyword ? 0 : 1;
  return config;
}

struct Site {
  std::vector<uint8_t> head;
  std::vector<std::vector<uint8_t>> pages;  // by their number in the file
  std::vector<TestRow> rows;                // as they stand in the index
  std::vector<ColumnSpec> columns;
  int32_t status = PW_DONE;                 // of the call that failed first
};

inline Site build_site(const PwConfig& config, std::vector<TestRow> rows, std::vector<ColumnSpec> columns) {
  Site site;
  site.columns = std::move(columns);
  std::vector<FinishedPage> finished;
  const auto check = [&](int32_t status) {
    if (status < 0 && site.status == PW_DONE) site.status = status;
    uint32_t section = 0, index = 0;
    while (const void* page = pw_build_take(&section, &index)) {
      const uint8_t* from = static_cast<const uint8_t*>(page);
      finished.push_back({static_cast<Section>(section), index, std::vector<uint8_t>(from, from + kPageBytes)});
    }
    return status;
  };
  ByteWriter message;
  put_config(message, config, site.columns);
  check(pw_build_begin(message.data(), static_cast<uint32_t>(message.size())));
  std::vector<float> vectors;
  for (const TestRow& row : rows) vectors.insert(vectors.end(), row.vector.begin(), row.vector.end());
  const uint32_t count = static_cast<uint32_t>(rows.size());
  std::vector<uint32_t> clusters(count, 0), order(count);
  check(pw_build_train(vectors.data(), count));
  while (check(pw_build_train_step()) == PW_NEED) {}
  if (count != 0) check(pw_build_assign(vectors.data(), count, clusters.data()));
  for (uint32_t i = 0; i < count; i++) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return clusters[a] < clusters[b]; });
  std::vector<uint32_t> sorted(count);
  for (uint32_t i = 0; i < count; i++) {
    sorted[i] = clusters[order[i]];
    site.rows.push_back(std::move(rows[order[i]]));
  }
  constexpr uint32_t kBatch = 1000;
  for (uint32_t first = 0; first < count; first += kBatch) {
    const uint32_t size = std::min(kBatch, count - first);
    message.clear();
    put_batch(message, std::span(site.rows).subspan(first, size), site.columns, std::span(sorted).subspan(first, size));
    check(pw_build_rows(message.data(), static_cast<uint32_t>(message.size())));
    if (site.status != PW_DONE) return site;
  }
  while (check(pw_build_finish()) == PW_NEED) {}
  if (site.status != PW_DONE) return site;
  uint32_t bytes = 0;
  const uint8_t* head_bytes = static_cast<const uint8_t*>(pw_build_head(&bytes));
  site.head.assign(head_bytes, head_bytes + bytes);
  Head head;
  site.status = Head::parse(site.head.data(), site.head.size(), head);
  if (site.status != PW_DONE) return site;
  site.pages.resize(head.total_pages());
  for (FinishedPage& page : finished) site.pages[head.section(page.section).first_page + page.index] = std::move(page.bytes);
  return site;
}

// What an operation gave.
struct Outcome {
  int32_t status = PW_DONE;
  std::vector<uint8_t> result;
  uint32_t steps = 0;

  template <class T>
  T at(size_t offset) const {
    T value{};
    if (offset + sizeof(T) <= result.size()) memcpy(&value, result.data() + offset, sizeof(T));
    return value;
  }
  // Of a PwRows.
  std::vector<uint32_t> rows() const {
    std::vector<uint32_t> rows(at<uint32_t>(0));
    for (size_t i = 0; i < rows.size(); i++) rows[i] = at<uint32_t>(8 + 4 * i);
    return rows;
  }
};

// Brings the pages an operation wants: those that fit, as a host does.
inline int32_t bring_pages(Index& index, const Site& site, std::vector<uint32_t> wanted) {
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (uint32_t page : wanted) {
    if (page >= site.pages.size()) return PW_STATE;
    if (index.pages.present(page)) continue;
    uint8_t* to = index.pages.buffer(page);
    if (to == nullptr) return PW_DONE;
    memcpy(to, site.pages[page].data(), kPageBytes);
    if (const int32_t status = index.pages.commit(page); status != PW_DONE) return status;
  }
  return PW_DONE;
}

inline Outcome run_operation(Index& index, const Site& site, PwOperation kind, const ByteWriter& message,
                             uint32_t max_steps = 100000) {
  Outcome outcome;
  const std::unique_ptr<Operation> operation = make_operation(static_cast<uint32_t>(kind), index);
  if (operation == nullptr) {
    outcome.status = PW_BAD_ARGUMENT;
    return outcome;
  }
  // Operations find their message 8-byte aligned.
  std::vector<uint64_t> aligned((message.size() + 7) / 8);
  if (message.size() != 0) memcpy(aligned.data(), message.data(), message.size());
  outcome.status = operation->begin(ByteReader(aligned.data(), message.size()));
  while (outcome.status == PW_DONE) {
    operation->wanted.clear();
    outcome.status = operation->step();
    outcome.steps++;
    if (outcome.status == PW_DONE) {
      outcome.result.assign(operation->result.data(), operation->result.data() + operation->result.size());
      break;
    }
    if (outcome.status != PW_NEED) break;
    if (operation->wanted.empty() || outcome.steps == max_steps) {
      outcome.status = PW_STATE;  // it would wait for ever
      break;
    }
    outcome.status = bring_pages(index, site, operation->wanted);
  }
  operation->end();
  return outcome;
}
