#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "support/libraries.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

int64_t lines_of(const std::filesystem::path& path) {
  const auto text = text_of(path);
  return std::count(text.begin(), text.end(), '\n');
}

/// The committed Fashion-MNIST model, as it is and with HPM attached.
class AnalyzeVerb : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = std::make_unique<test::TemporaryFolder>();
    if (test::has_fashion_mnist())
      program("finetune --quiet --epochs 0 --fit-images 300 --metric-steps 20 --eps 0.1 --out hpm --model " + base() +
                  data(),
              folder->path);
  }
  static void TearDownTestSuite() { folder.reset(); }
  static std::string base() { return (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string(); }
  static std::string data() { return " --data fashion-mnist --threads 1"; }
  static std::string study(const std::string& flags, const std::string& eps = "0.1") {
    return "analyze --quiet --iterations 1,3,10 --eps " + eps + " " + flags + data();
  }
  static std::unique_ptr<test::TemporaryFolder> folder;
};
std::unique_ptr<test::TemporaryFolder> AnalyzeVerb::folder;

TEST_F(AnalyzeVerb, WritesEveryTableAndPictureAndAReportOfTheThreeHeads) {
  HPM_NEED_FASHION_MNIST();
  const auto run =
      program(study("--model hpm/model.safetensors --count 30 --batch-size 16 --json --out study"), folder->path);
  ASSERT_EQ(run.status, 0) << run.err;
  const auto j = nlohmann::json::parse(run.out);
  ASSERT_EQ(j["heads"].size(), 3u);
  EXPECT_EQ(j, test::read_json(*folder / "study/analysis.json"));
  EXPECT_EQ(j["heads"][0]["against_eps"].size(), 6u) << "quarters, halves and twice the radius";
  for (const char* wrong : {"clean", "attacked"}) {
    int64_t images = 0;
    for (const auto& pattern : j["agreement"][wrong]) images += pattern["images"].get<int64_t>();
    EXPECT_EQ(images, 30) << wrong;
  }
  for (const char* name : {"against-eps", "against-iterations", "scatter", "prototypes-fc", "prototypes-l2",
                           "prototypes-hpm", "agreement", "transfer"})
    for (const char* end : {".csv", ".svg"})
      EXPECT_TRUE(std::filesystem::exists(*folder / "study" / (std::string(name) + end))) << name << end;
  for (const char* name :
       {"images.csv", "distances.csv", "measures.csv", "distances-clean.svg", "distances-attacked.svg", "slopes.svg",
        "distance-changes.svg", "feature-gains.svg", "head-slopes.svg", "config.toml", "environment.json"})
    EXPECT_TRUE(std::filesystem::exists(*folder / "study" / name)) << name;
  EXPECT_EQ(lines_of(*folder / "study/images.csv"), 1 + 3 * 30);
  EXPECT_EQ(lines_of(*folder / "study/against-iterations.csv"), 1 + 3 * 4);
  EXPECT_EQ(lines_of(*folder / "study/prototypes-hpm.csv"), 10);
  EXPECT_NE(text_of(*folder / "study/report.html").find("Agreement of failures"), std::string::npos);
}

TEST_F(AnalyzeVerb, StudiesFcAloneWhereThereIsNoHead) {
  HPM_NEED_FASHION_MNIST();
  const auto run = program(study("--loss dlr --count 20 --out plain --model " + base(), "0.05,0.1"), folder->path);
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find("hpm finetune --epochs 0 attaches one"), std::string::npos) << run.err;
  const auto j = test::read_json(*folder / "plain/analysis.json");
  ASSERT_EQ(j["heads"].size(), 1u);
  EXPECT_EQ(j["eps"], .05) << "the first radius is the study's";
  EXPECT_EQ(j["heads"][0]["against_eps"].size(), 2u);
  EXPECT_EQ(text_of(*folder / "plain/report.html").find("Agreement"), std::string::npos);
}

TEST_F(AnalyzeVerb, ReportTakesStudiesAloneAndBesideEvaluations) {
  HPM_NEED_FASHION_MNIST();
  const auto flags = data() + " --quiet --eps 0.1 --count 20 --model hpm/model.safetensors ";
  ASSERT_EQ(program("evaluate --protocol pgd --steps 5 --out pgd" + flags, folder->path).status, 0);
  ASSERT_EQ(program(study("--count 20 --out beside --model hpm/model.safetensors"), folder->path).status, 0);
  ASSERT_EQ(program("report beside --html one.html", folder->path).status, 0);
  EXPECT_EQ(text_of(*folder / "one.html").find("Side by side"), std::string::npos);
  ASSERT_EQ(program("report pgd beside --html both.html", folder->path).status, 0);
  const auto both = text_of(*folder / "both.html");
  for (const char* part :
       {"Checks", "Distance to the decision boundary", "hpm analyze --config", "hpm evaluate --config"})
    EXPECT_NE(both.find(part), std::string::npos) << part;
}

TEST(AnalyzeImages, OfAFolderAreScaledAsAsked) {
  HPM_NEED_IMAGES();
  const test::TemporaryFolder own;
  const auto images = " --data images:" + (test::source_dir() / "tests/data/fixtures/images").string() +
                      " --resize 20 --centre-crop 16 --threads 1 --eps .1";
  ASSERT_EQ(program("train --arch conv4k4s2p1-relu-flatten-fc2 --epochs 0 --out base" + images, own.path).status, 0);
  const auto run =
      program("analyze --quiet --iterations 2 --model base/model.safetensors --out study" + images, own.path);
  EXPECT_EQ(run.status, 0) << run.err;
}

TEST_F(AnalyzeVerb, ResumingOnOtherImagesUnderTheSameNameIsRefused) {
  HPM_NEED_FASHION_MNIST();
  const auto settings = study("--indices images.txt --out renumbered --model " + base());
  std::ofstream(*folder / "images.txt") << "1 2 3";
  ASSERT_EQ(program(settings, folder->path).status, 0);
  EXPECT_EQ(program(settings + " --resume", folder->path).status, 0);
  std::ofstream(*folder / "images.txt") << "1 2 4";
  EXPECT_EQ(program(settings + " --resume", folder->path).status, 1);
}

TEST_F(AnalyzeVerb, DryRunPrintsTheCostAndRunsNothing) {
  HPM_NEED_FASHION_MNIST();
  const auto run = program(study("--dry-run --count 30 --out dry --model hpm/model.safetensors"), folder->path);
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.out.find("backward passes"), std::string::npos) << run.out;
  EXPECT_FALSE(std::filesystem::exists(*folder / "dry"));
}

TEST_F(AnalyzeVerb, BadIterationsAndRadiiAreUsageErrors) {
  HPM_NEED_FASHION_MNIST();
  for (const char* flags : {"--iterations 1.5", "--iterations 0", "--eps 0", "--eps 0.1,0"})
    EXPECT_EQ(program(std::string("analyze --count 4 --out bad ") + flags + data() + " --model " + base(), folder->path)
                  .status,
              2)
        << flags;
  EXPECT_FALSE(std::filesystem::exists(*folder / "bad"));
}

}  // namespace
}  // namespace hpm
