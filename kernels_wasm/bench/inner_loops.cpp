// The engine's inner loops on made-up data, to be timed beside the kernels of pywasm_jit by
// `pywasm bench inference` (distance-*, scan-1bit-*): `make inner-loops` builds the module.
#include <string.h>

#include <vector>

#include "abi.h"
#include "distance.h"
#include "f16.h"
#include "scan.h"

namespace {

constexpr uint32_t kFound = 50;  // candidates that a scan keeps
constexpr uint16_t kHalf = 0x3800;  // 0.5 as f16

IndexParameters parameters;
DistanceQuery query_f32, query_i8;
ScanQuery scan_query;
TopK best;
std::vector<uint8_t> rows_f32, rows_i8, blocks;
std::vector<uint32_t> ids;
std::vector<float> keys;

float random_value() {
  static uint32_t state = 1;
  state = state * 1664525 + 1013904223;
  return static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
}

void distances(const DistanceQuery& query, const std::vector<uint8_t>& rows, uint32_t row_bytes) {
  for (size_t i = 0; i < ids.size(); i++) keys[i] = query.key(rows.data() + size_t{ids[i]} * row_bytes);
}

}  // namespace

// Vectors of `dim` components (a multiple of 16), as f32, as int8 and as codes of one bit.
PW_EXPORT(prepare) void prepare(uint32_t dim, uint32_t count) {
  parameters.rows = count;
  parameters.dim = parameters.code_dim = dim;
  parameters.metric = PwMetric::InnerProduct;
  const Rotation rotation(dim, dim, 1);
  std::vector<float> vector(dim);
  for (float& value : vector) value = random_value();
  parameters.dtype = PwDtype::F32;
  query_f32.set(parameters, rotation, vector.data());
  parameters.dtype = PwDtype::I8;
  query_i8.set(parameters, rotation, vector.data());
  scan_query.set(parameters, query_i8.rotated());
  rows_f32.resize(size_t{count} * dim * 4);
  rows_i8.resize(size_t{count} * (4 + dim));
  for (uint32_t row = 0; row < count; row++) {
    for (float& value : vector) value = random_value();
    memcpy(rows_f32.data() + size_t{row} * dim * 4, vector.data(), dim * 4);
    store_i8(vector.data(), dim, rows_i8.data() + size_t{row} * (4 + dim));
    ids.push_back(row);
  }
  keys.resize(count);
  const uint32_t block_bytes = scan_query.shape().block_bytes();
  blocks.resize(size_t{(count + kBlockRows - 1) / kBlockRows} * block_bytes);
  for (size_t at = 0; at < blocks.size(); at += block_bytes) {
    for (uint32_t i = 0; i < scan_query.shape().plane_bytes(); i++) blocks[at + i] = static_cast<uint8_t>(random_value() * 127);
    const std::vector<uint16_t> factors(2 * kBlockRows, kHalf);
    memcpy(blocks.data() + at + scan_query.shape().plane_bytes(), factors.data(), 4 * kBlockRows);
  }
}

// Of every row that is listed.
PW_EXPORT(distances_f32) void distances_f32() { distances(query_f32, rows_f32, parameters.dim * 4); }
PW_EXPORT(distances_i8) void distances_i8() { distances(query_i8, rows_i8, parameters.dim + 4); }

PW_EXPORT(scan_1bit) uint32_t scan_1bit() {
  best.reset(kFound);
  return scan_blocks(scan_query, blocks.data(), 0, parameters.rows, 0.0f, nullptr, 0, best);
}
