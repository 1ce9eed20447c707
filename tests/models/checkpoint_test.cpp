#include "hpm/models/checkpoint.h"

#include <fmt/ranges.h>

#include "hpm/core/error.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::message_of;

const char* const kStack = "conv4k4s2p1-relu-conv8k4s2p1-relu-flatten-fc20-relu-fc5";

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() : model(make_classifier(kStack, 5, {3, 16, 16}, {}, 1)) {}
  std::string save(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    const auto path = (folder / "model.safetensors").string();
    write_safetensors(path, tensors, metadata);
    return path;
  }
  test::TemporaryFolder folder;
  Classifier model;
  Tensor x = at::rand({2, 3, 16, 16});
};

TEST_F(CheckpointTest, SavedModelLoadsToTheSameLogitsByItsOwnDescription) {
  HpmModel saved{make_classifier(kStack, 5, {3, 16, 16}, {{.1, .2, .3}, {.4, .5, .6}}, 1), std::nullopt};
  const auto path = (folder / "saved.safetensors").string();
  save_model(saved, path, "a test");
  std::filesystem::remove(card_path(path));
  const auto loaded = load_model(path);
  EXPECT_TRUE(loaded.warnings.empty());
  EXPECT_EQ(loaded.model.classifier.info().architecture, kStack);
  EXPECT_TRUE(at::equal(loaded.model.classifier.logits(x), saved.classifier.logits(x)));
}

TEST_F(CheckpointTest, StackIsRecognisedAndWhatWasAssumedIsSaid) {
  const auto loaded = load_classifier(save(model.state()), {}, {3, 16, 16});
  EXPECT_EQ(loaded.classifier.info().architecture, kStack);
  EXPECT_TRUE(at::equal(loaded.classifier.logits(x), model.logits(x)));
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_NE(loaded.notes[0].find("strides and paddings"), std::string::npos);
  ASSERT_EQ(loaded.warnings.size(), 1u);
  EXPECT_NE(loaded.warnings[0].find("normalisation"), std::string::npos);
}

TEST_F(CheckpointTest, EveryNamedArchitectureIsRecognisedFromItsKeys) {
  for (const auto& known : architectures()) {
    const auto path = save(make_classifier(known.name, 6, {3, 32, 32}, {}, 2).state());
    EXPECT_EQ(load_classifier(path, {}, {3, 32, 32}).classifier.info().architecture, known.name);
  }
}

TEST_F(CheckpointTest, StacksOfManyFormsAreRecognised) {
  for (const std::string text : {"flatten-fc10", "flatten-fc20-relu-fc10", "conv4k3p1-relu-flatten-fc10",
                                 "conv4k3p1-bn-relu-conv8k3s2p1-relu-flatten-fc10",
                                 "conv4k3p1-relu-maxpool2-conv8k3p1-relu-maxpool2-flatten-fc20-relu-fc10",
                                 "conv4k5p2-bn-relu-maxpool2-flatten-fc20-bn-relu-fc10",
                                 "conv8k3p1-relu-conv8k3p1-relu-conv16k3s2p1-relu-flatten-fc10"}) {
    const auto path = save(make_classifier(text, 10, {3, 16, 16}, {}, 1).state());
    EXPECT_EQ(load_classifier(path, {}, {3, 16, 16}).classifier.info().architecture, text);
  }
}

TEST_F(CheckpointTest, AStackThatNoUsualGeometryFitsIsNotGuessed) {
  const auto path = save(make_classifier("conv4k7s4-relu-flatten-fc10", 10, {3, 16, 16}, {}, 1).state());
  EXPECT_NE(message_of<Error>([&] { load_classifier(path, {}, {3, 16, 16}); }).find("LAYERS"), std::string::npos);
}

