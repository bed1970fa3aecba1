// CHECK macros for the native tests: print file, line and values, go on, and fail the program.
//
// A test is a program: `int main() { CHECK_EQ(1 + 1, 2); return check_result("name"); }`.
#pragma once
#include <stdio.h>

#include <sstream>
#include <string>

inline int check_failures = 0;
inline int check_count = 0;

template <class T>
std::string check_text(const T& value) {
  std::ostringstream out;
  if constexpr (requires { out << value; }) out << value;
  else out << static_cast<long long>(value);
  return out.str();
}
inline bool check_report(bool ok, const char* file, int line, const std::string& what) {
  check_count++;
  if (!ok && ++check_failures <= 20) printf("%s:%d: %s\n", file, line, what.c_str());
  return ok;
}
template <class A, class B, class F>
bool check_compare(const A& a, const B& b, F holds, const char* text, const char* file, int line) {
  return check_report(holds(a, b), file, line, std::string(text) + ": " + check_text(a) + " and " + check_text(b));
}
inline int check_result(const char* name) {
  printf("%s: %d checks, %d failed\n", name, check_count, check_failures);
  return check_failures != 0;
}

// Each gives whether it held, so that `if (!CHECK(...)) return ...;` can guard what would crash.
#define CHECK(condition) check_report(static_cast<bool>(condition), __FILE__, __LINE__, "failed: " #condition)
#define CHECK_COMPARE_(a, op, b) \
  check_compare(a, b, [](const auto& x, const auto& y) { return x op y; }, #a " " #op " " #b, __FILE__, __LINE__)
#define CHECK_EQ(a, b) CHECK_COMPARE_(a, ==, b)
#define CHECK_LT(a, b) CHECK_COMPARE_(a, <, b)
#define CHECK_LE(a, b) CHECK_COMPARE_(a, <=, b)
#define CHECK_GT(a, b) CHECK_COMPARE_(a, >, b)
#define CHECK_GE(a, b) CHECK_COMPARE_(a, >=, b)
