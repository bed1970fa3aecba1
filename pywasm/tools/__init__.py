"""Developer tools: generators of checked-in sources. Not needed at run time."""
