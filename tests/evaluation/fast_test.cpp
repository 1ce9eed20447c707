#include "hpm/evaluation/fast/fast.h"

#include <set>
#include <thread>

#include "attacks/autoattack_setting.h"
#include "evaluation/killer.h"
#include "evaluation/masked_models.h"
#include "evaluation/msa_fixture.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/fast/alarms.h"

namespace hpm {
namespace {

using test::message_of;
using Clock = std::chrono::steady_clock;

class FastTest : public testing::Test {
 protected:
  Evaluation fast(const Classifier& model, const Images& on, FastOptions options = {}, const Work& work = {}) {
    PlainDefence defence(model, {});
    return evaluate_fast(defence, {on, threat}, options, work);
  }
  static const AlarmResult& alarm(const Evaluation& e, const std::string& name) {
    for (const auto& a : e.fast->alarms)
      if (a.name == name) return a;
    throw std::runtime_error("no alarm " + name);
  }
  static const StageResult& stage(const Evaluation& e, const std::string& name) {
    for (const auto& s : e.fast->stages)
      if (s.name == name) return s;
    throw std::runtime_error("no stage " + name);
  }
  Classifier honest = test::formula_net(at::kFloat);
  Images images = test::own_images(honest, 40);
  ThreatModel threat = test::kThreats.front();
};

TEST_F(FastTest, ComesToAutoAttacksVerdictsAndSaysWhatItDid) {
  images.y[3] = (images.y[3] + 1) % 10;
  images = images.select(at::arange(24));
  for (const auto& each : test::kThreats) {
    SCOPED_TRACE(to_string(each.norm));
    threat = each;
    const auto e = fast(honest, images, {.alarms = {.sample = 4}});
    PlainDefence defence(honest, {});
    const auto reference = evaluate_autoattack(defence, {images, threat}, {});
    const auto theirs = reference.first().robust, ours = e.first().robust;
    EXPECT_GT(theirs.sum().item<int64_t>(), 5);
    EXPECT_LT(theirs.sum().item<int64_t>(), 22);
    EXPECT_LE((ours & theirs.logical_not()).sum().item<int64_t>(), 1);
    EXPECT_FALSE(ours[3].item<bool>());
    EXPECT_EQ(e.fast->fired(), std::vector<std::string>{});
    EXPECT_FALSE(e.suspect());
    EXPECT_EQ(stage(e, "core").images, 23);
    EXPECT_EQ(stage(e, "core").attacked, 23);
    EXPECT_GT(stage(e, "core").passes, 100);
    int64_t broke = 0;
    for (const auto& s : e.fast->stages) broke += s.broke;
    EXPECT_EQ(broke, 23 - ours.sum().item<int64_t>());
    EXPECT_TRUE(honest.logits(e.first().adversarial.all()).argmax(1).eq(images.y).equal(ours));
    ASSERT_TRUE(e.fast->bound.has_value());
    EXPECT_EQ(e.fast->bound->sampled, 4);
    EXPECT_LT(e.fast->bound->robust_accuracy, percent(ours));
    EXPECT_GT(e.fast->autoattack_passes, 10000);
  }
}

TEST_F(FastTest, FlagsDependOnNeitherBatchNorOrderNorThreads) {
  const auto expected = fast(honest, images, {.alarms = {.sample = 4}});
  for (const int64_t size : {3, 7}) {
    const auto e = fast(honest, images, {.batch_size = size, .alarms = {.sample = 4}});
    EXPECT_TRUE(e.first().robust.equal(expected.first().robust)) << size;
    for (size_t i = 0; i < e.fast->alarms.size(); ++i)
      EXPECT_EQ(e.fast->alarms[i].value, expected.fast->alarms[i].value) << size << e.fast->alarms[i].name;
  }
  const auto order = RandomStreams(5).permutation(40, {"order"});
  const auto permuted = fast(honest, images.select(order), {.alarms = {.sample = 4}});
  EXPECT_TRUE(permuted.first().robust.index_select(0, order.argsort()).equal(expected.first().robust));
  EXPECT_EQ(stage(permuted, "square on a sample").broke, stage(expected, "square on a sample").broke);
  EXPECT_EQ(alarm(permuted, "PGD-10 against PGD-50").evidence, alarm(expected, "PGD-10 against PGD-50").evidence);
  const ScopedThreads two(2);
  EXPECT_TRUE(fast(honest, images, {.alarms = {.sample = 4}}).first().robust.equal(expected.first().robust));
}

TEST_F(FastTest, GoesOnAfterInterruptionsToTheSameOutcome) {
  test::StepCounter steps;
  const auto expected = fast(honest, images, {.batch_size = 16, .alarms = {.sample = 4}}, {steps});
  test::TemporaryFolder folder;
  int64_t starts = 0;
  for (bool done = false; !done; ++starts) {
    ASSERT_LT(starts, 40);
    // One piece of Square is most of the work: every other start lets it be finished.
    test::Killer killer(starts % 2 == 0 ? steps.count / 3 : steps.count * 19 / 20);
    try {
      Journal journal(folder.path, "fast", starts > 0);
      const auto found = fast(honest, images, {.batch_size = 16, .alarms = {.sample = 4}}, {killer, WorkLog(journal)});
      done = true;
      EXPECT_TRUE(found.first().robust.equal(expected.first().robust));
      ASSERT_EQ(found.fast->stages.size(), expected.fast->stages.size());
      for (size_t i = 0; i < found.fast->stages.size(); ++i) {
        EXPECT_EQ(found.fast->stages[i].passes, expected.fast->stages[i].passes) << i;
        EXPECT_EQ(found.fast->stages[i].broke, expected.fast->stages[i].broke) << i;
      }
      EXPECT_EQ(found.fast->alarms, expected.fast->alarms);
      EXPECT_EQ(found.fast->bound, expected.fast->bound);
    } catch (const Interrupted&) {
    }
  }
  EXPECT_GT(starts, 1) << "nothing was interrupted, nothing is tested";
}

TEST_F(FastTest, TheScaleOfTheLogitsChangesNoVerdict) {
  const auto expected = fast(honest, images);
  for (const double factor : {1e-3, 1e3}) {
    const auto e = fast(test::scaled_logits(honest, factor), images);
    EXPECT_TRUE(e.first().robust.equal(expected.first().robust)) << factor;
    EXPECT_EQ(stage(e, "core").broke, stage(expected, "core").broke) << factor;
  }
}

struct Masked {
  const char* name;
  std::function<Classifier(const Classifier&)> make;
  bool own_labels = false;
  double part = 1;  // of the radius: some of it must survive, or nothing is left to escalate for
};

const std::vector<Masked>& masked_models() {
  static const std::vector<Masked> all = {
      {"ScaledLogits", [](const Classifier& c) { return test::scaled_logits(c, 1e6); }},
      {"QuantisedInput", [](const Classifier& c) { return test::quantised_input(c, 16); }, true},
      {"RandomNoise", [](const Classifier& c) { return test::noisy_logits(c, .05); }},
      {"Probabilities", [](const Classifier& c) { return test::probabilities(c); }},
      {"SaturatedProbabilities", [](const Classifier& c) { return test::probabilities(c, 50); }},
      {"CoupledBatch", [](const Classifier& c) { return test::coupled(c, .3); }},
      {"WinnersTakeAll", [](const Classifier& c) { return test::winners_take_all(c, 8, .1); }, true, .25},
  };
  return all;
}

class MaskedModels : public FastTest, public testing::WithParamInterface<Masked> {};

TEST_P(MaskedModels, EscalateAndThenStandNotAboveAutoAttack) {
  const auto model = GetParam().make(honest);
  images = images.select(at::arange(12));
  if (GetParam().own_labels) images = test::labelled_by(model, images);
  threat.eps *= GetParam().part;
  torch::manual_seed(1);
  const auto e = fast(model, images, {.alarms = {.sample = 0}});  // so that only what follows an alarm can find more
  for (const auto& a : e.fast->alarms)
    if (a.fired) fmt::print("{}: {} ({})\n", GetParam().name, a.name, a.evidence);
  EXPECT_TRUE(e.fast->escalated);
  EXPECT_FALSE(e.fast->fired().empty());
  EXPECT_FALSE(e.fast->bound.has_value()) << "all survivors were attacked";
  torch::manual_seed(1);
  PlainDefence defence(model, {});
  const auto reference = evaluate_autoattack(defence, {images, threat}, {});
  EXPECT_LE(e.first().robust.sum().item<int64_t>(), reference.first().robust.sum().item<int64_t>() + 1);
  EXPECT_EQ(e.checks.front().name, "alarms");
  EXPECT_EQ(e.checks.front().status, CheckOutcome::Status::reported);
  const auto held = fast(model, images, {.alarms = {.sample = 0, .no_escalate = true}});
  EXPECT_TRUE(held.suspect());
  EXPECT_FALSE(held.fast->escalated);
}

INSTANTIATE_TEST_SUITE_P(, MaskedModels, testing::ValuesIn(masked_models()),
                         [](const auto& info) { return std::string(info.param.name); });

class FastHpm : public test::MsaFixture {
 protected:
  Evaluation fast(const std::string& context, FastOptions options = {}) {
    const auto defence = test::in_context(model, context, images, 7, 2);
    return evaluate_fast(*defence, {images, threat}, options, {});
  }
  static bool fired(const Evaluation& e, const std::string& name) {
    const auto names = e.fast->fired();
    return std::find(names.begin(), names.end(), name) != names.end();
  }
};

TEST_F(FastHpm, HasItsOwnGradientInReferenceAndAStandInElsewhere) {
  const auto reference = fast("reference");
  EXPECT_FALSE(fired(reference, "stand-in gradient"));
  EXPECT_EQ(reference.first().context, "reference");
  const auto solo = fast("solo");
  EXPECT_TRUE(fired(solo, "stand-in gradient"));
  EXPECT_TRUE(solo.fast->escalated);
  const auto defence = test::in_context(model, "solo", images, 7, 2);
  const auto by_autoattack = evaluate_autoattack(*defence, {images, threat}, {.batch_size = 16});
  EXPECT_LE(solo.first().robust.sum().item<int64_t>(), by_autoattack.first().robust.sum().item<int64_t>() + 1);
  EXPECT_TRUE(fast("solo", {.alarms = {.no_escalate = true}}).suspect());
}

TEST_F(FastHpm, RefusesBatchesThatAreOneObjectAndRadiusZero) {
  EXPECT_NE(message_of<UsageError>([&] { fast("joint"); }).find("--protocol msa --version fast"), std::string::npos);
  threat.eps = 0;
  EXPECT_NE(message_of<UsageError>([&] { fast("reference"); }).find("radius above 0"), std::string::npos);
}

TEST_F(FastHpm, InMsaItBreaksNoFewerThanQuickInEveryContext) {
  auto o = options({"reference", "solo", "alone", "joint"});
  o.settings.steps = std::nullopt;
  const auto quick = test::msa(model, {}, images, threat, o);
  o.version = "fast", o.alarms = {.sample = 2, .no_escalate = true};
  const auto fast = test::msa(model, {}, images, threat, o);
  ASSERT_TRUE(fast.fast.has_value());
  EXPECT_FALSE(fast.fast->alarms.empty());
  for (size_t c = 0; c < 4; ++c)
    EXPECT_LE(fast.contexts[c].robust.sum().item<int64_t>(), quick.contexts[c].robust.sum().item<int64_t>())
        << fast.contexts[c].context;
}

TEST_F(FastHpm, InMsaAnAlarmIsFollowedByTheVersionStandard) {
  const HpmModel masked{test::quantised_input(model.classifier, 16), std::nullopt};
  const auto on = test::labelled_by(masked.classifier, images).select(at::arange(6));
  auto o = options({"reference"});
  o.settings = {.queries = 200}, o.version = "fast", o.alarms.sample = 0;
  const auto followed = test::msa(masked, {}, on, threat, o);
  EXPECT_TRUE(followed.fast->escalated);
  EXPECT_FALSE(followed.suspect());
  const auto ran = [](const Evaluation& e, const std::string& name) {
    return std::any_of(e.attacks.begin(), e.attacks.end(), [&](const auto& a) { return a.name == name; });
  };
  EXPECT_TRUE(ran(followed, "apgd-t") && ran(followed, "square"));
  std::set<std::string> names;
  for (const auto& s : followed.first().surrogates) EXPECT_TRUE(names.insert(s.name).second) << s.name << " twice";
  o.alarms.no_escalate = true;
  const auto held = test::msa(masked, {}, on, threat, o);
  EXPECT_FALSE(ran(held, "apgd-t"));
  EXPECT_TRUE(held.suspect());
  EXPECT_LE(followed.first().robust.sum().item<int64_t>(), held.first().robust.sum().item<int64_t>());
}

TEST_F(FastTest, ADeclaredRandomModelEscalatesToAveragedGradients) {
  images = images.select(at::arange(4));
  PlainDefence defence(test::noisy_logits(honest, .05), {.random = true});
  const auto e = evaluate_fast(defence, {images, threat}, {}, {});
  EXPECT_TRUE(e.fast->escalated);
  EXPECT_EQ(e.fast->stages.front().name, "AutoAttack rand apgd-ce");
  EXPECT_NE(message_of<UsageError>([&] {
              evaluate_fast(defence, {images, threat}, {.alarms = {.no_escalate = true}}, {});
            }).find("version rand"),
            std::string::npos);
}

TEST_F(FastTest, AGradientThatSaysItIsAnApproximationIsAnAlarm) {
  images = images.select(at::arange(6));
  PredictionFunction function{.logits = [this](const Tensor& x) { return honest.logits(x); }, .classes = 10};
  const auto fired = [&](bool exact) {
    function.exact_gradient = exact;
    FunctionDefence defence(function, images);
    const auto names =
        evaluate_fast(defence, {images, threat}, {.alarms = {.sample = 0, .no_escalate = true}}, {}).fast->fired();
    return std::find(names.begin(), names.end(), "stand-in gradient") != names.end();
  };
  EXPECT_TRUE(fired(false));
  EXPECT_FALSE(fired(true));
}

TEST_F(FastTest, WhatTransfersFromAnotherModelIsAnAlarm) {
  // The model hides its gradient, and the base is the same without the mask.
  const auto model = test::quantised_input(honest, 16);
  images = test::labelled_by(model, images.select(at::arange(20)));
  PlainDefence defence(model, {.peers = {honest, {}}});
  const auto e = evaluate_fast(defence, {images, threat}, {.alarms = {.no_escalate = true}}, {});
  EXPECT_TRUE(alarm(e, "transfer from base").fired) << alarm(e, "transfer from base").evidence;
  EXPECT_FALSE(alarm(fast(honest, images), "transfer").value.has_value());
}

/// Lets the time run out once more images than these are done.
class SlowMonitor : public Monitor {
 public:
  SlowMonitor(int64_t images, Clock::time_point deadline) : images_(images), deadline_(deadline) {}
  void step(int64_t done, const std::string&) override {
    if (done > images_) std::this_thread::sleep_until(deadline_ + std::chrono::milliseconds(1));
  }

