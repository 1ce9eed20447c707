// The sequence of attacks on an ordinary network.
#include "attacks/autoattack_setting.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::all_attacks;
using test::kThreats;
using test::message_of;
using test::Setting;

TEST(AutoAttack, SequencesAreThePublishedOnes) {
  const auto describe = [](const SequenceRequest& request) {
    std::string text;
    for (const auto& a : autoattack_sequence(request).attacks)
      text += fmt::format("{} {}x{}x{} q{} eot{}{}; ", a.name, a.restarts, a.targets, a.steps, a.queries, a.eot,
                          a.large_radius ? " large" : "");
    return text;
  };
  EXPECT_EQ(
      describe({}),
      "apgd-ce 1x9x100 q5000 eot1; apgd-t 1x9x100 q5000 eot1; fab-t 1x9x100 q5000 eot1; square 1x9x100 q5000 eot1; ");
  EXPECT_EQ(describe({.norm = Norm::l1}),
            "apgd-ce 5x9x100 q5000 eot1 large; apgd-t 1x5x100 q5000 eot1 large; fab-t 1x9x100 q5000 eot1; square "
            "1x9x100 q5000 eot1; ");
  EXPECT_EQ(
      describe({.version = "plus", .norm = Norm::l1}),
      "apgd-ce 5x9x100 q5000 eot1; apgd-dlr 5x9x100 q5000 eot1; fab 5x9x100 q5000 eot1; square 1x9x100 q5000 eot1; "
      "apgd-t 1x9x100 q5000 eot1; fab-t 1x9x100 q5000 eot1; ");
  EXPECT_EQ(describe({.version = "rand"}), "apgd-ce 1x9x100 q5000 eot20; apgd-dlr 1x9x100 q5000 eot20; ");
  EXPECT_EQ(describe({.version = "custom", .custom = {"fab", "square"}}),
            "fab 5x9x100 q5000 eot1; square 1x9x100 q5000 eot1; ");
  EXPECT_EQ(describe({.version = "custom", .custom = {"fab-t", "fab"}}),
            "fab-t 1x9x100 q5000 eot1; fab 1x9x100 q5000 eot1; ");
  EXPECT_EQ(describe({.version = "custom",
                      .custom = {"square"},
                      .settings = {.steps = 3, .restarts = 2, .targets = 4, .queries = 5}}),
            "square 2x9x100 q5 eot1; ");
}

TEST(AutoAttack, SaysWhatFewClassesChange) {
  const auto three = autoattack_sequence({.classes = 3});
  EXPECT_EQ(three.attacks[1].targets, 2);
  ASSERT_EQ(three.notes.size(), 3u);
  EXPECT_EQ(three.notes[0], "apgd-t has 2 targets instead of 9: the model has 3 classes");
  EXPECT_EQ(three.notes[1], "apgd-t uses the difference of two logits: its ratio needs 4 classes, the model has 3");
  EXPECT_TRUE(autoattack_sequence({}).notes.empty());
}

TEST(AutoAttack, SaysWhatTheUserChangedInAVersion) {
  const auto changed = autoattack_sequence({.settings = {.steps = 20, .targets = 9, .queries = 10}});
  const auto& notes = changed.notes;
  EXPECT_TRUE(changed.changed);
  ASSERT_EQ(notes.size(), 4u);
  EXPECT_EQ(notes[0], "apgd-ce has 20 steps instead of the 100 of version standard");
  EXPECT_EQ(notes[3], "square has 10 queries instead of the 5000 of version standard");
  const auto custom = autoattack_sequence({.version = "custom", .custom = {"square"}, .settings = {.queries = 10}});
  EXPECT_TRUE(custom.notes.empty() && !custom.changed);
  EXPECT_FALSE(autoattack_sequence({.settings = {.steps = 100}}).changed) << "as the version";
  EXPECT_FALSE(autoattack_sequence({.classes = 3}).changed) << "the model's classes, not the user";
}

TEST(AutoAttack, RefusesWhatCannotBe) {
  EXPECT_NE(
      message_of<UsageError>([] { autoattack_sequence({.version = "fast"}); }).find("standard, plus, rand or custom"),
      std::string::npos);
  EXPECT_NE(message_of<UsageError>([] { attack_entry("apgd-tt"); }).find("did you mean apgd-t?"), std::string::npos);
  Setting s;
  ClassifierModel model(s.net);
  s.images.x = s.images.x * 255;
  EXPECT_NE(message_of<UsageError>([&] { autoattack(model, s.images, kThreats[0], {}); }).find("images in [0,1]"),
            std::string::npos);
}

