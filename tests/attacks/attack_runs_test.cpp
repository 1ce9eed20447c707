// What all attacks owe to their driver: budgets, answers that are not finite, coupled batches; and their options.
#include "hpm/attacks/attack_runs.h"
#include "attacks/autoattack_setting.h"
#include "hpm/attacks/apgd.h"
#include "hpm/attacks/compaction.h"
#include "hpm/attacks/conformance_streams.h"
#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/fab.h"
#include "hpm/attacks/function_model.h"
#include "hpm/attacks/pgd.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::kThreats;
using test::message_of;
using test::Setting;

/// Changes the answers of a network.
class Changed : public ClassifierModel {
 public:
  using Change = std::function<void(const Query&, Answer&, int64_t pass)>;
  Changed(Classifier net, Change change) : ClassifierModel(std::move(net)), change_(std::move(change)) {}
  Answer ask(const Query& query, const Loss* loss) override {
    auto answer = ClassifierModel::ask(query, loss);
    change_(query, answer, queries++);
    return answer;
  }
  int64_t queries = 0;

 private:
  Change change_;
};

/// Settings for every attack that a plain network can be attacked with.
std::vector<AttackSpec> short_specs() {
  std::vector<AttackSpec> all;
  for (const auto& entry : attack_table())
    if (!entry.objective) all.push_back({.name = entry.name, .steps = 8, .restarts = 2, .targets = 2, .queries = 30});
  return all;
}

AttackResult run(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                 Monitor& monitor = silent()) {
  return attack_entry(spec.name).run(model, images, threat, spec, RandomStreams(0), monitor);
}

TEST(FiniteAnswers, AnyAttackOnNanOrInfiniteLogitsIsAnErrorThatNamesAttackAndImage) {
  Setting s;
  s.images.index = s.images.index + 100;
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (const auto& spec : short_specs()) {
      Changed model(s.net, [&](const Query& query, Answer& answer, int64_t pass) {
        if (pass >= 2) answer.target_logits.select(1, 4).masked_fill_(query.index.eq(107), value);
      });
      const auto message = message_of<Error>([&] { run(model, s.images, {Norm::linf, 1e-6}, spec); });
      EXPECT_NE(message.find(spec.name + ": "), std::string::npos) << message;
      EXPECT_NE(message.find("image 107"), std::string::npos) << message;
    }
  Changed model(s.net, [](const Query&, Answer& answer, int64_t) { answer.target_logits[2][0] = NAN; });
  for (const auto& attack : std::vector<std::function<void()>>{
           [&] { pgd(model, s.images, kThreats[0], {.steps = 2}, RandomStreams(0)); },
           [&] { fgsm(model, s.images, kThreats[0]); },
           [&] { apgd_run(model, s.images, {s.images.x}, {}, kThreats[0], {.steps = 2}); },
           [&] { fab_run(model, s.images, {}, s.images.y, kThreats[0], {.steps = 2}); },
           [&] { square_run(model, s.images, kThreats[0], {.queries = 2}, RandomStreams(0)); }})
    EXPECT_NE(message_of<Error>(attack).find("image 102"), std::string::npos);
}

TEST(FiniteAnswers, ALossThatIsNotFiniteIsAnErrorToo) {
  Setting s;
  Changed model(s.net, [](const Query&, Answer& answer, int64_t) {
    if (answer.loss.defined()) answer.loss[3] = NAN;
  });
  EXPECT_NE(message_of<Error>([&] {
              apgd(model, s.images, {Norm::linf, 1e-6}, {.steps = 2}, RandomStreams(0));
            }).find("apgd: the model's losses are NaN or infinite at a version of image 3;"),
            std::string::npos);
}

TEST(FiniteAnswers, LooksPutOffAreMadeUpForAtTheEnd) {
  Setting s;
  const auto attack = [&](AttackModel& model) {
    apgd(model, s.images, {Norm::linf, 1e-6}, {.steps = 12, .compaction = 1000}, RandomStreams(0));
  };
  Changed counted(s.net, [](const Query&, Answer&, int64_t) {});
  attack(counted);
  Changed last(s.net, [&](const Query&, Answer& answer, int64_t pass) {
    if (pass == counted.queries - 1) answer.target_logits[5][1] = NAN;
  });
  EXPECT_NE(message_of<Error>([&] { attack(last); }).find("image 5"), std::string::npos);
  EXPECT_EQ(last.queries, counted.queries) << "the look was not put off: nothing is tested";
}

