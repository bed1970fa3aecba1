#include "operations.h"

std::unique_ptr<Operation> make_search_operation(uint32_t kind, Index& index) {
  switch (static_cast<PwOperation>(kind)) {
    case PwOperation::SearchVector: return make_search_vector(index);
    case PwOperation::SearchText: return make_search_text(index);
    case PwOperation::Records: return make_records(index);
    case PwOperation::Vectors: return make_vectors(index);
    case PwOperation::RowsOfIds: return make_rows_of_ids(index);
    case PwOperation::LiveRows: return make_live_rows(index);
    default: return nullptr;
  }
}
