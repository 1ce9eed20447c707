#include "attacks/formula_net.h"
#include "hpm/core/error.h"
#include "hpm/models/checkpoint.h"
#include "hpm/models/layers.h"
#include "hpm/models/recognition.h"
#include "hpm/models/registry.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::message_of;
using test::tensor_of;

TEST(Layers, StringsRoundTrip) {
  for (const std::string text : {"conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10", "flatten-fc10",
                                 "conv4k3-bn-relu-maxpool2-flatten-fc7-bn-relu-fc3", "conv4k3p1-avgpool4-flatten-fc2"})
    EXPECT_EQ(layers_of(*make_layers(text, {3, 32, 32})), text);
  EXPECT_EQ(layers_of(*make_layers("conv4k3s1p0-flatten-fc2", {3, 32, 32})), "conv4k3-flatten-fc2") << "canonical form";
}

TEST(Layers, KeysFollowThePositionsOfASequential) {
  const auto model =
      make_classifier("conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10", 10, {3, 32, 32}, {}, 0);
  std::vector<std::string> keys;
  for (const auto& [key, tensor] : model.state()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias", "5.weight", "5.bias",
                                            "7.weight", "7.bias"}));
  EXPECT_EQ(model.head_name(), "7");
  EXPECT_EQ(model.feature_size(), 100);
}

TEST(Layers, ABadItemIsNamed) {
  for (const auto& [text, named] : {std::pair{"conv16-relu-flatten-fc10", "conv16"},
                                    {"flatten-relu", "relu"},
                                    {"conv4k3-fc10", "flatten before it"},
                                    {"conv4k99-flatten-fc10", "larger than its input"},
                                    {"conv4k0-flatten-fc2", "conv4k0"},
                                    {"flatten-fc0", "fc0"},
                                    {"", "\"\""}})
    EXPECT_NE(message_of<UsageError>([&] { make_layers(text, {3, 32, 32}); }).find(named), std::string::npos) << text;
}

TEST(Registry, UnknownNamesGetTheNearestAndTheList) {
  const auto message = message_of<UsageError>([] { make_network("resnet18_cifr", 10, {3, 32, 32}); });
  EXPECT_NE(message.find("did you mean resnet18_cifar"), std::string::npos) << message;
  EXPECT_THROW(make_network("flatten-fc3", 10, {1, 2, 2}), UsageError);
  EXPECT_THROW(make_network("resnet20", 1, {3, 32, 32}), UsageError);
}

TEST(Registry, EveryArchitectureCutsAtTheInputOfItsLastLayerAndClones) {
  for (const auto& known : architectures()) {
    if (known.summary.find("2048") != std::string::npos) continue;  // held to an oracle each, below
    auto model = make_classifier(known.name, 7, {3, 32, 32}, {{.5, .5, .5}, {.2, .2, .2}}, 3);
    const auto x = fill_rule(2 * 3 * 32 * 32, 1).view({2, 3, 32, 32}).to(at::kFloat);
    torch::NoGradGuard guard;
    const auto out = model.run(x);
    EXPECT_TRUE(close(model.head(out.features), out.logits, 1e-5)) << known.name;
    EXPECT_TRUE(close(at::linear(out.features, model.weight(), model.bias()), out.logits, 1e-5)) << known.name;
    auto copy = model.clone();
    EXPECT_TRUE(at::equal(copy.logits(x), out.logits)) << known.name;
    copy.weight().zero_();
    EXPECT_TRUE(at::equal(model.logits(x), out.logits)) << "a clone shares weights: " << known.name;
  }
}

TEST(Registry, SeedsChooseTheInitialWeights) {
  const auto make = [](uint64_t seed) {
    return make_classifier("flatten-fc5", 5, {1, 4, 4}, {}, seed).weight().clone();
  };
  EXPECT_TRUE(at::equal(make(1), make(1)));
  EXPECT_FALSE(at::equal(make(1), make(2)));
}

struct OracleCase {
  const char *file, *architecture;
};

class ArchitectureOracle : public testing::TestWithParam<OracleCase> {};