TEST(Attacks, AGradientThatIsNotANumberIsNoDirectionAndSpoilsNoOtherImage) {
  Setting s;
  for (const auto& threat : kThreats)
    for (const auto& spec : short_specs()) {
      if (attack_entry(spec.name).queries) continue;
      SCOPED_TRACE(spec.name + " " + to_string(threat.norm));
      ClassifierModel honest(s.net);
      const auto expected = run(honest, s.images, threat, spec);
      Changed model(s.net, [](const Query& query, Answer& answer, int64_t) {
        if (answer.gradient.defined())
          answer.gradient.index_fill_(0, query.index.eq(0).nonzero().squeeze(1),
                                      std::numeric_limits<double>::quiet_NaN());
      });
      const auto found = run(model, s.images, threat, spec);
      EXPECT_TRUE(found.images.isfinite().all().item<bool>());
      EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>());
      EXPECT_TRUE(found.broken.slice(0, 1).equal(expected.broken.slice(0, 1)));
    }
}

TEST(Pgd, AGradientThatIsNotANumberIsNoDirection) {
  Setting s;
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    Changed model(s.net, [](const Query& query, Answer& answer, int64_t) {
      if (answer.gradient.defined())
        answer.gradient.index_fill_(0, query.index.eq(0).nonzero().squeeze(1),
                                    std::numeric_limits<double>::quiet_NaN());
    });
    const auto found = pgd(model, s.images, threat, {.steps = 3}, RandomStreams(1));
    EXPECT_TRUE(found.images.isfinite().all().item<bool>());
    EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>());
  }
}

TEST(ConformanceStreams, GiveTheCallerItsGeneratorBack) {
  Setting s;
  ClassifierModel model(s.net);
  const auto images = s.images.select(at::arange(3));
  torch::manual_seed(11);
  const auto expected = at::rand({4});
  torch::manual_seed(11);
  Tensor during;
  {
    const ConformanceStreams streams(3);
    apgd(model, images, kThreats.front(), {.steps = 1, .conformance = true}, streams);
    during = at::rand({4});
  }
  EXPECT_FALSE(at::equal(during, expected)) << "the attack did not draw from the generator, nothing is tested";
  EXPECT_TRUE(at::equal(at::rand({4}), expected));
}

TEST(Kernels, AnOrderStatisticPutsNanAboveAllNumbersAsSortDoes) {
  auto values = at::rand({5, 200});
  values.masked_fill_(at::rand({5, 200}).lt(.3), std::numeric_limits<double>::quiet_NaN());
  for (int64_t place : {0, 50, 100, 199}) {
    const auto expected = std::get<0>(values.sort(1)).select(1, place);
    const auto found = order_statistic(values, at::full({5}, place, at::kLong));
    EXPECT_TRUE(found.isnan().equal(expected.isnan()));
    EXPECT_TRUE(found.nan_to_num().equal(expected.nan_to_num()));
  }
}

/// Counts ticks.
class Ticks : public Monitor {
 public:
  void tick() override { ++count; }
  int64_t count = 0;
};

TEST(Budget, IsWhatASurvivorOfEachAttackTakes) {
  Setting s;
  const auto images = s.images.select(at::arange(3));
  for (const bool large : {false, true})
    for (auto spec : short_specs()) {
      spec.large_radius = large;
      if (spec.name.starts_with("apgd")) spec.eot = 2;
      SCOPED_TRACE(spec.name);
      const ThreatModel threat{large ? Norm::l1 : Norm::linf, 1e-7};
      ClassifierModel model(s.net);
      const auto before = model.passes();
      Ticks ticks;
      const auto found = run(model, images, threat, spec, ticks);
      ASSERT_FALSE(found.broken.any().item<bool>());
      const auto used = model.passes() - before;
      const auto stated = passes_of(spec);
      const bool fab = spec.name.starts_with("fab");      // its second pass of a step is not always needed
      EXPECT_LE(used.forward, 3 * (stated.forward - 1));  // the verdict is the sequence's
      if (spec.name == "relaxation") {                    // it gives most targets up early
        EXPECT_LE(used.backward, 3 * stated.backward);
        continue;
      }
      EXPECT_GE(used.forward, 3 * (stated.forward - 1) / (fab ? 2 : 1));
      EXPECT_LE(used.backward, 3 * stated.backward);
      EXPECT_GE(used.backward, 3 * stated.backward / (fab ? 2 : 1));
      EXPECT_EQ(ticks.count, attack_entry(spec.name).budget(spec).ticks);
    }
}

