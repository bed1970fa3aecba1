// Layouts of the messages that cross the engine's interface (abi.h). Everything is little-endian;
// every message is a whole number of 4-byte words and lies 8-byte aligned. Python and TypeScript
// get these constants and offsets generated from this file (pywasm/tools/abi_codegen.py).
#pragma once
#include <stdint.h>

inline constexpr uint32_t kNoRow = 0xffffffffu;

enum class PwMetric : uint32_t { Cosine = 0, InnerProduct = 1, L2 = 2 };
enum class PwDtype : uint32_t { F32 = 0, F16 = 1, I8 = 2 };  // i8: per-row f32 scale, rotated space
enum class PwKind : uint32_t { Flat = 0, Scan = 1, Clusters = 2, Graph = 3 };
enum class PwColumnType : uint32_t { Category = 0, Number = 1 };

enum class PwOperation : uint32_t {
  SearchVector = 1,  // PwVectorSearch -> PwHits
  SearchText = 2,    // PwTextSearch -> PwHits
  Records = 3,       // PwRows -> PwStrings x3 (ids, texts, payloads)
  Vectors = 4,       // PwRows -> f32[count][dim], in the space of the input
  RowsOfIds = 5,     // PwStrings -> PwRows (kNoRow: unknown or deleted)
  Insert = 6,        // u32 replace, u32 0, then a row batch -> PwRows (rows given)
  Delete = 7,        // PwStrings -> PwRows (rows removed; kNoRow: unknown id)
  FilterCount = 8,   // filter program -> PwRows with count = 0 and `total` = rows that pass
  LiveRows = 9,      // {u32 from, u32 limit} -> PwRows: live rows in ascending order, from `from` on
  ColumnValues = 10, // {u32 column, u32 0} then PwRows -> f64[count] (category code or number)
};

// A row batch: u32 fields as below, then f32 vectors[count][dim] if flag 1, then for each of ids
// (flag 2), texts (flag 4), payloads (flag 8): u32 offsets[count + 1] and the bytes, padded with
// zeros to 4; then, if flag 16, u32 clusters[count]; then, if flag 32, the columns in their order,
// each padded to start at a multiple of 8: u32[count] (category) or f64[count] (number, NaN: none).
// Text is what keyword search indexes; payload is the host's business (JSON of title, url, ...).
struct PwRowBatch { uint32_t count, dim, flags, columns; };
enum PwBatchFlag : uint32_t { kBatchVectors = 1, kBatchIds = 2, kBatchTexts = 4, kBatchPayloads = 8,
                              kBatchClusters = 16, kBatchColumns = 32 };

struct PwRows { uint32_t count, total; /* u32 rows[count] */ };
struct PwStrings { uint32_t count, bytes; /* u32 offsets[count + 1], bytes padded to 4 */ };

struct PwVectorSearch {
  uint32_t k;
  float recall;        // target recall@k looked up in the calibration: 0 = 0.95
  uint32_t nprobe;     // clusters to scan; 0 = by recall
  uint32_t ef_search;  // graph beam; 0 = by recall
  uint32_t rerank;     // candidates re-ranked by full vectors; 0 = by recall
  uint32_t max_pages;  // vector pages that may be asked for (a slow tier); 0 = no bound
  uint32_t exclude;    // a row that must not be returned ("more like this"), or kNoRow
  uint32_t filter_bytes;
  /* filter program[filter_bytes], then f32 query[dim] */
};

struct PwTextSearch {
  uint32_t k;
  uint32_t flags;      // 1: the last term also matches as a prefix
  uint32_t filter_bytes;
  uint32_t text_bytes;
  /* filter program[filter_bytes], then UTF-8 text padded to 4 */
};

struct PwHit { uint32_t row; float score; uint32_t flags; uint32_t reserved; };  // flags 1: exact distance
// score: cosine or inner product (greater is nearer), or squared L2 (smaller is nearer); BM25.
struct PwHits {
  uint32_t count, passing;               // hits; rows that pass the filter (kNoRow: no filter)
  uint32_t hops, codes, distances;       // graph nodes expanded, code estimates, exact distances
  uint32_t pages_hit, pages_missed, clusters;
  /* PwHit hits[count] */
};

// A filter is a postfix program of u32 words; the stack holds bitmaps over all rows (base and
// inserted). A host compiles its own syntax to this (web/src/filter.ts).
enum class PwFilter : uint32_t {
  Equal = 1,   // column, value: u32 category code
  In = 2,      // column, n, n codes in ascending order
  Range = 3,   // column, bounds (1: low given, 2: high given, 4: low open, 8: high open), f64 low, f64 high (two words each)
  And = 4, Or = 5, Not = 6,
  Present = 7, // column: the value is not missing
};
inline constexpr uint32_t kNoCategory = 0xffffffffu;  // a missing category; also a value the index has not got

// Index configuration, for build_begin and create, followed by `columns` times
// {u32 type, u32 name_bytes, name padded to 4}.
struct PwConfig {
  uint32_t dim;
  PwMetric metric;
  PwDtype dtype;
  PwKind kind;
  uint32_t code_bits;       // 1..8 bits a dimension
  uint32_t clusters;        // 1 for scan
  uint32_t m, ef_construction;
  uint32_t seed_low, seed_high;
  uint32_t rows;            // expected, for sizing; 0 = unknown
  uint32_t lexicon_budget;  // bytes of postings held before a run is spilled; 0 = 64 MiB
  uint32_t columns;
  uint32_t flags;           // 1: no keyword search
};

struct PwSectionInfo { uint32_t first_page, pages, resident, present; };
struct PwInfo {
  uint32_t rows, deleted, delta_rows, dim, code_dim;
  PwMetric metric; PwDtype dtype; PwKind kind;
  uint32_t code_bits, clusters, m, ef_construction, columns;
  uint32_t total_pages, cached_pages, cache_slots;
  uint32_t resident_bytes, delta_bytes, budget;
  uint32_t pages_fetched, pages_evicted;
  PwSectionInfo sections[9];  // by section kind; [0] unused
};

// One line of the calibration: what it takes for recall@10 `recall` where the filter lets so few
// pass that the k-th passing neighbour is about the `rank`-th of all. In an index of kind graph
// `nprobe` is the beam of walks over resident vectors (0 or 1: not measured) and ef_search that of
// walks over codes.
struct PwCalibration { float recall; uint32_t rank; uint32_t nprobe, ef_search, rerank; };
