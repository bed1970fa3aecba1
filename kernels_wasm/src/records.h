// What is known of each row: its id, its text and its payload, in the section RECORDS. The layout is
// in docs/format.md. Records lie in row order; one lies whole in a page, or in a run of its own pages.
#pragma once
#include <stdint.h>

#include <string_view>
#include <vector>

#include "head.h"
#include "section_writer.h"

class Index;

inline constexpr uint32_t kMaxIdBytes = 4096;         // an id lies in the first page of its record
inline constexpr uint32_t kMaxRecordBytes = 64 << 20;  // id, text and payload together

struct Record {
  std::string_view id, text, payload;
};

class RecordsBuilder {
 public:
  explicit RecordsBuilder(PageQueue& queue) : writer_(Section::Records, queue) {}
  // Rows come in order, from 0 on. PW_BAD_ARGUMENT naming the id when the record is too large.
  int32_t add(const Record& record);
  int32_t finish(HeadWriter& head);

 private:
  void note_page();

  SectionWriter writer_;
  ByteWriter record_, first_rows_;
  uint32_t rows_ = 0, noted_pages_ = 0, last_noted_ = 0;
};

class Records {
 public:
  int32_t open(const Index& index);

  struct Place {
    uint32_t page = 0;   // in the file
    uint32_t pages = 0;  // more than one: the record fills them alone; 0: the index holds no records
    uint32_t skip = 0;   // records before it on the page
  };
  // `row` is below base_rows().
  Place place(uint32_t row) const;

  // Reads the record that `place` names from its bytes: a page, or all pages of its run one after
  // another. PW_CORRUPT naming page and row when they don't hold it. Views into `bytes`.
  static int32_t parse(const uint8_t* bytes, size_t size, const Place& place, uint32_t row, Record& record);
  // The id alone, which the first page is enough for.
  static int32_t parse_id(const uint8_t* page, const Place& place, uint32_t row, std::string_view& id);

 private:
  std::vector<uint32_t> first_rows_;  // of each page; the pages of a long record all have its row
  uint32_t first_page_ = 0;
};
