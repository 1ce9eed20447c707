// Modules that scripts/export_torchscript.py writes, made by make_torchscript.py when the tests run.
#include "hpm/models/torchscript.h"

#include "hpm/attacks/autoattack.h"
#include "hpm/core/error.h"
#include "hpm/models/checkpoint.h"
#include "hpm/prototypes/model.h"
#include "hpm/training/finetune.h"
#include "support/python.h"

namespace hpm {
namespace {

using test::close;
using test::message_of;

class TorchScript : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!test::has_python_torch()) return;
    folder = std::make_unique<test::TemporaryFolder>();
    failure = test::python("tests/models/make_torchscript.py", folder->path.string());
  }
  static void TearDownTestSuite() { folder.reset(); }
  void SetUp() override {
    HPM_NEED_PYTHON_TORCH();
    ASSERT_EQ(failure, "");
  }
  static std::string path(const std::string& name) { return (*folder / name).string(); }
  static Tensor expected(const std::string& name) {
    for (const auto& [key, tensor] : read_checkpoint(path("expected.pth")).tensors)
      if (key == name) return tensor;
    throw std::runtime_error("no " + name);
  }
  static Dataset images(int64_t n) {
    Dataset data{.name = "images", .split = "train", .class_names = {"a", "b", "c", "d"}};
    data.labels = at::arange(n).remainder(4);
    data.pixels = (test::fill_rule(n * 768, 2).view({n, 3, 16, 16}) * 255).to(at::kByte);
    return data;
  }
  static FinetuneOptions tuning() {
    FinetuneOptions options{.fit_images = 32, .metric_steps = 5};
    options.adversary = {.threat = {Norm::linf, .03}, .steps = 2, .batch_norm = "batch"};
    options.loop = {.epochs = 1, .batch = 16, .seed = 4};
    options.loop.optimizer.lr = 1e-2;
    return options;
  }
  static std::unique_ptr<test::TemporaryFolder> folder;
  static std::string failure;
};
std::unique_ptr<test::TemporaryFolder> TorchScript::folder;
std::string TorchScript::failure;

TEST_F(TorchScript, TransformerAgreesWithPythonInLogitsFeaturesAndInputGradient) {
  const auto model = load_classifier(path("vit.pt")).classifier;
  EXPECT_EQ(model.classes(), 4);
  EXPECT_EQ(model.feature_size(), 24);
  EXPECT_EQ(model.head_name(), "head");
  const auto x = expected("x").clone().requires_grad_();
  const auto out = model.run(x);
  EXPECT_TRUE(close(out.logits, expected("logits"), 1e-5));
  EXPECT_TRUE(close(out.features, expected("features"), 1e-5));
  EXPECT_TRUE(close(model.head(out.features), out.logits, 1e-5));
  const auto loss = at::cross_entropy_loss(out.logits, at::arange(7).remainder(4));
  EXPECT_TRUE(close(torch::autograd::grad({loss}, {x})[0], expected("gradient"), 1e-6));
  EXPECT_EQ(model.passes().backward, 7);
}

TEST_F(TorchScript, ItsKeysAreThoseOfThePythonModule) {
  const auto state = load_classifier(path("vit.pt")).classifier.state();
  const auto python = read_checkpoint(path("vit.pth")).tensors;
  ASSERT_EQ(state.size(), python.size());
  const std::map<std::string, Tensor> found(state.begin(), state.end());
  for (const auto& [key, tensor] : python) {
    ASSERT_TRUE(found.contains(key)) << key;
    EXPECT_TRUE(at::equal(found.at(key), tensor)) << key;
  }
}

TEST_F(TorchScript, SameInputGivesTheSameBitsFromTheFirstCallOn) {
  const auto model = load_classifier(path("vit.pt")).classifier;
  const auto x = expected("x").clone().requires_grad_();
  const auto gradient = [&] { return torch::autograd::grad({model.logits(x).sum()}, {x})[0]; };
  const auto first = gradient();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(at::equal(gradient(), first)) << i;
}

