// Row-major codes: the popcount estimate is the formula of codes.h, up to the rounding of the query.
#include "check.h"
#include "distance.h"
#include "f16.h"
#include "graph_data.h"
#include "rowcode.h"

namespace {

// key = add + rescale * <levels - middle, q> with the query as it is, and the factors as stored.
double key_by_formula(const IndexParameters& parameters, const RowCode& code, const std::vector<float>& query) {
  const double middle = ((1u << parameters.code_bits) - 1) / 2.0;
  double product = 0;
  for (uint32_t i = 0; i < parameters.code_dim; i++) product += (code.levels[i] - middle) * static_cast<double>(query[i]);
  return code.add + code.rescale * product;
}

void test_shape(uint32_t code_dim, uint32_t bits) {
  IndexParameters parameters;
  parameters.dim = parameters.code_dim = code_dim;
  parameters.code_bits = bits;
  parameters.metric = PwMetric::L2;
  SplitMix64 random(code_dim * 10 + bits);
  std::vector<float> centroid(code_dim), query(code_dim), row(code_dim);
  for (float& value : centroid) value = 0.3f * normal(random);
  for (float& value : query) value = normal(random);
  RowCoder coder(parameters);
  RowCode code;
  RowCodeQuery estimate;
  estimate.set(parameters, query.data());
  // Exactly the row's bytes, so that the sanitizer sees a read past them.
  std::vector<uint8_t> packed(estimate.shape().row_bytes());
  CHECK_EQ(packed.size() % 4, 0u);
  double square_error = 0, square_key = 0;
  for (int i = 0; i < 50; i++) {
    for (float& value : row) value = normal(random);
    coder.encode(row.data(), centroid.data(), code);
    parameters.add_exponent = parameters.rescale_exponent = factor_exponent(static_cast<float>(code_dim));
    estimate.set(parameters, query.data());
    pack_row_code(parameters, code, packed.data());
    const double expected = key_by_formula(parameters, code, query), found = estimate.key(packed.data());
    square_error += (found - expected) * (found - expected);
    square_key += 4.0 * code_dim;  // the variance of -2 <row, query>
  }
  // Four bits of the query lose a tenth of a standard deviation a component; more planes much less.
  CHECK_LT(sqrt(square_error / square_key), bits <= 2 ? 0.16 : bits <= 4 ? 0.06 : 0.015);
}

// Every component of one sign: the sums are at their greatest, past 8 bits in every counter.
void test_extremes(uint32_t code_dim, uint32_t bits) {
  IndexParameters parameters;
  parameters.dim = parameters.code_dim = code_dim;
  parameters.code_bits = bits;
  parameters.rescale_exponent = 4;
  RowCode code{std::vector<uint8_t>(code_dim, static_cast<uint8_t>((1u << bits) - 1)), 0, 1};
  const std::vector<float> query(code_dim, -1.f);
  RowCodeQuery estimate;
  estimate.set(parameters, query.data());
  std::vector<uint8_t> packed(estimate.shape().row_bytes());
  pack_row_code(parameters, code, packed.data());
  const double expected = key_by_formula(parameters, code, query);
  CHECK_LT(fabs(estimate.key(packed.data()) - expected), 1e-3 * fabs(expected));
  code.levels.assign(code_dim, 0);
  pack_row_code(parameters, code, packed.data());
  CHECK_LT(fabs(estimate.key(packed.data()) + expected), 1e-3 * fabs(expected));
  // A query of zeros is no division by zero.
  const std::vector<float> zero(code_dim, 0.f);
  estimate.set(parameters, zero.data());
  CHECK_LT(fabs(estimate.key(packed.data())), 1e-3 * fabs(expected));
}

}  // namespace

int main() {
  for (const uint32_t code_dim : {16u, 48u, 112u, 128u, 144u, 384u, 400u, 768u, 1024u, 8192u}) {
    for (const uint32_t bits : {1u, 2u, 3u, 4u, 8u}) {
      test_shape(code_dim, bits);
      test_extremes(code_dim, bits);
    }
  }
  return check_result("graph_rowcode");
}
