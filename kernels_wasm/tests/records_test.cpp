// Records: pages of them, long ones in runs of pages, more of them than the cache holds; pages and
// chunks that lie.
#include "records.h"

#include <random>

#include "check.h"
#include "site.h"

namespace {

std::string bytes_of(std::mt19937& random, size_t size) {
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// Sizes from nothing to several pages, and those around a page's end.
std::vector<TestRow> rows() {
  std::mt19937 random(1);
  std::vector<TestRow> rows;
  for (uint32_t i = 0; i < 500; i++) {
    size_t size = random() % 600;
    if (i % 50 == 7) size = 16000 + random() % 800;
    if (i % 97 == 5) size = 30000 + random() % 300000;
    if (i == 0 || i == 499) size = 70000;
    if (i == 1) size = 0;
    rows.push_back({{1, static_cast<float>(i)}, "id-" + std::to_string(i), bytes_of(random, size / 2), bytes_of(random, size - size / 2), {}, {}});
  }
  // Exactly a page: 16,384 bytes with id and sizes.
  rows.push_back({{1, 1}, "exact", std::string(16384 - 5 - 1 - 3 - 1, 'x'), "", {}, {}});
  rows.push_back({{1, 1}, "after", "a", "b", {}, {}});
  return rows;
}

ByteWriter rows_message(std::span<const uint32_t> rows) {
  ByteWriter message;
  message.put(PwRows{static_cast<uint32_t>(rows.size()), 0});
  message.put(rows.data(), rows.size() * 4);
  return message;
}

// The three lists of strings in a result.
std::vector<std::vector<std::string>> strings_of(const Outcome& outcome) {
  std::vector<std::vector<std::string>> lists;
  size_t at = 0;
  for (int list = 0; list < 3; list++) {
    std::vector<std::string> strings;
    const PwStrings header = outcome.at<PwStrings>(at);
    const size_t offsets = at + sizeof header, text = offsets + 4 * (header.count + 1);
    for (uint32_t i = 0; i < header.count; i++) {
      const uint32_t from = outcome.at<uint32_t>(offsets + 4 * i), to = outcome.at<uint32_t>(offsets + 4 * i + 4);
      strings.emplace_back(reinterpret_cast<const char*>(outcome.result.data()) + text + from, to - from);
    }
    lists.push_back(strings);
    at = text + (header.bytes + 3) / 4 * 4;
  }
  CHECK_EQ(at, outcome.result.size());
  return lists;
}

void reads_back(uint32_t budget) {
  const std::vector<TestRow> expected = rows();
  const Site site = build_site(flat_config(false), expected, {});
  Index index;
  if (!CHECK_EQ(site.status, PW_DONE) || !CHECK_EQ(index.open(site.head.data(), site.head.size(), budget), PW_DONE)) return;
  std::mt19937 random(2);
  for (int i = 0; i < 30; i++) {
    std::vector<uint32_t> wanted(random() % 12);
    for (uint32_t& row : wanted) row = random() % expected.size();
    if (i == 0) wanted = {0, 499, 5, 500, 501, 1, 102, 102};
    const Outcome outcome = run_operation(index, site, PwOperation::Records, rows_message(wanted));
    if (!CHECK_EQ(outcome.status, PW_DONE)) return;
    const auto lists = strings_of(outcome);
    for (size_t n = 0; n < wanted.size(); n++) {
      CHECK(lists[0][n] == expected[wanted[n]].id);
      CHECK(lists[1][n] == expected[wanted[n]].text);
      CHECK(lists[2][n] == expected[wanted[n]].payload);
    }
  }
  const uint32_t beyond[] = {static_cast<uint32_t>(expected.size())};
  CHECK_EQ(run_operation(index, site, PwOperation::Records, rows_message(beyond)).status, PW_BAD_ARGUMENT);
  ByteWriter empty;
  empty.put(PwRows{1000000000, 0});
  CHECK_EQ(run_operation(index, site, PwOperation::Records, empty).status, PW_BAD_ARGUMENT);
}

// Ten thousand records on pages of the cache: one round trip for all of an answer's pages.
void asks_at_once() {
  std::vector<TestRow> many(10000);
  for (uint32_t i = 0; i < many.size(); i++) many[i] = {{1, static_cast<float>(i)}, std::to_string(i), std::string(i % 300, 't'), "", {}, {}};
  const Site site = build_site(flat_config(false), many, {});
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  const uint32_t wanted[] = {9999, 3, 5000, 7000, 2000, 2001};
  CHECK_EQ(run_operation(index, site, PwOperation::Records, rows_message(wanted)).steps, 2u);
}

void limits() {
  PageQueue pages;
  RecordsBuilder builder(pages);
  const std::string long_id(kMaxIdBytes + 1, 'i'), long_text(kMaxRecordBytes, 't');
  CHECK_EQ(builder.add({long_id, "", ""}), PW_BAD_ARGUMENT);
  CHECK_EQ(builder.add({"named", long_text, ""}), PW_BAD_ARGUMENT);
  CHECK(strstr(pw_error(), "\"named\"") != nullptr);
  CHECK_EQ(builder.add({"fine", std::string_view(long_text).substr(4), ""}), PW_DONE);
}

void damaged() {
  const Site site = build_site(flat_config(false), rows(), {});
  Head head;
  if (!CHECK_EQ(Head::parse(site.head.data(), site.head.size(), head), PW_DONE)) return;
  const SectionRange section = head.section(Section::Records);
  std::mt19937 random(3);
  uint32_t corrupt = 0;
  for (int i = 0; i < 2000; i++) {
    std::vector<uint8_t> page = site.pages[section.first_page + random() % section.pages];
    for (uint32_t n = 0; n < 1 + random() % 30; n++) page[random() % (random() % 2 ? 16384 : 64)] = static_cast<uint8_t>(random());
    const Records::Place place{0, 1, static_cast<uint32_t>(random() % 60)};
    Record record;
    const int32_t status = Records::parse(page.data(), page.size(), place, 0, record);
    CHECK(status == PW_DONE || status == PW_CORRUPT);
    corrupt += status == PW_CORRUPT;
    std::string_view id;
    const int32_t id_status = Records::parse_id(page.data(), place, 0, id);
    CHECK(id_status == PW_DONE || id_status == PW_CORRUPT);
    if (status == PW_DONE) CHECK(id == record.id);
  }
  CHECK_GT(corrupt, 100u);
  // RECS: too short, too long, beyond the rows, not beginning with row 0, a long record with company.
  const std::span<const uint8_t> chunk = head.chunk(kTagRecords);
  const auto opens = [&](std::vector<uint8_t> bytes) {
    ByteWriter payload;
    payload.put(bytes.data(), bytes.size());
    const std::vector<uint8_t> changed = HeadWriter::with_chunk(head, kTagRecords, payload);
    Index index;
    return index.open(changed.data(), changed.size(), 0);
  };
  const std::vector<uint8_t> good(chunk.begin(), chunk.end());
  CHECK_EQ(opens(good), PW_DONE);
  CHECK_EQ(opens({good.begin(), good.end() - 1}), PW_CORRUPT);
  CHECK_EQ(opens({}), PW_CORRUPT);
  std::vector<uint8_t> bytes = good;
  bytes.push_back(0);
  CHECK_EQ(opens(bytes), PW_CORRUPT);
  bytes = good;
  bytes[0] = 1;
  CHECK_EQ(opens(bytes), PW_CORRUPT);
  bytes = good;
  bytes.back() = 127;
  for (size_t n = 5; n < bytes.size(); n++) bytes[n] = 127;
  CHECK_EQ(opens(bytes), PW_CORRUPT);
  for (size_t n = 2; n < good.size(); n++) {
    if (good[n - 1] != 0 || good[n] != 1) continue;  // after a run of pages comes the next row
    bytes = good;
    bytes[n] = 2;
    CHECK_EQ(opens(bytes), PW_CORRUPT);
    break;
  }
}

}  // namespace

int main() {
  reads_back(0);
  reads_back(3 * kPageBytes);  // a long record exceeds the cache
  asks_at_once();
  limits();
  damaged();
  return check_result("records");
}
