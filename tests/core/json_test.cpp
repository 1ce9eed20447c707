#include <gtest/gtest.h>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

std::string nested(int levels) {
  return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']');
}

std::string refusal(const std::string& text) {
  return message_of<Error>([&] { parse_json(text, "run/results.json"); });
}

TEST(ParseJson, ReadsAsManyLevelsAsAllowedAndRefusesOneMore) {
  EXPECT_EQ(json_text(parse_json(nested(kMostJsonLevels), "x")), nested(kMostJsonLevels));
  const auto sentence =
      "run/results.json: needs JSON of at most 64 levels, but goes deeper at byte 64; no file of hpm does";
  EXPECT_EQ(refusal(nested(kMostJsonLevels + 1)), sentence);
  EXPECT_EQ(refusal(nested(200000)), sentence) << "not a stack overflow";
  EXPECT_EQ(refusal(std::string(200000, '[')), sentence);
  EXPECT_NE(refusal("{\"config\": " + nested(200000) + "}").find("goes deeper at byte 74"), std::string::npos);
}

TEST(ParseJson, CountsNoBracketsInStrings) {
  const std::string brackets(1000, '[');
  EXPECT_EQ(parse_json("[\"" + brackets + "\"]", "x").at(0), brackets);
  EXPECT_EQ(parse_json("[\"\\\"" + brackets + "\\\\\", 1]", "x").at(0), "\"" + brackets + "\\");
  EXPECT_EQ(parse_json("{\"" + brackets + "\": []}", "x").size(), 1u);
  std::string flat = "[";
  for (int i = 0; i < 1000; ++i) flat += "[],{},";
  EXPECT_EQ(parse_json(flat + "0]", "x").size(), 2001u) << "one beside the other";
}

TEST(ParseJson, NamesTheFileThatIsNoJsonAndShowsLittleOfIt) {
  for (const char* text : {"", "{", "<html>", "[1,]", "nul", "]]]]", "{\"a\": \"\xff\"}", "[1e999]"})
    EXPECT_TRUE(refusal(text).starts_with("run/results.json: is not JSON (")) << refusal(text);
  EXPECT_LT(refusal("[\"" + std::string(100000, 'x')).size(), 1200u);
}

TEST(ParseJson, AsAnObjectTakesNoOtherKind) {
  EXPECT_EQ(parse_json_object("{\"a\": 1}", "x")["a"], 1);
  EXPECT_EQ(message_of<Error>([] { parse_json_object("[1]", "fingerprint.json"); }),
            "fingerprint.json: needs a JSON object, but holds array");
}

}  // namespace
}  // namespace hpm
