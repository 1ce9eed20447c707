#include "hpm/evaluation/msa.h"

#include "hpm/core/error.h"
#include "hpm/evaluation/protocols.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::tiny_images;
using test::tiny_model;

class Msa : public testing::Test {
 protected:
  Msa() {
    images.x = tiny_images(18, 1, at::kFloat);
    images.index = at::arange(7, 25);
    const auto out = model.run(images.x);
    images.y = prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, images.index).argmax(1);
    images.y[3] = (images.y[3] + 1) % 5;  // one image is misclassified
  }
  MsaOptions options(std::vector<std::string> contexts) {
    return {.contexts = std::move(contexts), .company_size = 7, .company_seed = 2, .batch_size = 16};
  }
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images;
  ThreatModel threat{Norm::linf, .03};
};

const std::vector<std::string> kAll{"reference", "solo", "alone", "joint"};

TEST_F(Msa, WorstCaseIsNoBetterThanAnySurrogateAloneNorThanClean) {
  const auto result = msa(model, {}, images, threat, options(kAll));
  ASSERT_EQ(result.contexts.size(), 4u);
  for (const auto& c : result.contexts) {
    EXPECT_LT(percent(c.robust), percent(c.clean_correct)) << c.context << ": nothing was broken, nothing is tested";
    for (const auto& s : c.surrogates)
      EXPECT_GE(s.accuracy.value_or(100) + 1e-9, percent(c.robust)) << c.context << " " << s.name;
    EXPECT_TRUE(c.ste_accuracy.has_value());
    EXPECT_TRUE(c.context == "joint" || !(c.robust & c.clean_correct.logical_not()).any().item<bool>());
  }
}

TEST_F(Msa, AdversarialImagesAreInBallAndBoxAndBreakTheHeadlinedContextAfresh) {
  const auto result = msa(model, {}, images, threat, options({"solo", "reference"}));
  EXPECT_LE(norm_of_rows(result.adversarial - images.x, Norm::linf).max().item<double>(), .03 * (1 + 1e-6) + 1e-7);
  const ProtocolSubject subject{model, make_context(model, "solo", images, 7, 2, 16)};
  const auto right = predict_logits(subject, {result.adversarial, images.y, images.index}, 5).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(right, result.first().robust));
}

TEST_F(Msa, FlagsDoNotDependOnBatchSizeThreadsOrOrder) {
  auto base = options({"reference", "solo", "alone"});
  const auto expected = msa(model, {}, images, threat, base);
  base.batch_size = 5;
  const auto other = msa(model, {}, images, threat, base);
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(expected.contexts[c].robust, other.contexts[c].robust)) << c;
  // Another order keeps everyone's company when the company order is drawn from image numbers; here: no shuffling, one batch.
  base.company_seed = 0, base.company_size = 64;
  const auto straight = msa(model, {}, images, threat, base);
  const auto turned = msa(model, {}, images.select(at::arange(18).flip(0)), threat, base);
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(straight.contexts[c].robust, turned.contexts[c].robust.flip(0))) << c;
}

TEST_F(Msa, FullMatrixCompletesEverySurrogateWithoutChangingTheVerdictTowardsRobust) {
  auto o = options({"solo"});
  const auto survivors_only = msa(model, {}, images, threat, o);
  o.full_matrix = true;
  const auto full = msa(model, {}, images, threat, o);
  for (const auto& s : full.first().surrogates)
    EXPECT_TRUE(!s.same_as.empty() || !s.unavailable.empty() || (s.complete && s.accuracy)) << s.name;
  EXPECT_LE(percent(full.first().robust), percent(survivors_only.first().robust) + 1e-9);
  for (const auto& record : full.attacks) {
    ASSERT_TRUE(record.matrix.defined());
    EXPECT_LE(record.matrix.max().item<int64_t>(), 2);
  }
}

TEST_F(Msa, LambdaOneGivesTheSameResultInEveryRowContext) {
  model.head->lambda = 1;
  const auto result = msa(model, {}, images, threat, options({"reference", "solo", "alone"}));
  EXPECT_TRUE(at::equal(result.contexts[0].robust, result.contexts[1].robust));
  EXPECT_TRUE(at::equal(result.contexts[0].robust, result.contexts[2].robust));
}

TEST_F(Msa, JointCountsTheWorstComposedBatchAndTheExistentialFigureIsLower) {
  const auto result = msa(model, {}, images, threat, options({"joint"}));
  const auto& joint = result.first();
  ASSERT_TRUE(joint.joint_any.has_value());
  EXPECT_LE(*joint.joint_any, percent(joint.robust) + 1e-9);
}

// What the official driver does with a batch-coupled model: it repacks survivors into other batches, where other
// prototypes judge them.
TEST_F(Msa, RepackingSurvivorsOfAJointBatchGivesAnotherNumber) {
  const auto context = make_context(model, "joint", images, 7, 2, 16);
  const ProtocolSubject fixed{model, context};
  const auto in_their_batches = predict_logits(fixed, images, 16).argmax(1);
  auto repacked_changes = false;
  for (int64_t keep = 2; keep < 6 && !repacked_changes; ++keep) {
    const auto rows = at::arange(0, 18, keep);
    const auto left = images.select(rows);
    const auto out = model.run(left.x);
    const auto repacked = prediction_logits(*model.head, {ContextKind::joint}, out.features, out.logits, left.index).argmax(1);
    repacked_changes = !at::equal(repacked, in_their_batches.index_select(0, rows));
  }
  EXPECT_TRUE(repacked_changes);
  EXPECT_THROW(evaluate_autoattack(fixed, images, threat, {}), UsageError);
}

TEST_F(Msa, PlainModelIsAttackedWithAsManyRestartsAsHpmHasSurrogates) {
  const HpmModel plain{model.classifier, std::nullopt};
  const auto result = msa(plain, {}, images, threat, options({"reference"}));
  EXPECT_TRUE(result.first().context.empty());
  for (const auto& step : msa_plan(options({"reference"}), Norm::linf, 5, false))
    for (const auto& spec : step.attacks) EXPECT_EQ(spec.restarts, 5) << spec.name;
}

TEST_F(Msa, PassesStayWithinTheStatedBound) {
  const auto o = options({"reference", "solo"});
  const auto bound = estimate_passes(model, {}, threat, o);
  const auto result = msa(model, {}, images, threat, o);
  EXPECT_LE(result.passes.backward, bound.backward * 18);
  EXPECT_LE(result.passes.forward, (bound.forward + 20) * 18);
  EXPECT_GT(result.passes.backward, 0);
}

TEST_F(Msa, BadOptionsAreUsageErrors) {
  EXPECT_THROW(msa(model, {}, images, threat, options({"group"})), UsageError);
  auto o = options({"solo"});
  o.version = "fast";
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
  o = options({"solo"});
  o.surrogates = {"steh"};
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
  EXPECT_THROW(msa(model, {}, images.select(at::arange(0)), threat, options({"solo"})), UsageError);
}

}  // namespace
}  // namespace hpm
