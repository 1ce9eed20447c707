#include "hpm/models/checkpoint.h"

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

TEST_F(CheckpointTest, NanFeaturesAreAnErrorThatNamesTheLayer) {
  HpmModel broken{model.clone(), std::nullopt};
  broken.classifier.state()[4].second.fill_(std::nan(""));
  EXPECT_NE(message_of<Error>([&] { broken.run(x); }).find("input of 7"), std::string::npos);
}

}  // namespace
}  // namespace hpm
