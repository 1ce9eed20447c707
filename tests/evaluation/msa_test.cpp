#include "evaluation/killer.h"
#include "evaluation/masked_models.h"
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"

namespace hpm {
namespace {

using test::logits_in;
using test::msa;

using test::kEveryContext;

class Msa : public test::MsaFixture {};

TEST_F(Msa, WorstCaseIsNoBetterThanAnySurrogateAloneNorThanClean) {
  const auto result = msa(model, {}, images, threat, options(kEveryContext));
  ASSERT_EQ(result.contexts.size(), 4u);
  for (const auto& c : result.contexts) {
    EXPECT_LT(percent(c.robust), percent(c.clean_correct)) << c.context << ": nothing was broken, nothing is tested";
    for (const auto& s : c.surrogates)
      EXPECT_GE(s.accuracy.value_or(100) + 1e-9, percent(c.robust)) << c.context << " " << s.name;
    EXPECT_TRUE(c.leading_accuracy.has_value());
    EXPECT_TRUE(c.context == "joint" || !(c.robust & c.clean_correct.logical_not()).any().item<bool>());
  }
}

TEST_F(Msa, AdversarialImagesAreInBallAndBoxAndBreakTheHeadlinedContextAfresh) {
  const auto result = msa(model, {}, images, threat, options({"solo", "reference"}));
  EXPECT_LE(norm_of_rows(result.first().adversarial.all() - images.x, Norm::linf).max().item<double>(),
            .03 * (1 + 1e-6) + 1e-7);
  const auto right = logits_in(model, "solo", images, result.first().adversarial.set()).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(right, result.first().robust));
}

TEST_F(Msa, FlagsDoNotDependOnBatchSizeThreadsOrOrder) {
  auto base = options({"reference", "solo", "alone"});
  const auto expected = msa(model, {}, images, threat, base);
  base.batch_size = 5;
  const auto other = msa(model, {}, images, threat, base);
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(expected.contexts[c].robust, other.contexts[c].robust)) << c;
  // Another order keeps everyone's company when the company order is drawn from image numbers; here: no shuffling, one
  // batch.
  base.company_seed = 0, base.company_size = 64;
  const auto straight = msa(model, {}, images, threat, base);
  const auto turned = msa(model, {}, images.select(at::arange(18).flip(0)), threat, base);
  for (size_t c = 0; c < 3; ++c)
    EXPECT_TRUE(at::equal(straight.contexts[c].robust, turned.contexts[c].robust.flip(0))) << c;
  const auto joint = msa(model, {}, images, threat, options(kEveryContext));
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  const auto threaded = msa(model, {}, images, threat, options(kEveryContext));
  at::set_num_threads(threads);
  for (size_t c = 0; c < 4; ++c)
    EXPECT_TRUE(at::equal(joint.contexts[c].robust, threaded.contexts[c].robust)) << kEveryContext[c];
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
  // One run stands for all; that it may is seen from the images themselves, judged in each context.
  for (const char* name : {"solo", "alone", "joint"}) {
    EXPECT_TRUE(at::equal(logits_in(model, name, images, result.first().adversarial.set()).argmax(1).eq(images.y),
                          result.first().robust))
        << name;
  }
}

TEST_F(Msa, ASweepJudgesTheSameIteratesByOtherMixingWeightsAndChangesNothingElse) {
  auto o = options({"reference", "solo", "joint"});
  const auto plain = msa(model, {}, images, threat, o);
  o.sweep = {.1, .4, 1};
  const auto swept = msa(model, {}, images, threat, o);
  ASSERT_EQ(swept.attacks.size(), plain.attacks.size());
  for (size_t i = 0; i < plain.attacks.size(); ++i) {
    EXPECT_EQ(swept.attacks[i].passes.forward, plain.attacks[i].passes.forward) << "more passes of the backbone";
    EXPECT_EQ(swept.attacks[i].passes.backward, plain.attacks[i].passes.backward);
  }
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(swept.contexts[c].robust, plain.contexts[c].robust));
  ASSERT_EQ(swept.sweep.size(), 9u);
  std::map<std::string, int64_t> broken;
  for (const auto& s : swept.sweep) {
    EXPECT_EQ(s.attacked, s.lambda == .4);
    EXPECT_FALSE((s.robust & s.clean_correct.logical_not()).any().item<bool>());
    auto other = model.clone();
    other.head->lambda = s.lambda;
    EXPECT_TRUE(at::equal(s.clean_correct, logits_in(other, s.context, images, images).argmax(1).eq(images.y)))
        << s.context << " " << s.lambda;
    broken[s.context] += (s.clean_correct & s.robust.logical_not()).sum().item<int64_t>() * (s.attacked ? 0 : 1);
  }
  for (const char* context : {"reference", "solo", "joint"})
    EXPECT_GT(broken[context], 0) << "nothing was broken, nothing is tested";
}