TEST_F(TorchScript, IsRefusedWithoutPermissionAndBothWaysAreSaid) {
  const auto copy = path("copy.pt");
  std::filesystem::copy_file(path("vit.pt"), copy);
  const auto message = message_of<UsageError>([&] { load_classifier(copy); });
  EXPECT_NE(message.find("--allow-torchscript"), std::string::npos) << message;
  const auto digest = read_checkpoint(copy).sha256;
  EXPECT_NE(message.find("sha256 = \"" + digest + "\""), std::string::npos) << message;
  const std::vector<int64_t> shape{3, 16, 16};
  EXPECT_EQ(load_classifier(copy, {}, shape, true).classifier.classes(), 4);
  EXPECT_EQ(load_classifier(copy, {.sha256 = digest}, shape).classifier.classes(), 4);
  EXPECT_NE(
      message_of<Error>([&] { load_classifier(copy, {.sha256 = std::string(64, '0')}, shape, true); }).find("SHA-256"),
      std::string::npos);
}

TEST_F(TorchScript, SavedInTrainingModeItRunsInEvaluationModeAndThatIsSaid) {
  const std::vector<int64_t> shape{3, 16, 16};
  const auto loaded = load_classifier(path("training.pt"), {}, shape, true);
  const auto x = expected("x"), logits = loaded.classifier.logits(x);
  EXPECT_TRUE(at::equal(loaded.classifier.logits(x), logits)) << "nothing is dropped";
  EXPECT_TRUE(close(loaded.classifier.logits(x.slice(0, 0, 1)), logits.slice(0, 0, 1), 1e-5)) << "no batch statistics";
  const auto note = training_mode_note(loaded.classifier);
  EXPECT_NE(note.find("saved in training mode (1, 3)"), std::string::npos) << "batch norm and dropout: " << note;
  EXPECT_NE(note.find("--coupling batch or --random"), std::string::npos) << note;
  EXPECT_EQ(training_mode_note(loaded.classifier.clone()), note);
  EXPECT_TRUE(std::any_of(loaded.notes.begin(), loaded.notes.end(),
                          [](const auto& line) { return line.find("training mode") != std::string::npos; }));
  // Around a network in evaluation mode there is a module that nobody told, and that does nothing by its mode.
  EXPECT_EQ(training_mode_note(load_classifier(path("wrapped.pt"), {}, shape, true).classifier), "");
  EXPECT_EQ(training_mode_note(load_classifier(path("vit.pt")).classifier), "");
}

TEST_F(TorchScript, LogitsAloneAreForAttacksAndHpmIsRefusedWithTheExportersCommand) {
  const auto model = load_classifier(path("logits_only.pt")).classifier;
  EXPECT_TRUE(model.is_black_box());
  EXPECT_TRUE(close(model.logits(expected("x")), expected("logits"), 1e-5));
  const auto message = message_of<UsageError>([&] { finetune({model, std::nullopt}, images(32), tuning()); });
  EXPECT_NE(message.find("scripts/export_torchscript.py"), std::string::npos) << message;
  EXPECT_NE(message.find("--head"), std::string::npos) << message;
}

TEST_F(TorchScript, ExporterRefusesWhatItCannotExportAndSaysWhy) {
  EXPECT_NE(test::read_text(path("fixed_batch.txt")).find("batch of 5"), std::string::npos);
  EXPECT_NE(test::read_text(path("doubled.txt")).find("output is not that of head"), std::string::npos);
  const auto unknown = test::read_text(path("no_such_head.txt"));
  EXPECT_NE(unknown.find("no linear layer \"fc\""), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("head"), std::string::npos) << unknown;
  for (const char* name : {"fixed_batch.pt", "doubled.pt", "no_such_head.pt"})
    EXPECT_FALSE(std::filesystem::exists(path(name))) << name;
}

TEST_F(TorchScript, EveryAttackRunsOnIt) {
  for (const char* file : {"vit.pt", "logits_only.pt"}) {
    ClassifierModel model(load_classifier(path(file)).classifier);
    const Images some{expected("x").slice(0, 0, 4), expected("logits").slice(0, 0, 4).argmax(1), at::arange(4)};
    AutoAttackOptions options{.version = "custom", .attacks = {"apgd-ce", "apgd-t", "fab-t", "square"}};
    options.settings = {.steps = 5, .targets = 2, .queries = 50};
    const auto result = autoattack(model, some, {Norm::linf, .1}, options);
    EXPECT_EQ(result.clean_accuracy(), 100) << file;
    EXPECT_LT(result.robust_accuracy(), 100) << file;
  }
}

