#include "hpm/attacks/relaxation.h"

#include "attacks/autoattack_setting.h"
#include "hpm/attacks/function_model.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::kThreats;
using test::message_of;
using test::Setting;

AttackResult attack(AttackModel& model, const Images& images, const ThreatModel& threat,
                    const RelaxationOptions& options = {}, uint64_t seed = 0) {
  return relaxation(model, images, threat, options, RandomStreams(seed));
}

TEST(Relaxation, StaysInBallAndBoxAndReturnsOriginalsWhereUnbroken) {
  Setting s;
  s.images.y[3] = (s.images.y[3] + 1) % 10;  // wrong from the start
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    ClassifierModel model(s.net);
    const auto found = attack(model, s.images, threat);
    EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>());
    EXPECT_TRUE(s.net.logits(found.images).argmax(1).ne(s.images.y).equal(found.broken));
    const auto held = found.broken.logical_not();
    EXPECT_GT(held.sum().item<int64_t>(), 0);
    EXPECT_GT(found.broken.sum().item<int64_t>(), 5);
    EXPECT_TRUE(found.images.index({held}).equal(s.images.x.index({held})));
    EXPECT_TRUE(found.images[3].equal(s.images.x[3]));
  }
}

TEST(Relaxation, BreaksWhatAutoAttackBreaksInFewerPasses) {
  Setting s;
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    ClassifierModel model(s.net);
    const auto reference = autoattack(model, s.images, threat, {.settings = {.steps = 50, .queries = 1000}});
    const auto before = model.passes();
    const auto found = attack(model, s.images, threat);
    const auto used = (model.passes() - before).forward;
    int64_t theirs = 0;
    for (const auto& part : reference.attacks) theirs += part.passes.forward;
    const auto missed = (reference.robust().logical_not() & found.broken.logical_not()).sum().item<int64_t>();
    EXPECT_LE(missed, 1);
    EXPECT_LT(used * 8, theirs);
  }
}

TEST(Relaxation, JudgesOnlyIteratesInsideTheBall) {
  // A model that is wrong everywhere outside the ball, and robust inside.
  Setting s;
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    bool went_outside = false;
    FunctionModel model(
        [&](const Tensor& x) {
          const auto logits = s.net.logits(x) * 1e-3 + 10 * at::one_hot(s.images.y, 10);
          const auto outside = inside(x.detach(), s.images.x, threat).logical_not();
          went_outside |= outside.any().item<bool>();
          return logits * at::where(outside, -1., 1.).to(at::kFloat).unsqueeze(1);
        },
        10);
    // With this threshold no row gives a target up, so that all stay together.
    const auto found = attack(model, s.images, threat, {.targets = 2, .cycles = 2, .give_up = 1e9});
    EXPECT_TRUE(went_outside) << "nothing is tested";
    EXPECT_FALSE(found.broken.any().item<bool>());
  }
}

TEST(Relaxation, FlagsDependOnNeitherBatchNorOrderNorThreads) {
  Setting s;
  for (const auto& threat : kThreats) {
    SCOPED_TRACE(to_string(threat.norm));
    ClassifierModel model(s.net);
    const auto expected = attack(model, s.images, threat);
    for (int64_t size : {1, 7, 16}) {
      std::vector<Tensor> parts;
      for_chunks(s.images, size,
                 [&](const Images& chunk, int64_t) { parts.push_back(attack(model, chunk, threat).broken); });
      EXPECT_TRUE(at::cat(parts).equal(expected.broken)) << size;
    }
    const auto order = RandomStreams(5).permutation(40, {"order"});
    const auto permuted = attack(model, s.images.select(order), threat);
    EXPECT_TRUE(permuted.broken.index_select(0, order.argsort()).equal(expected.broken));
    const ScopedThreads two(2);
    EXPECT_TRUE(attack(model, s.images, threat).broken.equal(expected.broken));
  }
}

TEST(Relaxation, CarryingBrokenRowsForSomeStepsChangesNoFlag) {
  Setting s;
  for (const auto& threat : kThreats) {
    ClassifierModel model(s.net);
    const auto expected = attack(model, s.images, threat), carried = attack(model, s.images, threat, {.compaction = 8});
    EXPECT_TRUE(carried.broken.equal(expected.broken)) << to_string(threat.norm);
    EXPECT_TRUE(s.net.logits(carried.images).argmax(1).ne(s.images.y).equal(expected.broken));
  }
}

TEST(Relaxation, SeedsGiveOtherImagesAndTheSameSeedTheSame) {
  Setting s;
  ClassifierModel model(s.net);
  const auto a = attack(model, s.images, kThreats[0]), b = attack(model, s.images, kThreats[0]),
             c = attack(model, s.images, kThreats[0], {}, 1);
  EXPECT_TRUE(a.images.equal(b.images));
  EXPECT_FALSE(a.images.equal(c.images));
}

