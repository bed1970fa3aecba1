#include "builder.h"

#include <math.h>

#include <algorithm>

#include "clusters.h"
#include "distance.h"
#include "rowcode.h"
#include "status.h"

namespace {
constexpr uint32_t kTileRows = 256;           // rotated at a time for assignment
constexpr uint32_t kFactorSample = 4096;      // rows that the factors' exponents are measured on
constexpr uint64_t kMaxSampleFloats = 1ull << 28;  // 1 GiB
}  // namespace

int32_t Builder::begin(const void* config, size_t bytes) {
  if (int32_t status = Config::parse(ByteReader(config, bytes), config_)) return status;
  stage_ = Stage::Training;
  rotation_ = std::make_unique<Rotation>(config_.dim, config_.code_dim, config_.seed);
  kmeans_ = std::make_unique<KMeans>(config_.code_dim, config_.clusters, config_.metric == PwMetric::Cosine, config_.seed);
  plain_.resize(config_.dim);
  rotated_.resize(config_.code_dim);
  row_.resize(config_.row_bytes());
  // A first guess, for an index that starts without rows: unit vectors, or any within 1/8 .. 4,000.
  config_.add_exponent = config_.metric == PwMetric::Cosine ? 0 : 8;
  config_.rescale_exponent = 0;
  centroid_writer_ = std::make_unique<SectionWriter>(Section::Centroids, pages);
  code_writer_ = std::make_unique<SectionWriter>(Section::Codes, pages);
  vector_writer_ = std::make_unique<SectionWriter>(Section::Vectors, pages);
  records_ = std::make_unique<RecordsBuilder>(pages);
  ids_ = std::make_unique<IdsBuilder>(pages);
  columns_ = std::make_unique<ColumnsBuilder>(pages, config_.columns);
  if (config_.keyword) lexicon_ = std::make_unique<LexiconBuilder>(pages, config_.lexicon_budget);
  return PW_DONE;
}

void Builder::rotate(const float* vector, float* rotated) {
  normalise(config_.metric, vector, config_.dim, plain_.data());
  rotation_->apply(plain_.data(), rotated);
}

// --- training ----------------------------------------------------------------------------

int32_t Builder::train(const float* vectors, uint32_t count) {
  if (stage_ != Stage::Training) return fail(PW_STATE, "build: training vectors after training");
  const uint32_t before = kmeans_->sample_rows();
  if ((static_cast<uint64_t>(before) + count) * config_.code_dim > kMaxSampleFloats)
    return fail(PW_BAD_ARGUMENT, "build: a training sample of %u rows is too large", before + count);
  for (uint32_t i = 0; i < count; i++) {
    const float* vector = vectors + static_cast<size_t>(i) * config_.dim;
    if (int32_t status = check_vector(vector, config_.dim, config_.metric, "training row", before + i)) return status;
    rotate(vector, rotated_.data());
    kmeans_->add(rotated_.data());
  }
  return PW_DONE;
}

int32_t Builder::train_step() {
  if (stage_ != Stage::Training) return fail(PW_STATE, "build: a training step after training");
  if (config_.has_codes() && kmeans_->step()) return PW_NEED;
  end_training();
  return PW_DONE;
}

// Fixes centroids (as they are stored), their mean, the factors' exponents; then rows can come.
void Builder::end_training() {
  stage_ = Stage::Rows;
  first_rows_.assign(1, 0);
  const uint32_t dim = config_.code_dim, row_bytes = 4 + dim;
  mean_row_.assign(row_bytes, 0);
  if (!config_.has_codes()) return;
  kmeans_->order();
  centroids_ = kmeans_->centroids();
  centroids_.resize(static_cast<size_t>(config_.clusters) * dim);
  const std::vector<float>& sample = kmeans_->sample();
  const uint32_t rows = kmeans_->sample_rows();
  std::vector<double> sums(dim, 0);
  for (uint32_t i = 0; i < rows; i++)
    for (uint32_t j = 0; j < dim; j++) sums[j] += sample[static_cast<size_t>(i) * dim + j];
  for (uint32_t j = 0; j < dim && rows; j++) rotated_[j] = static_cast<float>(sums[j] / rows);
  if (rows) store_i8(rotated_.data(), dim, mean_row_.data());
  centroid_rows_.resize(static_cast<size_t>(config_.clusters) * row_bytes);
  for (uint32_t c = 0; c < config_.clusters; c++) {
    float* centroid = centroids_.data() + static_cast<size_t>(c) * dim;
    uint8_t* stored = centroid_rows_.data() + static_cast<size_t>(c) * row_bytes;
    if (config_.kind == PwKind::Clusters) store_i8(centroid, dim, stored);
    else std::copy(mean_row_.begin(), mean_row_.end(), stored);
    load_i8(stored, dim, centroid);
  }
  assigner_.set(centroids_.data(), config_.clusters, dim, config_.metric == PwMetric::Cosine);
  if (rows) measure_factors();
  kmeans_->release_sample();
  coder_ = std::make_unique<RowCoder>(config_);
  block_.assign(coder_->shape().block_bytes(), 0);
  if (config_.kind == PwKind::Graph) graph_ = std::make_unique<GraphBuilder>(config_, pages);
}