TEST_F(TorchScript, ClonesAndAttacksLeaveTheOriginalAlone) {
  const auto model = load_classifier(path("vit.pt")).classifier;
  const auto x = expected("x"), before = model.logits(x);
  auto copy = model.clone();
  EXPECT_TRUE(at::equal(copy.logits(x), before));
  copy.weight().zero_();
  EXPECT_TRUE(at::equal(model.logits(x), before));
  EXPECT_FALSE(at::equal(copy.logits(x), before)) << "the head is not the module's memory";
  copy.to(at::kCPU, at::kDouble);
  EXPECT_EQ(copy.logits(x.to(at::kDouble)).scalar_type(), at::kDouble);
}

TEST_F(TorchScript, TiedParametersAreOneParameter) {
  auto model = load_classifier(path("tied.pt")).classifier;
  EXPECT_EQ(model.parameters().size(), 3u);
  EXPECT_EQ(model.parameter_count(), 768 * 768 + 768 * 4 + 4);
  const auto x = expected("x"), before = model.logits(x);
  model.to(at::kCPU, at::kDouble);
  model.parameters()[0].mul_(2);
  EXPECT_TRUE(close(model.logits(x.to(at::kDouble)) - model.bias(), 4 * (before - model.bias()), 1e-4))
      << "both layers see the change";
}

TEST_F(TorchScript, FineTuningTrainsTheParametersAndFreezesBatchNorm) {
  const HpmModel base{load_classifier(path("vit.pt")).classifier, std::nullopt};
  for (const std::string head : {"hpm", "fc"}) {
    auto options = tuning();
    options.head = head;
    const auto tuned = finetune(base, images(48), options);
    const auto before = base.classifier.state(), after = tuned.classifier.state();
    for (size_t i = 0; i < before.size(); ++i) {
      const auto& name = before[i].first;
      const bool statistics = name.find("running_") != std::string::npos || name.ends_with("num_batches_tracked");
      // The first token's query, key and value see every parameter; a key's bias has no gradient.
      EXPECT_EQ(at::equal(before[i].second, after[i].second), statistics) << head << " " << name;
    }
  }
}

TEST_F(TorchScript, FineTunedModelSavesLoadsAndFolds) {
  auto options = tuning();
  options.loop.epochs = 1;
  const auto tuned = finetune({load_classifier(path("vit.pt")).classifier, std::nullopt}, images(48), options);
  for (const auto format : {WeightsFormat::safetensors, WeightsFormat::state_dict}) {
    const auto saved = path(format == WeightsFormat::safetensors ? "tuned.safetensors" : "tuned.pth");
    save_model(tuned, saved, "a test", {}, format);
    EXPECT_TRUE(std::filesystem::exists(path("tuned.torchscript.pt")));
    const auto loaded = load_model(saved).model;
    ASSERT_TRUE(loaded.head.has_value());
    const auto x = expected("x");
    const auto a = tuned.run(x), b = loaded.run(x);
    EXPECT_TRUE(at::equal(a.logits, b.logits));
    EXPECT_TRUE(at::equal(reference_logits(*tuned.head, tuned.head->embed(a.features)),
                          reference_logits(*loaded.head, loaded.head->embed(b.features))));
    const auto plain = folded(loaded);
    EXPECT_TRUE(close(at::softmax(plain.logits(x), 1),
                      at::softmax(reference_logits(*tuned.head, tuned.head->embed(a.features)), 1), 1e-4));
  }
  std::filesystem::remove(card_path(path("tuned.torchscript.pt")));
  EXPECT_NE(message_of<UsageError>([&] { load_model(path("tuned.safetensors")); }).find("--allow-torchscript"),
            std::string::npos)
      << "weights do not carry the permission to run the program beside them";
  EXPECT_TRUE(load_model(path("tuned.safetensors"), {}, {}, true).model.head.has_value());
}

TEST(TorchScriptProgram, IsAFileBesideTheCheckpoint) {
  EXPECT_EQ(torchscript_program("resnet20", "a/b.safetensors"), "");
  EXPECT_EQ(torchscript_program("torchscript", "a/b.pt"), "");
  EXPECT_EQ(torchscript_program("torchscript:m.pt", "a/b.safetensors"), "a/m.pt");
  for (const char* name : {"torchscript:", "torchscript:..", "torchscript:../m.pt", "torchscript:/m.pt"})
    EXPECT_THROW(torchscript_program(name, "a/b.safetensors"), UsageError) << name;
}

}  // namespace
}  // namespace hpm