TEST_P(ArchitectureOracle, RecognisedFromItsKeysItAgreesInLogitsAndInputGradient) {
  HPM_NEED_SHARED(path, std::string("oracles/architectures/") + GetParam().file + ".json");
  const auto oracle = test::read_json(path);
  const auto shape = oracle["input_shape"].get<std::vector<int64_t>>();
  NamedTensors tensors;
  int64_t t = 0;
  for (const auto& [key, value] : oracle["state_dict"].get<std::vector<std::pair<std::string, std::vector<int64_t>>>>())
    tensors.emplace_back(key, test::filled_weight(key, value, t++));
  std::vector<std::string> notes;
  ASSERT_EQ(recognise(tensors, {shape.begin() + 1, shape.end()}, notes), GetParam().architecture);
  const auto classes = static_cast<int64_t>(oracle["logits"][0].size());
  auto model = make_classifier(GetParam().architecture, classes, {shape.begin() + 1, shape.end()},
                               own_normalisation(GetParam().architecture, classes), 0);
  auto state = model.state();
  ASSERT_EQ(state.size(), tensors.size());
  {
    torch::NoGradGuard guard;
    for (size_t i = 0; i < state.size(); ++i) {
      ASSERT_EQ(state[i].first, tensors[i].first);
      ASSERT_EQ(state[i].second.sizes(), tensors[i].second.sizes()) << state[i].first;
      state[i].second.copy_(tensors[i].second);
    }
  }
  EXPECT_EQ(model.parameter_count(), oracle["num_parameters"].get<int64_t>());
  model.to(at::kCPU, at::kDouble);
  const auto x =
      fill_rule(c10::multiply_integers(shape), 0).view(shape).to(at::kFloat).to(at::kDouble).requires_grad_();
  const auto out = model.run(x);
  EXPECT_TRUE(close(out.logits, tensor_of(oracle["logits"]), 1e-9, 1e-9));
  EXPECT_TRUE(close(model.head(out.features), out.logits, 1e-12));
  const auto gradient = torch::autograd::grad({out.logits.select(1, 0).sum()}, {x})[0];
  const auto& expected = oracle["input_gradient_of_sum_of_logit_0"];
  EXPECT_TRUE(close(gradient.flatten().slice(0, 0, 8), tensor_of(expected["first_8"]), 1e-10, 1e-9));
  EXPECT_NEAR(gradient.abs().sum().item<double>(), expected["l1"], 1e-7 * std::max(1., expected["l1"].get<double>()));
}

INSTANTIATE_TEST_SUITE_P(, ArchitectureOracle,
                         testing::Values(OracleCase{"resnet18_cifar", "resnet18_cifar"},
                                         OracleCase{"resnet34_cifar", "resnet34_cifar"},
                                         OracleCase{"resnet50_cifar", "resnet50_cifar"},
                                         OracleCase{"preact_resnet18_cifar", "preact_resnet18"},
                                         OracleCase{"preact_resnet18_bn_before_fc_cifar", "preact_resnet18_bn"},
                                         OracleCase{"torchvision_resnet18", "torchvision_resnet18"},
                                         OracleCase{"torchvision_resnet50", "torchvision_resnet50"},
                                         OracleCase{"torchvision_wide_resnet50_2", "torchvision_wide_resnet50_2"},
                                         OracleCase{"wrn16_4_nobias_cifar", "wrn16_4_nobias"},
                                         OracleCase{"wrn28_10_cifar", "wrn28_10"},
                                         OracleCase{"wrn34_10_sub_block1_cifar100", "wrn34_10_sub_block1"},
                                         OracleCase{"dm_wrn28_10_swish_cifar", "dm_wrn28_10"},
                                         OracleCase{"dm_preact_resnet18_swish_cifar", "dm_preact_resnet18"}),
                         [](const auto& info) { return std::string(info.param.file); });

TEST(Classifier, CountsImagePassesForwardAndBackward) {
  const auto model = test::formula_net(at::kFloat);
  const auto x = fill_rule(5 * 192, 1).view({5, 3, 8, 8}).to(at::kFloat);
  {
    torch::NoGradGuard guard;
    model.logits(x);
  }
  EXPECT_EQ(model.passes().forward, 5);
  EXPECT_EQ(model.passes().backward, 0);
  const auto leaf = x.clone().requires_grad_();
  torch::autograd::grad({model.logits(leaf).sum()}, {leaf});
  EXPECT_EQ(model.passes().forward, 10);
  EXPECT_EQ(model.passes().backward, 5);
}

TEST(Classifier, ImagesOfAnotherShapeAreRefusedInASentence) {
  const auto model = test::formula_net(at::kFloat);
  EXPECT_NE(message_of<UsageError>([&] {
              model.logits(at::zeros({1, 3, 9, 8}));
            }).find("[N,3,8,8]"),
            std::string::npos);
}

TEST(Classifier, NormalisesPerChannel) {
  auto plain = make_classifier("flatten-fc2", 2, {2, 1, 1}, {}, 0),
       normalised = make_classifier("flatten-fc2", 2, {2, 1, 1}, {{.5, .25}, {.5, .25}}, 0);
  const auto x = torch::tensor({{.25f, .75f}}).view({1, 2, 1, 1}),
             expected = torch::tensor({{-.5f, 2.f}}).view({1, 2, 1, 1});
  EXPECT_TRUE(close(normalised.logits(x), plain.logits(expected), 1e-6));
  const auto one_for_all = make_classifier("flatten-fc2", 2, {2, 1, 1}, {{.5}, {.5}}, 0);
  EXPECT_EQ(one_for_all.info().normalisation.mean, (std::vector<double>{.5, .5}));
  EXPECT_THROW(make_classifier("flatten-fc2", 2, {2, 1, 1}, {{.5, .5, .5}, {.5, .5, .5}}, 0), UsageError);
  EXPECT_THROW(make_classifier("flatten-fc2", 2, {2, 1, 1}, {{.5, .5}, {.5, 0}}, 0), UsageError);
}

}  // namespace
}  // namespace hpm