void Builder::measure_factors() {
  RowCoder coder(config_);
  const uint32_t rows = kmeans_->sample_rows(), stride = std::max(1u, rows / kFactorSample);
  float add = 0, rescale = 0;
  for (uint32_t i = 0; i < rows; i += stride) {
    const float* row = kmeans_->sample().data() + static_cast<size_t>(i) * config_.code_dim;
    uint32_t nearest;
    assigner_.assign(row, 1, &nearest, nullptr);
    coder.encode(row, centroids_.data() + static_cast<size_t>(nearest) * config_.code_dim, code_);
    add = std::max(add, fabsf(code_.add));
    rescale = std::max(rescale, fabsf(code_.rescale));
  }
  config_.add_exponent = factor_exponent(add);
  config_.rescale_exponent = factor_exponent(rescale);
}

int32_t Builder::assign(const float* vectors, uint32_t count, uint32_t* clusters) {
  if (stage_ != Stage::Rows) return fail(PW_STATE, "build: assignment before training has ended");
  if (config_.clusters == 1) {
    std::fill_n(clusters, count, 0u);
    return PW_DONE;
  }
  tile_.resize(static_cast<size_t>(kTileRows) * config_.code_dim);
  for (uint32_t from = 0; from < count; from += kTileRows) {
    const uint32_t part = std::min(kTileRows, count - from);
    for (uint32_t i = 0; i < part; i++) {
      const float* vector = vectors + static_cast<size_t>(from + i) * config_.dim;
      if (int32_t status = check_vector(vector, config_.dim, config_.metric, "row", from + i)) return status;
      rotate(vector, tile_.data() + static_cast<size_t>(i) * config_.code_dim);
    }
    assigner_.assign(tile_.data(), part, clusters + from, nullptr);
  }
  return PW_DONE;
}

// --- rows --------------------------------------------------------------------------------

int32_t Builder::rows(const void* message, size_t bytes) {
  if (stage_ == Stage::Training) end_training();  // untrained: one centroid at the origin
  if (stage_ != Stage::Rows) return fail(PW_STATE, "build: rows after finish");
  RowBatch batch;
  if (int32_t status = RowBatch::parse(ByteReader(message, bytes), config_, config_.columns, config_.rows, batch)) return status;
  if (batch.count == 0) return PW_DONE;
  if (!batch.vectors) return fail(PW_BAD_ARGUMENT, "build: rows from %u on come without vectors", config_.rows);
  if (!config_.columns.empty() && batch.columns.empty())
    return fail(PW_BAD_ARGUMENT, "build: rows from %u on come without their %zu columns", config_.rows, config_.columns.size());
  if (batch.count > kMaxRows - config_.rows) return fail(PW_BAD_ARGUMENT, "build: more than %u rows", kMaxRows);
  for (uint32_t i = 0; i < batch.count; i++) {
    const uint32_t cluster = batch.clusters ? batch.clusters[i] : 0, before = i ? batch.clusters ? batch.clusters[i - 1] : 0 : cluster_;
    if (cluster < before || cluster >= config_.clusters)
      return fail(PW_BAD_ARGUMENT, "build: row %u is of cluster %u after %u, expected ascending numbers below %u",
                  config_.rows + i, cluster, before, config_.clusters);
  }
  if (config_.rows == 0) with_ids_ = batch.flags & kBatchIds;
  if (with_ids_ != static_cast<bool>(batch.flags & kBatchIds))
    return fail(PW_BAD_ARGUMENT, "build: rows from %u on come %s ids, the rows before %s", config_.rows,
                with_ids_ ? "without" : "with", with_ids_ ? "with" : "without");
  const int32_t status = append(batch);
  if (status != PW_DONE) stage_ = Stage::None;  // half a batch is in: this build is over
  return status;
}

