#include "hpm/gauntlet/gauntlet.h"

#include <map>
#include <set>

#include "hpm/core/error.h"
#include "hpm/data/dataset.h"
#include "hpm/gauntlet/results.h"
#include "hpm/models/checkpoint.h"
#include "hpm/prototypes/model.h"
#include "support/support.h"

namespace hpm {
namespace {

#define HPM_NEED_FASHION()                                                                      \
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")) \
  GTEST_SKIP() << "needs Fashion-MNIST: apt-get install dataset-fashion-mnist"

GauntletSetting small_setting(int64_t n) {
  const auto test = load_dataset("fashion-mnist", "test"), train = load_dataset("fashion-mnist", "train");
  const auto index = at::arange(n), learned = at::arange(1000);
  GauntletSetting setting{.threat = {Norm::linf, .1}};
  setting.base =
      load_model((test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string()).model.classifier;
  setting.images = ImageSet(test.images(index), test.labels.slice(0, 0, n).clone(), index);
  setting.training = {train.images(learned), train.labels.slice(0, 0, 1000).clone(), learned};
  return setting;
}

/// Small attacks: what they find is enough for the rows that are named.
GauntletOptions small_options(std::vector<std::string> only) {
  return {.only = std::move(only), .restarts = 1, .steps = 20, .queries = 200};
}

TEST(Gauntlet, ABrokenDefenceIsToldOrFlaggedAndAnHonestOneIsNot) {
  HPM_NEED_FASHION();
  const auto setting = small_setting(24);
  for (const auto& row : run_gauntlet(setting, small_options({"bit-depth", "scaled-logits", "counter-perturbation",
                                                              "winners-take-all", "adversarially-trained"}))) {
    const auto& name = row.entry->name;
    EXPECT_TRUE(row.passed()) << name << ": msa " << percent(row.msa) << ", truth " << percent(row.truth);
    if (row.entry->honest) {
      EXPECT_TRUE(row.flagged.empty()) << name << ": " << row.flagged.front().name << ", "
                                       << row.flagged.front().detail;
      continue;
    }
    EXPECT_TRUE(row.flagged_rightly()) << name;
    EXPECT_GT(percent(row.careless), percent(row.truth)) << name << " fools a careless evaluation";
  }
}

TEST(Gauntlet, RandomAndBatchDependentDefencesAreFlaggedAsWhatTheyAre) {
  HPM_NEED_FASHION();
  const auto setting = small_setting(12);
  for (const auto& row : run_gauntlet(setting, small_options({"resize-and-pad", "adapting-means"})))
    EXPECT_TRUE(row.flagged_rightly()) << row.entry->name;
}

TEST(Gauntlet, EveryRowNamesItselfItsMechanismAndWhatAFlagMustSay) {
  std::set<std::string> names;
  int broken = 0, honest = 0;
  for (const auto& entry : gauntlet_table()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_FALSE(entry.mechanism.empty()) << entry.name;
    EXPECT_TRUE(entry.prediction || entry.defence) << entry.name;
    EXPECT_EQ(entry.honest, entry.causes.empty()) << entry.name;
    (entry.honest ? honest : broken)++;
  }
  EXPECT_GE(broken, 11);
  EXPECT_GE(honest, 4);
  const auto message = test::message_of<UsageError>([] {
    run_gauntlet({.images = {at::rand({1, 1, 28, 28}), at::zeros({1}, at::kLong), at::arange(1)}},
                 {.only = {"bit-dept"}});
  });
  EXPECT_NE(message.find("bit-depth"), std::string::npos) << message;
}

TEST(Gauntlet, EverySurrogateIsShownWithWhatItDoesAndWhatStandsWithoutIt) {
  HPM_NEED_FASHION();
  const auto row = run_gauntlet(small_setting(24), small_options({"bit-depth"})).front();
  std::vector<std::string> names;
  for (const auto& part : row.parts) {
    names.push_back(part.surrogate);
    for (const auto& held : {part.without, part.with_own})
      EXPECT_FALSE((row.msa & held.logical_not()).any().item<bool>()) << "fewer attacks break no more";
  }
  EXPECT_LT(percent(row.parts[2].with_own), percent(row.parts[0].with_own)) << "bpda sees through the rounding";
  EXPECT_FALSE((row.truth & row.autoattack.logical_not()).any().item<bool>()) << "what AutoAttack broke is broken";
  EXPECT_EQ(names, (std::vector<std::string>{"self", "smoothed", "bpda", "base", "query"}));
  ASSERT_TRUE(row.self_test.has_value());
  EXPECT_LT(row.self_test->found, row.self_test->tested()) << "rounding hides what was planted";
}

TEST(Gauntlet, AMutationNamesTheRowsThatDependOnASurrogateOrACheck) {
  GauntletResult told{"told", "m", "s"}, flagged{"flagged", "m", "s"}, both{"both", "m", "s"};
  told.msa_tells_the_truth = told.passed = true;
  told.parts = {{"self", 60, 80, true, false}, {"bpda", 80, 60, false, true}};
  flagged.flagged_rightly = flagged.passed = true, flagged.causes = {"zero gradient", "masked gradient"};
  flagged.flagged = {{"zero gradients", "zero gradient", ""}, {"unbounded", "batch", "another cause"}};
  both = told, both.name = "both", both.flagged_rightly = true, both.causes = flagged.causes;
  both.flagged = {{"zero gradients", "zero gradient", ""}, {"unbounded", "masked gradient", ""}};
  using Names = std::vector<std::string>;
  std::map<std::string, GauntletMutation> of;
  for (const auto& mutation : mutations_of({told, flagged, both})) of[mutation.name] = mutation;
  EXPECT_EQ(of.size(), 4u);
  EXPECT_EQ(of["bpda"].rows, (Names{"told", "both"}));
  EXPECT_EQ(of["bpda"].failed_rows, Names{"told"}) << "both is flagged as well";
  EXPECT_EQ(of["bpda"].carried, (Names{"told", "both"}));
  EXPECT_EQ(of["self"].rows, Names{});
  EXPECT_EQ(of["self"].carried, Names{});
  EXPECT_EQ(of["zero gradients"].rows, Names{"flagged"}) << "in both another check names a right cause";
  EXPECT_EQ(of["zero gradients"].failed_rows, Names{"flagged"});
  EXPECT_EQ(of["unbounded"].rows, Names{}) << "it named a wrong cause, or was not alone";
}

TEST(Gauntlet, ResultsAreReadAsTheyWereWritten) {
  GauntletResult row{"bit-depth", "rounded", "a paper", false, 20, 90, 80, 70, 60, 61, {"zero gradient"}};
  row.flagged = {{"zero gradients", "zero gradient", "all"}};
  row.passed = row.flagged_rightly = true;
  row.planted = 20, row.found = 3, row.self_test_failed = true, row.parts = {{"bpda", 70, 60, false, true}};
  const auto json = gauntlet_json({row});
  const auto back = read_gauntlet(json, "here");
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(gauntlet_json(back), json);
  EXPECT_THROW(read_gauntlet("[]", "here"), Error);
  const auto page = gauntlet_page(back, "a <setting>");
  EXPECT_NE(page.find("a &lt;setting&gt;"), std::string::npos);
  EXPECT_NE(page.find("bit-depth"), std::string::npos);
  EXPECT_NE(page.find("3 of 20<small>failed"), std::string::npos);
}

}  // namespace
}  // namespace hpm
