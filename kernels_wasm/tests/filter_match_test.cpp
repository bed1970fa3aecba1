// The loops of filters against one value at a time.
#include "filter_match.h"

#include <math.h>
#include <string.h>

#include <algorithm>
#include <random>
#include <vector>

#include "check.h"

namespace {

std::mt19937 random_bits(7);
uint32_t below(uint32_t n) { return random_bits() % n; }

constexpr uint32_t kWords = 70, kRows = kWords * 64;  // more than a set's group of 64 words

bool meets(const Match& match, uint32_t width, uint64_t raw, double number) {
  const uint64_t missing = width >= 4 ? kNoCategory : (1u << width * 8) - 1;
  switch (match.kind) {
    case Match::Equal: return raw == match.code && raw != missing;
    case Match::In: return raw != missing && std::ranges::binary_search(match.codes, static_cast<uint32_t>(raw));
    case Match::Present: return raw != missing;
    case Match::Range: return number >= match.low && number <= match.high;
    case Match::None: return false;
  }
  return false;
}

void check(const Match& match, uint32_t width, const std::vector<uint8_t>& values) {
  std::vector<uint64_t> words(kWords, 0x5555);
  match_values(match, width, values.data(), kWords, words.data());
  uint32_t wrong = 0, first_wrong = 0;
  for (uint32_t row = 0; row < kRows; row++) {
    uint64_t raw = 0;
    memcpy(&raw, &values[size_t{row} * width], width);
    double number = 0;
    if (width == 8) memcpy(&number, &raw, 8);
    if (width == 4) {
      float narrow;
      memcpy(&narrow, &raw, 4);
      number = narrow;
    }
    const bool bit = words[row / 64] >> (row % 64) & 1;
    if (bit != meets(match, width, raw, number) && wrong++ == 0) first_wrong = row;
  }
  if (!CHECK_EQ(wrong, 0u))
    printf("  kind %u width %u code %u, %zu codes, low %g high %g: first at row %u\n", match.kind, width, match.code,
           match.codes.size(), match.low, match.high, first_wrong);
}

void categories(uint32_t width) {
  const uint32_t missing = width >= 4 ? kNoCategory : (1u << width * 8) - 1;
  for (uint32_t codes : {1u, 3u, 200u, 60000u, 3000000u}) {
    std::vector<uint8_t> values(size_t{kRows} * width);
    for (uint32_t row = 0; row < kRows; row++) {
      const uint32_t code = below(10) == 0 ? missing : below(codes) & missing;
      memcpy(&values[size_t{row} * width], &code, width);
    }
    for (uint32_t code : {0u, 1u, below(codes), below(codes), missing - 1, missing, 254u, 255u, 256u, 65535u, 65536u, kNoCategory})
      check({.kind = Match::Equal, .code = code}, width, values);
    check({.kind = Match::Present}, width, values);
    for (uint32_t size : {1u, 2u, 4u, 5u, 40u, 1000u}) {
      std::vector<uint32_t> set{missing};  // never met
      for (uint32_t i = 0; i < size; i++) set.push_back(below(codes));
      if (below(2)) set.push_back(255), set.push_back(65535), set.push_back(127), set.push_back(128);
      std::ranges::sort(set);
      set.erase(std::unique(set.begin(), set.end()), set.end());
      check({.kind = Match::In, .codes = set}, width, values);
    }
  }
}

template <class Number>
void numbers() {
  std::vector<double> drawn(kRows);
  for (double& value : drawn) {
    const uint32_t kind = below(20);
    value = kind == 0 ? NAN : kind == 1 ? INFINITY : kind == 2 ? -INFINITY : kind < 6 ? below(5) : (below(2000001) - 1e6) / 7;
  }
  std::vector<uint8_t> values(kRows * sizeof(Number));
  for (uint32_t row = 0; row < kRows; row++) {
    const Number value = static_cast<Number>(drawn[row]);
    memcpy(&values[row * sizeof(Number)], &value, sizeof(Number));
  }
  // Bounds on, just above and just below values that are there, beyond f32, and infinite ones.
  std::vector<double> bounds{-INFINITY, INFINITY, 0, 3, 1e300, -1e300, 1e-300, -0.0};
  for (int i = 0; i < 8; i++) {
    const double value = static_cast<Number>((below(2000001) - 1e6) / 7);
    bounds.insert(bounds.end(), {value, nextafter(value, INFINITY), nextafter(value, -INFINITY)});
    const double present = static_cast<Number>(drawn[below(kRows)]);
    if (isnan(present)) continue;
    bounds.insert(bounds.end(), {present, nextafter(present, INFINITY), nextafter(present, -INFINITY)});
  }
  for (double low : bounds)
    for (double high : bounds)
      if (low <= high) check({.kind = Match::Range, .low = low, .high = high}, sizeof(Number), values);
}

}  // namespace

int main() {
  for (uint32_t width : {1u, 2u, 4u}) categories(width);
  numbers<float>();
  numbers<double>();
  std::vector<uint8_t> values(kRows * 8);
  check({}, 1, values);
  return check_result("filter_match");
}
