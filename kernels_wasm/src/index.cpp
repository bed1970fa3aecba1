#include "index.h"

#include "calibration.h"
#include "clusters.h"
#include "columns.h"
#include "delta.h"
#include "graph.h"
#include "ids.h"
#include "lexicon.h"
#include "parts.h"
#include "records.h"
#include "rotate.h"
#include "rowcode.h"
#include "status.h"

Index::Index() = default;
Index::~Index() = default;

int32_t Index::open(const void* head_bytes, size_t bytes, uint32_t budget) {
  if (int32_t status = Head::parse(head_bytes, bytes, head)) return status;
  if (int32_t status = check_sections()) return status;
  if (int32_t status = pages.open(head, budget)) return status;
  vectors_first_page_ = head.section(Section::Vectors).first_page;
  vectors_per_page_ = head.rows_per_page();
  vector_bytes_ = head.row_bytes();
  deleted.reset(head.rows);
  deleted_count = 0;
  rotation = std::make_unique<Rotation>(head.dim, head.code_dim, head.seed);
  clusters = std::make_unique<Clusters>();
  calibration = std::make_unique<Calibration>();
  lexicon = std::make_unique<Lexicon>();
  records = std::make_unique<Records>();
  ids = std::make_unique<Ids>();
  columns = std::make_unique<Columns>();
  graph = std::make_unique<Graph>();
  delta = std::make_unique<Delta>();
  if (int32_t status = clusters->open(*this)) return status;
  if (int32_t status = calibration->open(*this)) return status;
  if (int32_t status = lexicon->open(*this)) return status;
  if (int32_t status = records->open(*this)) return status;
  if (int32_t status = ids->open(*this)) return status;
  if (int32_t status = columns->open(*this)) return status;
  if (int32_t status = open_graph(*this)) return status;
  return open_delta(*this);  // last: it builds on the others
}

// VECTORS and CODES are exactly as long as the number of rows makes them.
int32_t Index::check_sections() const {
  const uint32_t per_page = head.rows_per_page();
  const uint32_t pages_expected = (head.rows + per_page - 1) / per_page;
  if (head.section(Section::Vectors).pages != pages_expected)
    return fail(PW_CORRUPT, "index head: section VECTORS has %u pages, expected %u for %u rows", head.section(Section::Vectors).pages, pages_expected, head.rows);
  if (head.kind == PwKind::Graph) {  // row-major codes
    const uint32_t codes_per_page = RowCodeShape{head.code_dim, head.code_bits}.rows_per_page();
    if (codes_per_page == 0 || head.section(Section::Codes).pages != (head.rows + codes_per_page - 1) / codes_per_page)
      return fail(PW_CORRUPT, "index head: section CODES has %u pages, expected %u rows a page", head.section(Section::Codes).pages, codes_per_page);
    return PW_DONE;
  }
  const uint64_t blocks = (head.rows + kBlockRows - 1) / kBlockRows;
  const uint64_t codes = head.has_codes() ? blocks * CodeShape{head.code_dim, head.code_bits}.block_bytes() : 0;
  if (head.section(Section::Codes).bytes != codes)
    return fail(PW_CORRUPT, "index head: section CODES has %llu bytes, expected %llu for %u rows",
                static_cast<unsigned long long>(head.section(Section::Codes).bytes), static_cast<unsigned long long>(codes), head.rows);
  return PW_DONE;
}

uint32_t Index::rows() const { return head.rows + delta->rows(); }

bool Index::live(uint32_t row) const { return row < rows() && !deleted.get(row); }
