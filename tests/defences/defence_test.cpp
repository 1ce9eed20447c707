#include "defences/hpm_fixture.h"
#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/defences/plain_defence.h"

namespace hpm {
namespace {

using test::close;
using test::tiny_images;
using test::tiny_model;

class Defences : public test::HpmFixture {};

TEST_F(Defences, GiveEachTargetTheLogitsOfItsOwnContextAndLambda) {
  auto hpm = defence({"solo", "reference"}, {.2, 1.});
  ASSERT_EQ(hpm.targets().size(), 6u);
  const auto pass = hpm.run(x);
  const auto all = hpm.predict_all(pass, at::arange(24), false);
  for (size_t t = 0; t < all.size(); ++t) {
    const auto logits = prediction_logits(*model.head, hpm.context(t), pass.features, pass.logits, at::arange(24),
                                          {.lambda = hpm.targets()[t].lambda});
    EXPECT_TRUE(close(all[t], logits, 1e-6)) << t;
    EXPECT_TRUE(close(hpm.predict(pass, at::arange(24), t), logits, 1e-6)) << t;
  }
  EXPECT_EQ(attacked_targets(hpm), (std::vector<size_t>{0, 1}));
  EXPECT_EQ(targets_beside(hpm, 1), (std::vector<size_t>{4, 5}));
}

TEST_F(Defences, WithLambdaOneTheFirstContextStandsForAll) {
  model.head->lambda = 1;
  auto hpm = defence({"joint", "solo"});
  EXPECT_EQ(attacked_targets(hpm), (std::vector<size_t>{0}));
  EXPECT_EQ(hpm.targets()[0].name, "joint");
  EXPECT_EQ(hpm.targets()[0].coupling, Coupling::rows) << "no prediction depends on a neighbour";
  EXPECT_EQ(hpm.targets()[1].same_as, 0u);
  const auto pass = hpm.run(x);
  EXPECT_TRUE(close(hpm.predict(pass, at::arange(24), 0), hpm.predict(pass, at::arange(24), 1), 1e-9));
}

TEST_F(Defences, SoloEotHasADrawForEveryCompanyBesideIt) {
  auto hpm = defence({"solo-eot"});
  const auto beside = targets_beside(hpm, 0);
  EXPECT_EQ(static_cast<int64_t>(beside.size()), kCompanyDraws);
  for (auto t : beside) EXPECT_TRUE(hpm.targets()[t].draw && !hpm.targets()[t].swept());
}

TEST_F(Defences, ContextsThatCannotBeAreUsageErrors) {
  EXPECT_THROW(defence({"solo", "solo"}), UsageError);
  EXPECT_THROW(defence({"group"}), UsageError);
  EXPECT_THROW(defence({}), UsageError);
}

TEST_F(Defences, ASurrogateOfTheUsersOwnIsOneRow) {
  const HpmSurrogate own{.name = "a test's own", .logits = [](const HpmSurrogateInput& in) { return -in.o; }};
  HpmDefence hpm(model, images(), {.contexts = {"solo"}, .company_size = 10, .own_surrogates = {own}});
  const auto all = hpm.surrogates(0, {});
  ASSERT_TRUE(std::any_of(all.begin(), all.end(), [](const auto& s) { return s.name == "a test's own"; }));
  AttackedDefence attacked(hpm, 0, surrogate(hpm, "a test's own"));
  const Loss loss{LossKind::ce, y, {}};
  const auto answer = attacked.ask({x, at::arange(24)}, &loss);
  const auto leaf = x.detach().requires_grad_();
  Answer expected;
  differentiate(leaf, -hpm.run(leaf).logits, loss, expected);
  EXPECT_TRUE(close(answer.gradient, expected.gradient, 1e-12, 1e-12));
  EXPECT_TRUE(close(answer.target_logits, hpm.predict(hpm.run(x), at::arange(24), 0), 1e-9)) << "the verdict stays";
}

TEST_F(Defences, APlainModelIsAttackedByItsOwnGradientAndThroughPeers) {
  const Peers peers{tiny_model(.4, at::kFloat).classifier, {}};
  PlainDefence plain(tiny_model(.9, at::kFloat).classifier, {.peers = peers});
  const auto names = [&](const SurrogateSelection& selection) {
    std::string text;
    for (const auto& s : plain.surrogates(0, selection)) text += s.name + (s.unavailable.empty() ? " " : "! ");
    return text;
  };
  EXPECT_EQ(names({}), "self base control! ");
  EXPECT_EQ(names({.quick = false}), "self base control! query ");
  EXPECT_EQ(names({.names = {"ste", "fc"}}), "self ") << "names of HPM's surrogates stand for its own gradient";
  EXPECT_EQ(plain.starts({}), 5);
  EXPECT_EQ(plain.starts({.names = {"ste", "fc"}}), 2);
  EXPECT_EQ(plain.starts({.names = {"region"}}), 1);

  AttackedDefence attacked(plain, 0, plain.surrogates(0, {})[1]);
  const auto single = x.to(at::kFloat);
  const Loss loss{LossKind::ce, y, {}};
  const auto answer = attacked.ask({single, at::arange(24)}, &loss);
  const auto leaf = single.detach().requires_grad_();
  Answer expected;
  differentiate(leaf, peers.base.logits(leaf), loss, expected);
  EXPECT_TRUE(close(answer.gradient, expected.gradient, 1e-6, 1e-6));
  EXPECT_TRUE(close(answer.target_logits, plain.run(single).logits, 1e-5));
}

TEST_F(Defences, ABlackBoxHasNoGradientOfItsOwn) {
  PlainDefence plain(tiny_model(.9, at::kFloat).classifier, {.differentiable = false});
  EXPECT_NE(plain.surrogates(0, {}).front().unavailable, "");
}

TEST_F(Defences, ABfloat16SearchCountsWhatFloat32ConfirmsAndASweepDoesNotChangeIt) {
  auto single = tiny_model(.4, at::kFloat);
  const Images originals{clean.to(at::kFloat), y, at::arange(24)};
  single.classifier.set_search_precision(at::kBFloat16);
  const auto moved = (originals.x + .05 * tiny_images(24, 9, at::kFloat)).clamp(0, 1);
  const Loss loss{LossKind::ce, y, {}};
  std::vector<Tensor> answers;
  for (const bool swept : {false, true}) {
    HpmDefence hpm(single, originals, {.sweep = swept ? std::vector<double>{0., 1.} : std::vector<double>{}});
    Observer observer(originals, threat, hpm);
    AttackedDefence attacked(hpm, 0, surrogate(hpm, "ste"), &observer);
    answers.push_back(attacked.ask({moved, originals.index}, &loss).target_logits);
    const auto logits = hpm.predict_all(hpm.run(moved), originals.index, false);
    for (size_t t = 0; t < logits.size(); ++t) {
      const auto wrong = logits[t].argmax(1).ne(y);
      EXPECT_FALSE((observer.broken(t) & wrong.logical_not()).any().item<bool>()) << "float32 calls it right";
      EXPECT_TRUE(observer.broken(t).any().item<bool>()) << "nothing was broken, nothing is tested";
    }
  }
  // To the last bits of a pass with other rows; a row that bfloat16 and float32 see apart would show.
  EXPECT_TRUE(at::allclose(answers[0], answers[1], 1e-5, 1e-5));
}

}  // namespace
}  // namespace hpm