 private:
  int64_t images_;
  Clock::time_point deadline_;
};

TEST_F(FastTest, TheTimeLimitEndsItWithWhatIsKnownAndItsBound) {
  const auto whole = fast(honest, images, {.batch_size = 8, .alarms = {.sample = 4}});
  const auto at_once = fast(honest, images, {.alarms = {.sample = 4}}, {silent(), {}, Clock::now()});
  EXPECT_TRUE(at_once.suspect());
  EXPECT_EQ(stage(at_once, "core").attacked, 0);
  EXPECT_TRUE(at_once.first().robust.equal(at_once.first().clean_correct));
  EXPECT_FALSE(at_once.fast->escalated);

  const auto deadline = Clock::now() + std::chrono::seconds(10);
  SlowMonitor slow(8, deadline);  // in the middle of the second piece
  const auto cut = fast(honest, images, {.batch_size = 8, .alarms = {.sample = 4}}, {slow, {}, deadline});
  const auto& core = stage(cut, "core");
  ASSERT_EQ(core.attacked, 8) << "the piece that the limit cut short does not count, and no other one began";
  EXPECT_TRUE(cut.suspect());
  const auto ours = cut.first().robust.logical_not(), theirs = whole.first().robust.logical_not();
  EXPECT_FALSE((ours & theirs.logical_not()).any().item<bool>()) << "what was broken is what the whole run breaks";
  ASSERT_TRUE(cut.fast->bound.has_value());
  EXPECT_EQ(cut.fast->bound->stage, "The core");
  EXPECT_EQ(cut.fast->bound->sampled, core.attacked);
  EXPECT_EQ(cut.fast->bound->of, 40);
  const auto share = binomial_upper(core.broke, core.attacked);
  EXPECT_EQ(cut.fast->bound->share, share);
  EXPECT_NEAR(cut.fast->bound->robust_accuracy,
              2.5 * (cut.first().robust.sum().item<double>() - (40 - core.attacked) * share / 100), 1e-9);
  EXPECT_NE(cut.reasons().back().find("time was up within core"), std::string::npos) << cut.reasons().back();

  const auto plenty = fast(honest, images, {.batch_size = 8, .alarms = {.sample = 4}},
                           {silent(), {}, Clock::now() + std::chrono::hours(1)});
  EXPECT_FALSE(plenty.suspect());
  EXPECT_TRUE(plenty.first().robust.equal(whole.first().robust));
}

TEST_F(FastTest, TheCostStatedCoversThePassesUsed) {
  for (const bool masked : {false, true}) {
    const auto model = masked ? test::quantised_input(honest, 16) : honest;
    const auto on = masked ? test::labelled_by(model, images) : images;
    auto counted = model;
    counted.reset_passes();
    fast(model, on);
    const auto stated = fast_cost({}, Norm::linf, 10, 40, false);
    EXPECT_LE(counted.passes().forward, stated.most.forward * 40);
    EXPECT_LE(counted.passes().backward, stated.most.backward * 40);
    EXPECT_LT(stated.usual.forward * 2, stated.most.forward);
    EXPECT_TRUE(masked || counted.passes().forward <= stated.usual.forward * 40);
  }
}

TEST(FastAlarms, HaveLimitsThatFewImagesDoNotReachByChance) {
  EXPECT_FALSE(steps_alarm(100, 92, 200).fired) << "3 points and two images of 200";
  EXPECT_TRUE(steps_alarm(101, 92, 200).fired);
  EXPECT_FALSE(steps_alarm(2, 0, 10).fired);
  EXPECT_FALSE(steps_alarm(0, 0, 0).value.has_value());
  const auto near = torch::tensor({.1, .2, .3}, at::kDouble);
  EXPECT_FALSE(nearer_alarm(near, near + .1, 200).fired);
  EXPECT_FALSE(nearer_alarm(near, near, 200).fired) << "as near is not nearer";
  EXPECT_TRUE(nearer_alarm(near, near - .05, 200).fired);
  EXPECT_FALSE(nearer_alarm(near, near - torch::tensor({.05, 0., 0.}, at::kDouble), 200).fired) << "one of three";
  EXPECT_TRUE(stand_in_alarm("ste").fired);
  EXPECT_FALSE(stand_in_alarm("").fired);
}

TEST_F(FastTest, WhereNothingSurvivesNoAlarmIsLookedAt) {
  threat.eps = .5;
  auto counted = honest;
  counted.reset_passes();
  const auto e = fast(counted, images);
  ASSERT_EQ(e.first().robust.sum().item<int64_t>(), 0);
  EXPECT_NE(alarm(e, "further alarms").evidence.find("nothing survived"), std::string::npos);
  EXPECT_LT(counted.passes().forward, stage(e, "core").passes + 4 * 40) << "beyond the core the verdicts alone";
  EXPECT_FALSE(e.suspect());
}

TEST(FastAlarms, TheSampleIsWhatAQuarterOfTheCorePaysFor) {
  EXPECT_EQ(sample_size({}, 480, 1000), 12);
  EXPECT_EQ(sample_size({}, 479, 1000), 0) << "eleven prove little";
  EXPECT_EQ(sample_size({}, 10000, 1000), 60);
  EXPECT_EQ(sample_size(3, 480, 1000), 3);
  EXPECT_EQ(sampled_passes(Norm::linf, 10), passes_of(autoattack_spec("square", Norm::linf, 10)).forward +
                                                passes_of(autoattack_spec("fab-t", Norm::linf, 10)).forward);
  EXPECT_EQ(queried(5), 5);
  EXPECT_EQ(queried(300), 30);
  EXPECT_EQ(queried(10000), 60);
}

TEST(FastAlarms, ABrokenSurvivorFiresAndAStageThatDidNotRunSaysWhy) {
  const StageResult broke{"s", "fab-t", 60, 60, 1}, none{"s", "fab-t", 60, 60, 0}, late{"s", "fab-t", 60, 0, 0};
  EXPECT_TRUE(beyond_alarm("a", &broke, "").fired);
  EXPECT_FALSE(beyond_alarm("a", &none, "").fired);
  EXPECT_EQ(beyond_alarm("a", &none, "").value, 0.);
  EXPECT_FALSE(beyond_alarm("a", &late, "").value.has_value());
  EXPECT_EQ(beyond_alarm("a", nullptr, "no base").evidence, "no base");
}

}  // namespace
}  // namespace hpm
