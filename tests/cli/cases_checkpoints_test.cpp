// Checkpoints that people bring: what else is in the file, how it is wrapped, what lies in its place.
#include "cli/cases.h"

namespace hpm {
namespace {

using test::program;

nlohmann::json described(const std::filesystem::path& file, const std::string& flags = "") {
  const auto run = program("inspect --json '" + file.string() + "' " + flags);
  EXPECT_EQ(run.status, 0) << run.err;
  return nlohmann::json::parse(run.out, nullptr, false);
}

/// The clean accuracy in percent on the first images of CIFAR-10; a failed test where the program fails.
double clean_accuracy(const std::filesystem::path& file, const std::filesystem::path& data, int count,
                      const std::string& flags = "") {
  const test::TemporaryFolder out;
  const auto run =
      program(fmt::format("evaluate --json --model '{}' --data cifar10 --data-root '{}' --protocol clean --count {} "
                          "--out '{}' {}",
                          file.string(), data.string(), count, (out / "run").string(), flags));
  EXPECT_EQ(run.status, 0) << run.err;
  return run.status == 0 ? nlohmann::json::parse(run.out).at("clean_accuracy").get<double>() : -1;
}

TEST(CaseCheckpoints, ObjectsBesideTheWeightsAreListedAndNothingIsCalled) {
  HPM_NEED_CASES(cases);
  EXPECT_EQ(described(cases / "scheduler.pth")["unread"],
            nlohmann::json({"scheduler.milestones (collections.Counter)"}));
  EXPECT_EQ(described(cases / "history.pth")["unread"], nlohmann::json({"log (collections.defaultdict)"}));
  const auto text = program("inspect '" + (cases / "scheduler.pth").string() + "'");
  EXPECT_NE(text.out.find("unread        scheduler.milestones (collections.Counter)"), std::string::npos) << text.out;
}

TEST(CaseCheckpoints, CountersOfAveragedModelsAndMetricsAreNamedAsLeftOut) {
  HPM_NEED_CASES(cases);
  const auto averaged = described(cases / "averaged.pth"), metric = described(cases / "metric_beside.pth");
  EXPECT_EQ(averaged["ignored"], nlohmann::json({"n_averaged (int64 [])"}));
  EXPECT_EQ(averaged["architecture"], "resnet14");
  EXPECT_EQ(metric["ignored"], nlohmann::json({"train_acc.correct (int64 [])"}));
  EXPECT_EQ(metric["architecture"], "resnet14");
  EXPECT_EQ(described(cases / "backbone_prefix.pth")["peeled"], nlohmann::json({"prefix \"backbone.\""}));
}

TEST(CaseCheckpoints, OfSeveralSetsOfWeightsAllAreListedAndAKeyChooses) {
  HPM_NEED_CASES(cases);
  HPM_NEED_SHARED(data, "data");
  const auto file = cases / "raw_and_ema.pth";
  const auto listed = described(file)["weights"];
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0], nlohmann::json({{"key", "state_dict"}, {"tensors", 80}, {"taken", true}}));
  EXPECT_EQ(listed[1], nlohmann::json({{"key", "state_dict_ema"}, {"tensors", 80}, {"taken", false}}));
  const std::string flags = " --mean .4914,.4822,.4465 --std .2471,.2435,.2616";
  EXPECT_LT(clean_accuracy(file, data, 50, flags), 30) << "the raw weights are all zero";
  EXPECT_GT(clean_accuracy(file, data, 50, flags + " --key state_dict_ema"), 40);
  const auto unknown = program("inspect '" + file.string() + "' --key state_dict_emma");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_NE(unknown.err.find("did you mean state_dict_ema?"), std::string::npos) << unknown.err;
}

TEST(CaseCheckpoints, WhichWeightsWereTakenIsSaidUnderQuietToo) {
  HPM_NEED_CASES(cases);
  HPM_NEED_SHARED(data, "data");
  const test::TemporaryFolder out;
  const auto run = [&](const std::string& flags) {
    return program(fmt::format("evaluate --quiet --overwrite --model '{}' --data cifar10 --data-root '{}' --protocol "
                               "clean --count 10 "
                               "--out '{}' {}",
                               (cases / "raw_and_ema.pth").string(), data.string(), (out / "run").string(), flags))
        .err;
  };
  EXPECT_NE(run("").find("state_dict was taken; --key NAME chooses another: state_dict_ema"), std::string::npos);
  EXPECT_EQ(run("--key state_dict").find("was taken"), std::string::npos);
}

TEST(CaseCheckpoints, ANormaliserInTheFileIsApplied) {
  HPM_NEED_CASES(cases);
  HPM_NEED_SHARED(data, "data");
  HPM_NEED_SHARED(plain, "checkpoints/resnet14_at8.pth");
  EXPECT_EQ(clean_accuracy(cases / "normalizer.pth", data, 500),
            clean_accuracy(plain, data, 500, "--mean .4914,.4822,.4465 --std .2471,.2435,.2616"));
}

TEST(CaseCheckpoints, AGitLfsPointerIsNamed) {
  HPM_NEED_CASES(cases);
  const auto run = program("inspect '" + (cases / "pointer.pth").string() + "'");
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.err.find("git lfs pull"), std::string::npos) << run.err;
}

// The same kinds in other forms, made by make_checkpoints.py.

