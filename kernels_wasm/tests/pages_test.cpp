// The page cache: budgets hold, policies evict what they should, pins and resident sections stay,
// bytes that fail their checksum are never seen.
#include "pages.h"

#include <string.h>

#include <set>
#include <string>

#include "abi.h"
#include "check.h"
#include "head.h"
#include "random.h"

namespace {

constexpr uint32_t kVectorPages = 300, kCodePages = 20;

struct File {
  Head head;
  std::vector<std::vector<uint8_t>> pages;
};

File make_file() {
  PageQueue queue;
  SectionWriter codes(Section::Codes, queue), vectors(Section::Vectors, queue);
  std::vector<uint8_t> page(kPageBytes);
  for (uint32_t i = 0; i < kCodePages + kVectorPages; i++) {
    for (uint32_t j = 0; j < kPageBytes; j++) page[j] = static_cast<uint8_t>(i * 31 + j * 7 + j / 256);
    (i < kCodePages ? codes : vectors).put(page.data(), page.size());
  }
  HeadWriter writer;
  writer.section(codes);
  writer.section(vectors);
  IndexParameters parameters;
  parameters.dim = parameters.code_dim = 16;
  const std::vector<uint8_t> bytes = writer.finish(parameters);
  File file;
  CHECK_EQ(Head::parse(bytes.data(), bytes.size(), file.head), PW_DONE);
  file.pages.resize(file.head.total_pages());
  for (FinishedPage& one : queue) file.pages[file.head.section(one.section).first_page + one.index] = std::move(one.bytes);
  return file;
}

bool bring(Pages& pages, const File& file, uint32_t page) {
  uint8_t* to = pages.buffer(page);
  if (!to) return false;
  memcpy(to, file.pages[page].data(), kPageBytes);
  return pages.commit(page) == PW_DONE;
}

bool reads_right(Pages& pages, const File& file, uint32_t page) {
  const uint8_t* bytes = pages.find(page);
  return bytes && memcmp(bytes, file.pages[page].data(), kPageBytes) == 0;
}

uint32_t budget_for(const File& file, uint32_t slots) {
  return slots * (kPageBytes + 64) + static_cast<uint32_t>(file.head.bytes().size()) + file.head.total_pages() * 4;
}

// Any mix of uses under any policy: what is present is right, and slots stay within the budget.
void survives_random_use(const File& file, Policy policy) {
  Pages pages;
  pages.open(file.head, budget_for(file, 40));
  pages.set_policy(policy);
  SplitMix64 random(static_cast<uint64_t>(policy) + 1);
  std::multiset<uint32_t> pinned;
  for (uint32_t i = 0; i < 20000; i++) {
    const uint32_t page = random.below(file.head.total_pages());
    switch (random.below(12)) {
      case 0:
        pages.set_budget(budget_for(file, 10 + random.below(60)));
        break;
      case 1:
        if (pages.present(page) && pinned.size() < 5) {
          pages.pin(page);
          pinned.insert(page);
        }
        break;
      case 2:
        if (!pinned.empty()) {
          pages.unpin(*pinned.begin());
          pinned.erase(pinned.begin());
        }
        break;
      case 3:
        if (random.below(20) == 0 && pinned.empty()) CHECK_EQ(pages.make_resident(Section::Codes), PW_DONE);
        if (random.below(20) == 0 && pinned.empty()) CHECK_EQ(pages.drop_resident(Section::Codes), PW_DONE);
        break;
      default:
        if (!pages.present(page)) {
          CHECK(bring(pages, file, page));
          if (pinned.empty()) CHECK_LE(pages.counters().held, (pages.counters().slots + 15) / 16 * 16);
        }
        CHECK(reads_right(pages, file, page));
    }
    for (uint32_t one : pinned) CHECK(pages.present(one));
    const Pages::Counters counters = pages.counters();
    CHECK_LE(counters.cached, counters.slots + static_cast<uint32_t>(pinned.size()));
  }
}

void policies_evict_their_own_way(const File& file) {
  const auto after = [&](Policy policy) {
    Pages pages;
    pages.open(file.head, budget_for(file, 16));
    pages.set_policy(policy);
    const uint32_t slots = pages.counters().slots;
    for (uint32_t page = 0; page < slots; page++) {
      bring(pages, file, page);
      pages.find(page);  // the read it was fetched for
    }
    pages.find(0);  // page 0 is used again, the others are not
    bring(pages, file, 100);
    std::vector<bool> present;
    for (uint32_t page = 0; page < 3; page++) present.push_back(pages.present(page));
    return present;
  };
  CHECK(after(Policy::Fifo) == std::vector<bool>({false, true, true}));
  CHECK(after(Policy::Lru) == std::vector<bool>({true, false, true}));
  CHECK(after(Policy::Sieve) == std::vector<bool>({true, false, true}));
}

// Pages of a loop that returns, in a stream of pages that never do: SIEVE keeps the loop.
void sieve_resists_scans(const File& file) {
  const auto hits = [&](Policy policy) {
    Pages pages;
    pages.open(file.head, budget_for(file, 24));
    pages.set_policy(policy);
    uint32_t found = 0, stream = 50;
    for (uint32_t round = 0; round < 200; round++) {
      for (uint32_t page = 0; page < 10; page++) {
        found += pages.find(page) != nullptr;
        if (!pages.present(page)) {
          bring(pages, file, page);
          pages.find(page);
        }
      }
      for (uint32_t i = 0; round > 2 && i < 20; i++, stream = stream + 1 < file.head.total_pages() ? stream + 1 : 50) {
        if (!pages.present(stream)) bring(pages, file, stream);
        pages.find(stream);
      }
    }
    return found;
  };
  CHECK_GT(hits(Policy::Sieve), 1000u);
  CHECK_LT(hits(Policy::Lru), 100u);
  CHECK_LT(hits(Policy::Fifo), 1000u);
}

void refuses_damaged_bytes(const File& file) {
  for (bool resident : {false, true}) {
    Pages pages;
    pages.open(file.head, 0);
    if (resident) CHECK_EQ(pages.make_resident(Section::Vectors), PW_DONE);
    const uint32_t page = file.head.section(Section::Vectors).first_page + 3;
    uint8_t* to = pages.buffer(page);
    memcpy(to, file.pages[page].data(), kPageBytes);
    to[5000] ^= 1;
    CHECK_EQ(pages.commit(page), PW_CORRUPT);
    CHECK(std::string(pw_error()).find("page 23 (section 4, page 3 of it") != std::string::npos);
    CHECK(!pages.present(page));
    CHECK(pages.find(page) == nullptr);
    // A right page in the wrong place.
    memcpy(pages.buffer(page), file.pages[page + 1].data(), kPageBytes);
    CHECK_EQ(pages.commit(page), PW_CORRUPT);
    CHECK(bring(pages, file, page));
    CHECK(reads_right(pages, file, page));
  }
}

void calls_out_of_order_are_harmless(const File& file) {
  Pages pages;
  pages.open(file.head, 1);
  CHECK_EQ(pages.counters().slots, 8u);  // the least there is
  CHECK(pages.buffer(file.head.total_pages()) == nullptr);
  CHECK_EQ(pages.commit(5), PW_STATE);
  CHECK_EQ(pages.commit(file.head.total_pages()), PW_BAD_ARGUMENT);
  pages.abandon(5);
  CHECK(!pages.present(5));
  CHECK_EQ(pages.make_resident(static_cast<Section>(9)), PW_BAD_ARGUMENT);
  for (uint32_t page = 0; page < 8; page++) CHECK(pages.buffer(page) != nullptr);
  CHECK(pages.buffer(8) == nullptr);  // every slot is being written
  CHECK_EQ(pages.free_slots(), 0u);
  CHECK(pages.find(0) == nullptr);    // not committed yet
  pages.abandon(0);
  CHECK(bring(pages, file, 8));
}

void shrinking_gives_memory_back(const File& file) {
  Pages pages;
  pages.open(file.head, 0);
  for (uint32_t page = 0; page < 200; page++) CHECK(bring(pages, file, page));
  CHECK_GE(pages.counters().held, 200u);
  pages.set_budget(budget_for(file, 32));
  CHECK_LE(pages.counters().held, 32u);
  CHECK_LE(pages.counters().cached, 32u);
  uint32_t right = 0;
  for (uint32_t page = 0; page < 200; page++) right += reads_right(pages, file, page);
  CHECK_EQ(right, pages.counters().cached);
  CHECK_GE(right, 30u);
  pages.set_delta_bytes(16 * kPageBytes);
  CHECK_LE(pages.counters().cached, 16u);
}

}  // namespace

int main() {
  const File file = make_file();
  for (Policy policy : {Policy::Fifo, Policy::Lru, Policy::Sieve}) survives_random_use(file, policy);
  policies_evict_their_own_way(file);
  sieve_resists_scans(file);
  refuses_damaged_bytes(file);
  calls_out_of_order_are_harmless(file);
  shrinking_gives_memory_back(file);
  return check_result("pages");
}
