// What the column builder writes: widths, missing values, zones, the chunk; and what the reader refuses.
#include "columns.h"

#include <math.h>

#include "check.h"
#include "site.h"
#include "xxh64.h"

namespace {

constexpr uint32_t kDim = 4;

PwConfig flat_config() {
  PwConfig config{};
  config.dim = kDim;
  config.kind = PwKind::Flat;
  config.metric = PwMetric::L2;
  config.code_bits = 1;
  config.clusters = 1;
  config.m = 16;
  config.ef_construction = 100;
  return config;
}

// An index whose only column has these values.
Site site_of_codes(const std::vector<uint32_t>& codes) {
  std::vector<TestRow> rows;
  for (size_t i = 0; i < codes.size(); i++)
    rows.push_back({.vector = std::vector<float>(kDim, static_cast<float>(i)), .id = std::to_string(i), .categories = {codes[i]}});
  return build_site(flat_config(), rows, {{PwColumnType::Category, "code"}});
}
Site site_of_numbers(const std::vector<double>& numbers) {
  std::vector<TestRow> rows;
  for (size_t i = 0; i < numbers.size(); i++)
    rows.push_back({.vector = std::vector<float>(kDim, static_cast<float>(i)), .id = std::to_string(i), .numbers = {numbers[i]}});
  return build_site(flat_config(), rows, {{PwColumnType::Number, "number"}});
}

// The column as it was stored, read value by value.
std::vector<double> stored_values(const Site& site, uint32_t& width) {
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return {};
  width = index.columns->layout(0).width;
  std::vector<double> values;
  for (uint32_t row = 0; row < index.base_rows(); row++)
    values.push_back(index.columns->value(0, site.pages[index.columns->page_of(0, row)].data(), row));
  return values;
}

void check_codes(const std::vector<uint32_t>& codes, uint32_t expected_width) {
  uint32_t width = 0;
  const std::vector<double> values = stored_values(site_of_codes(codes), width);
  CHECK_EQ(width, expected_width);
  CHECK(std::equal(values.begin(), values.end(), codes.begin(), codes.end()));
}

void check_numbers(const std::vector<double>& numbers, uint32_t expected_width) {
  uint32_t width = 0;
  const std::vector<double> values = stored_values(site_of_numbers(numbers), width);
  CHECK_EQ(width, expected_width);
  const auto same = [](double a, double b) { return a == b || (isnan(a) && isnan(b)); };
  CHECK(std::equal(values.begin(), values.end(), numbers.begin(), numbers.end(), same));
}

void widths() {
  check_codes({0, 1, kNoCategory, 2}, 1);
  check_codes({254, kNoCategory, 0}, 1);
  check_codes({3, kNoCategory, 255}, 2);  // 255 in a byte is "missing"
  check_codes({65534, kNoCategory}, 2);
  check_codes({65535, kNoCategory, 7}, 4);
  check_codes({kNoCategory - 1, kNoCategory}, 4);
  check_codes({kNoCategory}, 1);
  // Wider from the second row batch on (build_site sends a thousand rows at a time).
  std::vector<uint32_t> growing;
  for (uint32_t i = 0; i < 3500; i++) growing.push_back(i % 7 == 0 ? kNoCategory : i < 1000 ? i % 100 : i * 30);
  check_codes(growing, 4);

  check_numbers({2001, NAN, -0.5, INFINITY, 16777216}, 4);
  check_numbers({16777217, NAN, 1}, 8);
  check_numbers({0.1}, 8);
  check_numbers({1e300, NAN}, 8);
  std::vector<double> late(2500, 7.0);
  late[0] = NAN;
  late[2400] = 0.1;
  check_numbers(late, 8);
}

void zones() {
  std::vector<double> numbers;
  for (uint32_t i = 0; i < 10000; i++) numbers.push_back(i % 4096 == 5 ? NAN : i);
  for (uint32_t i = 4096; i < 8192; i++) numbers[i] = NAN;
  const Site site = site_of_numbers(numbers);
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  const ColumnLayout& layout = index.columns->layout(0);
  CHECK_EQ(layout.width, 4u);
  CHECK_EQ(layout.low, 0.0);
  CHECK_EQ(layout.high, 9999.0);
  if (!CHECK_EQ(layout.zones.size(), 3u)) return;
  CHECK_EQ(layout.zones[0].high, 4095.0);
  CHECK_EQ(layout.zones[0].missing, 1u);
  CHECK(layout.zones[1].low > layout.zones[1].high);
  CHECK_EQ(layout.zones[1].missing, 4096u);
  CHECK_EQ(layout.zones[2].low, 8192.0);
  CHECK_EQ(layout.zones[2].missing, 1u);
}

// Opens `site` with the word at `offset` of COLS replaced.
int32_t open_changed(Site site, size_t offset, uint32_t word) {
  size_t at = 24;
  for (uint32_t header[2]; at + 8 <= site.head.size(); at += 8 + (header[1] + 3) / 4 * 4) {
    memcpy(header, &site.head[at], 8);
    if (header[0] == kTagColumns) break;
  }
  memcpy(&site.head[at + 8 + offset], &word, 4);
  const uint64_t hash = xxh64(site.head.data() + 24, site.head.size() - 24);
  memcpy(&site.head[16], &hash, 8);
  Index index;
  return index.open(site.head.data(), site.head.size(), 0);
}

void refused() {
  const Site site = site_of_numbers(std::vector<double>(5000, 1.0));
  CHECK_EQ(open_changed(site, 0, 1), PW_DONE);
  for (const auto& [offset, word] : std::vector<std::pair<size_t, uint32_t>>{
           {0, 2}, {0, 100000},        // columns
           {4, 0}, {4, 2},             // type
           {8, 2}, {8, 8}, {8, 0},     // width
           {12, 1}, {12, 0xffffffff},  // first page
           {36, 1}, {36, 0xffffffff},  // zones
           {40, 0x10000},              // the name's length
       })
    if (!CHECK_EQ(open_changed(site, offset, word), PW_CORRUPT)) printf("  word %u at %zu\n", word, offset);
}

// A refused batch must not leave a build that finishes with half of its rows.
void refused_batch_ends_the_build() {
  std::vector<TestRow> rows(3, {.vector = {1, 2, 3, 4}, .id = "same", .categories = {0}});
  CHECK_EQ(build_site(flat_config(), rows, {{PwColumnType::Category, "code"}}).status, PW_DUPLICATE);
  CHECK_EQ(pw_build_finish(), PW_STATE);
  uint32_t bytes = 1;
  CHECK(pw_build_head(&bytes) == nullptr);
}

}  // namespace

int main() {
  widths();
  zones();
  refused();
  refused_batch_ends_the_build();
  return check_result("columns");
}
