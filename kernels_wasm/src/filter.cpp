#include "filter.h"

#include <math.h>
#include <string.h>

#include <algorithm>

#include "columns.h"
#include "delta.h"
#include "index.h"
#include "op_delete.h"
#include "status.h"

namespace {

constexpr uint32_t kRangeBits = 15;  // low given, high given, low open, high open
constexpr double kInfinity = __builtin_inf();

// ORs `count` bits into `bitmap` from row `row` on.
void or_bits(Bitmap& bitmap, uint32_t row, const uint64_t* words, uint32_t count) {
  uint64_t* to = bitmap.words() + row / 64;
  const uint32_t shift = row % 64;
  for (uint32_t i = 0; i * 64 < count; i++) {
    uint64_t word = words[i];
    const uint32_t left = count - i * 64;
    if (left < 64) word &= (1ull << left) - 1;
    if (word == 0) continue;
    to[i] |= word << shift;
    if (shift != 0 && word >> (64 - shift) != 0) to[i + 1] |= word >> (64 - shift);
  }
}

}  // namespace

uint32_t FilterState::instruction_words(uint32_t at) const {
  const uint64_t left = program_.size() - at;
  uint64_t words = 1;
  switch (static_cast<PwFilter>(program_[at])) {
    case PwFilter::Equal: words = 3; break;
    case PwFilter::In: words = left < 3 ? 3 : 3ull + program_[at + 2]; break;
    case PwFilter::Range: words = 7; break;
    case PwFilter::Present: words = 2; break;
    case PwFilter::And:
    case PwFilter::Or:
    case PwFilter::Not: break;
  }
  return words <= left ? static_cast<uint32_t>(words) : 0;
}

int32_t FilterState::check_column(uint32_t at, PwColumnType type, const char* name) const {
  const uint32_t column = program_[at + 1];
  const Columns& columns = *index_.columns;
  if (column >= columns.size())
    return fail(PW_BAD_ARGUMENT, "filter word %u: column %u of %u", at, column, columns.size());
  if (columns.spec(column).type != type)
    return fail(PW_BAD_ARGUMENT, "filter word %u: %s needs a %s column, \"%.100s\" holds %s", at, name,
                type == PwColumnType::Number ? "number" : "category", columns.spec(column).name.c_str(),
                type == PwColumnType::Number ? "categories" : "numbers");
  return PW_DONE;
}

int32_t FilterState::check() const {
  if (program_.size() > kMaxFilterWords)
    return fail(PW_BAD_ARGUMENT, "filter: %zu words, at most %u", program_.size(), kMaxFilterWords);
  uint32_t depth = 0;
  for (uint32_t at = 0; at < program_.size();) {
    const uint32_t code = program_[at];
    if (code < static_cast<uint32_t>(PwFilter::Equal) || code > static_cast<uint32_t>(PwFilter::Present))
      return fail(PW_BAD_ARGUMENT, "filter word %u: no instruction %u", at, code);
    const uint32_t words = instruction_words(at);
    if (words == 0) return fail(PW_BAD_ARGUMENT, "filter word %u: instruction %u is cut off", at, code);
    int32_t status = PW_DONE;
    uint32_t operands = 0;
    switch (static_cast<PwFilter>(code)) {
      case PwFilter::Equal:
        status = check_column(at, PwColumnType::Category, "equality");
        break;
      case PwFilter::In:
        status = check_column(at, PwColumnType::Category, "a set");
        for (uint32_t i = at + 4; i < at + words; i++)
          if (program_[i] <= program_[i - 1])
            return fail(PW_BAD_ARGUMENT, "filter word %u: code %u after %u, expected ascending codes", i, program_[i],
                        program_[i - 1]);
        break;
      case PwFilter::Range: {
        status = check_column(at, PwColumnType::Number, "a range");
        double bounds[2];
        memcpy(bounds, &program_[at + 3], 16);
        if (program_[at + 2] > kRangeBits)
          return fail(PW_BAD_ARGUMENT, "filter word %u: range bits %u, at most %u", at, program_[at + 2], kRangeBits);
        for (uint32_t i = 0; i < 2; i++)
          if (program_[at + 2] >> i & 1 && isnan(bounds[i]))
            return fail(PW_BAD_ARGUMENT, "filter word %u: the range's %s bound is not a number", at, i ? "high" : "low");
        break;
      }
      case PwFilter::Present:
        if (program_[at + 1] >= index_.columns->size())
          return fail(PW_BAD_ARGUMENT, "filter word %u: column %u of %u", at, program_[at + 1], index_.columns->size());
        break;
      case PwFilter::And:
      case PwFilter::Or: operands = 2; break;
      case PwFilter::Not: operands = 1; break;
    }
    if (status != PW_DONE) return status;
    if (depth < operands)
      return fail(PW_BAD_ARGUMENT, "filter word %u: instruction %u needs %u operands, has %u", at, code, operands, depth);
    depth += 1 - operands;
    if (depth > kMaxFilterDepth)
      return fail(PW_BAD_ARGUMENT, "filter word %u: more than %u operands at once", at, kMaxFilterDepth);
    at += words;
  }
  if (depth > 1) return fail(PW_BAD_ARGUMENT, "filter: leaves %u results, expected 1", depth);
  return PW_DONE;
}

