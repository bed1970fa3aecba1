// The operations by kind. Each factory lives with its module.
#pragma once
#include <memory>

#include "messages.h"
#include "operation.h"

class Index;

// Those of a search, which every module has; null for another kind. The others: parts.h.
std::unique_ptr<Operation> make_search_operation(uint32_t kind, Index& index);

std::unique_ptr<Operation> make_search_vector(Index& index);   // search_vector.cpp
std::unique_ptr<Operation> make_vectors(Index& index);         // op_vectors.cpp
std::unique_ptr<Operation> make_search_text(Index& index);     // search_text.cpp
std::unique_ptr<Operation> make_records(Index& index);         // records.cpp
std::unique_ptr<Operation> make_rows_of_ids(Index& index);     // ids.cpp
std::unique_ptr<Operation> make_insert(Index& index);          // op_insert.cpp
std::unique_ptr<Operation> make_delete(Index& index);          // op_delete.cpp
std::unique_ptr<Operation> make_filter_count(Index& index);    // op_rows.cpp
std::unique_ptr<Operation> make_live_rows(Index& index);       // op_rows.cpp
std::unique_ptr<Operation> make_column_values(Index& index);   // op_rows.cpp
