// The head of an index (docs/format.md): parameters, where each section lies, every page's
// checksum, and the chunks in which modules keep what they need at hand. Parsed from bytes nobody
// vouches for; written by the builder.
#pragma once
#include <stdint.h>

#include <span>
#include <vector>

#include "bytes.h"
#include "config.h"
#include "format.h"
#include "section_writer.h"

struct SectionRange {
  uint32_t first_page = 0;  // in the file
  uint32_t pages = 0;
  uint64_t bytes = 0;       // without the zeros that fill up the last page
};

class Head : public IndexParameters {
 public:
  // Checks the whole head and keeps a copy. PW_CORRUPT or PW_NEWER_VERSION with a sentence.
  static int32_t parse(const void* data, size_t bytes, Head& head);

  // The payload of a chunk, 4-byte aligned; empty when the head has none of that tag.
  std::span<const uint8_t> chunk(uint32_t tag) const;
  SectionRange section(Section section) const { return sections_[static_cast<uint32_t>(section)]; }
  // The section that holds `page`, and the page's place in it. `page` < total_pages().
  Section section_of(uint32_t page) const;
  uint32_t total_pages() const { return total_pages_; }
  uint32_t sum(uint32_t page) const;  // the stored checksum; `page` < total_pages()
  // What the checksum of these bytes is when they stand at this place.
  static uint32_t checksum(const uint8_t* page_bytes, Section section, uint32_t index_in_section);
  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  int32_t parse_chunks();
  int32_t parse_index(std::span<const uint8_t> chunk);
  int32_t parse_sections(std::span<const uint8_t> chunk);

  std::vector<uint8_t> bytes_;
  SectionRange sections_[kSections];
  uint32_t total_pages_ = 0;
  const uint8_t* sums_ = nullptr;
};

// Collects what the modules' builders leave in the head. Sections take their place in the file in
// the order of their numbers, whatever the order of the calls.
class HeadWriter {
 public:
  void chunk(uint32_t tag, const ByteWriter& payload);
  void section(const SectionWriter& writer);  // after its last end_page()
  std::vector<uint8_t> finish(const IndexParameters& parameters) const;

  // `head` (checked) with the chunk `tag` replaced by or extended with `payload`.
  static std::vector<uint8_t> with_chunk(const Head& head, uint32_t tag, const ByteWriter& payload);

 private:
  struct Written {
    uint64_t bytes = 0;
    std::vector<uint32_t> sums;
  };
  Written sections_[kSections];
  ByteWriter chunks_;
};
