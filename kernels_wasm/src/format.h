// Constants of the index format (docs/format.md). Python and TypeScript get theirs generated from here.
#pragma once
#include <stdint.h>

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kPageBytes = 16384;
inline constexpr uint32_t kPagesPerShard = 1024;
inline constexpr uint32_t kBlockRows = 32;  // rows of one fast-scan block

enum class Section : uint32_t {
  Lexicon = 1, Centroids = 2, Codes = 3, Vectors = 4, Records = 5, Ids = 6, Columns = 7, Graph = 8,
};
inline constexpr uint32_t kSections = 9;  // a table by Section has this many entries; [0] is unused

// Chunk tags of the head. Each is written and read by the module named for it.
constexpr uint32_t tag(const char (&name)[5]) {
  return static_cast<uint32_t>(name[0]) | static_cast<uint32_t>(name[1]) << 8 |
         static_cast<uint32_t>(name[2]) << 16 | static_cast<uint32_t>(name[3]) << 24;
}
inline constexpr uint32_t kTagIndex = tag("INDX");        // head.cpp: sizes, metric, dtype, kind, parameters
inline constexpr uint32_t kTagSections = tag("SECT");     // head.cpp: first page, pages, bytes of each section
inline constexpr uint32_t kTagSums = tag("SUMS");         // head.cpp: u32 checksum of every page
inline constexpr uint32_t kTagClusters = tag("CLUS");     // clusters.cpp: first row of each cluster
inline constexpr uint32_t kTagMean = tag("MEAN");         // clusters.cpp: the centroid of all rows, for inserted ones
inline constexpr uint32_t kTagLexicon = tag("LEXI");      // lexicon.cpp: first term of each page, statistics
inline constexpr uint32_t kTagRecords = tag("RECS");      // records.cpp: first row of each page
inline constexpr uint32_t kTagColumns = tag("COLS");      // columns.cpp: name, type, width, first page
inline constexpr uint32_t kTagGraph = tag("GRPH");        // graph.cpp: entry point, levels, upper lists
inline constexpr uint32_t kTagCalibration = tag("CALI");  // calibration.cpp
