// English plurals: the one inflection that names of things come in everywhere.
#pragma once
#include <string_view>

// How many of a folded word's bytes stay when it is cut to its singular, and what is appended then
// (a static string). An S-stemmer after D. Harman, "How effective is suffixing?" (JASIS 1991), with
// the -es after sibilants taken off whole: dates -> date, queries -> query, classes -> class,
// boxes -> box. Words of fewer than 4 bytes or with anything but a-z stay as they are, as do
// analysis, status, class.
struct Stem {
  size_t keep;
  std::string_view append;
};
Stem stem(std::string_view word);
