// Everything: builder.wasm and the native tests.
#include "delta.h"
#include "graph_search.h"
#include "index.h"
#include "lexicon.h"
#include "operations.h"
#include "parts.h"
#include "status.h"
#include "text_query.h"

std::unique_ptr<Operation> make_operation(uint32_t kind, Index& index) {
  switch (static_cast<PwOperation>(kind)) {
    case PwOperation::Insert: return make_insert(index);
    case PwOperation::Delete: return make_delete(index);
    case PwOperation::FilterCount: return make_filter_count(index);
    case PwOperation::ColumnValues: return make_column_values(index);
    default: return make_search_operation(kind, index);
  }
}

int32_t missing_operation(uint32_t kind) { return fail(PW_BAD_ARGUMENT, "operation %u is unknown", kind); }

int32_t open_graph(Index& index) { return index.graph->open(index); }
int32_t open_delta(Index& index) { return index.delta->open(index); }
std::unique_ptr<GraphWalk> make_graph_walk(Index& index) { return std::make_unique<GraphSearch>(index); }
bool take_inserted_texts(Index& index) { return index.lexicon->catch_up(index); }
void gather_inserted(TextQuery& query, uint32_t end_row) { query.gather_inserted(end_row); }
