// What people bring to an evaluation, in code and in files: a defence of their own, surrogates of their own.
#include <torch/csrc/jit/api/module.h>

#include "evaluation/masked_models.h"
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"
#include "hpm/evaluation/run/evaluate.h"
#include "hpm/models/torchscript.h"
#include "hpm/surrogates/bpda.h"
#include "hpm/surrogates/torchscript_surrogate.h"

namespace hpm {
namespace {

using test::message_of;

bool any_has(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const auto& line) { return line.find(part) != std::string::npos; });
}

class Brought : public test::MsaFixture {
 protected:
  Brought() {
    input.model = {model.classifier, std::nullopt};
    input.data = {.name = "tiny", .split = "test", .class_names = {"a", "b", "c", "d", "e"}};
    input.data.pixels = images.x.mul(255).round().to(at::kByte);
    input.data.labels = model.classifier.logits(input.data.images(0, 18)).argmax(1);
    input.index = at::arange(18);
    options.eps = "0.03", options.settings.steps = 3, options.checks.level = "none", options.compute.batch_size = 16;
  }
  EvaluationOutcome run(bool resume = false) {
    const auto plan = plan_evaluation(input, options);
    Fields declared;
    fields(declared, options);
    const RunDirectory where(run_folder(), declared, environment_json(options.compute, options.seed),
                             resume ? ExistingRun::resume : ExistingRun::overwrite);
    return evaluate(input, options, plan, {where, resume});
  }
  std::string run_folder() const { return (folder / "run").string(); }

  PredictionFunction function() const {
    return {.logits = [c = model.classifier](const Tensor& x) { return c.logits(x); }, .classes = 5};
  }
  /// The same without a gradient, and its logits less a share of their mean over the batch.
  static Tensor without_gradient(const Classifier& c, const Tensor& x, double share = 0) {
    torch::NoGradGuard guard;
    const auto logits = c.logits(x);
    return logits - share * logits.mean(0, true);
  }
  static DefenceMaker maker(const PredictionFunction& function, bool hands_on = true) {
    return [=](const ImageSet& set, const StandIns& stand_ins) -> std::unique_ptr<Defence> {
      FunctionDefenceOptions settings;
      if (hands_on) settings.surrogates = stand_ins.surrogates, settings.always = stand_ins.always;
      return std::make_unique<FunctionDefence>(function, set, settings);
    };
  }
  /// A surrogate of images alone.
  static Surrogate through(const std::string& name, const std::function<Tensor(const Tensor&)>& logits) {
    Surrogate surrogate{.name = name, .summary = "a test's own", .own_passes = 1, .through_network = false};
    surrogate.logits = [logits](const SurrogateInput& in) { return logits(in.x); };
    return surrogate;
  }
  Surrogate mine() const {
    return through("mine", [c = model.classifier](const Tensor& x) { return c.logits(x); });
  }
  std::string file(const std::string& name, const std::string& forward) const {
    torch::jit::Module module("own");
    module.define("def forward(self, x):\n    " + forward + "\n");
    const auto path = (folder / (name + ".pt")).string();
    module.save(path);
    return path;
  }
  static std::string names_of(const ContextOutcome& outcome) {
    std::string all;
    for (const auto& surrogate : outcome.surrogates)
      all += surrogate.name + (surrogate.unavailable.empty() ? " " : "! ");
    return all;
  }

  test::TemporaryFolder folder;
  EvaluationInput input;
  EvaluationOptions options;
};

TEST_F(Brought, ADefenceOfOnesOwnIsAttackedThroughTheUsersSurrogatesAndThroughPeers) {
  input.defence = maker(function());
  input.surrogates = {mine()};
  input.peers.base = test::tiny_model(.9, at::kFloat).classifier;
  const auto outcome = run();
  EXPECT_EQ(names_of(outcome.evaluation.first()), "self mine base control! ");
  options.msa.surrogates = {"self"};
  EXPECT_EQ(names_of(run().evaluation.first()), "self mine ") << "the user's attack also where others are named";
}

