// Random filter programs over base and inserted rows against one row at a time; what is refused;
// the zone maps; the cache of results.
#include "filter.h"

#include <math.h>

#include <functional>
#include <random>

#include "check.h"
#include "columns.h"
#include "site.h"

namespace {

std::mt19937 random_bits(11);
uint32_t below(uint32_t n) { return random_bits() % n; }

const std::vector<ColumnSpec> kColumns = {
    {PwColumnType::Category, "module"}, {PwColumnType::Number, "year"},   {PwColumnType::Category, "author"},
    {PwColumnType::Number, "time"},     {PwColumnType::Category, "one"},  {PwColumnType::Number, "empty"},
};
constexpr uint32_t kCodes[3] = {20, 3000, 1};

TestRow random_row(uint32_t i) {
  TestRow row;
  row.id = "row " + std::to_string(i);
  for (uint32_t d = 0; d < 4; d++) row.vector.push_back(static_cast<float>(below(1000)) - 499.5f);
  for (uint32_t codes : kCodes) row.categories.push_back(below(8) == 0 ? kNoCategory : below(codes));
  // year: narrow; time: ascending, so that zones differ, and not an f32.
  row.numbers = {below(9) == 0 ? NAN : 1990.0 + below(30), below(50) == 0 ? NAN : i + 0.1, NAN};
  return row;
}

struct Model {
  Site site;
  Index index;
  std::vector<TestRow> rows;  // by row number, inserted ones at the end
  std::vector<bool> live;

  double value(uint32_t column, uint32_t row) const {  // NaN: missing
    const uint32_t place = column / 2;
    if (kColumns[column].type == PwColumnType::Number) return rows[row].numbers[place];
    const uint32_t code = rows[row].categories[place];
    return code == kNoCategory ? NAN : code;
  }
};

bool make_model(Model& model, uint32_t base, uint32_t budget) {
  std::vector<TestRow> rows;
  for (uint32_t i = 0; i < base; i++) rows.push_back(random_row(i));
  PwConfig config{};
  config.dim = 4;
  config.metric = PwMetric::L2;
  config.kind = PwKind::Flat;
  config.code_bits = 1;
  config.clusters = 1;
  config.m = 16;
  config.ef_construction = 100;
  model.site = build_site(config, std::move(rows), kColumns);
  if (!CHECK_EQ(model.site.status, PW_DONE)) return false;
  model.rows = model.site.rows;
  model.live.assign(model.rows.size(), true);
  return CHECK_EQ(model.index.open(model.site.head.data(), model.site.head.size(), budget), PW_DONE);
}

void insert(Model& model, uint32_t count) {
  std::vector<TestRow> rows;
  for (uint32_t i = 0; i < count; i++) rows.push_back(random_row(static_cast<uint32_t>(model.rows.size()) + i));
  ByteWriter message;
  message.put(uint64_t{0});
  put_batch(message, rows, kColumns);
  const Outcome outcome = run_operation(model.index, model.site, PwOperation::Insert, message);
  if (!CHECK_EQ(outcome.status, PW_DONE)) printf("  %s\n", pw_error());
  model.rows.insert(model.rows.end(), rows.begin(), rows.end());
  model.live.resize(model.rows.size(), true);
}

void remove(Model& model, uint32_t count) {
  std::vector<std::string> ids;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = below(static_cast<uint32_t>(model.rows.size()));
    ids.push_back(model.rows[row].id);
    model.live[row] = false;
  }
  ByteWriter message;
  message.put(count);
  message.put(uint32_t{0});
  put_strings(message, ids);
  CHECK_EQ(run_operation(model.index, model.site, PwOperation::Delete, message).status, PW_DONE);
}

void put_number(std::vector<uint32_t>& program, double value) {
  uint32_t words[2];
  memcpy(words, &value, 8);
  program.insert(program.end(), words, words + 2);
}

using Oracle = std::function<bool(const Model&, uint32_t row)>;

