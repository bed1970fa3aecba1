#include "columns.h"

#include <math.h>
#include <string.h>

#include <algorithm>
#include <limits>

#include "index.h"
#include "row_batch.h"
#include "status.h"

namespace {

constexpr uint32_t kMaxColumns = 1024;
constexpr uint32_t kMaxZones = 4096;  // 96 KiB of the head; beyond it a column goes without

Zone zone_of(const uint8_t* values, uint32_t width, uint32_t count) {
  Zone zone{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), 0};
  for (uint32_t i = 0; i < count; i++) {
    double value;
    if (width == 8) {
      memcpy(&value, values + size_t{8} * i, 8);
    } else {
      float narrow;
      memcpy(&narrow, values + size_t{4} * i, 4);
      value = narrow;
    }
    if (isnan(value)) {
      zone.missing++;
    } else {
      zone.low = std::min(zone.low, value);
      zone.high = std::max(zone.high, value);
    }
  }
  return zone;
}

}  // namespace

int32_t Columns::open(Index& index) {
  specs_.clear();
  layouts_.clear();
  cache.clear();
  const std::span<const uint8_t> chunk = index.head.chunk(kTagColumns);
  if (chunk.empty()) return PW_DONE;
  const SectionRange section = index.head.section(Section::Columns);
  ByteReader reader(chunk.data(), chunk.size());
  const uint32_t count = reader.get<uint32_t>();
  if (count > kMaxColumns) return fail(PW_CORRUPT, "head: %u columns, at most %u", count, kMaxColumns);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t type = reader.get<uint32_t>();
    ColumnLayout layout;
    layout.width = reader.get<uint32_t>();
    const uint32_t first_page = reader.get<uint32_t>();
    layout.codes = reader.get<uint32_t>();
    layout.low = reader.get<double>();
    layout.high = reader.get<double>();
    const uint32_t zones = reader.get<uint32_t>();
    const uint32_t name_bytes = reader.get<uint32_t>();
    const std::string_view name = reader.text(name_bytes);
    reader.align(4);
    const bool number = type == static_cast<uint32_t>(PwColumnType::Number);
    const uint32_t width = layout.width;
    if (!reader.ok() || type > 1 || !(width == 4 || (number ? width == 8 : width == 1 || width == 2)))
      return fail(PW_CORRUPT, "head: column %u of %u: type %u, width %u, name of %u bytes", i, count, type, width,
                  name_bytes);
    const uint32_t pages = layout.pages(index.base_rows());
    if (first_page > section.pages || pages > section.pages - first_page)
      return fail(PW_CORRUPT, "head: column %u: pages %u to %u of a section of %u", i, first_page, first_page + pages,
                  section.pages);
    layout.first_page = section.first_page + first_page;
    if (zones != 0 && (!number || zones != pages || zones > kMaxZones))
      return fail(PW_CORRUPT, "head: column %u: %u zones for %u pages", i, zones, pages);
    for (uint32_t z = 0; z < zones; z++) {
      Zone zone;
      zone.low = reader.get<double>();
      zone.high = reader.get<double>();
      zone.missing = reader.get<uint32_t>();
      layout.zones.push_back(zone);
    }
    if (!reader.ok()) return fail(PW_CORRUPT, "head: column %u: its zones are cut off", i);
    specs_.push_back({static_cast<PwColumnType>(type), std::string(name)});
    layouts_.push_back(std::move(layout));
  }
  return PW_DONE;
}

double Columns::value(uint32_t column, const uint8_t* page, uint32_t row) const {
  const ColumnLayout& layout = layouts_[column];
  const uint8_t* from = page + size_t{row % layout.rows_per_page()} * layout.width;
  if (specs_[column].type == PwColumnType::Number) {
    if (layout.width == 8) {
      double value;
      memcpy(&value, from, 8);
      return value;
    }
    float value;
    memcpy(&value, from, 4);
    return value;
  }
  uint32_t code = 0;
  memcpy(&code, from, layout.width);
  return code == layout.missing_code() ? kNoCategory : code;
}

ColumnsBuilder::ColumnsBuilder(PageQueue& queue, std::vector<ColumnSpec> specs)
    : queue_(queue), specs_(std::move(specs)), values_(specs_.size()) {
  for (size_t i = 0; i < specs_.size(); i++)
    values_[i].width = specs_[i].type == PwColumnType::Number ? 4 : 1;
}