int32_t FilterState::begin(std::span<const uint32_t> program) {
  program_.assign(program.begin(), program.end());
  done_ = true;
  all_ = true;
  passing_ = kNoRow;
  if (const int32_t status = check(); status != PW_DONE) return status;
  depth_ = at_ = page_ = 0;
  rows_ = index_.rows();
  deleted_ = index_.deleted_count;
  all_ = program_.empty() && deleted_ == 0;
  done_ = all_;
  if (stack_.empty()) stack_.emplace_back();
  if (done_ || program_.empty()) return PW_DONE;
  if (const FilterCache::Entry* entry = index_.columns->cache.find(program_, {rows_, deleted_})) {
    stack_[0] = entry->bitmap;
    passing_ = entry->passing;
    done_ = true;
  }
  return PW_DONE;
}

int32_t FilterState::step(std::vector<uint32_t>& wanted) {
  if (done_) return PW_DONE;
  if (program_.empty()) {
    stack_[0].reset(rows_, true);
    remove_deleted(stack_[0]);
    done_ = true;
    return PW_DONE;
  }
  while (at_ < program_.size()) {
    const PwFilter code = static_cast<PwFilter>(program_[at_]);
    if (code == PwFilter::And || code == PwFilter::Or || code == PwFilter::Not) {
      combine(code);
    } else {
      if (page_ == 0) {  // the instruction begins
        if (stack_.size() == depth_) stack_.emplace_back();
        stack_[depth_].reset(rows_);
      }
      if (!evaluate_match(match_at(at_), stack_[depth_])) {
        // One round trip for the whole filter, as far as the cache has room.
        const size_t limit = wanted.size() + std::max(index_.pages.free_slots(), 1u);
        want_pages(match_at(at_), page_, limit, wanted);
        for (uint32_t at = at_ + instruction_words(at_); at < program_.size(); at += instruction_words(at))
          want_pages(match_at(at), 0, limit, wanted);
        return PW_NEED;
      }
      page_ = 0;
      depth_++;
    }
    at_ += instruction_words(at_);
  }
  remove_deleted(stack_[0]);
  passing_ = stack_[0].count();
  done_ = true;
  if (index_.rows() == rows_ && index_.deleted_count == deleted_) {
    index_.columns->cache.put(program_, {rows_, deleted_}, stack_[0], passing_);
    note_delta_bytes(index_);
  }
  return PW_DONE;
}

// What an instruction asks of one column; None for And, Or and Not, and for what no row can meet.
Match FilterState::match_at(uint32_t at) const {
  Match match;
  const PwFilter code = static_cast<PwFilter>(program_[at]);
  if (code == PwFilter::And || code == PwFilter::Or || code == PwFilter::Not) return match;
  match.column = program_[at + 1];
  if (code == PwFilter::Equal) {
    match.code = program_[at + 2];
    match.kind = match.code == kNoCategory ? Match::None : Match::Equal;
  } else if (code == PwFilter::In) {
    match.codes = std::span<const uint32_t>(program_).subspan(at + 3, program_[at + 2]);
    if (!match.codes.empty() && match.codes.back() == kNoCategory)
      match.codes = match.codes.first(match.codes.size() - 1);
    match.kind = match.codes.empty() ? Match::None : Match::In;
  } else if (code == PwFilter::Present) {
    const bool number = index_.columns->spec(match.column).type == PwColumnType::Number;
    match.kind = number ? Match::Range : Match::Present;
    match.low = -kInfinity;
    match.high = kInfinity;
  } else {
    const uint32_t bits = program_[at + 2];
    double bounds[2];
    memcpy(bounds, &program_[at + 3], 16);
    match.kind = Match::Range;
    match.low = bits & 1 ? bounds[0] : -kInfinity;
    match.high = bits & 2 ? bounds[1] : kInfinity;
    // An open bound is the closed one of its neighbour.
    if ((bits & 5) == 5) {
      if (match.low == kInfinity) match.kind = Match::None;
      match.low = nextafter(match.low, kInfinity);
    }
    if ((bits & 10) == 10) {
      if (match.high == -kInfinity) match.kind = Match::None;
      match.high = nextafter(match.high, -kInfinity);
    }
    if (match.low > match.high) match.kind = Match::None;
  }
  return match;
}

