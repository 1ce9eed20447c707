// The training objectives against tests/training/reference.json, which make_reference.py wrote.
#include "hpm/core/error.h"
#include "hpm/models/registry.h"
#include "hpm/training/adversarial_training.h"
#include "hpm/training/weight_perturbation.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::message_of;
using test::tensor_of;

constexpr int64_t kImages = 6, kClasses = 4;

/// The draws of make_reference.py.
class ReferenceStreams : public RandomStreams {
 public:
  ReferenceStreams() : RandomStreams(0) {}
  Tensor uniform(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t) const override {
    return values(index, tail, 7);
  }
  Tensor normal(const Tensor& index, const Purpose&, at::IntArrayRef tail, int64_t) const override {
    return values(index, tail, 8) - .5;
  }

 private:
  static Tensor values(const Tensor& index, at::IntArrayRef tail, int64_t t) {
    std::vector<int64_t> shape{index.size(0)};
    shape.insert(shape.end(), tail.begin(), tail.end());
    return fill_rule(c10::multiply_integers(shape), t).view(shape);
  }
};

class Reference : public testing::Test {
 protected:
  Reference() : json_(test::read_json(test::source_dir() / "tests/training/reference.json")) {
    model_ = {make_classifier("conv3k3s1p1-relu-flatten-fc4", kClasses, {1, 4, 4}, {}, 0), std::nullopt};
    model_.to(at::kCPU, at::kDouble);
    torch::NoGradGuard guard;
    int64_t t = 0;
    for (auto& p : model_.classifier.parameters()) p.copy_((fill_rule(p.numel(), ++t) - .5).view_as(p));
  }

  TrainingBatch batch(bool mixed) const {
    TrainingBatch b{fill_rule(kImages * 16, 5).view({kImages, 1, 4, 4}), at::arange(kImages).remainder(kClasses),
                    at::arange(kImages), 0};
    if (mixed) b.targets = tensor_of(json_["shares"]).view({kImages, kClasses});
    return b;
  }
  const nlohmann::json& at(const std::string& name) const { return json_["cases"][name]; }
  Tensor images(const std::string& name) const { return tensor_of(at(name)["images"]).view({kImages, 1, 4, 4}); }

  static MethodOptions options(const std::string& name) {
    return {.objective = name, .label_smoothing = .1, .beta = 5, .grad_align = .2};
  }
  static AdversaryOptions adversary(const std::string& name) {
    AdversaryOptions o{.threat = {Norm::linf, .1}, .steps = 3, .batch_norm = "batch"};
    if (name == "pgd" || name == "trades" || name == "mart") o.step_size = .04;
    return o;
  }
  Tensor search(const std::string& name, bool mixed = false) {
    ClassifierVictim attacked(model_.classifier);
    return make_method(options(name))
        ->search({attacked, &model_.classifier}, batch(mixed), adversary(name), ReferenceStreams());
  }

  static Tensor gradient_of(const Tensor& loss, Objective& objective) {
    std::vector<Tensor> parts;
    for (const auto& g : torch::autograd::grad({loss}, objective.parameters())) parts.push_back(g.flatten());
    return at::cat(parts);
  }

  nlohmann::json json_;
  HpmModel model_;
};

TEST_F(Reference, AdversarialImagesOfEveryMethodAreTheReferences) {
  for (const std::string name : {"pgd", "trades", "mart", "n-fgsm", "fgsm-rs"}) {
    EXPECT_TRUE(close(search(name), images(name), 1e-12)) << name;
    EXPECT_FALSE(close(images(name), batch(false).x, 1e-3)) << name << ": nothing moved, nothing is tested";
  }
  EXPECT_TRUE(close(search("pgd", true), images("pgd-mixed"), 1e-12));
  EXPECT_FALSE(close(images("pgd-mixed"), images("pgd"), 1e-3)) << "label shares changed nothing";
}

TEST_F(Reference, LossAndGradientOfEveryMethodAreTheReferences) {
  for (const std::string name : {"pgd", "pgd-mixed", "trades", "mart", "n-fgsm"}) {
    const bool mixed = name == "pgd-mixed";
    const auto method = mixed ? "pgd" : name;
    AdversarialTraining objective(model_.clone(), adversary(method), 0, options(method));
    const auto loss = objective.loss(batch(mixed), images(name)).loss;
    EXPECT_NEAR(loss.item<double>(), at(name)["loss"].get<double>(), 1e-10) << name;
    EXPECT_TRUE(close(gradient_of(loss, objective), tensor_of(at(name)["gradient"]), 1e-10)) << name;
  }
}

