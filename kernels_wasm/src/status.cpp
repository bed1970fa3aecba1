#include "status.h"

#include <stdarg.h>
#include <stdio.h>

namespace {
char error_text[512];
}

int32_t fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return status;
}

const char* pw_error() { return error_text; }

#ifdef __wasm__
// What Emscripten's C library would import: the module has no imports, so that any host can run it.
extern "C" void emscripten_notify_memory_growth(size_t) {}
extern "C" void __wasi_proc_exit(uint32_t) { __builtin_trap(); }
#endif
