// Malicious images against the untouched ones of their batch, and batches of other sizes and orders.
#include "hpm/evaluation/msa/benign.h"

#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"
#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

using test::close;

/// Two classes; the second one's logit is the image's mean less three times that of its batch, plus a constant.
Tensor coupled_logits(const Tensor& x) {
  const auto means = x.flatten(1).mean(1);
  return at::stack({at::zeros_like(means), means - 3 * means.mean() + .75}, 1);
}

Tensor lone_logits(const Tensor& x) {
  const auto means = x.flatten(1).mean(1);
  return at::stack({at::zeros_like(means), means - .3}, 1);
}

Images grey(int64_t n) {
  at::manual_seed(7);
  const auto x = .3 + .05 * at::rand({n, 1, 2, 2});
  return {x, at::ones({n}, at::kLong), at::arange(50, 50 + n)};
}

FunctionDefence defence_of(Tensor (*logits)(const Tensor&), const Images& images, int64_t company = 6) {
  return {{.logits = logits, .classes = 2, .coupling = Coupling::batch},
          images,
          {.contexts = {"joint"}, .company_size = company}};
}

std::vector<BenignOutcome> study(Tensor (*logits)(const Tensor&), std::vector<int64_t> malicious, double eps) {
  const auto images = grey(15);
  auto defence = defence_of(logits, images);
  MsaOptions options{.surrogates = {"self"}, .settings = {.steps = 3}};
  options.benign = {std::move(malicious), 10};
  return msa(defence, {images, {Norm::linf, eps}}, options).first().benign;
}

TEST(Benign, UntouchedImagesFallWithTheirBatchAndNotWithoutIt) {
  const auto coupled = study(coupled_logits, {2, 4}, .2);
  ASSERT_EQ(coupled.size(), 2u);
  EXPECT_EQ(coupled[0].images, 4 + 4 + 1) << "of batches of 6, 6 and 3";
  EXPECT_EQ(coupled[1].images, 2 + 2) << "the last batch has three images";
  EXPECT_EQ(coupled[0].clean_right, coupled[0].images);
  EXPECT_LT(coupled[0].right, coupled[0].images) << "two of six images move the mean of the batch";
  EXPECT_LE(coupled[1].right, coupled[0].right);
  EXPECT_EQ(coupled[0].broken.sum().item<int64_t>(), coupled[0].clean_right - coupled[0].right);
  for (const auto& outcome : study(lone_logits, {2, 4}, .2)) EXPECT_EQ(outcome.right, outcome.clean_right);
  for (const auto& outcome : study(coupled_logits, {4}, 0)) EXPECT_EQ(outcome.right, outcome.clean_right);
}

TEST(Benign, TheAttackerMovesItsOwnRowsAlone) {
  const auto images = grey(6);
  auto defence = defence_of(coupled_logits, images);
  const auto own = defence.surrogates(0, {}).front();
  const auto malicious = torch::tensor({1, 4}, at::kLong);
  BenignModel attacked({defence, 0, own, {images.x, images.index}, defence.run(images.x), malicious}, images.y);
  const auto x = at::rand({6, 1, 2, 2});
  const Loss loss{LossKind::ce, images.y, {}};
  const auto answer = attacked.ask({x, images.index}, &loss);
  auto seen = images.x.clone();
  seen.index_copy_(0, malicious, x.index_select(0, malicious));
  const auto expected = coupled_logits(seen);
  for (int64_t row = 0; row < 6; ++row) {
    const bool theirs = row == 1 || row == 4;
    EXPECT_EQ(answer.gradient[row].abs().sum().item<double>() > 0, theirs);
    EXPECT_EQ(answer.loss[row].item<double>() > 0, !theirs);
    if (theirs) EXPECT_EQ(answer.target_logits[row].argmax().item<int64_t>(), 1) << "it never counts as wrong";
    else EXPECT_TRUE(close(answer.target_logits[row], expected[row], 1e-6));
  }
}

TEST(Benign, FullVersionsTryAQuarterOfTheBatch) {
  EXPECT_EQ(malicious_numbers({}, "quick", 128), std::vector<int64_t>{});
  EXPECT_EQ(malicious_numbers({}, "standard", 128), std::vector<int64_t>{32});
  EXPECT_EQ(malicious_numbers({}, "plus", 2), std::vector<int64_t>{1});
  EXPECT_EQ(malicious_numbers({}, "plus", 1), std::vector<int64_t>{});
  EXPECT_EQ(malicious_numbers({{3, 5}}, "quick", 128), (std::vector<int64_t>{3, 5}));
  const BenignOptions none{.malicious = {0}}, both{.malicious = {0, 5}};
  EXPECT_EQ(malicious_numbers(none, "standard", 128), std::vector<int64_t>{}) << "0 is no study";
  EXPECT_EQ(malicious_numbers(both, "plus", 128), std::vector<int64_t>{5});
  EXPECT_NO_THROW(check_malicious(none, 1));
  EXPECT_THROW(study(coupled_logits, {6}, .1), UsageError) << "nobody would be left untouched";
}

class Batches : public test::MsaFixture {};

