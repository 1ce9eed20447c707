// The greedy model space attack on defences that adapt to their batch.
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/defences/function_defence.h"
#include "hpm/surrogates/model_space.h"

namespace hpm {
namespace {

using test::close;

constexpr double kEps = .2;

/// Two pixels; p is where the image stands in its ball. One linear model breaks towards (1,-1), the other towards
/// (-1,1), both of them at (1,1). The defence takes whichever is surer of class 0 on the batch as a whole, so that what
/// breaks one of them makes it take the other; where they are nearly equal, the first.
Tensor of_two_models(const Tensor& x) {
  const auto p = (x.flatten(1) - .5) / kEps;
  const auto first = .8 - 2 * p.select(1, 0) + p.select(1, 1), second = .8 - 2 * p.select(1, 1) + p.select(1, 0);
  const auto margin = first.mean().item<double>() + .5 >= second.mean().item<double>() ? first : second;
  return at::stack({.05 * margin, -.05 * margin}, 1);
}

Images of_one_class(int64_t n) { return {at::full({n, 1, 1, 2}, .5), at::zeros({n}, at::kLong), at::arange(n)}; }

FunctionDefence chasing(const Images& images) {
  return {{.logits = of_two_models, .classes = 2, .coupling = Coupling::batch},
          images,
          {.contexts = {"joint"}, .company_size = 16}};
}

Evaluation attacked_by(const std::vector<std::string>& surrogates) {
  const auto images = of_one_class(16);
  auto defence = chasing(images);
  return msa(defence, {images, {Norm::linf, kEps}}, {.surrogates = surrogates, .settings = {.steps = 40}});
}

TEST(Gmsa, ModelsThatADefenceRunsBetweenFallTogether) {
  const auto own = attacked_by({"self"}), all = attacked_by({"self", "gmsa-avg"});
  EXPECT_GT(percent(own.first().robust), 30) << "its own gradient chases one model at a time";
  EXPECT_EQ(percent(all.first().robust), 0);
  const auto& outcome = all.first().surrogates.at(1);
  EXPECT_EQ(outcome.name, "gmsa-avg");
  EXPECT_EQ(outcome.kind, SurrogateKind::objective);
  EXPECT_GT(outcome.first, 0);
  for (const auto& by : all.first().broken_by) EXPECT_TRUE(by) << "every broken image names what broke it";
}

/// The second logit moves with the mean of the batch.
Tensor shifted(const Tensor& x) {
  const auto sums = x.flatten(1).sum(1);
  return at::stack({at::zeros_like(sums), sums - 3 * sums.mean().pow(2)}, 1);
}

TEST(Gmsa, LossesAreThoseOfEachImageAmongTheBatchMatesOfARound) {
  at::manual_seed(3);
  const Images images{at::rand({6, 1, 2, 2}), at::arange(6) % 2, at::arange(6)};
  FunctionDefence defence({.logits = shifted, .classes = 2, .coupling = Coupling::batch}, images,
                          {.contexts = {"joint"}, .company_size = 6});
  const auto x = at::rand({6, 1, 2, 2}), later = at::rand({6, 1, 2, 2});
  const Loss loss{LossKind::ce, images.y, {}};
  std::vector<Tensor> expected;
  for (const auto& mates : {images.x, later}) {
    std::vector<Tensor> rows;
    for (int64_t i = 0; i < 6; ++i) {
      auto batch = mates.clone();
      batch[i].copy_(x[i]);
      rows.push_back(loss_values(shifted(batch), loss)[i]);
    }
    expected.push_back(at::stack(rows));
  }
  const auto all = at::stack(expected);
  for (const std::string name : {"gmsa-avg", "gmsa-min"}) {
    const auto surrogate = defence.surrogates(0, {.names = {name}}).front();
    surrogate.adapt(defence.run(at::rand({6, 1, 2, 2})), true);
    surrogate.adapt(defence.run(images.x), true);  // begins anew
    surrogate.adapt(defence.run(later), false);
    const auto pass = defence.run(x);
    const auto losses = surrogate.objective({x, pass.features, pass.logits, images.index}, loss);
    EXPECT_TRUE(close(losses, name == "gmsa-avg" ? all.mean(0) : all.amin(0), 1e-6)) << name;
  }
}

TEST(Gmsa, AnHpmModelsAdaptedStateIsTheContextSolo) {
  const auto model = test::tiny_model();
  const auto clean = test::tiny_images(7, 1);
  const Images images{clean, at::arange(7) % 5, at::arange(7)};
  const auto joint = test::in_context(model, "joint", images, 7, 0),
             solo = test::in_context(model, "solo", images, 7, 0);
  const auto surrogate = joint->surrogates(0, {.names = {"gmsa-avg"}}).front();
  surrogate.adapt(joint->run(clean), true);
  const auto x = (clean + .05 * test::tiny_images(7, 9)).clamp(0, 1);
  const Loss loss{LossKind::ce, images.y, {}};
  const auto pass = joint->run(x);
  const auto expected = loss_values(solo->predict(pass, images.index, 0), loss);
  EXPECT_TRUE(close(surrogate.objective({x, pass.features, pass.logits, images.index}, loss), expected, 1e-9));
}

TEST(Gmsa, RunsInFullVersionsOfJointAloneAndWhereItIsNamed) {
  const auto images = of_one_class(16);
  const auto defence = chasing(images);
  const auto runs = [&](const MsaOptions& options) {
    int64_t count = 0;
    for (const auto& step : msa_plan(defence, 0, Norm::linf, options)) count += step.runs() && step.surrogate.adapt;
    return count;
  };
  EXPECT_EQ(runs({.version = "quick"}), 0);
  EXPECT_EQ(runs({.version = "fast"}), 0);
  EXPECT_EQ(runs({.version = "standard"}), 2);
  EXPECT_EQ(runs({.version = "quick", .surrogates = {"self", "gmsa-min"}}), 1);
  FunctionDefence alone({.logits = of_two_models, .classes = 2, .coupling = Coupling::batch}, images,
                        {.contexts = {"alone"}});
  EXPECT_EQ(msa_plan(alone, 0, Norm::linf, {.version = "standard"}).size(), 2u) << "self and query";
  for (const auto& step : msa_plan(alone, 0, Norm::linf, {.surrogates = {"self", "gmsa-avg"}}))
    EXPECT_EQ(step.runs(), step.surrogate.name == "self");
}

TEST(Gmsa, TakesNoMorePassesThanItsPlanDeclares) {
  const auto images = of_one_class(16);
  auto defence = chasing(images);
  const MsaOptions options{.surrogates = {"gmsa-avg"}, .settings = {.steps = 10}};
  const auto declared = msa_passes(defence, Norm::linf, options);
  msa(defence, {images, {Norm::linf, kEps}}, options);
  EXPECT_LE(defence.passes().forward, declared.forward * 16);
  EXPECT_GT(defence.passes().forward, declared.forward * 16 / 2) << "and not many fewer";
  EXPECT_LE(defence.passes().backward, declared.backward * 16);
}

}  // namespace
}  // namespace hpm
