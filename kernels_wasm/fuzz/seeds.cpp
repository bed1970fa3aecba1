// Writes the corpora that fuzzing starts from: `seeds FOLDER` fills FOLDER/<target>/.
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz_site.h"

namespace {

std::string folder;

void write(const std::string& target, uint32_t number, const void* data, size_t bytes) {
  mkdir((folder + "/" + target).c_str(), 0777);
  FILE* file = fopen((folder + "/" + target + "/seed" + std::to_string(number)).c_str(), "wb");
  if (file == nullptr || fwrite(data, 1, bytes, file) != bytes || fclose(file) != 0) {
    perror("seeds");
    exit(1);
  }
}

void put_part(ByteWriter& out, uint32_t call, const ByteWriter& data) {
  out.put(static_cast<uint8_t>(call));
  out.put(static_cast<uint16_t>(data.size()));
  out.put(data.data(), data.size());
}

void write_site_seeds(FuzzBits& bits) {
  for (uint32_t i = 0; i < 60; i++) {
    ByteWriter input;
    input.put(static_cast<uint8_t>(i % kFuzzSites));
    input.put(static_cast<uint8_t>(i / kFuzzSites));
    for (uint32_t edits = i % 6; edits > 0; edits--) {
      input.put(static_cast<uint16_t>(bits()));
      input.put(static_cast<uint16_t>(bits() % 2 ? bits() : bits() % 64));
      input.put(static_cast<uint8_t>(3));
      input.put(bits() % 3 == 0 ? 0xffffffffu : static_cast<uint32_t>(bits()));
    }
    write("site_fuzz", i, input.data(), input.size());
  }
}

void write_message_seeds(FuzzBits& bits) {
  for (uint32_t i = 0; i < 60; i++) {
    ByteWriter input;
    input.put(static_cast<uint8_t>(i % kFuzzSites));
    for (uint32_t count = 1 + i % 4; count > 0; count--) {
      const uint32_t kind = i < 20 ? i % std::size(kAllOperations) : bits() % std::size(kAllOperations);
      put_part(input, kind, message_of(kAllOperations[kind], bits));
    }
    write("message_fuzz", i, input.data(), input.size());
  }
}

void write_build_seeds(FuzzBits& bits) {
  for (uint32_t i = 0; i < 16; i++) {
    const bool trained = i < 8;
    PwConfig config{};
    config.dim = kFuzzDim;
    config.metric = static_cast<PwMetric>(i % 3);
    config.kind = static_cast<PwKind>(i % 4);
    config.dtype = static_cast<PwDtype>(i % 3);
    config.code_bits = 1 + i % 4;
    config.clusters = i % 4 == 2 ? 5 : 1;
    config.m = 4;
    config.ef_construction = 10;
    ByteWriter input, message, train;
    put_config(message, config, fuzz_columns());
    put_part(input, 0, message);
    std::vector<TestRow> rows;
    for (uint32_t row = 0; row < 40; row++) rows.push_back(fuzz_row(bits, "id " + std::to_string(row)));
    for (const TestRow& row : rows) train.put(row.vector.data(), kFuzzDim * 4);
    if (trained) {
      put_part(input, 1, train);
      put_part(input, 4, ByteWriter());
    }
    ByteWriter batch;
    put_batch(batch, rows, fuzz_columns(), std::vector<uint32_t>(rows.size(), 0));
    put_part(input, 0, batch);
    write("build_fuzz", i, input.data(), input.size());
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: seeds FOLDER\n");
    return 2;
  }
  folder = arguments[1];
  mkdir(folder.c_str(), 0777);
  FuzzBits bits(17);
  write_site_seeds(bits);
  write_message_seeds(bits);
  write_build_seeds(bits);
  for (uint32_t i = 0; i < kFuzzSites; i++) {
    std::vector<uint8_t> head = fuzz_site(i).head;
    std::vector<uint8_t> input(1, 0);
    input.insert(input.end(), head.begin() + kHeadChunksAt, head.end());
    write("head_fuzz", i, input.data(), input.size());
  }
  const char* const texts[] = {"The quick brown fox's 3.14 can't", "検索エンジンは東京都", "데이터베이스 검색", "naïve Straße ＦＵＬＬ",
                               "ไทย ру́сский עברית", "\xff\xc0\x80 broken \xe6\xa4", "a_b-c d.e 1,000 x@y.z 👩‍👩‍👧"};
  for (uint32_t i = 0; i < std::size(texts); i++) write("text_fuzz", i, texts[i], strlen(texts[i]));
  return 0;
}