TEST_F(Msa, ASweepsFlagsDoNotDependOnTheBatchSize) {
  auto o = options({"reference", "solo"});
  o.sweep = {.1, .7}, o.surrogates = {"ste", "fc"}, o.settings.steps = 5;
  std::vector<SweepOutcome> expected;
  for (const int64_t batch_size : {256, 64, 7, 1}) {
    o.batch_size = batch_size;
    const auto sweep = msa(model, {}, images, threat, o).sweep;
    if (expected.empty()) expected = sweep;
    ASSERT_EQ(sweep.size(), expected.size());
    for (size_t i = 0; i < sweep.size(); ++i)
      EXPECT_TRUE(at::equal(sweep[i].robust, expected[i].robust))
          << sweep[i].context << " " << sweep[i].lambda << " in batches of " << batch_size;
  }
}

TEST_F(Msa, SoloEotIsTheMajorityOverDrawnCompaniesAndItsWorstDrawIsNoHigher) {
  const auto result = msa(model, {}, images, threat, options({"solo-eot", "solo"}));
  const auto& eot = result.first();
  ASSERT_TRUE(eot.worst_draw.has_value());
  EXPECT_LE(*eot.worst_draw, percent(eot.robust) + 1e-9);
  EXPECT_LT(percent(eot.robust), percent(eot.clean_correct));
  auto votes = at::zeros({18, 5}, at::kLong);
  auto unattacked = eot.robust.clone();
  for (uint64_t seed = 3; seed < 13; ++seed) {
    unattacked &= logits_in(model, "solo", images, images, 7, seed).argmax(1).eq(images.y);
    votes += at::one_hot(logits_in(model, "solo", images, result.first().adversarial.set(), 7, seed).argmax(1), 5);
  }
  EXPECT_LT(*eot.worst_draw, percent(unattacked)) << "a draw that an iterate broke counts";
  const auto top = std::get<0>(votes.topk(2, 1)).unbind(1);
  const auto clear = top[0].gt(top[1]);
  EXPECT_TRUE(at::equal((votes.argmax(1).eq(images.y) & clear), (eot.robust & clear)));
}

TEST_F(Msa, GoesOnFromItsJournalToTheResultOfAnUndisturbedRun) {
  const auto o = options({"reference", "solo", "joint"});
  const auto expected = msa(model, {}, images, threat, o);
  test::TemporaryFolder folder;
  int64_t starts = 0;
  for (bool done = false; !done; ++starts) {
    Journal journal(folder.path, "a test", starts > 0);
    test::Killer monitor(150);
    try {
      const auto result = msa(model, {}, images, threat, o, monitor, WorkLog(journal));
      done = true;
      EXPECT_TRUE(journal.has("clean")) << "the company is not computed anew";
      for (size_t c = 0; c < 3; ++c)
        EXPECT_TRUE(at::equal(result.contexts[c].robust, expected.contexts[c].robust)) << c;
      EXPECT_TRUE(at::equal(result.first().adversarial.all(), expected.first().adversarial.all()));
      EXPECT_EQ(result.first().broken_by, expected.first().broken_by);
      ASSERT_EQ(result.attacks.size(), expected.attacks.size());
      for (size_t i = 0; i < result.attacks.size(); ++i)
        EXPECT_EQ(result.attacks[i].passes.backward, expected.attacks[i].passes.backward) << result.attacks[i].name;
      EXPECT_EQ(*result.contexts[2].joint_any, *expected.contexts[2].joint_any);
    } catch (const Interrupted&) {
      ASSERT_LT(starts, 100);
    }
  }
  EXPECT_GT(starts, 2);
}

TEST_F(Msa, ImagesLoadedInPartsGiveTheSameAndNeverMoreThanABatchOfThem) {
  int64_t most = 0;
  const ImageSet lazy(
      [&](const Tensor& places) {
        most = std::max(most, places.numel());
        return images.x.index_select(0, places);
      },
      images.x.sizes().slice(1).vec(), images.y, images.index, "");
  auto o = options(kEveryContext);
  o.batch_size = 7;
  const auto expected = msa(model, {}, images, threat, o), found = msa(model, {}, lazy, threat, o);
  for (size_t c = 0; c < kEveryContext.size(); ++c)
    EXPECT_TRUE(at::equal(found.contexts[c].robust, expected.contexts[c].robust)) << kEveryContext[c];
  EXPECT_LE(most, 7);
  EXPECT_TRUE(at::equal(found.first().adversarial.all(), expected.first().adversarial.all()));
}

