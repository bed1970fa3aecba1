// The operation Vectors: rows as f32 in the space of the input.
#include "delta.h"
#include "distance.h"
#include "index.h"
#include "operations.h"
#include "row_list.h"
#include "rotate.h"
#include "status.h"

namespace {

constexpr uint32_t kMaxBytes = 1 << 28;

class Vectors : public Operation {
 public:
  explicit Vectors(Index& index) : index_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    if (const int32_t status = rows_.parse(message, index_.rows(), "vectors"); status != PW_DONE) return status;
    const uint64_t bytes = uint64_t{rows_.size()} * index_.head.dim * sizeof(float);
    if (bytes > kMaxBytes)
      return fail(PW_BAD_ARGUMENT, "vectors: %u rows are %llu bytes, at most %u at once", rows_.size(),
                  static_cast<unsigned long long>(bytes), kMaxBytes);
    vectors_.assign(size_t{rows_.size()} * index_.head.dim, 0.0f);
    scratch_.resize(index_.head.code_dim);
    return PW_DONE;
  }
  int32_t step() override {
    wanted.clear();
    const Head& head = index_.head;
    const bool done = rows_.visit(
        index_.pages, wanted,
        [&](uint32_t row) { return row < index_.base_rows() ? index_.vector_page(row) : RowList::kNoPage; },
        [&](uint32_t i, uint32_t row, const uint8_t* page) {
          const uint8_t* stored = page ? page + index_.vector_offset(row) : index_.delta->vector(row);
          load_row(head, *index_.rotation, stored, vectors_.data() + size_t{i} * head.dim, scratch_.data());
        });
    if (!done) return PW_NEED;
    result.put(vectors_.data(), vectors_.size() * sizeof(float));
    return PW_DONE;
  }

 private:
  Index& index_;
  RowList rows_;
  std::vector<float> vectors_, scratch_;
};

}  // namespace

std::unique_ptr<Operation> make_vectors(Index& index) { return std::make_unique<Vectors>(index); }
