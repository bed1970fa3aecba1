// Search of what was built, and nothing else: engine.wasm.
#include "graph_walk.h"
#include "index.h"
#include "operations.h"
#include "parts.h"
#include "status.h"

std::unique_ptr<Operation> make_operation(uint32_t kind, Index& index) { return make_search_operation(kind, index); }

int32_t missing_operation(uint32_t kind) { return fail(PW_NOT_LINKED, "operation %u is not in this module", kind); }

int32_t open_graph(Index& index) {
  return index.head.kind == PwKind::Graph ? fail(PW_NOT_LINKED, "kind graph is not in this module") : PW_DONE;
}
int32_t open_delta(Index&) { return PW_DONE; }  // no row is ever inserted
std::unique_ptr<GraphWalk> make_graph_walk(Index&) { return nullptr; }
bool take_inserted_texts(Index&) { return false; }
void gather_inserted(TextQuery&, uint32_t) {}