// Appends a random expression and gives what it means.
Oracle random_filter(std::vector<uint32_t>& program, uint32_t depth) {
  const auto put = [&](PwFilter code) { program.push_back(static_cast<uint32_t>(code)); };
  if (depth > 0 && below(3) != 0) {
    const Oracle left = random_filter(program, depth - 1);
    if (below(4) == 0) {
      put(PwFilter::Not);
      return [=](const Model& model, uint32_t row) { return !left(model, row); };
    }
    const Oracle right = random_filter(program, depth - 1);
    if (below(2)) {
      put(PwFilter::And);
      return [=](const Model& model, uint32_t row) { return left(model, row) && right(model, row); };
    }
    put(PwFilter::Or);
    return [=](const Model& model, uint32_t row) { return left(model, row) || right(model, row); };
  }
  const uint32_t category = 2 * below(3), number = 1 + 2 * below(3);
  switch (below(4)) {
    case 0: {
      const uint32_t code = below(10) == 0 ? kNoCategory : below(kCodes[category / 2] + 3);
      put(PwFilter::Equal);
      program.insert(program.end(), {category, code});
      return [=](const Model& model, uint32_t row) { return model.value(category, row) == code; };
    }
    case 1: {
      std::vector<uint32_t> codes;
      for (uint32_t i = below(40); i > 0; i--) codes.push_back(below(kCodes[category / 2] + 300));
      if (below(8) == 0) codes.push_back(kNoCategory);
      std::sort(codes.begin(), codes.end());
      codes.erase(std::unique(codes.begin(), codes.end()), codes.end());
      put(PwFilter::In);
      program.insert(program.end(), {category, static_cast<uint32_t>(codes.size())});
      program.insert(program.end(), codes.begin(), codes.end());
      return [=](const Model& model, uint32_t row) {
        const double value = model.value(category, row);
        return !isnan(value) && std::binary_search(codes.begin(), codes.end(), static_cast<uint32_t>(value));
      };
    }
    case 2: {
      const uint32_t bits = below(16);
      double low, high;
      if (number == 1) low = 1988.0 + below(34), high = 1988.0 + below(34);
      else low = below(12000) + 0.1 * below(2), high = low + below(4000);
      put(PwFilter::Range);
      program.insert(program.end(), {number, bits});
      put_number(program, low);
      put_number(program, high);
      return [=](const Model& model, uint32_t row) {
        const double value = model.value(number, row);
        return !isnan(value) && (!(bits & 1) || (bits & 4 ? value > low : value >= low)) &&
               (!(bits & 2) || (bits & 8 ? value < high : value <= high));
      };
    }
    default: {
      const uint32_t column = below(6);
      put(PwFilter::Present);
      program.push_back(column);
      return [=](const Model& model, uint32_t row) { return !isnan(model.value(column, row)); };
    }
  }
}

// Runs the filter to its end; the pages that had to be brought are added to `brought`.
const Bitmap* run_filter(Model& model, FilterState& filter, const std::vector<uint32_t>& program, uint32_t* brought = nullptr) {
  if (!CHECK_EQ(filter.begin(program), PW_DONE)) return nullptr;
  std::vector<uint32_t> wanted;
  for (int step = 0; filter.step(wanted) == PW_NEED; step++) {
    if (!CHECK(!wanted.empty() && step < 10000)) return nullptr;
    if (brought) *brought += static_cast<uint32_t>(wanted.size());
    CHECK_EQ(bring_pages(model.index, model.site, wanted), PW_DONE);
    wanted.clear();
  }
  return filter.bitmap();
}

void check_against_oracle(Model& model, FilterState& filter, const std::vector<uint32_t>& program, const Oracle& oracle) {
  const Bitmap* bitmap = run_filter(model, filter, program);
  if (!CHECK(bitmap != nullptr) || !CHECK_EQ(bitmap->size(), model.rows.size())) return;
  uint32_t wrong = 0, passing = 0;
  for (uint32_t row = 0; row < model.rows.size(); row++) {
    const bool expected = model.live[row] && oracle(model, row);
    passing += expected;
    wrong += bitmap->get(row) != expected;
  }
  CHECK_EQ(wrong, 0u);
  CHECK_EQ(filter.passing(), passing);
  CHECK_EQ(bitmap->count(), passing);  // no bit beyond the last row
}

void random_programs(uint32_t base, uint32_t budget) {
  Model model;
  if (!make_model(model, base, budget)) return;
  FilterState filter(model.index);
  for (int round = 0; round < 60; round++) {
    std::vector<uint32_t> program;
    const Oracle oracle = random_filter(program, 4);
    check_against_oracle(model, filter, program, oracle);
    if (below(2)) check_against_oracle(model, filter, program, oracle);  // from the cache
    if (round % 10 == 3) insert(model, 1 + below(3000));
    if (round % 10 == 7) remove(model, 1 + below(50));
    if (round % 5 == 4) check_against_oracle(model, filter, program, oracle);  // not from the cache
  }
}

void no_filter() {
  Model model;
  if (!make_model(model, 100, 0)) return;
  FilterState filter(model.index);
  CHECK(run_filter(model, filter, {}) == nullptr);
  CHECK_EQ(filter.passing(), kNoRow);
  remove(model, 1);
  check_against_oracle(model, filter, {static_cast<uint32_t>(PwFilter::Present), 5, static_cast<uint32_t>(PwFilter::Not)},
                       [](const Model&, uint32_t) { return true; });
  const Bitmap* live = run_filter(model, filter, {});
  if (CHECK(live != nullptr)) CHECK_EQ(live->count(), 99u);
  CHECK_EQ(filter.passing(), kNoRow);
}