TEST(AutoAttack, RunsOnTwoAndThreeClasses) {
  for (const int64_t classes : {2, 3}) {
    auto net = make_classifier("flatten-fc" + std::to_string(classes), classes, {1, 4, 4}, {}, 3);
    const auto x = test::fill_rule(16 * 10, 5).view({10, 1, 4, 4}).to(at::kFloat);
    const Images images{x, net.logits(x).argmax(1), at::arange(10)};
    ClassifierModel model(net);
    const auto result = autoattack(model, images, {Norm::linf, .3},
                                   {.version = "custom",
                                    .attacks = {"apgd-ce", "apgd-t", "fab-t", "square"},
                                    .settings = {.steps = 10, .restarts = 1, .queries = 50}});
    EXPECT_EQ(result.notes.size(), 3u);
    EXPECT_LT(result.attacks[1].robust.sum().item<int64_t>(), 10);
  }
}

TEST(AutoAttack, FewClassesRunInEveryVersionNormAndMode) {
  for (const int64_t classes : {2, 3})
    for (const std::string version : {"plus", "rand"})
      for (const auto& threat : kThreats)
        for (const bool conformance : {false, true}) {
          const auto net = make_classifier("flatten-fc" + std::to_string(classes), classes, {1, 8, 8}, {}, 3);
          const auto x = test::fill_rule(64 * 6, 5).view({6, 1, 8, 8}).to(at::kFloat);
          ClassifierModel model(net);
          const auto result = autoattack(
              model, {x, net.logits(x).argmax(1), at::arange(6)}, threat,
              {.version = version, .conformance = conformance, .settings = {.steps = 3, .restarts = 1, .queries = 10}});
          EXPECT_EQ(result.attacks.size(), version == "plus" ? 6u : 2u);
        }
}

TEST(AutoAttack, StaysInBallAndBoxAndKeepsUnbrokenImages) {
  Setting s;
  s.images.y[3] = (s.images.y[3] + 1) % 10;  // wrong from the start
  for (const auto& threat : kThreats)
    for (const bool conformance : {false, true}) {
      SCOPED_TRACE(to_string(threat.norm));
      ClassifierModel model(s.net);
      const auto result = autoattack(model, s.images, threat, all_attacks(conformance));
      const auto broken = result.clean_correct & result.robust().logical_not();
      EXPECT_FALSE(result.clean_correct[3].item<bool>());
      EXPECT_GT(broken.sum().item<int64_t>(), 0);
      EXPECT_GT(result.robust().sum().item<int64_t>(), 0);
      const auto adversarial = result.adversarial.all();
      const auto delta = adversarial - s.images.x;
      EXPECT_TRUE(delta.flatten(1).ne(0).any(1).eq(broken).all().item<bool>());
      EXPECT_TRUE((norm_of_rows(delta, threat.norm) <= threat.eps * (1 + 1e-5)).all().item<bool>());
      EXPECT_LE(result.norm_excess, 1e-5);
      EXPECT_GE(adversarial.min().item<double>(), -1e-6);
      EXPECT_LE(adversarial.max().item<double>(), 1 + 1e-6);
      EXPECT_TRUE(s.net.logits(adversarial).argmax(1).eq(s.images.y).eq(result.robust()).all().item<bool>());
      Tensor before = result.clean_correct;
      for (const auto& attack : result.attacks) {
        EXPECT_FALSE((attack.robust & before.logical_not()).any().item<bool>()) << attack.spec.name;
        before = attack.robust;
      }
    }
}

TEST(AutoAttack, EachAttackBreaksSomethingAlone) {
  Setting s;
  for (const auto& threat : kThreats)
    for (const auto& entry : attack_table()) {
      if (entry.objective) continue;  // a plain network has none
      SCOPED_TRACE(entry.name + " " + to_string(threat.norm));
      ClassifierModel model(s.net);
      const auto result = autoattack(
          model, s.images, {threat.norm, 1.5 * threat.eps},
          {.version = "custom", .attacks = {entry.name}, .settings = {.steps = 20, .restarts = 1, .queries = 200}});
      EXPECT_LT(result.robust().sum().item<int64_t>(), 36);
    }
}

TEST(AutoAttack, FlagsDependOnNeitherBatchNorOrderNorThreads) {
  Setting s;
  const auto order = RandomStreams(5).permutation(40, {"order"});
  const auto back = order.argsort();
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    ClassifierModel model(s.net);
    auto options = all_attacks();
    const auto expected = autoattack(model, s.images, threat, options);
    const auto compare = [&](const AutoAttackResult& other, const Tensor& places) {
      for (size_t i = 0; i < expected.attacks.size(); ++i)
        EXPECT_TRUE(other.attacks[i].robust.index_select(0, places).equal(expected.attacks[i].robust))
            << expected.attacks[i].spec.name;
    };
    for (const int64_t batch : {1, 16, 40}) {
      options.batch_size = batch;
      compare(autoattack(model, s.images, threat, options), at::arange(40));
    }
    compare(autoattack(model, s.images.select(order), threat, options), back);
    const ScopedThreads two(2);
    compare(autoattack(model, s.images, threat, options), at::arange(40));
  }
}

