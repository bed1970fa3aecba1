// The error text, and the little of printf that error sentences need: the C library's own is a
// tenth of the module.
#include "status.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

namespace {

char error_text[512];

class Text {
 public:
  void put(char c) {
    if (size_ + 1 < sizeof error_text) error_text[size_++] = c;
  }
  void put(const char* text, int most) {
    for (int i = 0; i != most && text[i]; i++) put(text[i]);
  }
  void number(uint64_t value, uint32_t base, int width, char fill) {
    char digits[24];
    int n = 0;
    do digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    for (int i = n; i < width; i++) put(fill);
    while (n > 0) put(digits[--n]);
  }
  // Six significant digits, as %g has.
  void real(double value) {
    if (value != value) return put("nan", -1);
    if (value < 0) put('-');
    value = fabs(value);
    if (value > 1.7e308) return put("inf", -1);
    int exponent = 0;
    if (value > 0) {
      for (; value >= 10; exponent++) value /= 10;
      for (; value < 1; exponent--) value *= 10;
    }
    uint32_t digits = static_cast<uint32_t>(value * 1e5 + 0.5);
    if (digits >= 1000000) {
      digits /= 10;
      exponent++;
    }
    const bool scientific = exponent < -5 || exponent > 5;
    char text[8];
    for (int i = 5; i >= 0; i--, digits /= 10) text[i] = static_cast<char>('0' + digits % 10);
    const int point = scientific ? 1 : exponent + 1;  // digits before it
    int last = 5;
    while (last >= point && last > 0 && text[last] == '0') last--;
    if (point <= 0) put("0.", -1);
    for (int i = point; i < 0; i++) put('0');
    for (int i = 0; i <= last || i < point; i++) {
      if (i == point && i > 0) put('.');
      put(text[i]);
    }
    if (!scientific) return;
    put(exponent < 0 ? "e-" : "e+", -1);
    number(static_cast<uint64_t>(exponent < 0 ? -exponent : exponent), 10, 2, '0');
  }
  void end() { error_text[size_] = 0; }

 private:
  size_t size_ = 0;
};

}  // namespace

// %u %d %x %s %g %c with l, ll or z, width, 0 and .precision (of strings, also as *).
int32_t fail(int32_t status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  Text out;
  for (const char* at = format; *at; at++) {
    if (*at != '%') {
      out.put(*at);
      continue;
    }
    int width = 0, precision = -1, longs = 0;
    char fill = ' ';
    if (*++at == '0') fill = '0';
    for (; *at >= '0' && *at <= '9'; at++) width = width * 10 + (*at - '0');
    if (*at == '.') {
      precision = 0;
      if (*++at == '*') precision = va_arg(arguments, int), at++;
      for (; *at >= '0' && *at <= '9'; at++) precision = precision * 10 + (*at - '0');
    }
    for (; *at == 'l' || *at == 'z'; at++) longs += *at == 'z' ? sizeof(size_t) == 8 ? 2 : 0 : sizeof(long) == 8 ? 2 : 1;
    const bool wide = longs >= 2;
    switch (*at) {
      case 'd': {
        const int64_t value = wide ? va_arg(arguments, int64_t) : va_arg(arguments, int);
        if (value < 0) out.put('-');
        out.number(value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value), 10, width, fill);
        break;
      }
      case 'u': out.number(wide ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t), 10, width, fill); break;
      case 'x': out.number(wide ? va_arg(arguments, uint64_t) : va_arg(arguments, uint32_t), 16, width, fill); break;
      case 's': out.put(va_arg(arguments, const char*), precision); break;
      case 'g': out.real(va_arg(arguments, double)); break;
      case 'c': out.put(static_cast<char>(va_arg(arguments, int))); break;
      default: out.put(*at);
    }
  }
  va_end(arguments);
  out.end();
  return status;
}

const char* pw_error() { return error_text; }

#ifdef __wasm__
// What Emscripten's C library would import: the module has no imports, so that any host can run it.
extern "C" void emscripten_notify_memory_growth(size_t) {}
extern "C" void __wasi_proc_exit(uint32_t) { __builtin_trap(); }
#endif
