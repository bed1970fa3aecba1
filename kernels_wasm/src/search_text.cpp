// PwOperation::SearchText: PwTextSearch -> PwHits, best first; and the segmentation that hosts
// highlight by (pw_tokenize).
#include <algorithm>

#include "abi.h"
#include "filter.h"
#include "index.h"
#include "op_delete.h"
#include "operations.h"
#include "parts.h"
#include "status.h"
#include "text_query.h"

namespace {

class SearchText final : public Operation {
 public:
  explicit SearchText(Index& index) : index_(index), filter_(index), query_(index) {}

  int32_t begin(ByteReader message) override {
    result.clear();
    const PwTextSearch search = message.get<PwTextSearch>();
    const uint8_t* program = message.take(search.filter_bytes);
    const std::string_view text = message.text(search.text_bytes);
    if (!message.ok() || search.filter_bytes % 4)
      return fail(PW_BAD_ARGUMENT, "text search: a filter of %u bytes and a text of %u do not fit in the message",
                  search.filter_bytes, search.text_bytes);
    if (search.k == 0) return fail(PW_BAD_ARGUMENT, "text search: k is 0, expected at least 1");
    if (search.flags > 1) return fail(PW_BAD_ARGUMENT, "text search: unknown flags %u", search.flags);
    if (!index_.lexicon->enabled()) return fail(PW_BAD_ARGUMENT, "text search: this index was built without keyword search");
    program_.resize(search.filter_bytes / 4);
    if (!program_.empty()) memcpy(program_.data(), program, search.filter_bytes);
    if (int32_t status = filter_.begin(program_)) return status;
    if (take_inserted_texts(index_)) note_delta_bytes(index_);
    rows_ = index_.rows();
    query_.begin(text, search.flags & 1);
    bm25_.begin(std::min(search.k, std::max(rows_, 1u)));
    filtered_ = false;
    return PW_DONE;
  }

  int32_t step() override {
    wanted.clear();
    const size_t room = std::max<size_t>(index_.pages.free_slots(), 1);
    if (!filtered_) {
      const int32_t status = filter_.step(wanted);
      if (status < 0) return status;
      filtered_ = status == PW_DONE;
    }
    const int32_t status = query_.step(wanted, room > wanted.size() ? room - wanted.size() : 0);
    if (status < 0) return status;
    if (status == PW_NEED || !filtered_) return PW_NEED;
    if (int32_t failed = query_.score(bm25_, rows_, filter_.bitmap())) return failed;
    write_result();
    return PW_DONE;
  }

 private:
  void write_result() {
    const std::span<const ScoredRow> best = bm25_.best();
    PwHits hits{};
    hits.count = static_cast<uint32_t>(best.size());
    hits.passing = filter_.passing();
    hits.codes = static_cast<uint32_t>(std::min<uint64_t>(bm25_.scored(), UINT32_MAX));
    hits.pages_hit = query_.pages_hit;
    hits.pages_missed = query_.pages_missed;
    result.put(hits);
    for (const ScoredRow& one : best) result.put(PwHit{one.row, static_cast<float>(one.score) * kScoreStep, 1, 0});
  }

  Index& index_;
  FilterState filter_;
  TextQuery query_;
  Bm25 bm25_;
  std::vector<uint32_t> program_;
  uint32_t rows_ = 0;  // of the index at begin()
  bool filtered_ = false;
};

}  // namespace

std::unique_ptr<Operation> make_search_text(Index& index) { return std::make_unique<SearchText>(index); }

const void* pw_tokenize(const char* text, uint32_t bytes, uint32_t* result_bytes) {
  static ByteWriter out;
  out.clear();
  out.put(uint32_t{0});
  static std::vector<char> terms;
  terms.clear();
  uint32_t count = 0;
  Segmenter segmenter(std::string_view(text, bytes));
  for (Token token; segmenter.next(token); count++) {
    out.put(token.start);
    out.put(token.end);
    out.put(static_cast<uint32_t>(terms.size()));
    out.put(static_cast<uint32_t>(token.term.size()));
    terms.insert(terms.end(), token.term.begin(), token.term.end());
  }
  out.patch(0, count);
  out.put(terms.data(), terms.size());
  out.align(4);
  *result_bytes = static_cast<uint32_t>(out.size());
  return out.data();
}
