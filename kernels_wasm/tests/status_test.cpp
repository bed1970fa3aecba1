// Error sentences come out as printf would write them.
#include "status.h"

#include <math.h>

#include <string>

#include "check.h"

// The formats of this test are literals, passed on.
#pragma clang diagnostic ignored "-Wformat-security"
#pragma clang diagnostic ignored "-Wformat-nonliteral"

namespace {

template <class... Arguments>
void same(const char* format, Arguments... arguments) {
  char expected[512];
  snprintf(expected, sizeof expected, format, arguments...);
  CHECK_EQ(fail(PW_CORRUPT, format, arguments...), PW_CORRUPT);
  CHECK_EQ(std::string(pw_error()), std::string(expected));
}

}  // namespace

int main() {
  same("%s", "plain");
  for (uint32_t value : {0u, 7u, 4294967295u}) same("row %u of %08x, %5u|", value, value, value);
  for (int value : {0, -1, 2147483647, -2147483647 - 1}) same("%d%%", value);
  same("%llu %zu %lu %lld", ~0ull, ~size_t{0}, ~0ul, -5ll);
  same("%s and %.*s and %.4s and %c", "name", 3, "abcdef", "abcdef", 'x');
  for (double value : {0., 1., -1., 0.5, 0.95, 100., 123456., 1234567., 1e16, 1e-4, 1.5e-7, 3.14159265, 99999.95, 999999.6, 1e300, -0.001})
    same("%g", value);
  same("%g %g", static_cast<double>(INFINITY), -static_cast<double>(INFINITY));
  CHECK_EQ(fail(PW_STATE, "%s", std::string(2000, 'a').c_str()), PW_STATE);
  CHECK_EQ(std::string(pw_error()).size(), 511u);
  return check_result("status");
}
