#include "section_writer.h"

#include <algorithm>

#include "head.h"

void SectionWriter::put(const void* data, size_t bytes) {
  const uint8_t* from = static_cast<const uint8_t*>(data);
  while (bytes > 0) {
    if (page_.empty()) page_.reserve(kPageBytes);
    const size_t part = std::min(bytes, room());
    page_.insert(page_.end(), from, from + part);
    from += part;
    bytes -= part;
    bytes_ = static_cast<uint64_t>(sums_.size()) * kPageBytes + page_.size();
    if (page_.size() == kPageBytes) finish_page();
  }
}

void SectionWriter::end_page() {
  if (page_.empty()) return;
  page_.resize(kPageBytes);
  finish_page();
}

void SectionWriter::finish_page() {
  sums_.push_back(Head::checksum(page_.data(), section_, pages()));
  queue_.push_back({section_, pages() - 1, std::move(page_)});
  page_ = {};
}