TEST_F(Brought, ADefenceThatLeavesASurrogateOutIsRefused) {
  input.surrogates = {mine()};
  input.defence = maker(function(), false);
  const auto message = message_of<UsageError>([&] { plan_evaluation(input, options); });
  EXPECT_NE(message.find("surrogate mine: the defence that EvaluationInput::defence made does not have it"),
            std::string::npos)
      << message;
  input.defence = nullptr;
  input.hpm_surrogates = {{.name = "row", .logits = [](const HpmSurrogateInput& in) { return in.o; }}};
  EXPECT_NE(message_of<UsageError>([&] { plan_evaluation(input, options); }).find("need a model with an HPM head"),
            std::string::npos);
}

TEST_F(Brought, ADefenceOfOnesOwnIsAskedForItsGradientNotTheModelInWhosePlaceItStands) {
  auto black_box = function();
  black_box.logits = [c = model.classifier](const Tensor& x) { return without_gradient(c, x); };
  input.defence = maker(black_box);
  EXPECT_NE(message_of<UsageError>([&] { plan_evaluation(input, options); }).find("says that it is differentiable"),
            std::string::npos);
  black_box.differentiable = false;
  input.defence = maker(black_box);
  EXPECT_NE(message_of<UsageError>([&] { plan_evaluation(input, options); }).find("none of the surrogates"),
            std::string::npos);
  input.surrogates = {mine()};
  const auto plan = plan_evaluation(input, options);
  EXPECT_FALSE(plan.differentiable);
  EXPECT_TRUE(any_has(plan.notes, "attacked through stand-ins alone"));
  EXPECT_EQ(names_of(run().evaluation.first()), "self! mine base! control! ");
  input.surrogates.clear(), options.protocol = "pgd";
  EXPECT_NE(message_of<UsageError>([&] { plan_evaluation(input, options); }).find("so says the defence"),
            std::string::npos);
}

TEST_F(Brought, LogitsOfADefenceOfOnesOwnThatAreNotFiniteEndTheEvaluationBeforeItsAttacks) {
  auto broken = function();
  broken.logits = [c = model.classifier](const Tensor& x) {
    return c.logits(x) * std::numeric_limits<float>::quiet_NaN();
  };
  input.defence = maker(broken);
  EXPECT_NE(message_of<Error>([&] { run(); }).find("NaN or infinite"), std::string::npos)
      << "those of the model in its place are finite";
}

TEST_F(Brought, ASurrogateThatCannotBeAttackedIsToldBeforeAnAttackBegins) {
  const auto refused = [&](const Surrogate& surrogate) {
    input.surrogates = {surrogate};
    const auto message = message_of<Error>([&] { run(); });
    EXPECT_FALSE(std::filesystem::exists(run_folder())) << "an attack has begun";
    EXPECT_EQ(message.find('\n'), std::string::npos) << "a sentence, without a traceback: " << message;
    return message;
  };
  const auto constant = refused(torchscript_surrogate(file("constant", "return x.detach().flatten(1)[:, :5]"), true));
  EXPECT_NE(constant.find("its logits have no gradient"), std::string::npos) << constant;
  const auto in_code =
      refused(through("in_code", [](const Tensor& x) { return x.detach().flatten(1).slice(1, 0, 5); }));
  EXPECT_NE(in_code.find("surrogate in_code: it cannot be differentiated"), std::string::npos) << in_code;
  const auto four = refused(through("four", [](const Tensor& x) { return x.flatten(1).slice(1, 0, 4); }));
  EXPECT_NE(four.find("needs to give logits [2,5] for 2 images, but gives [2,4]"), std::string::npos) << four;
  options.msa.surrogates = {"self"};
  const auto taken = refused(through("self", [](const Tensor& x) { return x.flatten(1).slice(1, 0, 5); }));
  EXPECT_NE(taken.find("give it a name of its own"), std::string::npos) << taken;
}

