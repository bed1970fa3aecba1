// RaBitQ codes: the estimate is unbiased and as close as the theory says, and the fast scan of 32
// rows gives what a plain loop over the stored bits gives.
#include "codes.h"

#include <math.h>

#include "check.h"
#include "f16.h"
#include "graph_data.h"
#include "scan.h"

namespace {

IndexParameters parameters_for(uint32_t dim, uint32_t bits, PwMetric metric) {
  IndexParameters p;
  p.dim = p.code_dim = dim;
  p.code_bits = bits;
  p.metric = metric;
  p.add_exponent = -4;
  p.rescale_exponent = -7;
  return p;
}

struct Case {
  IndexParameters parameters;
  std::vector<float> centroid, query;
  std::vector<std::vector<float>> rows;
  std::vector<uint8_t> blocks;
  float g = 0;  // the term of query and centroid
};

Case make_case(uint32_t dim, uint32_t bits, PwMetric metric, uint32_t rows, uint64_t seed) {
  Case one;
  one.parameters = parameters_for(dim, bits, metric);
  SplitMix64 random(seed);
  const auto vector = [&](float scale) {
    std::vector<float> values(dim);
    for (float& value : values) value = normal(random) * scale / sqrtf(static_cast<float>(dim));
    return values;
  };
  one.centroid = vector(0.7f);
  one.query = vector(1);
  RowCoder coder(one.parameters);
  RowCode code;
  const uint32_t block_bytes = coder.shape().block_bytes();
  one.blocks.assign(static_cast<size_t>(block_bytes) * ((rows + 31) / 32), 0xff);  // place() overwrites all
  for (uint32_t i = 0; i < rows; i++) {
    std::vector<float> row = vector(0.7f);
    for (uint32_t j = 0; j < dim; j++) row[j] += one.centroid[j];
    coder.encode(row.data(), one.centroid.data(), code);
    coder.place(code, one.blocks.data() + static_cast<size_t>(i / 32) * block_bytes, i % 32);
    one.rows.push_back(row);
  }
  for (uint32_t j = 0; j < dim; j++) {
    const float difference = one.query[j] - one.centroid[j];
    one.g += metric == PwMetric::L2 ? difference * difference : -one.query[j] * one.centroid[j];
  }
  return one;
}

float exact_key(const Case& one, uint32_t row) {
  double sum = 0;
  for (uint32_t j = 0; j < one.parameters.dim; j++) {
    const double q = one.query[j], r = one.rows[row][j];
    sum += one.parameters.metric == PwMetric::L2 ? (q - r) * (q - r) : -q * r;
  }
  return static_cast<float>(sum);
}

// The estimate from the stored bits and factors, one component at a time.
float reference_key(const Case& one, uint32_t row) {
  const CodeShape shape{one.parameters.code_dim, one.parameters.code_bits};
  const uint8_t* block = one.blocks.data() + static_cast<size_t>(row / 32) * shape.block_bytes();
  const uint32_t slot = row % 32;
  double product = 0;
  for (uint32_t j = 0; j < shape.code_dim; j++) {
    uint32_t level = 0;
    for (uint32_t plane = 0; plane < shape.bits; plane++) {
      const uint8_t byte = block[plane * shape.plane_bytes() + j / 4 * 16 + slot % 16];
      level |= (byte >> (slot / 16 * 4 + j % 4) & 1u) << plane;
    }
    product += (level - ((1u << shape.bits) - 1) / 2.0) * one.query[j];
  }
  const uint8_t* tail = block + shape.bits * shape.plane_bytes();
  uint16_t add, rescale;
  memcpy(&add, tail + slot * 2, 2);
  memcpy(&rescale, tail + 64 + slot * 2, 2);
  return static_cast<float>(one.g + ldexp(f16_to_f32(add), one.parameters.add_exponent) +
                            ldexp(f16_to_f32(rescale), one.parameters.rescale_exponent) * product);
}

void scan_equals_reference(uint32_t dim, uint32_t bits, PwMetric metric) {
  const Case one = make_case(dim, bits, metric, 100, dim + bits);
  ScanQuery query;
  query.set(one.parameters, one.query.data());
  alignas(16) float keys[kBlockRows];
  const uint32_t block_bytes = query.shape().block_bytes();
  // Each of dim / 4 table entries is off by half a step at most; they add up like a random walk.
  float widest = 0;
  for (uint32_t j = 0; j < dim; j += 4) {
    float range = 0;
    for (uint32_t i = j; i < j + 4; i++) range += fabsf(one.query[i]);
    widest = std::max(widest, range);
  }
  const float step = widest / (bits == 1 ? 63 : 255) * static_cast<float>((1u << bits) - 1);
  for (uint32_t row = 0; row < 100; row++) {
    if (row % 32 == 0) query.estimate(one.blocks.data() + static_cast<size_t>(row / 32) * block_bytes, one.g, keys);
    const float* scale = keys + row % 32;
    const uint8_t* tail = one.blocks.data() + static_cast<size_t>(row / 32) * block_bytes + bits * query.shape().plane_bytes();
    uint16_t rescale;
    memcpy(&rescale, tail + 64 + row % 32 * 2, 2);
    const float factor = fabsf(ldexpf(f16_to_f32(rescale), one.parameters.rescale_exponent));
    CHECK_LT(fabsf(*scale - reference_key(one, row)), 1e-4f + factor * step * 0.29f * 4 * sqrtf(static_cast<float>(dim) / 4));
  }
}

// RaBitQ, theorem 3.2: the error of <o, q> is about |o| |q - c| sqrt((1 - a^2) / a^2 / (d - 1)), with
// a the cosine of code and residual (0.80 for one bit), and it has no bias.
void estimate_is_close(uint32_t dim, uint32_t bits, PwMetric metric, double expected) {
  const uint32_t rows = 2000;
  const Case one = make_case(dim, bits, metric, rows, 77);
  double sum = 0, squares = 0, spread = 0;
  for (uint32_t row = 0; row < rows; row++) {
    double o = 0, v = 0;
    for (uint32_t j = 0; j < dim; j++) {
      o += pow(one.rows[row][j] - one.centroid[j], 2);
      v += pow(one.query[j] - one.centroid[j], 2);
    }
    const double unit = sqrt(o * v / dim) * (metric == PwMetric::L2 ? 2 : 1);
    const double error = (static_cast<double>(reference_key(one, row)) - exact_key(one, row)) / unit;
    sum += error;
    squares += error * error;
    spread = std::max(spread, fabs(error));
  }
  const double deviation = sqrt(squares / rows);
  CHECK_LT(deviation, expected * 1.1);
  CHECK_GT(deviation, expected * 0.5);
  CHECK_LT(fabs(sum / rows), 4 * deviation / sqrt(rows) + 0.01 * expected);
  CHECK_LT(spread, 6 * deviation);
}

void scan_respects_its_range_and_bitmap() {
  const Case one = make_case(64, 1, PwMetric::Cosine, 100, 3);
  ScanQuery query;
  query.set(one.parameters, one.query.data());
  TopK best;
  Bitmap allowed(100);
  for (uint32_t row = 0; row < 100; row += 3) allowed.set(row);
  for (uint32_t first : {0u, 5u, 32u, 63u}) {
    for (uint32_t end : {64u, 70u, 96u, 100u}) {
      best.reset(200);
      const uint32_t start = first / 32 * query.shape().block_bytes();
      const uint32_t estimates = scan_blocks(query, one.blocks.data() + start, first, end, one.g, nullptr, 0, best);
      CHECK_EQ(estimates, end - first);
      CHECK_EQ(best.size(), end - first);
      best.reset(200);
      scan_blocks(query, one.blocks.data() + start, first, end, one.g, &allowed, 0, best);
      CHECK_EQ(best.size(), allowed.count_in(first, end));
      for (const Candidate& candidate : best.sorted()) CHECK(candidate.row % 3 == 0 && candidate.row >= first && candidate.row < end);
    }
  }
}

void rows_at_their_centroid() {
  IndexParameters p = parameters_for(32, 1, PwMetric::L2);
  RowCoder coder(p);
  RowCode code;
  const std::vector<float> centroid(32, 0.25f);
  coder.encode(centroid.data(), centroid.data(), code);
  CHECK_EQ(code.add, 0.f);
  CHECK_EQ(code.rescale, 0.f);
}

void halves_round_trip() {
  for (uint32_t bits = 0; bits < 0x7c00; bits++) {
    CHECK_EQ(f32_to_f16(f16_to_f32(static_cast<uint16_t>(bits))), bits);
    CHECK_EQ(f32_to_f16(-f16_to_f32(static_cast<uint16_t>(bits))), bits | 0x8000);
  }
  CHECK_EQ(f32_to_f16(1e9f), 0x7bff);
  CHECK_EQ(f32_to_f16(-1e9f), 0xfbff);
  CHECK_EQ(f32_to_f16(1.00048828125f), 0x3c00);  // half way: to even
  CHECK_EQ(f32_to_f16(1.00146484375f), 0x3c02);
  CHECK_EQ(f32_to_f16(0x1p-25f), 0);
  CHECK(isinf(f16_to_f32(0x7c00)));
}

}  // namespace

int main() {
  for (PwMetric metric : {PwMetric::InnerProduct, PwMetric::L2}) {
    for (uint32_t bits : {1u, 2u, 4u, 8u}) {
      for (uint32_t dim : {16u, 48u, 384u, 1536u}) scan_equals_reference(dim, bits, metric);
      scan_equals_reference(8192, bits, metric);  // sums beyond 16 bits
    }
    estimate_is_close(384, 1, metric, 0.75);
    estimate_is_close(384, 2, metric, 0.36);
    estimate_is_close(384, 4, metric, 0.10);
  }
  scan_respects_its_range_and_bitmap();
  rows_at_their_centroid();
  halves_round_trip();
  return check_result("codes");
}
