// The engine's C interface: what Python (wasmtime) and the browser's worker call.
//
// One instance of the module is one index: closing it returns its memory, and indexes can't
// disturb each other. The engine does no I/O. Work that may need pages is an *operation*:
// begun with a message, stepped until it is done, answering PW_NEED with the pages it lacks;
// the host brings them from whatever tier it likes and steps again. Several operations may be
// in flight; each keeps its own state.
//
// Messages are little-endian, 4-byte aligned, checked on entry; layouts are in messages.h.
#pragma once
#include <stdint.h>

#ifdef __wasm__
#define PW_EXPORT(name) extern "C" __attribute__((export_name(#name), used))
#else
#define PW_EXPORT(name) extern "C"
#endif

enum PwStatus : int32_t {
  PW_DONE = 0,
  PW_NEED = 1,            // pages are needed (operations) or work is left (build steps)
  PW_BAD_ARGUMENT = -1,   // the caller's message: k <= 0, wrong dimension, NaN, ...
  PW_CORRUPT = -2,        // bytes that fail a check: section, page, offset, expectation are in the text
  PW_NEWER_VERSION = -3,
  PW_NO_MEMORY = -4,
  PW_DUPLICATE = -5,      // an id that exists already (insert without replace)
  PW_STATE = -6,          // a call out of order
  PW_NOT_LINKED = -7,     // left out of engine.wasm: builder.wasm has it (parts.h)
};

// --- memory and errors -------------------------------------------------------------------
PW_EXPORT(pw_abi_version) uint32_t pw_abi_version();
PW_EXPORT(pw_alloc) void* pw_alloc(uint32_t bytes);            // 16-byte aligned; null: no memory
PW_EXPORT(pw_free) void pw_free(void* pointer);
PW_EXPORT(pw_error) const char* pw_error();                    // UTF-8, NUL-terminated, of the last failure
PW_EXPORT(pw_xxh64) uint64_t pw_xxh64(const void* data, uint32_t bytes, uint64_t seed);

// --- open --------------------------------------------------------------------------------
// Parses and checks a head; copies what it keeps. `budget` bounds resident sections + page
// cache + delta in bytes (0: no bound).
PW_EXPORT(pw_open) int32_t pw_open(const void* head, uint32_t bytes, uint32_t budget);
// An empty index that lives by inserts; `config` as for pw_build_begin.
PW_EXPORT(pw_create) int32_t pw_create(const void* config, uint32_t bytes, uint32_t budget);
PW_EXPORT(pw_info) const struct PwInfo* pw_info();             // messages.h; valid until the next call
PW_EXPORT(pw_set_budget) int32_t pw_set_budget(uint32_t bytes);  // evicts at once where it shrinks
PW_EXPORT(pw_set_policy) int32_t pw_set_policy(uint32_t policy); // 0 FIFO, 1 LRU, 2 SIEVE (default)

// --- pages -------------------------------------------------------------------------------
// Where to write page `page`: its final place (resident section) or a cache slot, 16,384 bytes.
// Null when every slot is pinned by running operations: step those first.
PW_EXPORT(pw_page_buffer) void* pw_page_buffer(uint32_t page);
// Verifies the checksum and makes the page visible; PW_CORRUPT leaves it absent.
PW_EXPORT(pw_page_commit) int32_t pw_page_commit(uint32_t page);
PW_EXPORT(pw_page_abandon) void pw_page_abandon(uint32_t page);
PW_EXPORT(pw_page_present) int32_t pw_page_present(uint32_t page);   // 1 or 0
// Reserves contiguous room for a whole section, outside the cache; its pages are then written
// in place through pw_page_buffer in any order. PW_DONE also when already resident.
PW_EXPORT(pw_make_resident) int32_t pw_make_resident(uint32_t section);
PW_EXPORT(pw_drop_resident) int32_t pw_drop_resident(uint32_t section);

// --- operations --------------------------------------------------------------------------
// kind: PwOperation in messages.h. Returns a handle >= 0 or a PwStatus < 0. The message is copied.
PW_EXPORT(pw_begin) int32_t pw_begin(uint32_t kind, const void* message, uint32_t bytes);
PW_EXPORT(pw_step) int32_t pw_step(int32_t operation);
// Pages wanted by an operation that answered PW_NEED: a count, then the page numbers, ascending.
// They are not reserved: bring what has come and step in one go, before other operations run, and
// an operation makes progress however small the cache is.
PW_EXPORT(pw_needed) const uint32_t* pw_needed(int32_t operation);
PW_EXPORT(pw_result) const void* pw_result(int32_t operation, uint32_t* bytes);
PW_EXPORT(pw_end) void pw_end(int32_t operation);              // also aborts one that is running

// --- build -------------------------------------------------------------------------------
// begin -> train*, train_step until done -> assign* -> rows* in cluster order -> finish until
// done -> head. After every call drain pw_build_take.
PW_EXPORT(pw_build_begin) int32_t pw_build_begin(const void* config, uint32_t bytes);
PW_EXPORT(pw_build_train) int32_t pw_build_train(const float* vectors, uint32_t count);
PW_EXPORT(pw_build_train_step) int32_t pw_build_train_step();   // PW_NEED while iterations are left
PW_EXPORT(pw_build_assign) int32_t pw_build_assign(const float* vectors, uint32_t count, uint32_t* clusters);
PW_EXPORT(pw_build_rows) int32_t pw_build_rows(const void* batch, uint32_t bytes);
// Neighbour lists made elsewhere (kind graph), after the last rows, in any number of messages:
// per node u32 row, u32 levels, then for each level u32 count and the rows (graph_builder.h).
PW_EXPORT(pw_build_links) int32_t pw_build_links(const void* links, uint32_t bytes);
// A finished page of a section, or null. It holds until the next call of this function. `index` counts within the section.
PW_EXPORT(pw_build_take) const void* pw_build_take(uint32_t* section, uint32_t* index);
// The lexicon spills sorted runs when it outgrows its memory: the host stores what it is given
// and hands every run back before finish, chunk by chunk, when asked.
PW_EXPORT(pw_build_spill) const void* pw_build_spill(uint32_t* bytes);          // null: nothing to store
PW_EXPORT(pw_build_run_wanted) int32_t pw_build_run_wanted(uint32_t* run, uint32_t* offset);
PW_EXPORT(pw_build_run_feed) int32_t pw_build_run_feed(const void* data, uint32_t bytes);
PW_EXPORT(pw_build_finish) int32_t pw_build_finish();           // PW_NEED: call again (progress; feed runs)
PW_EXPORT(pw_build_head) const void* pw_build_head(uint32_t* bytes);
// The same head with the measured calibration table (messages.h) in it.
PW_EXPORT(pw_head_calibrate) const void* pw_head_calibrate(const void* head, uint32_t head_bytes,
                                                            const void* table, uint32_t table_bytes,
                                                            uint32_t* bytes);
// --- text --------------------------------------------------------------------------------
// The engine's own segmentation, for highlighting: count, then {u32 start, u32 end (bytes of the
// input), u32 term offset, u32 term bytes} each, then the folded terms.
PW_EXPORT(pw_tokenize) const void* pw_tokenize(const char* text, uint32_t bytes, uint32_t* result_bytes);