void zones_skip_pages() {
  Model model;
  if (!make_model(model, 20000, 0)) return;
  FilterState filter(model.index);
  const auto range = [](double low, double high) {
    std::vector<uint32_t> program{static_cast<uint32_t>(PwFilter::Range), 3, 3};
    put_number(program, low);
    put_number(program, high);
    return program;
  };
  // `time` is the row's number: 2,048 rows a page, ten pages, of which the range touches two.
  uint32_t brought = 0;
  run_filter(model, filter, range(2000, 2100), &brought);
  CHECK_EQ(brought, 2u);
  CHECK_EQ(filter.passing() > 60 && filter.passing() <= 100, true);
  brought = 0;
  run_filter(model, filter, range(-5, -1), &brought);
  CHECK_EQ(brought, 0u);
  CHECK_EQ(filter.passing(), 0u);
}

void refused() {
  Model model;
  if (!make_model(model, 100, 0)) return;
  FilterState filter(model.index);
  const uint32_t equal = 1, in = 2, range = 3, conjunction = 4, negation = 6, present = 7;
  const uint32_t nan_high = 0x7ff80000;
  struct Case {
    std::vector<uint32_t> program;
    const char* says;
  };
  for (const Case& one : {
           Case{{equal, 6, 0}, "column 6 of 6"},
           Case{{equal, 1, 0}, "\"year\" holds numbers"},
           Case{{range, 0, 0, 0, 0, 0, 0}, "\"module\" holds categories"},
           Case{{range, 1, 16, 0, 0, 0, 0}, "range bits"},
           Case{{range, 1, 1, 0, nan_high, 0, 0}, "low bound is not a number"},
           Case{{range, 1, 2, 0, 0, 0, nan_high}, "high bound is not a number"},
           Case{{in, 0, 2, 3, 3}, "ascending"},
           Case{{in, 0, 0xffffffff, 3, 3}, "cut off"},
           Case{{in, 0}, "cut off"},
           Case{{range, 1, 1, 0, 0, 0}, "cut off"},
           Case{{present, 0, conjunction}, "operands"},
           Case{{negation}, "operands"},
           Case{{present, 0, present, 1}, "leaves 2 results"},
           Case{{0}, "no instruction 0"},
           Case{{8, 1, 1}, "no instruction 8"},
           Case{{present, 7}, "column 7 of 6"},
       }) {
    CHECK_EQ(filter.begin(one.program), PW_BAD_ARGUMENT);
    if (!CHECK(strstr(pw_error(), one.says) != nullptr)) printf("  \"%s\" has no \"%s\"\n", pw_error(), one.says);
  }
  std::vector<uint32_t> deep;
  for (uint32_t i = 0; i <= kMaxFilterDepth; i++) deep.insert(deep.end(), {present, 0});
  deep.insert(deep.end(), kMaxFilterDepth, conjunction);
  CHECK_EQ(filter.begin(deep), PW_BAD_ARGUMENT);
  CHECK_EQ(filter.begin(std::vector<uint32_t>(kMaxFilterWords + 1, 0)), PW_BAD_ARGUMENT);
}

// Rows that come and go while a filter waits for its pages.
void changes_while_waiting() {
  Model model;
  if (!make_model(model, 20000, 0)) return;
  FilterState filter(model.index);
  const std::vector<uint32_t> program{static_cast<uint32_t>(PwFilter::Present), 3};
  CHECK_EQ(filter.begin(program), PW_DONE);
  std::vector<uint32_t> wanted;
  CHECK_EQ(filter.step(wanted), PW_NEED);
  insert(model, 100);
  remove(model, 500);
  while (filter.step(wanted) == PW_NEED) {
    bring_pages(model.index, model.site, wanted);
    wanted.clear();
  }
  const Bitmap* bitmap = filter.bitmap();
  if (!CHECK(bitmap != nullptr)) return;
  CHECK_EQ(bitmap->size(), 20000u);
  uint32_t wrong = 0;
  for (uint32_t row = 0; row < 20000; row++)
    wrong += bitmap->get(row) != (model.live[row] && !isnan(model.value(3, row)));
  CHECK_EQ(wrong, 0u);
  check_against_oracle(model, filter, program, [](const Model& m, uint32_t row) { return !isnan(m.value(3, row)); });
}

}  // namespace

int main() {
  for (uint32_t base : {0u, 1u, 63u, 64u, 65u, 4096u, 10000u}) random_programs(base, 0);
  random_programs(12345, 200 << 10);  // fewer slots than the columns have pages
  no_filter();
  zones_skip_pages();
  refused();
  changes_while_waiting();
  return check_result("filter");
}
