#include "stem.h"

Stem stem(std::string_view word) {
  const Stem same{word.size(), {}};
  if (word.size() < 4 || word.back() != 's') return same;
  for (char c : word)
    if (c < 'a' || c > 'z') return same;
  for (std::string_view end : {"ss", "us", "is"})
    if (word.ends_with(end)) return same;
  if (word.ends_with("ies")) return word.size() > 4 ? Stem{word.size() - 3, "y"} : Stem{word.size() - 1, {}};
  for (std::string_view end : {"sses", "xes", "ches", "shes", "zzes"})
    if (word.ends_with(end)) return word.size() > 5 || end == "xes" ? Stem{word.size() - 2, {}} : Stem{word.size() - 1, {}};
  return {word.size() - 1, {}};
}
