// Ids: every row found again, few pages touched, colliding hashes told apart, duplicates refused.
#include "ids.h"

#include <random>
#include <set>

#include "check.h"
#include "records.h"
#include "row_batch.h"
#include "site.h"

namespace {

std::vector<TestRow> rows(uint32_t count) {
  std::vector<TestRow> rows(count);
  for (uint32_t i = 0; i < count; i++) rows[i] = {{1, static_cast<float>(i)}, "id " + std::to_string(i), "", "", {}, {}};
  return rows;
}
ByteWriter ids_message(std::span<const std::string> ids) {
  ByteWriter message;
  uint32_t bytes = 0;
  for (const std::string& id : ids) bytes += static_cast<uint32_t>(id.size());
  message.put(PwStrings{static_cast<uint32_t>(ids.size()), bytes});
  put_strings(message, ids);
  return message;
}

void found_again(uint32_t count, uint32_t budget) {
  const Site site = build_site(flat_config(false), rows(count), {});
  Index index;
  if (!CHECK_EQ(site.status, PW_DONE) || !CHECK_EQ(index.open(site.head.data(), site.head.size(), budget), PW_DONE)) return;
  std::vector<std::string> ids;
  std::vector<uint32_t> expected;
  for (uint32_t i = 0; i < count; i += 1 + count / 3000) {
    ids.push_back(site.rows[i].id);
    expected.push_back(i);
    ids.push_back("unknown " + std::to_string(i));
    expected.push_back(kNoRow);
  }
  ids.push_back("");
  expected.push_back(kNoRow);
  const Outcome outcome = run_operation(index, site, PwOperation::RowsOfIds, ids_message(ids));
  CHECK_EQ(outcome.status, PW_DONE);
  CHECK(outcome.rows() == expected);
  CHECK_EQ(outcome.at<PwRows>(0).total, (ids.size() - 1) / 2);
  // A deleted id is unknown.
  const std::string gone[] = {ids[0]};
  CHECK_EQ(run_operation(index, site, PwOperation::Delete, ids_message(gone)).status, PW_DONE);
  CHECK_EQ(run_operation(index, site, PwOperation::RowsOfIds, ids_message(gone)).rows()[0], kNoRow);
}

// Interpolation: one page of ids for most, its neighbour for some.
void few_pages() {
  const Site site = build_site(flat_config(false), rows(100000), {});
  uint32_t pages = 0;
  Head head;
  CHECK_EQ(Head::parse(site.head.data(), site.head.size(), head), PW_DONE);
  const uint32_t first = head.section(Section::Ids).first_page;
  for (uint32_t i = 0; i < 200; i++) {
    Index index;
    CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE);
    const std::string id[] = {site.rows[i * 499].id};
    CHECK_EQ(run_operation(index, site, PwOperation::RowsOfIds, ids_message(id)).rows()[0], i * 499);
    for (uint32_t page = 0; page < head.section(Section::Ids).pages; page++) pages += index.pages.present(first + page);
  }
  CHECK_LT(pages, 200u * 14 / 10);
}

// All ids share one of three hashes, over many pages: records decide.
uint64_t poor_hash(std::string_view id, uint64_t seed) { return (id_hash(id, seed) % 3) << 62; }

void collisions() {
  constexpr uint32_t kCount = 6000;
  PageQueue queue;
  IdsBuilder ids(queue, poor_hash);
  RecordsBuilder records(queue);
  HeadWriter writer;
  const std::vector<TestRow> all = rows(kCount);
  for (const TestRow& row : all) {
    CHECK_EQ(ids.add(row.id), PW_DONE);
    CHECK_EQ(records.add({row.id, row.text, row.payload}), PW_DONE);
  }
  CHECK_EQ(ids.add("id 77"), PW_DUPLICATE);
  CHECK(strstr(pw_error(), "\"id 77\"") != nullptr);
  CHECK_EQ(ids.finish(writer), PW_DONE);
  CHECK_EQ(records.finish(writer), PW_DONE);
  // The rest of the index comes from a build: an id keeps its row there, only the order of IDS differs.
  const Site site = build_site(flat_config(false), all, {});
  Index index;
  if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
  CHECK_EQ(index.ids->open(index, poor_hash), PW_DONE);
  for (const FinishedPage& page : queue) {
    if (page.section != Section::Ids) continue;
    const uint32_t number = index.head.section(Section::Ids).first_page + page.index;
    uint8_t* to = index.pages.buffer(number);
    memcpy(to, site.pages[number].data(), kPageBytes);
    CHECK_EQ(index.pages.commit(number), PW_DONE);
    memcpy(to, page.bytes.data(), kPageBytes);  // after the checksum of the page it takes the place of
  }
  std::vector<std::string> asked;
  std::vector<uint32_t> expected;
  for (uint32_t row = 5; row < kCount; row += 487) {
    asked.push_back(all[row].id);
    expected.push_back(row);
    asked.push_back("id " + std::to_string(kCount + row));
    expected.push_back(kNoRow);
  }
  const Outcome outcome = run_operation(index, site, PwOperation::RowsOfIds, ids_message(asked));
  CHECK_EQ(outcome.status, PW_DONE);
  CHECK(outcome.rows() == expected);
}

void duplicates() {
  std::vector<TestRow> twice = rows(5000);
  twice[4000].id = twice[17].id;
  CHECK_EQ(build_site(flat_config(false), twice, {}).status, PW_DUPLICATE);
}

void damaged() {
  const Site site = build_site(flat_config(false), rows(5000), {});
  std::mt19937 random(5);
  std::vector<std::string> ids;
  for (uint32_t i = 0; i < 200; i++) ids.push_back("id " + std::to_string(i * 7));
  for (int round = 0; round < 200; round++) {
    Index index;
    if (!CHECK_EQ(index.open(site.head.data(), site.head.size(), 0), PW_DONE)) return;
    const SectionRange section = index.head.section(Section::Ids);
    for (uint32_t page = section.first_page; page < section.first_page + section.pages; page++) {
      uint8_t* to = index.pages.buffer(page);
      memcpy(to, site.pages[page].data(), kPageBytes);
      index.pages.commit(page);  // the damage comes after the checksum
      for (uint32_t n = 0; n < random() % 3000; n++) to[random() % kPageBytes] = static_cast<uint8_t>(random());
    }
    const Outcome outcome = run_operation(index, site, PwOperation::RowsOfIds, ids_message(ids));
    CHECK(outcome.status == PW_DONE || outcome.status == PW_CORRUPT);
    if (outcome.status != PW_DONE) continue;
    for (size_t i = 0; i < ids.size(); i++) CHECK(outcome.rows()[i] == kNoRow || outcome.rows()[i] == i * 7);
  }
}

}  // namespace

int main() {
  found_again(0, 0);
  found_again(1, 0);
  found_again(kIdsPerPage, 0);
  found_again(kIdsPerPage + 1, 0);
  found_again(30000, 0);
  found_again(30000, 4 * kPageBytes);
  few_pages();
  collisions();
  duplicates();
  damaged();
  return check_result("ids");
}
