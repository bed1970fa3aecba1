// Text of any bytes: cut into words, indexed as an inserted row, and searched for.
#include "fuzz_site.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 4096) return 0;
  const std::string text(reinterpret_cast<const char*>(data), size);
  uint32_t bytes = 0;
  const uint8_t* tokens = static_cast<const uint8_t*>(pw_tokenize(text.data(), static_cast<uint32_t>(size), &bytes));
  if (tokens == nullptr) return 0;
  uint32_t count = 0;
  memcpy(&count, tokens, 4);
  uint32_t last_start = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t token[4];
    memcpy(token, tokens + 4 + 16 * size_t{i}, 16);
    // In the text, in order (a word comes before its parts), and the term in the result.
    if (token[0] >= token[1] || token[1] > size || token[0] < last_start) abort();
    if (4 + 16 * size_t{count} + token[2] + token[3] > bytes) abort();
    last_start = token[0];
  }
  const Site& site = fuzz_site(4);
  Index index;
  if (index.open(site.head.data(), site.head.size(), 0) != PW_DONE) abort();
  FuzzBits bits(2);
  TestRow row = fuzz_row(bits, "one");
  row.text = text;
  ByteWriter message;
  message.put(uint64_t{0});
  put_batch(message, std::vector<TestRow>{row}, fuzz_columns());
  if (run_bounded(index, site, PwOperation::Insert, message).status != PW_DONE) abort();
  ByteWriter search;
  search.put(PwTextSearch{10, 0, 0, static_cast<uint32_t>(size)});
  search.text(text);
  search.align(4);
  const Outcome outcome = run_bounded(index, site, PwOperation::SearchText, search);
  // A text finds itself if it has a word.
  if (outcome.status == PW_DONE && count != 0 && outcome.at<uint32_t>(0) != 1) abort();
  return 0;
}