TEST(Relaxation, TheScaleOfTheLogitsChangesNoVerdict) {
  Setting s;
  for (const auto& threat : kThreats) {
    ClassifierModel model(s.net);
    const auto expected = attack(model, s.images, threat);
    for (double scale : {1e-20, 1e-3, 1e3, 1e20}) {
      FunctionModel scaled([&](const Tensor& x) { return s.net.logits(x) * scale; }, 10);
      const auto found = attack(scaled, s.images, threat);
      EXPECT_LE(found.broken.ne(expected.broken).sum().item<int64_t>(), 0) << to_string(threat.norm) << scale;
      const auto held = expected.broken.logical_not();
      EXPECT_TRUE(test::close(found.margin.index({held}), expected.margin.index({held}), 2e-2));
    }
  }
}

TEST(Relaxation, SpreadIsTheStandardDeviationAlsoWhereSquaresOverflowAndOfEqualLogits) {
  const auto logits = at::randn({5, 10});
  EXPECT_TRUE(test::close(logit_spread(logits), logits.std(1), 1e-6));
  EXPECT_TRUE(test::close(logit_spread(logits * 1e30) / 1e30, logits.std(1), 1e-5));
  EXPECT_GT(logit_spread(at::zeros({2, 10})).min().item<double>(), 0);
}

TEST(Relaxation, MarginsAreThoseOfTheNearestIterate) {
  Setting s;
  s.images.y[3] = (s.images.y[3] + 1) % 10;
  ClassifierModel model(s.net);
  const auto found = attack(model, s.images, kThreats[0]);
  const auto spread = logit_spread(s.net.logits(s.images.x));
  EXPECT_TRUE(std::isinf(found.margin[3].item<double>())) << "it was not attacked";
  const auto clean = margin(s.net.logits(s.images.x), s.images.y) / spread;
  const auto held = found.broken.logical_not();
  EXPECT_TRUE(found.margin.index({held}).gt(0).all().item<bool>());
  EXPECT_TRUE(found.margin.index({held}).lt(clean.index({held})).all().item<bool>());
  auto attacked = found.broken.clone();
  attacked[3] = false;
  EXPECT_TRUE(found.margin.index({attacked}).le(0).all().item<bool>());
}

/// Counts the rows that gradients are asked for, by their targets' ranks in the clean logits.
class Counting : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    if (loss && loss->targets.defined())
      for (int64_t i = 0; i < loss->targets.numel(); ++i)
        ++asked[query.index[i].item<int64_t>()][loss->targets[i].item<int64_t>()];
    return ClassifierModel::ask(query, loss);
  }
  std::map<int64_t, std::map<int64_t, int64_t>> asked;
};

TEST(Relaxation, GivesUpFarTargetsAndStartsAgainTowardsNearOnes) {
  Setting s;
  const ThreatModel threat{Norm::linf, 1e-6};  // nothing comes nearer
  Counting strict(s.net);
  attack(strict, s.images, threat, {.give_up = 0, .near = 0});
  for (const auto& [image, targets] : strict.asked) {
    EXPECT_EQ(targets.size(), 9u);
    std::map<int64_t, int64_t> steps;
    for (const auto& [target, count] : targets) ++steps[count];
    EXPECT_EQ(steps, (std::map<int64_t, int64_t>{{20, 3}, {10, 6}})) << image;
  }
  Counting patient(s.net);
  attack(patient, s.images, threat, {.targets = 2, .cycles = 2, .give_up = 1e9, .starts = 3, .near = 1e9});
  for (const auto& [image, targets] : patient.asked)
    for (const auto& [target, count] : targets) EXPECT_EQ(count, 4 * 60) << image;
}

TEST(Relaxation, RunsOnTwoAndThreeClassesAndRefusesWhatCannotBe) {
  for (const int64_t classes : {2, 3}) {
    const auto net = make_classifier("flatten-fc" + std::to_string(classes), classes, {1, 4, 4}, {}, 3);
    const auto x = test::fill_rule(160, 5).view({10, 1, 4, 4}).to(at::kFloat);
    ClassifierModel model(net);
    EXPECT_GT(
        attack(model, {x, net.logits(x).argmax(1), at::arange(10)}, {Norm::linf, .3}).broken.sum().item<int64_t>(), 0);
  }
  Setting s;
  ClassifierModel model(s.net);
  EXPECT_NE(message_of<UsageError>([&] { attack(model, s.images, kThreats[0], {.cycles = 0}); }).find("cycles >= 1"),
            std::string::npos);
}

TEST(Relaxation, IsAnAttackOfTheTable) {
  Setting s;
  ClassifierModel model(s.net);
  const auto result = autoattack(model, s.images, kThreats[0], {.version = "custom", .attacks = {"relaxation"}});
  EXPECT_EQ(result.attacks[0].spec.restarts, 3);
  EXPECT_TRUE(result.robust().logical_not().equal(attack(model, s.images, kThreats[0]).broken));
}

}  // namespace
}  // namespace hpm