TEST(Budget, KnowsTheTargetsThatASurrogatesRankingAdds) {
  const AttackSpec targeted{.name = "apgd-t", .steps = 10, .targets = 3}, other{.name = "apgd-ce", .steps = 10};
  EXPECT_EQ(passes_of(targeted).forward, 2 + 3 * 11);
  EXPECT_EQ(passes_of(targeted, {true, Coupling::rows, 10}).forward, 3 + 6 * 11);
  EXPECT_EQ(passes_of(targeted, {true, Coupling::rows, 6}).forward, 3 + 5 * 11) << "two classes are left";
  EXPECT_EQ(passes_of(targeted, {true, Coupling::batch, 6}).forward, 3 + 6 * 11) << "rows without one repeat another";
  EXPECT_EQ(passes_of(targeted, {true, Coupling::batch, 4}).forward, 3 + 3 * 11) << "every class is a target";
  EXPECT_EQ(passes_of(other, {true, Coupling::rows, 10}).forward, 2 + 11);
  EXPECT_EQ(
      passes_of(autoattack_sequence({.version = "custom", .custom = {"apgd-t", "square"}, .settings = {.steps = 10}}))
          .forward,
      2 + 9 * 11 + 2 + 5001);
}

TEST(Budget, OfUntargetedFabCountsTheGradientsOfAllClasses) {
  const auto backward = [](const std::string& name, int64_t classes) {
    return passes_of(autoattack_sequence({.version = "custom",
                                          .classes = classes,
                                          .custom = {name},
                                          .settings = {.steps = 10, .restarts = 1, .targets = 1}}))
        .backward;
  };
  EXPECT_EQ(backward("fab", 10), 10 * backward("fab-t", 10));
  EXPECT_EQ(backward("fab", 3), 3 * backward("fab-t", 3));
}

TEST(Budget, OfPgdIsWhatASurvivorTakes) {
  Setting s;
  ClassifierModel model(s.net);
  const auto before = model.passes();
  const PgdOptions options{.steps = 5, .restarts = 3};
  pgd(model, s.images, {Norm::linf, 1e-7}, options, RandomStreams(0));
  const auto used = model.passes() - before;
  EXPECT_EQ(used.forward, 40 * (1 + budget_of(options).passes.forward));
  EXPECT_EQ(used.backward, 40 * budget_of(options).passes.backward);
}

/// Rows whose verdict depends on the whole batch: the mean of all images moves every row's logits.
class Coupled : public FunctionModel {
 public:
  explicit Coupled(const Classifier& net)
      : FunctionModel([net](const Tensor& x) { return net.logits(x) + net.logits(x.mean(0, true)); }, 10) {}
  Coupling coupling() const override { return Coupling::batch; }
};

TEST(Attacks, OnACoupledBatchReturnABatchAndItsOwnVerdicts) {
  Setting s;
  for (const auto& threat : kThreats) {
    Coupled model(s.net);
    const auto verdict = [&](const Tensor& x) {
      return model.ask({x, s.images.index}, nullptr).target_logits.argmax(1).ne(s.images.y);
    };
    const auto clean = verdict(s.images.x);
    const auto check = [&](const AttackResult& found) {
      EXPECT_TRUE(verdict(found.images).equal(found.broken));
      EXPECT_GE(found.broken.sum().item<int64_t>(), clean.sum().item<int64_t>());
      EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>());
    };
    int64_t most = 0;
    for (const auto& spec : short_specs()) {
      if (attack_entry(spec.name).single_images) continue;  // it says so: Rays.RefusesABatchThatIsOneObject
      SCOPED_TRACE(spec.name + " " + to_string(threat.norm));
      const auto found = run(model, s.images, threat, spec);
      check(found);
      most = std::max(most, found.broken.sum().item<int64_t>());
    }
    check(pgd(model, s.images, threat, {.steps = 8, .restarts = 2}, RandomStreams(0)));
    EXPECT_GT(most, clean.sum().item<int64_t>()) << "nothing was broken, nothing is tested";
  }
}

/// How many queries an attack took, and what it broke.
std::pair<int64_t, AttackResult> counted(const Setting& s, const ThreatModel& threat, AttackSpec spec,
                                         int64_t at_once) {
  spec.at_once = at_once;
  Changed model(s.net, [](const Query&, Answer&, int64_t) {});
  auto found = ready(spec).run(model, s.images, threat, RandomStreams(3), silent());
  EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>());
  EXPECT_TRUE(s.net.logits(found.images).argmax(1).ne(s.images.y).equal(found.broken));
  return {model.queries, std::move(found)};
}

