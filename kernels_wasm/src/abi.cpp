// The exported functions of every module: one open index and the operations in flight. The others are
// in abi_build.cpp.
#include "abi.h"

#include <stdlib.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "columns.h"
#include "delta.h"
#include "index.h"
#include "operation.h"
#include "parts.h"
#include "sort.h"
#include "status.h"
#include "xxh64.h"

namespace {

constexpr uint32_t kAbiVersion = 1;
constexpr uint32_t kMaxOperations = 1024;
constexpr uint32_t kKinds = 11;  // PwOperation values lie below

struct Running {
  std::unique_ptr<Operation> operation;
  uint32_t kind = 0;
  bool done = false;
  std::vector<uint32_t> needed;  // count, then pages
};

std::unique_ptr<Index> open_index;
std::vector<Running> running;                                  // by handle
std::vector<std::unique_ptr<Operation>> idle_operations[kKinds];  // by kind, to be used again

int32_t no_index() { return fail(PW_STATE, "no index is open"); }

Running* find_running(int32_t handle) {
  const bool exists = handle >= 0 && static_cast<size_t>(handle) < running.size() && running[static_cast<size_t>(handle)].operation;
  return exists ? &running[static_cast<size_t>(handle)] : nullptr;
}

// Operations refer to the index: they go before it.
void close_index() {
  running.clear();
  for (auto& idle : idle_operations) idle.clear();
  open_index.reset();
}

}  // namespace

Index* current_index() { return open_index.get(); }

uint32_t pw_abi_version() { return kAbiVersion; }
void* pw_alloc(uint32_t bytes) { return bytes > UINT32_MAX - 16 ? nullptr : aligned_alloc(16, (bytes + 15) & ~15u); }
void pw_free(void* pointer) { free(pointer); }
uint64_t pw_xxh64(const void* data, uint32_t bytes, uint64_t seed) { return xxh64(data, bytes, seed); }

// --- open --------------------------------------------------------------------------------

int32_t pw_open(const void* head, uint32_t bytes, uint32_t budget) {
  close_index();
  auto index = std::make_unique<Index>();
  if (int32_t status = index->open(head, bytes, budget)) return status;
  open_index = std::move(index);
  return PW_DONE;
}

const PwInfo* pw_info() {
  static PwInfo info;
  if (!open_index) return nullptr;
  const Index& index = *open_index;
  const Head& head = index.head;
  const Pages::Counters counters = index.pages.counters();
  info = {index.rows(), index.deleted_count, index.delta->rows(), head.dim, head.code_dim,
          head.metric, head.dtype, head.kind,
          head.code_bits, head.clusters, head.m, head.ef_construction, index.columns->size(),
          head.total_pages(), counters.cached, counters.slots,
          static_cast<uint32_t>(counters.resident_bytes), index.pages.delta_bytes(), index.pages.budget(),
          counters.fetched, counters.evicted, {}};
  for (uint32_t i = 1; i < kSections; i++) {
    const Section section = static_cast<Section>(i);
    const SectionRange range = head.section(section);
    info.sections[i] = {range.first_page, range.pages, index.pages.is_resident(section), index.pages.present_in(section)};
  }
  return &info;
}

int32_t pw_set_budget(uint32_t bytes) {
  if (!open_index) return no_index();
  open_index->pages.set_budget(bytes);
  return PW_DONE;
}

// --- pages -------------------------------------------------------------------------------

void* pw_page_buffer(uint32_t page) { return open_index ? open_index->pages.buffer(page) : nullptr; }
int32_t pw_page_commit(uint32_t page) { return open_index ? open_index->pages.commit(page) : no_index(); }
void pw_page_abandon(uint32_t page) {
  if (open_index) open_index->pages.abandon(page);
}
int32_t pw_page_present(uint32_t page) { return open_index && open_index->pages.present(page); }
int32_t pw_make_resident(uint32_t section) {
  return open_index ? open_index->pages.make_resident(static_cast<Section>(section)) : no_index();
}

// --- operations --------------------------------------------------------------------------

int32_t pw_begin(uint32_t kind, const void* message, uint32_t bytes) {
  if (!open_index) return no_index();
  size_t handle = 0;
  while (handle < running.size() && running[handle].operation) handle++;
  if (handle == kMaxOperations) return fail(PW_STATE, "%u operations are running already", kMaxOperations);
  std::unique_ptr<Operation> operation;
  if (kind < kKinds && !idle_operations[kind].empty()) {
    operation = std::move(idle_operations[kind].back());
    idle_operations[kind].pop_back();
  } else {
    operation = kind < kKinds ? make_operation(kind, *open_index) : nullptr;
  }
  if (!operation) return missing_operation(kind);
  if (int32_t status = operation->begin(ByteReader(message, bytes))) {
    operation->end();
    idle_operations[kind].push_back(std::move(operation));
    return status;
  }
  if (handle == running.size()) running.emplace_back();
  Running& one = running[handle];
  one.operation = std::move(operation);
  one.kind = kind;
  one.done = false;
  one.needed.assign(1, 0);
  return static_cast<int32_t>(handle);
}

int32_t pw_step(int32_t handle) {
  Running* const one = find_running(handle);
  if (!one) return fail(PW_STATE, "operation %d is not running", handle);
  if (one->done) return PW_DONE;
  Operation& operation = *one->operation;
  operation.wanted.clear();
  const int32_t status = operation.step();
  one->done = status == PW_DONE;
  one->needed.assign(1, 0);
  if (status != PW_NEED) return status;
  std::vector<uint32_t>& wanted = operation.wanted;
  sort_items(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  one->needed[0] = static_cast<uint32_t>(wanted.size());
  one->needed.insert(one->needed.end(), wanted.begin(), wanted.end());
  return PW_NEED;
}

const uint32_t* pw_needed(int32_t handle) {
  const Running* const one = find_running(handle);
  return one ? one->needed.data() : nullptr;
}

const void* pw_result(int32_t handle, uint32_t* bytes) {
  const Running* const one = find_running(handle);
  *bytes = one && one->done ? static_cast<uint32_t>(one->operation->result.size()) : 0;
  return one && one->done ? one->operation->result.data() : nullptr;
}

void pw_end(int32_t handle) {
  Running* const one = find_running(handle);
  if (!one) return;
  one->operation->end();
  idle_operations[one->kind].push_back(std::move(one->operation));
}