TEST(AutoAttack, SeedsGiveOtherStartsAndTheSameSeedTheSame) {
  Setting s;
  ClassifierModel model(s.net);
  auto options = all_attacks();
  options.attacks = {"apgd-ce", "square"};
  const auto a = autoattack(model, s.images, kThreats[0], options),
             b = autoattack(model, s.images, kThreats[0], options);
  options.seed = 1;
  const auto c = autoattack(model, s.images, kThreats[0], options);
  EXPECT_TRUE(a.adversarial.all().equal(b.adversarial.all()));
  EXPECT_FALSE(a.adversarial.all().equal(c.adversarial.all()));
}

/// Passes per image of an attack that breaks nothing.
struct Budget {
  const char* name;
  int64_t forward, backward;
};

void expect_budgets(const std::vector<Budget>& budgets, bool conformance) {
  Setting s;
  const auto images = s.images.select(at::arange(3));
  ClassifierModel model(s.net);
  const auto result = autoattack(model, images, {Norm::linf, 1e-7}, {.conformance = conformance});
  ASSERT_EQ(result.attacks.size(), budgets.size());
  for (size_t i = 0; i < budgets.size(); ++i) {
    const auto& attack = result.attacks[i];
    EXPECT_EQ(attack.spec.name, budgets[i].name);
    EXPECT_EQ(attack.passes.forward, 3 * budgets[i].forward) << attack.spec.name;
    EXPECT_EQ(attack.passes.backward, 3 * budgets[i].backward) << attack.spec.name;
  }
  EXPECT_EQ(result.clean_passes.forward, 3);
}

TEST(AutoAttack, SurvivorsHaveHadTheWholeBudgetInConformance) {
  expect_budgets({{"apgd-ce", 103, 101}, {"apgd-t", 920, 909}, {"fab-t", 1829, 900}, {"square", 5004, 0}}, true);
}

TEST(AutoAttack, SurvivorsHaveHadTheWholeBudgetByDefault) {
  // FAB-T steps over these boundaries, far outside the ball, so its number is a bound and not a constant.
  Setting s;
  const auto images = s.images.select(at::arange(3));
  ClassifierModel model(s.net);
  const auto result = autoattack(model, images, {Norm::linf, 1e-7}, {});
  const auto each = [&](size_t i) {
    return Passes{result.attacks[i].passes.forward / 3, result.attacks[i].passes.backward / 3};
  };
  EXPECT_EQ(each(0).forward, 102);  // the driver knows the clean logits
  EXPECT_EQ(each(0).backward, 101);
  EXPECT_EQ(each(1).forward, 910);
  EXPECT_EQ(each(1).backward, 909);
  EXPECT_GE(each(2).backward, 900);
  EXPECT_LT(each(2).forward, 1829);
  EXPECT_EQ(each(3).forward, 5002);
  EXPECT_EQ(each(3).backward, 0);
}

TEST(AutoAttack, EveryAttackIsAnEntryEvenWithNobodyLeft) {
  Setting s;
  ClassifierModel model(s.net);
  const auto result = autoattack(model, s.images, {Norm::linf, .9}, {.settings = {.steps = 10, .queries = 10}});
  ASSERT_EQ(result.attacks.size(), 4u);
  EXPECT_EQ(result.robust_accuracy(), 0);
  EXPECT_EQ(result.attacks[3].passes.forward, 0);
}

/// A network that stops answering after so many queries: what a kill does to a run.
class Dying : public ClassifierModel {
 public:
  Dying(Classifier net, int64_t queries) : ClassifierModel(std::move(net)), left_(queries) {}
  Answer ask(const Query& query, const Loss* loss) override {
    if (left_-- == 0) throw Interrupted("killed");
    return ClassifierModel::ask(query, loss);
  }

 private:
  int64_t left_;
};

TEST(AutoAttack, GoesOnFromItsJournalToTheResultOfAnUndisturbedRun) {
  for (const bool conformance : {false, true}) {
    Setting s;
    const auto options = all_attacks(conformance);
    ClassifierModel undisturbed(s.net);
    const auto expected = autoattack(undisturbed, s.images, kThreats[0], options);
    test::TemporaryFolder folder;
    int64_t starts = 0;
    for (bool done = false; !done; ++starts) {
      Journal journal(folder.path, "a test", starts > 0);
      Dying model(s.net.clone(), 300);
      try {
        const auto result = autoattack(model, s.images, kThreats[0], options, silent(), WorkLog(journal));
        done = true;
        for (size_t i = 0; i < expected.attacks.size(); ++i) {
          EXPECT_TRUE(result.attacks[i].robust.equal(expected.attacks[i].robust)) << expected.attacks[i].spec.name;
          EXPECT_EQ(result.attacks[i].passes.forward, expected.attacks[i].passes.forward)
              << expected.attacks[i].spec.name;
        }
        EXPECT_TRUE(result.adversarial.all().equal(expected.adversarial.all()));
      } catch (const Interrupted&) {
        ASSERT_LT(starts, 100);
      }
    }
    EXPECT_GT(starts, 3);
  }
}

}  // namespace
}  // namespace hpm
