// Heapsort: a tenth of std::sort's code for each type it is used with, which counts in a module that
// every visitor downloads. Not stable, like std::sort: order by something total.
#pragma once
#include <stddef.h>

#include <functional>
#include <utility>

// Moves the item at `hole` down to its place in the max-heap of `n` items.
template <class Iterator, class Less>
void sift_down(Iterator first, size_t n, size_t hole, Less less) {
  auto item = std::move(first[hole]);
  for (size_t child; (child = 2 * hole + 1) < n; hole = child) {
    if (child + 1 < n && less(first[child], first[child + 1])) child++;
    if (!less(item, first[child])) break;
    first[hole] = std::move(first[child]);
  }
  first[hole] = std::move(item);
}

// Sorts what is a max-heap already.
template <class Iterator, class Less = std::less<>>
void sort_heap_items(Iterator first, Iterator last, Less less = {}) {
  for (size_t n = static_cast<size_t>(last - first); n > 1; n--) {
    std::swap(first[0], first[n - 1]);
    sift_down(first, n - 1, 0, less);
  }
}

template <class Iterator, class Less = std::less<>>
void sort_items(Iterator first, Iterator last, Less less = {}) {
  const size_t n = static_cast<size_t>(last - first);
  for (size_t i = n / 2; i-- > 0;) sift_down(first, n, i, less);
  sort_heap_items(first, last, less);
}

// Leaves the `k` least of `items`, sorted.
template <class Items, class Less = std::less<>>
void keep_least(Items& items, size_t k, Less less = {}) {
  if (k < items.size()) {
    for (size_t i = k / 2; i-- > 0;) sift_down(items.begin(), k, i, less);
    for (size_t i = k; k > 0 && i < items.size(); i++) {
      if (!less(items[i], items[0])) continue;
      items[0] = items[i];
      sift_down(items.begin(), k, 0, less);
    }
    items.resize(k);
    sort_heap_items(items.begin(), items.end(), less);
    return;
  }
  sort_items(items.begin(), items.end(), less);
}