namespace {

enum class ZoneAnswer { None, All, Read };

// What the zone map knows of one page.
ZoneAnswer ask_zone(const Match& match, const ColumnLayout& layout, uint32_t page) {
  if (match.kind == Match::None) return ZoneAnswer::None;
  if (match.kind != Match::Range || layout.zones.empty()) return ZoneAnswer::Read;
  const Zone& zone = layout.zones[page];
  if (!(zone.low <= zone.high) || zone.high < match.low || zone.low > match.high) return ZoneAnswer::None;
  if (zone.missing == 0 && match.low <= zone.low && zone.high <= match.high) return ZoneAnswer::All;
  return ZoneAnswer::Read;
}

}  // namespace

// Goes on from page_. False: that page is absent.
bool FilterState::evaluate_match(const Match& match, Bitmap& bitmap) {
  if (match.kind == Match::None) return true;
  const ColumnLayout& layout = index_.columns->layout(match.column);
  const uint32_t base = index_.base_rows(), per_page = layout.rows_per_page();
  for (const uint32_t pages = layout.pages(base); page_ < pages; page_++) {
    const uint32_t first = page_ * per_page, end = std::min(base, first + per_page);
    const ZoneAnswer answer = ask_zone(match, layout, page_);
    if (answer == ZoneAnswer::All) bitmap.set_range(first, end, true);
    if (answer != ZoneAnswer::Read) continue;
    const uint8_t* values = index_.pages.find(layout.first_page + page_);
    if (values == nullptr) return false;
    match_values(match, layout.width, values, (end - first + 63) / 64, bitmap.words() + first / 64);
  }
  // A page's last word may say anything of the rows past the end.
  if (base % 64 != 0) bitmap.words()[base / 64] &= (1ull << base % 64) - 1;

  const uint32_t width = index_.columns->spec(match.column).type == PwColumnType::Number ? 8 : 4;
  for (uint32_t first = base; first < rows_; first += Delta::kColumnRun) {
    uint64_t words[Delta::kColumnRun / 64];
    const uint32_t count = std::min(rows_ - first, Delta::kColumnRun);
    const uint8_t* values = index_.delta->column_run(match.column, (first - base) / Delta::kColumnRun);
    match_values(match, width, values, (count + 63) / 64, words);
    or_bits(bitmap, first, words, count);
  }
  return true;
}

void FilterState::want_pages(const Match& match, uint32_t first_page, size_t limit,
                             std::vector<uint32_t>& wanted) const {
  if (match.kind == Match::None) return;
  const ColumnLayout& layout = index_.columns->layout(match.column);
  const uint32_t pages = layout.pages(index_.base_rows());
  for (uint32_t page = first_page; page < pages && wanted.size() < limit; page++) {
    const uint32_t number = layout.first_page + page;
    if (ask_zone(match, layout, page) != ZoneAnswer::Read || index_.pages.present(number)) continue;
    if (std::find(wanted.begin(), wanted.end(), number) == wanted.end()) wanted.push_back(number);
  }
}

void FilterState::combine(PwFilter operation) {
  Bitmap& top = stack_[depth_ - 1];
  if (operation == PwFilter::Not) return top.flip();
  Bitmap& under = stack_[depth_ - 2];
  if (operation == PwFilter::And) under.and_with(top);
  else under.or_with(top);
  depth_--;
}

// The index may have grown, and rows been deleted, while the filter waited for pages.
void FilterState::remove_deleted(Bitmap& bitmap) const {
  if (index_.deleted_count == 0) return;
  const uint64_t* deleted = index_.deleted.words();
  for (uint32_t i = 0; i < (bitmap.size() + 63ull) / 64; i++) bitmap.words()[i] &= ~deleted[i];
}
