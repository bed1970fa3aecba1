// The exported functions of builder.wasm alone (parts.h): of a build, and what measurements set. engine.wasm
// is linked without this file, and so without everything that only a build needs.
#include <memory>
#include <vector>

#include "abi.h"
#include "builder.h"
#include "head.h"
#include "index.h"
#include "status.h"

namespace {

std::unique_ptr<Builder> builder;
FinishedPage taken_page;
std::vector<uint8_t> calibrated_head;

int32_t no_build() { return fail(PW_STATE, "no build has begun"); }

}  // namespace

int32_t pw_create(const void* config, uint32_t bytes, uint32_t budget) {
  Builder empty;
  int32_t status = empty.begin(config, bytes);
  while (status == PW_DONE && (status = empty.finish()) == PW_NEED) status = PW_DONE;
  return status == PW_DONE ? pw_open(empty.head().data(), static_cast<uint32_t>(empty.head().size()), budget) : status;
}

int32_t pw_set_policy(uint32_t policy) {
  Index* const index = current_index();
  if (!index) return fail(PW_STATE, "no index is open");
  if (policy > static_cast<uint32_t>(Policy::Sieve)) return fail(PW_BAD_ARGUMENT, "policy %u: expected 0 to 2", policy);
  index->pages.set_policy(static_cast<Policy>(policy));
  return PW_DONE;
}
int32_t pw_drop_resident(uint32_t section) {
  Index* const index = current_index();
  return index ? index->pages.drop_resident(static_cast<Section>(section)) : fail(PW_STATE, "no index is open");
}

int32_t pw_build_begin(const void* config, uint32_t bytes) {
  builder = std::make_unique<Builder>();
  const int32_t status = builder->begin(config, bytes);
  if (status != PW_DONE) builder.reset();
  return status;
}
int32_t pw_build_train(const float* vectors, uint32_t count) { return builder ? builder->train(vectors, count) : no_build(); }
int32_t pw_build_train_step() { return builder ? builder->train_step() : no_build(); }
int32_t pw_build_assign(const float* vectors, uint32_t count, uint32_t* clusters) {
  return builder ? builder->assign(vectors, count, clusters) : no_build();
}
int32_t pw_build_rows(const void* batch, uint32_t bytes) { return builder ? builder->rows(batch, bytes) : no_build(); }
int32_t pw_build_links(const void* links, uint32_t bytes) { return builder ? builder->links(links, bytes) : no_build(); }

const void* pw_build_take(uint32_t* section, uint32_t* index) {
  if (!builder || builder->pages.empty()) return nullptr;
  taken_page = std::move(builder->pages.front());
  builder->pages.pop_front();
  *section = static_cast<uint32_t>(taken_page.section);
  *index = taken_page.index;
  return taken_page.bytes.data();
}

const void* pw_build_spill(uint32_t* bytes) {
  const ByteWriter* run = builder && builder->lexicon() ? builder->lexicon()->take_spill() : nullptr;
  *bytes = run ? static_cast<uint32_t>(run->size()) : 0;
  return run ? run->data() : nullptr;
}
int32_t pw_build_run_wanted(uint32_t* run, uint32_t* offset) {
  return builder && builder->lexicon() && builder->lexicon()->run_wanted(*run, *offset);
}
int32_t pw_build_run_feed(const void* data, uint32_t bytes) {
  return builder && builder->lexicon() ? builder->lexicon()->run_feed(data, bytes) : no_build();
}
int32_t pw_build_finish() { return builder ? builder->finish() : no_build(); }

const void* pw_build_head(uint32_t* bytes) {
  const std::span<const uint8_t> head = builder ? builder->head() : std::span<const uint8_t>();
  *bytes = static_cast<uint32_t>(head.size());
  return head.empty() ? nullptr : head.data();
}

const void* pw_head_calibrate(const void* head, uint32_t head_bytes, const void* table, uint32_t table_bytes, uint32_t* bytes) {
  Head parsed;
  *bytes = 0;
  if (Head::parse(head, head_bytes, parsed) != PW_DONE) return nullptr;
  ByteWriter chunk;
  chunk.put(table, table_bytes);
  calibrated_head = HeadWriter::with_chunk(parsed, kTagCalibration, chunk);
  Index check;  // a table that would not open must not be written
  if (check.open(calibrated_head.data(), calibrated_head.size(), 0) != PW_DONE) return nullptr;
  *bytes = static_cast<uint32_t>(calibrated_head.size());
  return calibrated_head.data();
}