void ColumnsBuilder::add(const RowBatch& batch) {
  for (size_t i = 0; i < specs_.size(); i++) {
    if (specs_[i].type == PwColumnType::Number)
      add_numbers(values_[i], static_cast<const double*>(batch.columns[i]), batch.count);
    else
      add_codes(values_[i], static_cast<const uint32_t*>(batch.columns[i]), batch.count);
  }
}

void ColumnsBuilder::add_codes(Values& values, const uint32_t* codes, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (codes[i] != kNoCategory) values.codes = std::max(values.codes, codes[i] + 1);
  // All ones is "missing", so `codes` may be all ones but not more.
  const uint32_t width = values.codes <= 0xff ? 1 : values.codes <= 0xffff ? 2 : 4;
  if (width > values.width) {
    const size_t rows = values.bytes.size() / values.width;
    std::vector<uint8_t> wider(rows * width, 0);
    const uint32_t missing = (1u << values.width * 8) - 1;
    for (size_t row = 0; row < rows; row++) {
      uint32_t code = 0;
      memcpy(&code, values.bytes.data() + row * values.width, values.width);
      if (code == missing) code = kNoCategory;
      memcpy(wider.data() + row * width, &code, width);
    }
    values.bytes = std::move(wider);
    values.width = width;
  }
  const size_t before = values.bytes.size();
  values.bytes.resize(before + size_t{count} * values.width);
  for (uint32_t i = 0; i < count; i++)  // kNoCategory keeps its all ones when it is cut
    memcpy(values.bytes.data() + before + size_t{i} * values.width, &codes[i], values.width);
}

void ColumnsBuilder::add_numbers(Values& values, const double* numbers, uint32_t count) {
  const auto narrow = [](double value) { return isnan(value) || static_cast<double>(static_cast<float>(value)) == value; };
  if (values.width == 4 && !std::all_of(numbers, numbers + count, narrow)) {
    const size_t rows = values.bytes.size() / 4;
    std::vector<uint8_t> wider(rows * 8);
    for (size_t row = 0; row < rows; row++) {
      float value;
      memcpy(&value, values.bytes.data() + row * 4, 4);
      const double wide = value;
      memcpy(wider.data() + row * 8, &wide, 8);
    }
    values.bytes = std::move(wider);
    values.width = 8;
  }
  const size_t before = values.bytes.size();
  values.bytes.resize(before + size_t{count} * values.width);
  for (uint32_t i = 0; i < count; i++) {
    // One NaN for every missing value: the same input gives the same bytes on every machine.
    const double value = isnan(numbers[i]) ? std::numeric_limits<double>::quiet_NaN() : numbers[i];
    const float narrow_value = static_cast<float>(value);
    uint8_t* to = values.bytes.data() + before + size_t{i} * values.width;
    if (values.width == 8) memcpy(to, &value, 8);
    else memcpy(to, &narrow_value, 4);
  }
}

int32_t ColumnsBuilder::finish(HeadWriter& head) {
  SectionWriter writer(Section::Columns, queue_);
  ByteWriter chunk;
  chunk.put(static_cast<uint32_t>(specs_.size()));
  for (size_t i = 0; i < specs_.size(); i++) {
    Values& values = values_[i];
    const bool number = specs_[i].type == PwColumnType::Number;
    std::vector<Zone> zones;
    for (size_t at = 0; number && at < values.bytes.size(); at += kPageBytes) {
      const size_t bytes = std::min<size_t>(kPageBytes, values.bytes.size() - at);
      zones.push_back(zone_of(values.bytes.data() + at, values.width, static_cast<uint32_t>(bytes / values.width)));
    }
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const Zone& zone : zones) {
      low = std::min(low, zone.low);
      high = std::max(high, zone.high);
    }
    if (zones.size() > kMaxZones) zones.clear();
    chunk.put(static_cast<uint32_t>(specs_[i].type));
    chunk.put(values.width);
    chunk.put(writer.pages());
    chunk.put(values.codes);
    chunk.put(number ? low : 0.0);
    chunk.put(number ? high : 0.0);
    chunk.put(static_cast<uint32_t>(zones.size()));
    chunk.put(static_cast<uint32_t>(specs_[i].name.size()));
    chunk.text(specs_[i].name);
    chunk.align(4);
    for (const Zone& zone : zones) {
      chunk.put(zone.low);
      chunk.put(zone.high);
      chunk.put(zone.missing);
    }
    writer.put(values.bytes.data(), values.bytes.size());
    writer.end_page();
    values = {};
  }
  head.section(writer);
  head.chunk(kTagColumns, chunk);
  return PW_DONE;
}