TEST_F(Reference, GradAlignIsTheReferences) {
  const auto o = options("fgsm-rs");
  model_.classifier.set_requires_grad(true);
  const auto method = make_method(o);
  const auto b = batch(false);
  const auto loss = method->loss({{}, model_.classifier.logits(images("fgsm-rs")), b}) +
                    method->regulariser(model_.classifier, b, adversary("fgsm-rs"), ReferenceStreams());
  EXPECT_NEAR(loss.item<double>(), at("fgsm-rs")["loss"].get<double>(), 1e-10);
  std::vector<Tensor> parts;
  for (const auto& g : torch::autograd::grad({loss}, model_.classifier.parameters())) parts.push_back(g.flatten());
  EXPECT_TRUE(close(at::cat(parts), tensor_of(at("fgsm-rs")["gradient"]), 1e-9));
}

TEST_F(Reference, WeightPerturbationIsTheReferencesAndPutsTheWeightsBack) {
  for (const std::string name : {"pgd", "trades", "mart", "n-fgsm"}) {
    auto inner = std::make_unique<AdversarialTraining>(model_.clone(), adversary(name), 0, options(name));
    const auto before = inner->model().clone();
    WeightPerturbation objective(std::move(inner), {.gamma = .2});
    const auto loss = objective.loss(batch(false), images(name)).loss;
    EXPECT_NEAR(loss.item<double>(), at(name)["awp_loss"].get<double>(), 1e-9) << name;
    EXPECT_TRUE(close(gradient_of(loss, objective), tensor_of(at(name)["awp_gradient"]), 1e-9)) << name;
    EXPECT_FALSE(at::equal(objective.model().classifier.weight(), before.classifier.weight())) << "it moved nothing";
    objective.after_backward();
    for (size_t i = 0; i < before.state().size(); ++i)
      EXPECT_TRUE(at::equal(objective.model().state()[i].second, before.state()[i].second)) << name;
  }
}

TEST_F(Reference, WeightPerturbationWaitsForItsWarmup) {
  auto inner = std::make_unique<AdversarialTraining>(model_.clone(), adversary("pgd"), 0, options("pgd"));
  WeightPerturbation objective(std::move(inner), {.gamma = .2, .warmup = 1});
  EXPECT_NEAR(objective.loss(batch(false), images("pgd")).loss.item<double>(), at("pgd")["loss"].get<double>(), 1e-10);
}

TEST(WeightPerturbation, RunningStatisticsSeeTheLastPassAlone) {
  const auto step = [](double gamma) {
    HpmModel model{make_classifier("conv3k3s1p1-bn-relu-flatten-fc4", kClasses, {1, 4, 4}, {}, 3), std::nullopt};
    const AdversaryOptions adversary{.threat = {Norm::linf, .1}, .batch_norm = "batch"};
    auto objective = with_awp(std::make_unique<AdversarialTraining>(model, adversary, 0), {.gamma = gamma});
    const TrainingBatch batch{fill_rule(kImages * 16, 5).view({kImages, 1, 4, 4}).to(at::kFloat),
                              at::arange(kImages).remainder(kClasses), at::arange(kImages), 0};
    objective->loss(batch, batch.x);
    objective->after_backward();
    std::map<std::string, Tensor> state;
    for (const auto& [name, tensor] : model.state()) state[name] = tensor;
    return state;
  };
  auto plain = step(0), perturbed = step(.5);
  EXPECT_EQ(perturbed["1.num_batches_tracked"].item<int64_t>(), 1);
  EXPECT_FALSE(at::equal(perturbed["1.running_mean"], plain["1.running_mean"])) << "the last pass is a perturbed one";
}

TEST(Methods, TheTableMakesEachAndAnUnknownNameIsASentence) {
  for (const auto& row : training_methods()) {
    EXPECT_NE(make_method({.objective = row.name}), nullptr);
    EXPECT_FALSE(row.summary.empty());
  }
  const auto message = message_of<UsageError>([] { make_method({.objective = "trade"}); });
  EXPECT_NE(message.find("did you mean trades?"), std::string::npos) << message;
  EXPECT_NE(message_of<UsageError>([] { make_method({.beta = -1}); }).find("beta"), std::string::npos);
}

/// By hand: logits (log 3, 0) give probabilities (3/4, 1/4), logits (0, 0) give (1/2, 1/2).
TEST(Methods, LossesOfTwoClassesByHand) {
  const auto clean = torch::tensor({{std::log(3.), 0.}}), adversarial = torch::tensor({{0., 0.}});
  const TrainingBatch batch{{}, torch::tensor({0}, at::kLong), {}, 0};
  const double kl = .75 * std::log(1.5) + .25 * std::log(.5);
  const auto loss = [&](const std::string& name) {
    return make_method({.objective = name, .beta = 2})->loss({clean, adversarial, batch}).item<double>();
  };
  EXPECT_NEAR(loss("pgd"), std::log(2.), 1e-6);
  EXPECT_NEAR(loss("trades"), std::log(4. / 3) + 2 * kl, 1e-6);
  EXPECT_NEAR(loss("mart"), std::log(2.) - std::log(.5001) + 2 * kl * (1.0000001 - .75), 1e-6);
}

}  // namespace
}  // namespace hpm
