#include "operations.h"

// Until every module has landed: those that are missing link as null.
#pragma weak _Z18make_search_vectorR5Index
#pragma weak _Z12make_vectorsR5Index
#pragma weak _Z16make_search_textR5Index
#pragma weak _Z12make_recordsR5Index
#pragma weak _Z16make_rows_of_idsR5Index
#pragma weak _Z11make_insertR5Index
#pragma weak _Z11make_deleteR5Index
#pragma weak _Z17make_filter_countR5Index
#pragma weak _Z14make_live_rowsR5Index
#pragma weak _Z18make_column_valuesR5Index
#define make_or_null(f) (f ? f(index) : nullptr)

std::unique_ptr<Operation> make_operation(uint32_t kind, Index& index) {
  switch (static_cast<PwOperation>(kind)) {
    case PwOperation::SearchVector: return make_or_null(make_search_vector);
    case PwOperation::SearchText: return make_or_null(make_search_text);
    case PwOperation::Records: return make_or_null(make_records);
    case PwOperation::Vectors: return make_or_null(make_vectors);
    case PwOperation::RowsOfIds: return make_or_null(make_rows_of_ids);
    case PwOperation::Insert: return make_or_null(make_insert);
    case PwOperation::Delete: return make_or_null(make_delete);
    case PwOperation::FilterCount: return make_or_null(make_filter_count);
    case PwOperation::LiveRows: return make_or_null(make_live_rows);
    case PwOperation::ColumnValues: return make_or_null(make_column_values);
  }
  return nullptr;
}