TEST_F(Brought, ABpdaTwinOfAnotherShapeIsToldBeforeAnAttackBegins) {
  torch::jit::Module pre("Pre"), rounded("Rounded");
  pre.define("def forward(self, x):\n  return torch.round(x * 4) / 4\n");
  rounded.register_module("pre", pre);
  rounded.register_parameter("weight", at::linspace(-1, 1, 5 * 192).sin().view({5, 192}), false);
  rounded.define("def forward(self, x):\n  return torch.matmul(self.pre.forward(x).flatten(1), self.weight.t())\n");
  const auto path = (folder / "rounded.pt").string();
  rounded.save(path);
  input.model.classifier = load_torchscript(path, {.allow = true, .input_shape = {3, 8, 8}});
  input.surrogates = {bpda_surrogate(input.model.classifier, {{"pre", file("flat", "return x.flatten(1)")}}, true)};
  const auto message = message_of<Error>([&] { run(); });
  EXPECT_NE(message.find("surrogate bpda: the twin of a layer gives [2,192], but the layer [2,3,8,8]"),
            std::string::npos)
      << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(run_folder()));
}

TEST_F(Brought, ARunDoesNotGoOnWithAnotherSurrogateOfTheSameName) {
  input.surrogates = {mine()};
  input.surrogates[0].identity = "the first";
  const auto robust = run().evaluation.first().robust;
  EXPECT_TRUE(at::equal(run(true).evaluation.first().robust, robust));
  input.surrogates[0].identity = "the second";
  const auto message = message_of<Error>([&] { run(true); });
  EXPECT_NE(message.find("surrogate mine was a test's own, the first, is now a test's own, the second"),
            std::string::npos)
      << message;
}

TEST_F(Brought, ARunThatGoesOnWithADefenceWithoutAnIdentitySaysSo) {
  input.defence = maker(function());
  run();
  EXPECT_TRUE(any_has(run(true).evaluation.notes, "has no identity"));
  input.defence_identity = "weights of May";
  run();
  EXPECT_FALSE(any_has(run(true).evaluation.notes, "has no identity"));
}

TEST_F(Brought, ABlackBoxThatDependsOnItsBatchIsAttackedInOtherBatchesThroughWhatItHas) {
  input.model.classifier = test::around(model.classifier, "centred black box",
                                        [c = model.classifier](const Tensor& x) { return without_gradient(c, x, .3); });
  input.peers.base = model.classifier;
  options.version = "standard", options.coupling = "batch", options.contexts = {"joint"}, options.company = 6;
  options.settings = {.steps = 2, .targets = std::nullopt, .queries = 5}, options.transfer_only = true;
  const auto outcome = run();
  EXPECT_EQ(names_of(outcome.evaluation.first()), "self! gmsa-avg! gmsa-min! base control! query ");
  ASSERT_EQ(outcome.evaluation.compositions.size(), 4u) << "1, 8 in two orders, all";
  for (const auto& composition : outcome.evaluation.compositions)
    EXPECT_LE(composition.robust_accuracy, composition.clean_accuracy) << composition.size;
}

TEST_F(Brought, AModuleThatWasSavedInTrainingModeIsNotedOfModelAndSurrogate) {
  const auto saved = [&](const std::string& name) {
    torch::jit::Module module("mode");
    module.register_attribute("training", c10::BoolType::get(), true);
    module.define(
        "def forward(self, x):\n"
        "  if self.training:\n"
        "    x = x + torch.rand_like(x)\n"
        "  return 3 * x.flatten(1)[:, :5]\n");
    const auto path = (folder / (name + ".pt")).string();
    module.save(path);
    return path;
  };
  input.model.classifier = load_torchscript(saved("model"), {.allow = true, .input_shape = {3, 8, 8}});
  input.surrogates = {torchscript_surrogate(saved("stand-in"), true)};
  const auto notes = run().evaluation.notes;
  for (const char* name : {"model.pt", "stand-in.pt"})
    EXPECT_TRUE(any_has(notes, std::string(name) + ": the module was saved in training mode (the module itself)"))
        << name;
  EXPECT_FALSE(any_has(notes, "other logits when the same images are asked again")) << "eval() switched it off";
}

}  // namespace
}  // namespace hpm
