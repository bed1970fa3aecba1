"""The kernel compiler: loop-level IR, schedules, and renderers to WebAssembly and WGSL.

It runs unchanged in CPython at build time and in Pyodide on the visitor's device, and so needs
nothing but the standard library and imports nothing else of this project. The search engine's
distances are C++ today (``kernels_wasm/src/distance.*``); kernels made here will be installed
through the engine's table where they win.
"""