int32_t Builder::append(const RowBatch& batch) {
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.ids.size()) {
      if (int32_t status = ids_->add(batch.ids[i])) return status;
    }
    const Record record{batch.ids.size() ? batch.ids[i] : std::string_view(),
                        batch.texts.size() ? batch.texts[i] : std::string_view(),
                        batch.payloads.size() ? batch.payloads[i] : std::string_view()};
    if (int32_t status = records_->add(record)) return status;
    if (lexicon_) {
      if (int32_t status = lexicon_->add(record.text)) return status;
    }
    add_row(batch, i);
  }
  columns_->add(batch);
  return PW_DONE;
}

void Builder::add_row(const RowBatch& batch, uint32_t i) {
  cluster_ = batch.clusters ? batch.clusters[i] : 0;
  while (first_rows_.size() <= cluster_) first_rows_.push_back(config_.rows);
  rotate(batch.vectors + static_cast<size_t>(i) * config_.dim, rotated_.data());
  store_row(config_, plain_.data(), rotated_.data(), row_.data());
  if (vector_writer_->room() < row_.size()) vector_writer_->end_page();
  vector_writer_->put(row_.data(), row_.size());
  if (config_.rows % config_.rows_per_page() == config_.rows_per_page() - 1) vector_writer_->end_page();
  const uint32_t row = config_.rows++;
  if (!config_.has_codes()) return;
  coder_->encode(rotated_.data(), centroids_.data() + static_cast<size_t>(cluster_) * config_.code_dim, code_);
  if (config_.kind == PwKind::Graph) {
    const RowCodeShape shape{config_.code_dim, config_.code_bits};
    row_code_.assign(shape.row_bytes(), 0);
    pack_row_code(config_, code_, row_code_.data());
    if (code_writer_->room() < row_code_.size()) code_writer_->end_page();
    code_writer_->put(row_code_.data(), row_code_.size());
    graph_->add(rotated_.data());
    return;
  }
  coder_->place(code_, block_.data(), row % kBlockRows);
  if (row % kBlockRows == kBlockRows - 1) flush_block();
}

void Builder::flush_block() {
  code_writer_->put(block_.data(), block_.size());
  std::fill(block_.begin(), block_.end(), uint8_t{0});
}

int32_t Builder::links(const void* message, size_t bytes) {
  if (stage_ != Stage::Rows || !graph_) return fail(PW_STATE, "build: links come after the rows of an index of kind graph");
  return graph_->links(ByteReader(message, bytes));
}

// --- the end -----------------------------------------------------------------------------

int32_t Builder::finish() {
  switch (stage_) {
    case Stage::None: return fail(PW_STATE, "build: finish before begin, or after rows that were refused half-way");
    case Stage::Training:
      end_training();
      return PW_NEED;
    case Stage::Rows:
      first_rows_.resize(config_.clusters, config_.rows);
      first_rows_.push_back(config_.rows);
      if (config_.has_codes() && config_.kind != PwKind::Graph && config_.rows % kBlockRows) flush_block();
      if (config_.kind == PwKind::Clusters) centroid_writer_->put(centroid_rows_.data(), centroid_rows_.size());
      for (SectionWriter* writer : {centroid_writer_.get(), code_writer_.get(), vector_writer_.get()}) writer->end_page();
      stage_ = Stage::Graph;
      return PW_NEED;
    case Stage::Graph:
      if (graph_) {
        if (int32_t status = graph_->step()) return status;
        graph_->finish(head_writer_);
        graph_.reset();
      }
      stage_ = Stage::Text;
      return PW_NEED;
    case Stage::Text:
      if (lexicon_) {
        if (int32_t status = lexicon_->finish(head_writer_)) return status;
        lexicon_.reset();
      }
      return finish_head();
    case Stage::Done: return PW_DONE;
  }
  return PW_DONE;
}

int32_t Builder::finish_head() {
  for (SectionWriter* writer : {centroid_writer_.get(), code_writer_.get(), vector_writer_.get()}) head_writer_.section(*writer);
  if (config_.has_codes()) write_clusters(head_writer_, first_rows_, mean_row_);
  if (int32_t status = records_->finish(head_writer_)) return status;
  if (int32_t status = ids_->finish(head_writer_)) return status;
  if (int32_t status = columns_->finish(head_writer_)) return status;
  head_ = head_writer_.finish(config_);
  stage_ = Stage::Done;
  return PW_DONE;
}