TEST_F(CheckpointTest, NormalisationAmongTheWeightsIsTakenAndFlagsOverrideIt) {
  for (const auto& [mean, std] : {std::pair{"mean", "std"}, {"mu", "sigma"}, {"normalize.mean", "normalize.std"}}) {
    auto tensors = model.state();
    for (auto& [name, tensor] : tensors) name = (std::string(mean).size() > 6 ? "model." : "") + name;
    tensors.emplace(tensors.begin(), mean, torch::tensor({.4914f, .4822f, .4465f}).view({1, 3, 1, 1}));
    tensors.emplace_back(std, torch::tensor({.2471f, .2435f, .2616f}).view({1, 3, 1, 1}));
    const auto path = save(tensors);
    const auto loaded = load_classifier(path, {}, {3, 16, 16});
    EXPECT_EQ(loaded.classifier.info().normalisation.mean, (std::vector<double>{.4914, .4822, .4465})) << mean;
    EXPECT_EQ(loaded.classifier.info().normalisation.std, (std::vector<double>{.2471, .2435, .2616}));
    EXPECT_TRUE(loaded.warnings.empty());
    const auto given = load_classifier(path, {.mean = {.5, .5, .5}, .std = {.5, .5, .5}}, {3, 16, 16});
    EXPECT_EQ(given.classifier.info().normalisation.mean, (std::vector<double>{.5, .5, .5}));
    EXPECT_NE(fmt::format("{}", fmt::join(given.notes, "\n")).find("overridden"), std::string::npos);
  }
}

TEST_F(CheckpointTest, ActivationIsAssumedForDeepMindsVariantsAndCanBeSaid) {
  const auto path = save(make_classifier("dm_wrn10_1", 10, {3, 32, 32}, {}, 1).state());
  const auto images = at::rand({2, 3, 32, 32});
  const auto assumed = load_classifier(path), relu = load_classifier(path, {.activation = "relu"});
  EXPECT_EQ(assumed.classifier.info().architecture, "dm_wrn10_1");
  EXPECT_NE(fmt::format("{}", fmt::join(assumed.notes, "\n")).find("SiLU, as RobustBench has it, is assumed"),
            std::string::npos);
  EXPECT_EQ(relu.classifier.info().architecture, "dm_wrn10_1_relu");
  EXPECT_FALSE(close(relu.classifier.logits(images), assumed.classifier.logits(images), 1e-4));
  EXPECT_EQ(assumed.classifier.info().normalisation.mean.front(), .4914);
  EXPECT_NE(message_of<UsageError>([&] {
              load_classifier(path, {.arch = "dm_wrn10_1_relu", .activation = "silu"});
            }).find("contradict"),
            std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] {
              load_classifier(save(model.state()), {.arch = kStack, .activation = "silu"}, {3, 16, 16});
            }).find("DeepMind"),
            std::string::npos);
}

TEST_F(CheckpointTest, WeightsOfOtherPrecisionsBecomeFloat32) {
  for (const auto type : {at::kHalf, at::kBFloat16, at::kDouble}) {
    auto tensors = model.state();
    for (auto& [name, tensor] : tensors) tensor = tensor.to(type);
    const auto loaded = load_classifier(save(tensors), {}, {3, 16, 16}).classifier;
    EXPECT_EQ(loaded.scalar_type(), at::kFloat);
    for (size_t i = 0; i < tensors.size(); ++i)
      EXPECT_TRUE(at::equal(loaded.state()[i].second, tensors[i].second.to(at::kFloat))) << tensors[i].first;
  }
}

TEST_F(CheckpointTest, ACounterThatOlderPyTorchDidNotSaveIsZero) {
  auto tensors = make_classifier("resnet14", 10, {3, 32, 32}, {}, 1).state();
  std::erase_if(tensors, [](const auto& item) { return item.first.ends_with("num_batches_tracked"); });
  for (const auto& [name, tensor] : load_classifier(save(tensors)).classifier.state())
    if (name.ends_with("num_batches_tracked")) {
      EXPECT_EQ(tensor.item<int64_t>(), 0);
    }
}

