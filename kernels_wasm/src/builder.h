// Builds an index from rows that come in cluster order; memory stays bounded by the training sample
// and what the modules' builders hold. Calls and their order are those of abi.h.
#pragma once
#include <stdint.h>

#include <memory>
#include <span>
#include <vector>

#include "codes.h"
#include "columns.h"
#include "config.h"
#include "graph_builder.h"
#include "head.h"
#include "ids.h"
#include "kmeans.h"
#include "lexicon_builder.h"
#include "records.h"
#include "rotate.h"
#include "row_batch.h"
#include "section_writer.h"

class Builder {
 public:
  int32_t begin(const void* config, size_t bytes);
  const Config& config() const { return config_; }

  // vectors[count][dim] of the training sample.
  int32_t train(const float* vectors, uint32_t count);
  // PW_NEED while iterations are left.
  int32_t train_step();
  // The cluster of each of vectors[count][dim].
  int32_t assign(const float* vectors, uint32_t count, uint32_t* clusters);
  int32_t rows(const void* batch, size_t bytes);
  // Neighbour lists made elsewhere, after all rows (GraphBuilder::links).
  int32_t links(const void* message, size_t bytes);
  // PW_NEED while work is left; then head() is complete.
  int32_t finish();
  std::span<const uint8_t> head() const { return head_; }

  PageQueue pages;  // finished ones, for the host to take
  LexiconBuilder* lexicon() { return lexicon_.get(); }  // its runs are the host's to store; null: none

 private:
  enum class Stage { None, Training, Rows, Graph, Text, Done };

  void rotate(const float* vector, float* rotated);
  void end_training();
  void measure_factors();
  int32_t append(const RowBatch& batch);
  void add_row(const RowBatch& batch, uint32_t i);
  void flush_block();
  int32_t finish_head();

  Stage stage_ = Stage::None;
  bool with_ids_ = false;               // rows come with ids, all or none
  Config config_;
  std::unique_ptr<Rotation> rotation_;
  std::unique_ptr<KMeans> kmeans_;
  Assigner assigner_;
  std::vector<float> centroids_;        // [clusters][code_dim], exactly as stored
  std::vector<uint8_t> centroid_rows_;  // i8 layout
  std::vector<uint8_t> mean_row_;
  std::vector<uint32_t> first_rows_;
  uint32_t cluster_ = 0;                // of the last row

  std::unique_ptr<RowCoder> coder_;
  RowCode code_;
  std::vector<uint8_t> block_;
  std::vector<float> plain_, rotated_, tile_;
  std::vector<uint8_t> row_, row_code_;

  std::unique_ptr<SectionWriter> centroid_writer_, code_writer_, vector_writer_;
  std::unique_ptr<RecordsBuilder> records_;
  std::unique_ptr<IdsBuilder> ids_;
  std::unique_ptr<ColumnsBuilder> columns_;
  std::unique_ptr<GraphBuilder> graph_;
  std::unique_ptr<LexiconBuilder> lexicon_;
  HeadWriter head_writer_;
  std::vector<uint8_t> head_;
};
