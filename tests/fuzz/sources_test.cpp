// The fuzzers are built by a project of their own (libfuzzer/), which needs clang. What it lists is checked here.
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "hpm/io/file.h"
#include "support/support.h"
#include "targets.h"

namespace hpm::test {
namespace {

std::string text_of_source(const std::string& name) { return std::string(read_file(source_dir() / name).text()); }

std::set<std::string> matches(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end; ++match)
    found.insert((*match)[1]);
  return found;
}

std::set<std::string> words_behind(const std::string& text, const std::string& opening) {
  const auto begin = text.find(opening) + opening.size();
  EXPECT_LT(begin, text.size()) << opening;
  std::istringstream words(text.substr(begin, text.find(')', begin) - begin));
  return {std::istream_iterator<std::string>(words), {}};
}

TEST(FuzzSources, HaveAProgramForEveryTarget) {
  const auto project = text_of_source("tests/fuzz/libfuzzer/CMakeLists.txt");
  auto programs = words_behind(project, "set(targets ");
  programs.merge(matches(project, R"(list\(APPEND targets (\w+)\))"));
  for (const auto& target : fuzz_targets()) EXPECT_TRUE(programs.contains(target.name)) << target.name;
}

TEST(FuzzSources, AreAllThatTheTargetsIncludeAndNoneNeedsLibTorch) {
  const auto project = text_of_source("tests/fuzz/libfuzzer/CMakeLists.txt");
  auto listed = words_behind(project, "set(sources ");
  for (const auto& part : matches(project, R"X("(\w+) [\w.]+ \w+")X")) listed.insert("io/" + part);
  ASSERT_GT(listed.size(), 30u);
  std::vector<std::string> open{"tests/fuzz/targets.cpp"};
  for (const auto& source : listed) open.push_back("hpm/" + source + ".cpp");
  std::set<std::string> seen;
  while (!open.empty()) {
    const auto file = open.back();
    open.pop_back();
    if (!seen.insert(file).second) continue;
    ASSERT_TRUE(std::filesystem::exists(source_dir() / file)) << file << " is listed, but not there";
    const auto text = text_of_source(file);
    EXPECT_TRUE(matches(text, R"(#include <((ATen|c10|torch)/[^>]+)>)").empty()) << file << " needs LibTorch";
    for (const auto& header : matches(text, R"X(#include "(hpm/[^"]+)")X")) {
      open.push_back(header);
      const auto source = std::regex_replace(header, std::regex(R"(^hpm/|(_impl)?\.h$)"), "");
      const bool there = std::filesystem::exists(source_dir() / "hpm" / (source + ".cpp"));
      EXPECT_TRUE(!there || listed.contains(source)) << source << " is needed by " << file << ", but not listed";
    }
  }
}

}  // namespace
}  // namespace hpm::test