TEST_F(CheckpointTest, MisfitsAreListedInFullAndNothingLoads) {
  auto tensors = model.state();
  tensors[0].first = "0.weights";
  tensors[1].second = at::zeros({9});
  const auto path = save(tensors);
  const auto message = message_of<Error>([&] { load_classifier(path, {.arch = kStack}, {3, 16, 16}); });
  for (const char* part : {"missing 0.weight [4,3,4,4]", "unexpected 0.weights", "0.bias needs shape [4], but has [9]"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(CheckpointTest, WrongNumberOfClassesAndForeignKeysAreErrors) {
  EXPECT_NE(message_of<UsageError>([&] {
              load_classifier(save(model.state()), {.arch = kStack, .classes = 10}, {3, 16, 16});
            }).find("5 classes"),
            std::string::npos);
  const auto path = save({{"encoder.weight", at::zeros({3, 4})}, {"decoder.weight", at::zeros({2, 3})}});
  EXPECT_NE(message_of<Error>([&] { load_classifier(path); }).find("--arch"), std::string::npos);
}

TEST_F(CheckpointTest, CardBesideTheFileIsReadAndItsChecksumChecked) {
  const auto path = save(model.state());
  write_card(path, {.arch = kStack, .mean = {.1, .1, .1}, .std = {.5, .5, .5}, .input = {3, 16, 16}});
  const auto loaded = load_classifier(path);
  EXPECT_EQ(loaded.classifier.info().normalisation.mean.size(), 3u);
  write_card(path, {.arch = kStack, .input = {3, 16, 16}, .sha256 = std::string(64, '0')});
  EXPECT_NE(message_of<Error>([&] { load_classifier(path); }).find("SHA-256"), std::string::npos);
  std::ofstream(card_path(path)) << "[model]\narhc = \"x\"\n";
  EXPECT_NE(message_of<UsageError>([&] { load_classifier(path); }).find("arch"), std::string::npos);
}

TEST_F(CheckpointTest, HpmStateSurvivesSavingAndBrokenStateIsRefused) {
  HpmModel hpm{model, HpmHead{.kind = MetricKind::learned, .lambda = .7}};
  auto& head = *hpm.head;
  head.means = at::rand({5, 20}), head.metric = at::rand({4, 20}), head.log_tau = torch::tensor(.3f);
  head.calibration_sums = at::rand({5, 20}), head.calibration_counts = at::ones({5});
  const auto path = (folder / "hpm.safetensors").string();
  save_model(hpm, path, "");
  const auto loaded = load_model(path).model;
  ASSERT_TRUE(loaded.head.has_value());
  EXPECT_EQ(loaded.head->lambda, .7);
  EXPECT_EQ(loaded.head_kind(), "hpm");
  const auto z = at::rand({3, 20});
  EXPECT_TRUE(at::equal(reference_logits(*loaded.head, loaded.head->embed(z)), reference_logits(head, head.embed(z))));

  auto state = hpm.state();
  for (auto& [name, tensor] : state)
    if (name == "hpm.means") tensor = at::rand({5, 19});
  write_safetensors(path, state, {{"model.arch", kStack}, {"model.input-shape", "3,16,16"}});
  EXPECT_NE(message_of<Error>([&] { load_model(path); }).find("hpm.means"), std::string::npos);
}

TEST_F(CheckpointTest, FoldedModelPredictsAsTheReferenceContextFromTheOriginalArchitecture) {
  HpmModel hpm{model, HpmHead{.kind = MetricKind::none, .lambda = .5}};
  auto& head = *hpm.head;
  head.means = at::rand({5, 20}), head.log_tau = torch::tensor(.1f);
  head.calibration_sums = 3 * at::rand({5, 20}), head.calibration_counts = 3 * at::ones({5});
  const auto plain = folded(hpm);
  const auto z = hpm.classifier.features(x);
  EXPECT_TRUE(close(at::softmax(plain.logits(x), 1), at::softmax(reference_logits(head, head.embed(z)), 1), 1e-5));
  EXPECT_EQ(plain.info().architecture, model.info().architecture);
  EXPECT_FALSE(at::equal(plain.weight(), model.weight())) << "the original keeps its own layer";
}

TEST_F(CheckpointTest, MetadataThatDescribeNoModelAreRefusedWithTheirKey) {
  const auto refused = [&](const std::string& key, const std::string& text) {
    const auto path = save(model.state(), {{"model.arch", kStack}, {key, text}});
    return message_of<Error>([&] { load_model(path); });
  };
  EXPECT_NE(refused("model.classes", "ten").find("model.safetensors: metadata model.classes: needs a whole number"),
            std::string::npos);
  for (const char* shape : {"1e300,1,1", "0,16,16", "-3,16,16", "3.5,16,16", "nan,1,1"})
    EXPECT_NE(refused("model.input-shape", shape).find("input-shape: needs "), std::string::npos) << shape;
  EXPECT_LT(refused("model." + std::string(20000, 'x'), "1").size(), 3000u) << "a sentence shows little of a long key";
  EXPECT_LT(refused("model.classes", std::string(20000, '9')).size(), 3000u);
}

TEST_F(CheckpointTest, NanFeaturesAreAnErrorThatNamesTheLayer) {
  HpmModel broken{model.clone(), std::nullopt};
  broken.classifier.state()[4].second.fill_(std::nan(""));
  EXPECT_NE(message_of<Error>([&] { broken.run(x); }).find("input of 7"), std::string::npos);
}

}  // namespace
}  // namespace hpm
