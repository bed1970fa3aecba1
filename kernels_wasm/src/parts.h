// The parts of the engine that not every module has. engine.wasm, which every visitor loads, searches
// what was built; builder.wasm, and the native tests, also walk graphs, take inserts and deletes, and
// build. Each is linked with one of two definitions of these functions, parts_search.cpp or
// parts_full.cpp: what they don't reach is left out by the linker. A host that is told PW_NOT_LINKED
// goes on with builder.wasm.
#pragma once
#include <stdint.h>

#include <memory>

class GraphWalk;
class Index;
class Operation;
class TextQuery;

// Null for a kind that does not exist; PW_NOT_LINKED comes from where it is begun (missing_operation).
std::unique_ptr<Operation> make_operation(uint32_t kind, Index& index);
// What begin answers for a kind that make_operation has none for.
int32_t missing_operation(uint32_t kind);

// Opens index.graph and index.delta. PW_NOT_LINKED for an index that this module can't search.
int32_t open_graph(Index& index);
int32_t open_delta(Index& index);

// Null where no graph can be open.
std::unique_ptr<GraphWalk> make_graph_walk(Index& index);

// Inserted rows in a keyword search: their texts into the inverted index (false: there were none since
// the last call), and the lists of a query's terms out of it.
bool take_inserted_texts(Index& index);
void gather_inserted(TextQuery& query, uint32_t end_row);