class MadeCheckpoints : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!test::has_python_torch()) return;
    folder = std::make_unique<test::TemporaryFolder>();
    said = test::python("tests/cli/make_checkpoints.py", "'" + folder->path.string() + "'");
  }
  static void TearDownTestSuite() { folder.reset(); }
  void SetUp() override {
    HPM_NEED_PYTHON_TORCH();
    ASSERT_EQ(said, "");
  }
  std::string error_of(const std::string& file, const std::string& flags = "") {
    const auto run = program("inspect " + file + " " + flags, folder->path);
    EXPECT_NE(run.status, 0) << file;
    return run.err;
  }
  static std::unique_ptr<test::TemporaryFolder> folder;
  static std::string said;
};
std::unique_ptr<test::TemporaryFolder> MadeCheckpoints::folder;
std::string MadeCheckpoints::said;

TEST_F(MadeCheckpoints, WithAnyObjectsBesideTheWeightsLoad) {
  for (const auto& entry : std::filesystem::directory_iterator(*folder / "loads")) {
    const auto j = described(entry.path());
    EXPECT_EQ(j["architecture"], "resnet14") << entry.path();
  }
  const auto unread = described(*folder / "loads/everything.pth")["unread"].dump();
  for (const char* name : {"argparse.Namespace", "pathlib.PosixPath", "datetime.datetime", "made.Colour",
                           "made.Settings", "functools.partial", "torch.optim.sgd.SGD"})
    EXPECT_NE(unread.find(name), std::string::npos) << name << " in " << unread;
  EXPECT_FALSE(std::filesystem::exists(*folder / "hpm_was_here"));
}

TEST_F(MadeCheckpoints, OfWholeModulesGiveTheStateDictAndTheClass) {
  for (const char* file : {"module.pth", "module_legacy.pth", "module_under_a_key.pth", "module_protocol4.pth"}) {
    const auto j = described(*folder / ("modules/" + std::string(file)));
    EXPECT_EQ(j["architecture"], "conv4k3p1-bn-relu-flatten-fc10") << file;
    EXPECT_NE(j["peeled"].dump().find("module torch.nn.modules.container.Sequential"), std::string::npos)
        << j["peeled"];
  }
  EXPECT_EQ(described(*folder / "modules/flat.pth")["architecture"], "flatten-fc10");
}

TEST_F(MadeCheckpoints, WhatMayBeANormalisationIsNeverLeftOutSilently) {
  const auto warnings = described(*folder / "loads/unknown normaliser beside.pth")["warnings"].dump();
  EXPECT_NE(warnings.find("pre.a [3], pre.b [3]"), std::string::npos) << warnings;
  EXPECT_NE(warnings.find("give it with --mean and --std"), std::string::npos) << warnings;
}

TEST_F(MadeCheckpoints, ThatHoldNoWeightsSayWhatTheyHold) {
  EXPECT_NE(error_of("refused/object.pth").find("an object of made.Settings instead of weights"), std::string::npos);
  EXPECT_NE(
      error_of("refused/strange_weight.pth").find("linear.weight (an object of torch._utils._rebuild_sparse_tensor"),
      std::string::npos);
  const auto half = error_of("refused/half.pth");
  EXPECT_NE(half.find("The nearest is resnet14"), std::string::npos) << half;
  EXPECT_NE(half.find("missing layer3.1.conv2.weight [64,64,3,3]"), std::string::npos) << half;
  EXPECT_NE(half.find("unexpected layer3.1.conv9.weight [64,64,3,3]"), std::string::npos) << half;
  const auto projector = error_of("refused/projector.pth");
  EXPECT_NE(projector.find("projector.0.weight [128,64]"), std::string::npos) << projector;
  EXPECT_NE(projector.find("--key model"), std::string::npos) << projector;
  EXPECT_EQ(described(*folder / "refused/projector.pth", "--key model")["architecture"], "resnet14");
}

TEST_F(MadeCheckpoints, OfSeveralNetworksTakeThePreferredAndListTheOthers) {
  const auto j = described(*folder / "several/student_and_teacher.pth");
  EXPECT_EQ(j["weights"][0]["key"], "model");
  EXPECT_EQ(j["weights"][1]["key"], "teacher");
  EXPECT_NE(j["evaluate"].get<std::string>().find("--key model "), std::string::npos);
  EXPECT_EQ(described(*folder / "several/student_and_teacher.pth", "--key teacher")["architecture"], "resnet14");
  const auto nested = described(*folder / "several/nested.pth", "--key averages.ema");
  EXPECT_EQ(nested["peeled"][1], "key \"ema\" (others: current.weights)");
  EXPECT_NE(error_of("several/nested.pth").find("current.weights (80 tensors), averages.ema (80 tensors)"),
            std::string::npos)
      << "neither has a usual name";
  const auto madry = described(*folder / "several/attacker.pth");
  EXPECT_EQ(madry["mean"], nlohmann::json({.5, .25, .125}));
  EXPECT_EQ(madry["architecture"], "resnet14");
}

TEST_F(MadeCheckpoints, AKeyStandsInTheCardToo) {
  std::filesystem::copy_file(*folder / "several/nested.pth", *folder / "carded.pth");
  described(*folder / "carded.pth", "--key averages.ema --write-card");
  EXPECT_NE(test::text_of(*folder / "carded.pth.toml").find("averages.ema"), std::string::npos);
  EXPECT_EQ(described(*folder / "carded.pth")["weights"][1]["taken"], true);
}

}  // namespace
}  // namespace hpm
