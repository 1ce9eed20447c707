#include "hpm/gauntlet/gauntlet.h"

#include <set>

#include "hpm/core/error.h"
#include "hpm/data/dataset.h"
#include "hpm/evaluation/checks/advice.h"
#include "hpm/gauntlet/mutations.h"
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

TEST(Gauntlet, ARadiusOfZeroIsRefusedBeforeAnyRow) {
  const GauntletSetting setting{.images = {at::rand({1, 1, 28, 28}), at::zeros({1}, at::kLong), at::arange(1)},
                                .threat = {Norm::linf, 0}};
  const auto message = test::message_of<UsageError>([&] { require_possible(setting, {}); });
  EXPECT_NE(message.find("needs a radius above 0"), std::string::npos) << message;
}

TEST(Gauntlet, EverySurrogateIsShownWithWhatItDoesAndWhatStandsWithoutIt) {
  HPM_NEED_FASHION();
  auto options = small_options({"bit-depth"});
  EXPECT_TRUE(run_gauntlet(small_setting(4), options).front().parts.empty()) << "surrogates attack what others left";
  options.mutations = true;
  const auto row = run_gauntlet(small_setting(24), options).front();
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

GauntletResult flattered_row() {
  GauntletResult row{"bit-depth", "m", "s"};
  row.clean = 90, row.truth = 60, row.own = "self", row.own_alone = 80, row.naive = 80;
  row.causes = {"zero gradient", "masked gradient"};
  row.parts = {{"self", 60, 80}, {"bpda", 75, 62}, {"base", 60, 75}};
  row.flagged = {{"zero gradients", "zero gradient", ""}, {"unbounded", "batch", "a wrong cause"}};
  row.alarms = {"random"};
  return row;
}

TEST(Gauntlet, AMutationIsCaughtWhereTheRowPassesWithItsGuardAndFailsWithoutIt) {
  const auto row = flattered_row();
  const auto of = [&](GuardKind kind, const char* guard) { return outcome_of({kind, guard, row.name, {}}, row); };
  EXPECT_TRUE(of(GuardKind::surrogate, "bpda").caught()) << "it takes away 18 of 20 points";
  EXPECT_EQ(of(GuardKind::surrogate, "bpda").with, 62);
  EXPECT_EQ(of(GuardKind::surrogate, "bpda").without, 80);
  EXPECT_FALSE(of(GuardKind::surrogate, "base").passes_with) << "5 of 20 points are not half of them";
  EXPECT_FALSE(of(GuardKind::surrogate, "self").passes_with) << "the own gradient flatters";
  EXPECT_FALSE(of(GuardKind::surrogate, "query").passes_with) << "it did not attack";
  EXPECT_TRUE(of(GuardKind::check, "zero gradients").caught());
  EXPECT_FALSE(of(GuardKind::check, "unbounded").passes_with) << "it names a wrong cause";
  EXPECT_FALSE(of(GuardKind::check, "consistency").passes_with);
  EXPECT_TRUE(of(GuardKind::alarm, "random").caught());
  EXPECT_FALSE(of(GuardKind::alarm, "probabilities").passes_with);
  auto told = row;
  told.own_alone = told.naive = 61;
  EXPECT_FALSE(outcome_of({GuardKind::check, "zero gradients", row.name, {}}, told).fails_without)
      << "the own gradient tells the truth: nothing rests on the check";
  told.parts[0].with_own = 61;
  EXPECT_TRUE(outcome_of({GuardKind::surrogate, "self", row.name, {}}, told).caught());
  EXPECT_THROW(outcome_of({GuardKind::check, "zero gradients", "thermometer", {}}, row), UsageError);
  for (const auto& outcome : mutation_outcomes({row})) EXPECT_EQ(outcome.mutation.defence, row.name);
  EXPECT_FALSE(mutation_outcomes({row}).empty());
}

TEST(Gauntlet, EverySurrogateCheckAndAlarmHasARowOrSaysWhyNone) {
  std::set<std::string> rows;
  for (const auto& entry : gauntlet_table()) rows.insert(entry.name);
  std::set<std::pair<GuardKind, std::string>> guards;
  for (const auto& mutation : mutation_table()) {
    EXPECT_TRUE(guards.emplace(mutation.kind, mutation.guard).second) << mutation.guard << " stands there twice";
    EXPECT_EQ(mutation.defence.empty(), !mutation.why_none.empty()) << mutation.guard;
    EXPECT_TRUE(mutation.defence.empty() || rows.count(mutation.defence)) << mutation.defence;
  }
  for (const auto& guide : check_guides())
    EXPECT_TRUE(guards.count({GuardKind::check, guide.name})) << "the check " << guide.name;
  const Images images{at::rand({2, 1, 4, 4}), at::zeros({2}, at::kLong), at::arange(2)};
  FunctionDefence defence(
      {.logits = [](const Tensor& x) { return x.flatten(1); }, .classes = 16, .coupling = Coupling::batch}, images);
  for (const auto& surrogate : defence.surrogates(0, {.quick = false}))
    EXPECT_TRUE(guards.count({GuardKind::surrogate, surrogate.name})) << "the surrogate " << surrogate.name;
}

TEST(Gauntlet, ARowThatIsNarrowedToOneGuardFailsWithoutIt) {
  HPM_NEED_FASHION();
  const auto setting = small_setting(16);
  const auto row = [&](const char* name, std::vector<std::string> guards) {
    auto options = small_options({name});
    options.guards = std::move(guards), options.queries = 3000;
    return run_gauntlet(setting, options).front();
  };
  EXPECT_FALSE(row("bit-depth", {"self"}).passed()) << "its own gradient flatters it";
  EXPECT_TRUE(row("bit-depth", {"self", "bpda"}).passed());
  EXPECT_TRUE(row("bit-depth", {"self", "zero gradients"}).passed());
  EXPECT_FALSE(row("label-only", {"self"}).passed());
  EXPECT_TRUE(row("label-only", {"self", "decision"}).passed());
  EXPECT_FALSE(row("adversarially-trained", {}).passed()) << "nothing attacks it";
  EXPECT_TRUE(row("adversarially-trained", {"self"}).passed());
  const auto message = test::message_of<UsageError>([&] { row("bit-depth", {"bpdb"}); });
  EXPECT_NE(message.find("did you mean bpda?"), std::string::npos) << message;
}

TEST(Gauntlet, ADefenceThatFailsHasNoRowAndTakesNoOtherOneWithIt) {
  HPM_NEED_FASHION();
  auto setting = small_setting(8);
  setting.training.y = setting.training.y.slice(0, 0, 10);  // least-squares learns from these, and cannot
  test::TemporaryFolder folder;
  const auto options = small_options({"least-squares", "scaled-logits"});
  GauntletResults results;
  {
    Journal journal(folder.path, "gauntlet", false);
    results = gauntlet_results(setting, options, {silent(), WorkLog(journal)});
  }
  ASSERT_EQ(results.rows.size(), 1U);
  EXPECT_EQ(results.rows.front().name, "scaled-logits");
  ASSERT_EQ(results.failures.size(), 1U);
  EXPECT_TRUE(results.failures.front().starts_with("least-squares: ")) << results.failures.front();
  // What failed is tried again, what is there is read.
  setting.training = small_setting(8).training;
  Journal journal(folder.path, "gauntlet", true);
  const auto again = gauntlet_results(setting, options, {silent(), WorkLog(journal)});
  ASSERT_EQ(again.rows.size(), 2U);
  EXPECT_EQ(again.rows[1].seconds, results.rows.front().seconds);
  EXPECT_TRUE(again.failures.empty());
}

TEST(Gauntlet, ResultsAreReadAsTheyWereWritten) {
  GauntletResult row{"bit-depth", "rounded", "a paper", false, 20, 90, 80, 70, 60, 61, {"zero gradient"}};
  row.flagged = {{"zero gradients", "zero gradient", "all"}};
  row.passed = row.flagged_rightly = true;
  row.planted = 20, row.found = 3, row.self_test_failed = true, row.parts = {{"bpda", 70, 60}};
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