TEST_F(Batches, MaliciousImagesOfAnHpmModelsBatchAreStudiedToo) {
  auto o = options({"joint"});
  o.benign = {{3}, 10};
  const auto joint = test::msa(model, {}, images, {Norm::linf, .3}, o).first();
  ASSERT_EQ(joint.benign.size(), 1u);
  EXPECT_EQ(joint.benign[0].images, 4 + 4 + 1) << "of batches of 7, 7 and 4";
  EXPECT_LT(joint.benign[0].right, joint.benign[0].clean_right);
  EXPECT_LE(*joint.joint_any, percent((joint.benign[0].broken | joint.clean_correct.logical_not()).logical_not()));
}

TEST_F(Batches, OfOtherSizesAndOrdersAreAttackedAsTheDefenceThatTheyMake) {
  EvaluationOptions o;
  o.protocol = "msa", o.contexts = {"joint"}, o.settings.steps = 5, o.company_sizes = {1, 5, 99};
  const Subject subject{model, o.for_defence(), "model"};
  const auto found = run_compositions(subject, {images, threat}, o, {});
  ASSERT_EQ(found.size(), 4u) << "1, 5, 5 by class, and 18: all of them";
  EXPECT_EQ(found[3].size, 18);
  EXPECT_TRUE(found[2].by_class && !found[1].by_class);
  const auto own = [&](std::vector<std::string> contexts, const Images& on) {
    auto setting = options(std::move(contexts));
    setting.company_size = 5, setting.company_seed = 0, setting.surrogates = {"ste"}, setting.settings.steps = 5;
    setting.batch_size = 256;
    return test::msa(model, {}, on, threat, setting).first();
  };
  EXPECT_EQ(found[0].clean_accuracy, percent(own({"alone"}, images).clean_correct));
  EXPECT_EQ(found[0].robust_accuracy, percent(own({"alone"}, images).robust));
  EXPECT_EQ(found[1].robust_accuracy, percent(own({"joint"}, images).robust));
  const auto sorted = images.select(std::get<1>(images.y.sort(std::optional<bool>(true), 0, false)));
  EXPECT_EQ(found[2].clean_accuracy, percent(own({"joint"}, sorted).clean_correct));
  EXPECT_EQ(found[2].robust_accuracy, percent(own({"joint"}, sorted).robust));
  EXPECT_TRUE(found[2].robust_accuracy != found[1].robust_accuracy ||
              found[2].clean_accuracy != found[1].clean_accuracy)
      << "the order made no difference, nothing is tested";
}

/// Half of what an image is called comes from its batch.
Tensor half_of_the_batch(const Tensor& x) {
  const auto sums = x.flatten(1).mean(1);
  return at::stack({at::zeros_like(sums), sums - .5 * sums.mean() - .3}, 1);
}

TEST(Compositions, OfADefenceOfOnesOwnAreMadeByAMakerThatTakesTheSize) {
  const auto grey = (.2 + .05 * at::arange(12, at::kFloat)).view({12, 1, 1, 1});
  const Images images{grey.expand({12, 1, 2, 2}).clone(), at::arange(12) % 2, at::arange(12)};
  EvaluationOptions o;
  o.protocol = "msa", o.settings.steps = 5, o.company_sizes = {1, 4};
  const auto of_size = [](const ImageSet& on, int64_t size) -> std::unique_ptr<Defence> {
    return std::make_unique<FunctionDefence>(
        PredictionFunction{.logits = half_of_the_batch, .classes = 2, .coupling = Coupling::batch}, on,
        FunctionDefenceOptions{.contexts = {"joint"}, .company_size = size});
  };
  Subject subject{.part = "model", .maker = [&](const ImageSet& on, const StandIns&) { return of_size(on, 12); }};
  const ThreatModel threat{Norm::linf, .1};
  EXPECT_TRUE(run_compositions(subject, {images, threat}, o, {}).empty()) << "the maker takes no size";
  subject.composed_maker = [&](const ImageSet& on, const StandIns&, int64_t size) { return of_size(on, size); };
  const auto found = run_compositions(subject, {images, threat}, o, {});
  ASSERT_EQ(found.size(), 3u) << "1, 4, 4 by class";
  const auto sorted = images.select(std::get<1>(images.y.sort(std::optional<bool>(true), 0, false)));
  const auto clean = [&](const Images& on, int64_t size) {
    return percent(evaluate_clean(*of_size(on, size), on, 256).first().clean_correct);
  };
  EXPECT_EQ(found[0].clean_accuracy, clean(images, 1));
  EXPECT_EQ(found[1].clean_accuracy, clean(images, 4));
  EXPECT_EQ(found[2].clean_accuracy, clean(sorted, 4));
  EXPECT_NE(found[1].clean_accuracy, found[2].clean_accuracy) << "the order makes a difference, or nothing is tested";
  EXPECT_LT(found[1].robust_accuracy, found[1].clean_accuracy);
}

TEST(Compositions, BelongToFullVersionsOfTheContextJoint) {
  EvaluationOptions o;
  o.protocol = "msa", o.contexts = {"joint"};
  EXPECT_TRUE(o.composition_sizes().empty()) << "quick";
  o.version = "standard";
  EXPECT_EQ(o.composition_sizes(), (std::vector<int64_t>{1, 8, 128}));
  o.contexts = {"solo"};
  EXPECT_TRUE(o.composition_sizes().empty());
}

}  // namespace
}  // namespace hpm
