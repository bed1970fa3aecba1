// Segmentation: what text becomes which terms.
#include "segment.h"

#include <random>
#include <string>
#include <vector>

#include "check.h"

namespace {

std::string terms(std::string_view text, bool query = false) {
  Segmenter segmenter(text, query);
  std::string all;
  for (Token token; segmenter.next(token);) {
    CHECK_LT(token.start, token.end);
    CHECK_LE(token.end, text.size());
    CHECK_LE(token.term.size(), kMaxTermBytes);
    all += (all.empty() ? "" : " ") + std::string(token.term);
  }
  return all;
}
std::string places(std::string_view text) {
  Segmenter segmenter(text);
  std::string all;
  for (Token token; segmenter.next(token);)
    all += (all.empty() ? "" : "|") + std::string(text.substr(token.start, token.end - token.start));
  return all;
}

void words() {
  CHECK_EQ(terms(""), "");
  CHECK_EQ(terms(" \t\n-- ?!"), "");
  CHECK_EQ(terms("How do I parse a date?"), "how do i parse a date");
  CHECK_EQ(terms("don't it's John's O’Brien l'homme"), "dont it john obrien brien lhomme homme");
  CHECK_EQ(terms("3.14 1,000 1,2,3 1,0000 version 3.11.2"), "3.14 1000 1 2 3 1 0000 version 3.11.2");
  CHECK_EQ(terms("utf-8, state-of-the-art"), "utf 8 state of the art");
  CHECK_EQ(places("end. Don't."), "end|Don't");
}

void identifiers() {
  CHECK_EQ(terms("parse_date"), "parse_date parse date");
  CHECK_EQ(terms("__init__"), "__init__ init");
  CHECK_EQ(terms("_private x_train"), "_private private x_train train");
  CHECK_EQ(terms("____ a __ b"), "a b");
  CHECK_EQ(terms("TemporaryDirectory"), "temporarydirectory temporary directory");
  CHECK_EQ(terms("heapq.nlargest(n)"), "heapq.nlargest heapq nlargest n");
  CHECK_EQ(terms("tempfile.TemporaryDirectory"), "tempfile.temporarydirectory tempfile temporarydirectory temporary directory");
  CHECK_EQ(terms("HTTPServer URLs IDs sha256 getHTTPResponseCode"),
           "httpserver http server url ids sha256 gethttpresponsecode get http response code");
  CHECK_EQ(terms("e.g. U.S.A."), "e.g e g u.s.a u s a");
  CHECK_EQ(places("os.path.exists"), "os.path.exists|os|path|exists");
  CHECK_EQ(places("parse_date"), "parse_date|parse|date");
}

void stems() {
  CHECK_EQ(terms("dates queries classes class boxes matches bus analysis status"),
           "date query class class box match bus analysis status");
  CHECK_EQ(terms("ties is os this"), "tie is os this");
  CHECK_EQ(terms("os.path.exists"), "os.path.exists os path exist");
  CHECK_EQ(terms("sizes cases uses"), "size case use");
}

void folding() {
  CHECK_EQ(terms("Ünïcödé STRASSE Straße ŁÓDŹ Æther œuvre"), "unicode strasse strasse lodz aether oeuvre");
  CHECK_EQ(terms("e\xCC\x81t\xC3\xA9"), "ete");  // e + combining acute, precomposed é
  CHECK_EQ(terms("ΑΘΉΝΑ Αθήνα σοφός"), "αθηνα αθηνα σοφοσ");
  CHECK_EQ(terms("Ёлка ЙОД"), "елка иод");
  CHECK_EQ(terms("Ｐｙｔｈｏｎ３ ﬁle x² Ⅳ"), "python3 file x2 iv");
  CHECK_EQ(terms("İstanbul ısı"), "istanbul isi");
  CHECK_EQ(terms("١٢٣"), "123");
  CHECK_EQ(terms("مُحَمَّد שָׁלוֹם"), "محمد שלום");
  CHECK_EQ(terms("हिन्दी"), "हिन्दी");  // vowel signs are letters' business there: kept
  CHECK_EQ(terms("co\xC2\xADop zero\xE2\x80\x8Bwidth"), "coop zero width");  // soft hyphen; zero width space
  CHECK_EQ(terms("Donaudampfschifffahrtsgesellschaftskapitän"), "donaudampfschifffahrtsgesellschaftskapitan");
}

void scripts_without_spaces() {
  CHECK_EQ(terms("搜索引擎"), "搜索 索引 引擎 擎");
  CHECK_EQ(terms("搜索引擎", true), "搜索 索引 引擎");
  CHECK_EQ(terms("犬"), "犬");
  CHECK_EQ(terms("犬", true), "犬");
  CHECK_EQ(terms("Python入门2024年"), "python 入门 门 2024 年");
  CHECK_EQ(terms("東京タワー"), "東京 京タ タワ ワー ー");
  CHECK_EQ(terms("ﾊﾟｿｺﾝ", true), terms("パソコン", true));            // half width, with its sound mark apart
  CHECK_EQ(terms("\xE3\x81\x8B\xE3\x82\x99く", true), "がく");      // か + combining dakuten
  CHECK_EQ(terms("검색 엔진", true), "검색 엔진");
  CHECK_EQ(terms("\xE1\x84\x80\xE1\x85\xA5\xE1\x86\xB7색", true), "검색");  // conjoining jamo
  CHECK_EQ(terms("ภาษาไทย", true), "ภา าษ ษา าไ ไท ทย");
  CHECK_EQ(terms("ที่นี่", true), "ที่นี่");  // two characters with their vowels and tones
  CHECK_EQ(places("搜索引"), "搜索|索引|引");
  Token token;
  Segmenter lone("犬", true);
  CHECK(lone.next(token) && token.lone_character);
  Segmenter pair("子犬", true);
  CHECK(pair.next(token) && !token.lone_character);
}

void strange() {
  CHECK_EQ(terms("👩‍👩‍👧 family 🎉"), "family");
  CHECK_EQ(terms("ab\xFF" "cd \xC3(x \xE2\x82 y\xF0\x9F"), "ab cd x y");
  CHECK_EQ(terms("\xC0\xAF \xED\xA0\x80 ok"), "ok");  // overlong; a surrogate
  const std::string text("a\0b", 3);
  CHECK_EQ(terms(text), "a b");
  const std::string longest = terms(std::string(100000, 'x'));
  CHECK_EQ(longest.substr(0, 65), std::string(64, 'x') + " ");
  std::string dots, accents = "a";
  for (int i = 0; i < 10000; i++) dots += "ab.", accents += "\xCC\x81";
  CHECK_GT(terms(dots).size(), 10000u * 2);  // cut, nothing lost
  CHECK_EQ(terms(accents), "a");
  CHECK_LE(terms(std::string(40, 'a') + "\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95\xE0\xA4\x95").size(), 64u);
  std::mt19937 random(1);
  const char* pieces[] = {"a", "B", "_", ".", "'", ",", "1", "\xC3\xA9", "\xE4\xB8\xAD", "\xCC\x81", "\xFF", " ", "\xE3\x82\x99", "\xE1\x84\x80", "\xE1\x85\xA5"};
  for (int i = 0; i < 3000; i++) {
    std::string mixed;
    for (int n = 0; n < 60; n++) mixed += pieces[random() % std::size(pieces)];
    terms(mixed);
  }
}

}  // namespace

int main() {
  words();
  identifiers();
  stems();
  folding();
  scripts_without_spaces();
  strange();
  return check_result("segment");
}
