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
