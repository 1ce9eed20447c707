#include "hpm/evaluation/run/merge.h"

#include <gtest/gtest.h>

#include "hpm/core/error.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

/// A shard of `n` images from `first` on, all right and none broken.
Shard shard(int64_t first, int64_t n) {
  Shard s{.folder = "shard-" + std::to_string(first), .results = {}, .settings = {}};
  auto& r = s.results;
  r.n = n, r.first_index = first, r.protocol = "msa", r.dataset = "cifar10", r.split = "test";
  r.labels.assign(static_cast<size_t>(n), 0), r.predictions.clean = r.labels;
  r.seconds = 1, r.checks_seconds = 1;
  r.first.clean_correct.assign(static_cast<size_t>(n), 1), r.first.robust = r.first.clean_correct;
  r.contexts = {r.first};
  r.contexts[0].context = "joint";
  return s;
}

TEST(Merge, ReadsShardsAndNamesTheFileThatIsNone) {
  const auto whole = results_text(shard(5, 3).results);
  const auto read = parse_shard("a", whole, R"({"--eps": "0.1", "--steps": 10})");
  EXPECT_EQ(read.indices(), (std::vector<int64_t>{5, 6, 7}));
  EXPECT_EQ(read.settings.at("--eps"), "0.1");
  EXPECT_EQ(read.settings.at("--steps"), "10");
  const auto message = [](const std::string& results, const std::string& settings) {
    return message_of<Error>([&] { parse_shard("a", results, settings); });
  };
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_NE(message(whole, "{\"--eps\": " + deep + "}").find("a/fingerprint.json: needs JSON of at most 64 levels"),
            std::string::npos);
  EXPECT_EQ(message(whole, "[]"), "a/fingerprint.json: needs a JSON object, but holds array");
  // A file of 30 bytes takes no memory for as many images as it claims.
  EXPECT_EQ(
      message(R"({"schema": 1, "n": 100000000})", "{}"),
      "a/results.json: needs \"clean_correct\" for each of its 100000000 images, but has 0; was the run finished?");
}

TEST(Merge, FiguresOfTheBatchAreThoseOfAllShardsByTheirImages) {
  auto a = shard(0, 30), b = shard(30, 10);
  a.results.contexts[0].benign = {{.malicious = 2, .images = 24, .clean_accuracy = 100, .accuracy = 50}};
  b.results.contexts[0].benign = {{.malicious = 2, .images = 8, .clean_accuracy = 100, .accuracy = 100},
                                  {.malicious = 4, .images = 4, .clean_accuracy = 75, .accuracy = 25}};
  a.results.compositions = {{.size = 8, .order = "class", .clean_accuracy = 80, .robust_accuracy = 40}};
  b.results.compositions = {{.size = 8, .order = "class", .clean_accuracy = 100, .robust_accuracy = 80}};
  a.results.self_test = SelfTestResult{.name = "binarisation", .images = 30, .tested = 20, .found = 19, .share = 95};
  b.results.self_test = SelfTestResult{.name = "binarisation", .images = 10, .tested = 5, .found = 5, .share = 100};
  const auto merged = merge_shards({b, a}).results;  // in the order of the images
  ASSERT_EQ(merged.n, 40);
  const auto& benign = merged.contexts[0].benign;
  ASSERT_EQ(benign.size(), 2u);
  EXPECT_EQ(benign[0].images, 32);
  EXPECT_NEAR(benign[0].accuracy, (24 * 50. + 8 * 100) / 32, 1e-6);
  EXPECT_EQ(benign[1], (BenignResult{.malicious = 4, .images = 4, .clean_accuracy = 75, .accuracy = 25}));
  ASSERT_EQ(merged.compositions.size(), 1u);
  EXPECT_NEAR(merged.compositions[0].clean_accuracy, (30 * 80. + 10 * 100) / 40, 1e-6);
  EXPECT_NEAR(merged.compositions[0].robust_accuracy, (30 * 40. + 10 * 80) / 40, 1e-6);
  ASSERT_TRUE(merged.self_test.has_value());
  EXPECT_EQ(merged.self_test->tested, 25);
  EXPECT_EQ(merged.self_test->found, 24);
  EXPECT_NEAR(*merged.self_test->share, 96, 1e-6);
}

TEST(Merge, WarnsOfImagesInNoShardBeforeBetweenAndBehindThem) {
  const auto warnings = [](std::vector<Shard> shards, std::optional<int64_t> split_size) {
    for (auto& one : shards) one.results.split_size = split_size;
    const auto merged = merge_shards(shards);
    EXPECT_EQ(merged.results.split_size, split_size);
    std::vector<std::string> gaps;
    for (const auto& line : merged.warnings)
      if (line.find("in no shard") != std::string::npos) gaps.push_back(line.substr(0, line.find(" in no shard")));
    return gaps;
  };
  using Lines = std::vector<std::string>;
  EXPECT_EQ(warnings({shard(0, 30), shard(30, 10)}, 40), Lines{});
  EXPECT_EQ(warnings({shard(0, 9000), shard(9000, 216)}, 10000), Lines{"images 9216 to 9999 are"}) << "the last shard";
  EXPECT_EQ(warnings({shard(512, 30), shard(542, 10)}, 552), Lines{"images 0 to 511 are"}) << "the first shard";
  EXPECT_EQ(warnings({shard(1, 9), shard(20, 10), shard(31, 4)}, 40),
            (Lines{"image 0 is", "images 10 to 19 are", "image 30 is", "images 35 to 39 are"}));
  EXPECT_EQ(warnings({shard(512, 30), shard(552, 10)}, std::nullopt), Lines{"images 542 to 551 are"})
      << "results of an earlier version do not say how many there are";
}

}  // namespace
}  // namespace hpm
