#include "config.h"

#include "status.h"

namespace {
constexpr uint32_t kMaxColumns = 1024;
constexpr uint32_t kConfigNoKeyword = 1;
}  // namespace

int32_t IndexParameters::check(int32_t status) const {
  if (dim < 1 || dim > kMaxDim) return fail(status, "dim %u: expected 1 to %u", dim, kMaxDim);
  if (code_dim != (dim + 15) / 16 * 16) return fail(status, "code_dim %u: expected %u", code_dim, (dim + 15) / 16 * 16);
  if (metric > PwMetric::L2) return fail(status, "metric %u: expected 0 to 2", static_cast<uint32_t>(metric));
  if (dtype > PwDtype::I8) return fail(status, "dtype %u: expected 0 to 2", static_cast<uint32_t>(dtype));
  if (kind > PwKind::Graph) return fail(status, "kind %u: expected 0 to 3", static_cast<uint32_t>(kind));
  if (row_bytes() > kPageBytes)
    return fail(status, "a row of %u dimensions takes %u bytes: expected at most a page, %u", dim, row_bytes(), kPageBytes);
  if (rows > kMaxRows) return fail(status, "rows %u: expected at most %u", rows, kMaxRows);
  if (code_bits < 1 || code_bits > 8) return fail(status, "code_bits %u: expected 1 to 8", code_bits);
  const uint32_t most = kind == PwKind::Clusters ? kMaxClusters : 1;
  if (clusters < 1 || clusters > most) return fail(status, "clusters %u: expected 1 to %u", clusters, most);
  if (m < 2 || m > 256) return fail(status, "m %u: expected 2 to 256", m);
  if (ef_construction < 1 || ef_construction > 65536)
    return fail(status, "ef_construction %u: expected 1 to 65536", ef_construction);
  if (add_exponent < -126 || add_exponent > 126 || rescale_exponent < -126 || rescale_exponent > 126)
    return fail(status, "factor exponents %d, %d: expected -126 to 126", add_exponent, rescale_exponent);
  return PW_DONE;
}

int32_t Config::parse(ByteReader message, Config& config) {
  const PwConfig raw = message.get<PwConfig>();
  if (!message.ok()) return fail(PW_BAD_ARGUMENT, "the configuration has %zu bytes: expected at least %zu", message.at() + message.left(), sizeof(PwConfig));
  config = Config();
  config.dim = raw.dim;
  config.code_dim = raw.dim <= kMaxDim ? (raw.dim + 15) / 16 * 16 : 0;
  config.metric = raw.metric;
  config.dtype = raw.dtype;
  config.kind = raw.kind;
  config.code_bits = raw.code_bits ? raw.code_bits : 1;
  config.clusters = raw.kind == PwKind::Clusters ? raw.clusters : 1;
  if (raw.m) config.m = raw.m;
  if (raw.ef_construction) config.ef_construction = raw.ef_construction;
  config.seed = static_cast<uint64_t>(raw.seed_high) << 32 | raw.seed_low;
  config.expected_rows = raw.rows;
  if (raw.lexicon_budget) config.lexicon_budget = raw.lexicon_budget;
  config.keyword = !(raw.flags & kConfigNoKeyword);
  if (int32_t status = config.check(PW_BAD_ARGUMENT)) return status;
  if (raw.columns > kMaxColumns) return fail(PW_BAD_ARGUMENT, "%u columns: expected at most %u", raw.columns, kMaxColumns);
  for (uint32_t i = 0; i < raw.columns; i++) {
    const auto type = message.get<PwColumnType>();
    const uint32_t bytes = message.get<uint32_t>();
    const std::string_view name = message.text(bytes);
    message.align(4);
    if (!message.ok() || type > PwColumnType::Number)
      return fail(PW_BAD_ARGUMENT, "column %u of the configuration: expected type 0 or 1 and a name within the message", i);
    config.columns.push_back({type, std::string(name)});
  }
  return PW_DONE;
}
