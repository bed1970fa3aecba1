#include "operations.h"

// Until every module has landed: those that are missing link as null.
extern __attribute__((weak)) std::unique_ptr<Operation> make_search_vector(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_vectors(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_search_text(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_records(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_rows_of_ids(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_insert(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_delete(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_filter_count(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_live_rows(Index&);
extern __attribute__((weak)) std::unique_ptr<Operation> make_column_values(Index&);
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
