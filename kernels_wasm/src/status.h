// The one way failures travel: a PwStatus and a sentence that names what, where and what was expected.
#pragma once
#include "abi.h"

// Formats the sentence that pw_error() returns and gives `status` back, so that a failing check is
// one line: `return fail(PW_CORRUPT, "graph page %u: neighbour %u of row %u, expected < %u", ...)`.
[[gnu::format(printf, 2, 3)]] int32_t fail(int32_t status, const char* format, ...);
