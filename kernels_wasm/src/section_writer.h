// Cuts what a builder appends into pages and queues them for the host, with their checksums.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <deque>
#include <vector>

#include "format.h"

struct FinishedPage {
  Section section;
  uint32_t index;  // within the section
  std::vector<uint8_t> bytes;
};
using PageQueue = std::deque<FinishedPage>;

class SectionWriter {
 public:
  SectionWriter(Section section, PageQueue& queue) : section_(section), queue_(queue) {}
  void put(const void* data, size_t bytes);  // crosses page ends freely
  size_t room() const { return kPageBytes - page_.size(); }  // in the page being filled; never 0
  void end_page();                           // fills up with zeros; nothing to do on a fresh page
  Section section() const { return section_; }
  uint32_t pages() const { return static_cast<uint32_t>(sums_.size()); }  // finished ones
  uint64_t bytes() const { return bytes_; }  // end of the last byte put, counted from the section's start
  const std::vector<uint32_t>& sums() const { return sums_; }

 private:
  void finish_page();

  Section section_;
  PageQueue& queue_;
  std::vector<uint8_t> page_;
  std::vector<uint32_t> sums_;
  uint64_t bytes_ = 0;
};
