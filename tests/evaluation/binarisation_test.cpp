// The binarisation self-test: adversarial images that are known to be there.
#include "hpm/evaluation/checks/binarisation.h"

#include "evaluation/masked_models.h"
#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/defences/plain_defence.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

class Binarisation : public testing::Test {
 protected:
  PlantedAttack apgd_on(const Defence& defence, int64_t steps = 20) const {
    auto own = defence.surrogates(0, {}).front();
    return {std::move(own), "apgd-ce", [steps, threat = threat](AttackModel& model, const Images& on) {
              return apgd(model, on, threat, {.steps = steps}, RandomStreams(1));
            }};
  }
  SelfTestOutcome outcome_of(const Classifier& classifier, uint64_t seed = 0) const {
    PlainDefence defence(classifier);
    return test_binarisation(defence, 0, {images, threat}, {apgd_on(defence)},
                             {.inner = 60, .random = 20, .seed = seed});
  }
  Classifier honest = make_classifier("conv8k3s2p1-relu-flatten-fc24-relu-fc5", 5, {3, 8, 8}, {}, 11);
  Images images = test::tiny_labelled_images(honest, 24);
  ThreatModel threat{Norm::linf, .05};
};

TEST_F(Binarisation, AnAttackOnAnHonestModelFindsWhatWasPlanted) {
  for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
    threat = {norm, norm == Norm::linf ? .05 : norm == Norm::l2 ? .5 : 4.};
    const auto outcome = outcome_of(honest);
    EXPECT_TRUE(outcome.on_features);
    EXPECT_EQ(outcome.images, 24);
    EXPECT_GT(outcome.tested(), 12) << to_string(norm) << ": most images can be tested";
    EXPECT_EQ(outcome.found, outcome.tested()) << to_string(norm);
    const auto check = binarisation_check(outcome);
    EXPECT_EQ(check.status, Status::passed) << check.detail;
    EXPECT_EQ(check.cause, Cause::none);
  }
}

TEST_F(Binarisation, AZeroGradientFindsNothingAndFailsWithACause) {
  const auto outcome = outcome_of(test::quantised_input(honest, 40));
  EXPECT_FALSE(outcome.on_features) << "a function of images has its logits alone";
  EXPECT_GT(outcome.tested(), 12);
  EXPECT_LT(outcome.found, outcome.tested() / 2);
  const auto check = binarisation_check(outcome);
  EXPECT_EQ(check.status, Status::failed);
  EXPECT_EQ(check.cause, Cause::masked);
  EXPECT_NE(check.detail.find("logits"), std::string::npos) << check.detail;
}

TEST_F(Binarisation, AStandInThatSeesThroughTheMaskFindsWhatWasPlanted) {
  PlainDefence defence(test::quantised_input(honest, 40));
  auto seen_through = apgd_on(defence);
  seen_through.surrogate.name = "bpda", seen_through.surrogate.exact = false;
  seen_through.surrogate.through_network = false;
  seen_through.surrogate.logits = [net = honest](const SurrogateInput& in) { return net.logits(in.x); };
  const auto outcome =
      test_binarisation(defence, 0, {images, threat}, {apgd_on(defence), seen_through}, {.inner = 60, .random = 20});
  EXPECT_GE(outcome.found * 20, outcome.tested() * 19) << outcome.found << " of " << outcome.tested();
  EXPECT_EQ(outcome.attack, "apgd-ce on self, apgd-ce on bpda");
}

TEST_F(Binarisation, ScaledLogitsAreNoObstacle) {
  const auto outcome = outcome_of(test::scaled_logits(honest, 1e4));
  EXPECT_EQ(outcome.found, outcome.tested()) << "the readout takes the place of the scale";
}

TEST_F(Binarisation, WhereNothingCanBePlantedTheCheckIsNotRun) {
  const auto constant = test::around(honest, "constant", [](const Tensor& x) {
    return at::zeros({x.size(0), 5}) + 0 * x.flatten(1).sum(1, true);
  });
  const auto check = binarisation_check(outcome_of(constant));
  EXPECT_EQ(check.status, Status::not_run);
  EXPECT_NE(check.detail.find("0 of 24"), std::string::npos) << check.detail;
}

TEST_F(Binarisation, WhatHardlyDiffersFromRoundingIsNoFeature) {
  const auto saturated = test::around(honest, "saturated", [net = honest](const Tensor& x) {
    const auto first = at::one_hot(at::zeros({x.size(0)}, at::kLong), 5);
    return first + (1 - first) * 1e-20 * net.logits(x);  // as of a softmax that is sure
  });
  EXPECT_EQ(outcome_of(saturated).tested(), 0);
}

TEST_F(Binarisation, AnImagesProblemDependsOnTheSeedAndItsNumberAlone) {
  const auto counts = [](const SelfTestOutcome& o) { return std::vector<int64_t>{o.solved, o.random, o.found}; };
  EXPECT_EQ(counts(outcome_of(honest)), counts(outcome_of(honest)));
  PlainDefence defence(honest);
  const auto tested = [&](const Tensor& rows) {
    return test_binarisation(defence, 0, {images.select(rows), threat}, {apgd_on(defence)}, {.inner = 60, .random = 20})
        .tested();
  };
  int64_t alone = 0;
  for (int64_t i = 0; i < 6; ++i) alone += tested(torch::tensor({i}, at::kLong));
  EXPECT_EQ(alone, tested(at::arange(6)));
  EXPECT_THROW(test_binarisation(defence, 0, {images, threat}, {}, {}), UsageError);
}

}  // namespace
}  // namespace hpm