/// What an evaluation came to whose first version was followed by another one.
const SurrogateOutcome& surrogate_of(const ContextOutcome& context, const std::string& name) {
  for (const auto& s : context.surrogates)
    if (s.name == name) return s;
  throw std::runtime_error("no surrogate " + name);
}

TEST_F(Msa, ASurrogateThatAttacksAgainCountsEachImageOnce) {
  const HpmModel sure{test::probabilities(model.classifier), std::nullopt};  // probabilities are an alarm
  const auto on = test::labelled_by(sure.classifier, images);
  auto o = options({"reference"});
  o.version = "fast", o.settings = {.steps = 8, .queries = 20}, o.alarms.sample = 0;
  for (const double eps : {.3, .03}) {
    const auto result = msa(sure, {}, on, {Norm::linf, eps}, o);
    ASSERT_TRUE(result.fast->escalated);
    const auto& found = result.first();
    auto given = at::zeros({18}, at::kBool), broken = given.clone();
    for (const auto& a : result.attacks)
      if (a.surrogate == "self") given |= a.matrix.gt(0), broken |= a.matrix.eq(2);
    const auto& self = surrogate_of(found, "self");
    EXPECT_EQ(self.of, given.sum().item<int64_t>());
    EXPECT_EQ(self.broke, broken.sum().item<int64_t>());
    EXPECT_TRUE(eps < .3 || 2 * self.broke > self.of) << "half of them twice are no more than all: nothing is tested";
    EXPECT_TRUE(self.complete && self.leads);
    EXPECT_DOUBLE_EQ(self.accuracy.value(), percent(found.clean_correct & broken.logical_not()));
    EXPECT_EQ(found.leading_accuracy, self.accuracy);
    int64_t first = 0;
    for (const auto& s : found.surrogates) first += s.first;
    EXPECT_EQ(first, (found.clean_correct & found.robust.logical_not()).sum().item<int64_t>());
  }
}

/// Of two classes, in probabilities; neighbours count for half.
Tensor sure_of_the_batch(const Tensor& x) {
  const auto means = x.flatten(1).mean(1);
  return at::stack({at::zeros_like(means), means - .5 * means.mean() - .1}, 1).softmax(1);
}

TEST(MsaOfTwoVersions, AttacksBatchesAgainAndStudiesThemOnce) {
  const auto grey = (.3 + .005 * at::arange(8, at::kFloat)).view({8, 1, 1, 1}).expand({8, 1, 2, 2}).contiguous();
  const Images images{grey, at::ones({8}, at::kLong), at::arange(8)};
  FunctionDefence defence({.logits = sure_of_the_batch, .classes = 2, .coupling = Coupling::batch}, images,
                          {.contexts = {"alone", "joint"}, .company_size = 4});
  MsaOptions options{.version = "fast", .settings = {.steps = 4, .queries = 20}};
  options.alarms.sample = 0, options.collusion = {{1}, 3, 4};
  test::TemporaryFolder folder;
  Journal journal(folder.path, "a test", false);
  const auto result = msa(defence, {images, {Norm::linf, .3}}, options, {silent(), WorkLog(journal)});
  ASSERT_TRUE(result.fast->escalated);
  const auto& joint = result.contexts[1];
  EXPECT_TRUE(journal.has("escalated/joint/self/apgd-ce/0"));
  EXPECT_TRUE(journal.has("joint/collusion/1/true/0"));
  EXPECT_FALSE(journal.has("escalated/joint/collusion/1/true/0"));
  ASSERT_EQ(joint.collusion.size(), 2u);
  EXPECT_EQ(joint.collusion[0].victims, 3);
  ASSERT_EQ(joint.benign.size(), 1u) << "the version that followed tries a quarter of the batch";
  EXPECT_GT(2 * surrogate_of(joint, "self").broke, surrogate_of(joint, "self").of) << "nothing could be counted twice";
  EXPECT_EQ(joint.leading_accuracy, surrogate_of(joint, "self").accuracy);
  for (const auto& s : joint.surrogates) {
    EXPECT_LE(s.broke, s.of) << s.name;
    EXPECT_GE(s.accuracy.value_or(100) + 1e-9, percent(joint.robust)) << s.name;
  }
}

TEST_F(Msa, EvaluationMovesNeitherMeansNorWeights) {
  std::vector<Tensor> before;
  for (const auto& [name, tensor] : model.state()) before.push_back(tensor.clone());
  msa(model, {}, images, threat, options(kEveryContext));
  const auto after = model.state();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(after[i].second, before[i])) << after[i].first;
}

}  // namespace
}  // namespace hpm
