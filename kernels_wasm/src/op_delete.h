// Deleting a row: a bit in Index::deleted. Its bytes go when the host compacts.
#pragma once
#include <stdint.h>

class Index;

// `row` is live.
void delete_row(Index& index, uint32_t row);
// Tells the page cache what inserted rows and kept filters take out of the budget.
void note_delta_bytes(Index& index);