TEST(AttackRuns, MadeAtOnceBreakTheSameImagesInFarFewerQueries) {
  Setting s;
  s.images = s.images.select(at::arange(16));
  for (const auto& threat : kThreats)
    for (const auto& spec :
         std::vector<AttackSpec>{{.name = "apgd-t", .steps = 20, .restarts = 2, .targets = 5},
                                 {.name = "apgd-ce", .steps = 20, .restarts = 5, .large_radius = true},
                                 {.name = "fab-t", .steps = 20, .restarts = 2, .targets = 5},
                                 {.name = "relaxation", .steps = 60, .restarts = 3}}) {
      SCOPED_TRACE(spec.name + " " + to_string(threat.norm));
      const auto [queries, one_by_one] = counted(s, threat, spec, 0);
      EXPECT_GT(one_by_one.broken.sum().item<int64_t>(), 0);
      EXPECT_GT(one_by_one.broken.logical_not().sum().item<int64_t>(), 0);
      for (const int64_t at_once : {7, 24, 64, 1000}) {
        const auto [fewer, found] = counted(s, threat, spec, at_once);
        EXPECT_TRUE(found.broken.equal(one_by_one.broken)) << at_once;
        EXPECT_LE(fewer, queries);
        if (at_once >= 64 && spec.name != "relaxation") {
          EXPECT_LT(2 * fewer, queries) << at_once;
        }
        const auto held = found.broken.logical_not();
        if (found.margin.defined()) {
          EXPECT_TRUE(at::allclose(found.margin.index({held}), one_by_one.margin.index({held}), 1e-4, 1e-6));
        }
      }
    }
}

/// Of two runs made at once that break the same image, the first one's find counts, and the other's leaves with it.
TEST(AttackRuns, MadeAtOnceGiveAnImageOneFind) {
  Setting s;
  s.images = s.images.select(at::arange(20));
  ClassifierModel model(s.net);
  AttackRuns runs(model, s.images, "test", RandomStreams(0), {.at_once = 64});
  const auto third = at::arange(s.images.size()).remainder(3).eq(0);
  int64_t calls = 0;
  runs(
      [&](AttackModel&, const AttackRun& run) -> RunFound {
        ++calls;
        EXPECT_EQ(run.purposes.size(), 3U);
        EXPECT_TRUE(run.images.index.equal(s.images.index.index_select(0, run.rows)));
        auto images = run.images.x.clone();
        for (int64_t i = 0; i < run.rows.numel(); ++i) images[i].fill_(run.images.run[i].item<double>() / 10);
        const auto broken = run.images.run.gt(0);
        EXPECT_TRUE(rows_that_stay(run.images, broken.logical_not()).equal(run.images.run.lt(0)));
        return {images, broken, at::where(broken, -1., 1.)};
      },
      {{{"test", 0, 0}}, {{"test", 0, 1}, {}, 0, third}, {{"test", 0, 2}}});
  EXPECT_EQ(calls, 1);
  const auto found = runs.finish();
  EXPECT_TRUE(found.broken.all().item<bool>());
  for (int64_t i = 0; i < s.images.size(); ++i)
    EXPECT_FLOAT_EQ(found.images[i].max().item<float>(), third[i].item<bool>() ? .1F : .2F) << i;
}

/// Says of itself what the test asks.
class Declared : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Coupling coupling() const override { return coupled ? Coupling::batch : Coupling::rows; }
  bool random() const override { return draws; }
  bool shares_iterates() const override { return shares; }
  bool coupled = false, draws = false, shares = false;
};

TEST(AttackRuns, AreMadeOneAfterTheOtherWhereAnImagesRowsWouldNotBeIndependent) {
  Setting s;
  s.images = s.images.select(at::arange(8));
  const auto runs_at_once = [&](const Declared& declared) {
    auto model = declared;
    AttackRuns runs(model, s.images, "test", RandomStreams(0), {.at_once = 64});
    size_t most = 0;
    runs(
        [&](AttackModel&, const AttackRun& run) -> RunFound {
          most = std::max(most, run.purposes.size());
          EXPECT_EQ(run.images.run.defined(), run.purposes.size() > 1);
          return {run.images.x, at::zeros_like(run.images.y, at::kBool)};
        },
        {{{"test", 0}}, {{"test", 1}}, {{"test", 2}}});
    return most;
  };
  Declared plain(s.net), coupled(s.net), draws(s.net), shares(s.net);
  coupled.coupled = draws.draws = shares.shares = true;
  EXPECT_EQ(runs_at_once(plain), 3U);
  for (const auto& model : {coupled, draws, shares}) EXPECT_EQ(runs_at_once(model), 1U);
  s.images.index[3] = s.images.index[2];
  EXPECT_EQ(runs_at_once(plain), 1U) << "two images with one number";
}

TEST(Sequence, AnObjectiveOfASurrogateIsNothingForAPlainNetwork) {
  EXPECT_NE(message_of<UsageError>([] {
              autoattack_sequence({.version = "custom", .custom = {"apgd-own"}});
            }).find("needs a surrogate"),
            std::string::npos);
}

}  // namespace
}  // namespace hpm
