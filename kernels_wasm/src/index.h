// One open index: its head, its pages, and the modules that read them. There is one a Wasm
// instance (abi.cpp); operations get it by reference.
//
// A module M is opened by `int32_t M::open(Index& index)`; it reads its chunk from index.head and
// later its pages through index.pages. An index without the module's section still has the module,
// which then holds nothing.
#pragma once
#include <stdint.h>

#include <memory>

#include "bitmap.h"
#include "head.h"
#include "pages.h"

class Calibration;  // calibration.h
class Clusters;     // clusters.h: centroids and first rows
class Columns;      // columns.h
class Delta;        // delta.h: inserted rows
class Graph;        // graph.h
class Ids;          // ids.h
class Lexicon;      // lexicon.h
class Records;      // records.h
class Rotation;     // rotate.h

class Index {
 public:
  Index();
  ~Index();
  Index(const Index&) = delete;

  // Checks the head and opens every module. No page is needed for it.
  int32_t open(const void* head_bytes, size_t bytes, uint32_t budget);

  uint32_t base_rows() const { return head.rows; }  // row numbers below it are in the file
  uint32_t rows() const;                            // base and inserted, deleted ones included
  bool live(uint32_t row) const;                    // exists and is not deleted
  // The page of VECTORS with `row`, and the row's place in it. `row` < base_rows().
  uint32_t vector_page(uint32_t row) const { return vectors_first_page_ + row / vectors_per_page_; }
  uint32_t vector_offset(uint32_t row) const { return row % vectors_per_page_ * vector_bytes_; }

  Head head;
  Pages pages;
  Bitmap deleted;              // over rows(); a set bit is a deleted row. Grown with each insert
  uint32_t deleted_count = 0;  // set bits in `deleted`
  std::unique_ptr<Rotation> rotation;
  std::unique_ptr<Clusters> clusters;
  std::unique_ptr<Calibration> calibration;
  std::unique_ptr<Lexicon> lexicon;
  std::unique_ptr<Records> records;
  std::unique_ptr<Ids> ids;
  std::unique_ptr<Columns> columns;
  std::unique_ptr<Graph> graph;
  std::unique_ptr<Delta> delta;

 private:
  int32_t check_sections() const;

  uint32_t vectors_first_page_ = 0, vectors_per_page_ = 1, vector_bytes_ = 0;
};

// The index that the module has open (abi.cpp), or null.
Index* current_index();
