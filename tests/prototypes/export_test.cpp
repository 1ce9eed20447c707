// What hpm writes for Python: read back here, and by check_export.py.
#include "hpm/prototypes/torchscript_export.h"

#include "hpm/core/error.h"
#include "hpm/io/torch_file_write.h"
#include "hpm/models/registry.h"
#include "hpm/models/torchscript.h"
#include "support/python.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::message_of;

const char* const kStack = "conv4k4s2p1-bn-relu-conv8k4s2p1-relu-flatten-fc20-relu-fc5";

Tensor images(int64_t n, const std::vector<int64_t>& shape, int64_t t = 1) {
  std::vector<int64_t> sizes{n};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  return fill_rule(c10::multiply_integers(sizes), t).view(sizes).to(at::kFloat);
}

Classifier classifier(const std::string& architecture, const std::vector<int64_t>& shape) {
  auto model = make_classifier(architecture, 5, shape, {{.5, .4, .3}, {.2, .3, .25}}, 3);
  int64_t t = 40;
  for (auto& [name, tensor] : model.state())  // as after training
    if (name.find("running_") != std::string::npos)
      tensor.copy_(fill_rule(tensor.numel(), ++t).view(tensor.sizes()) + .5);
  return model;
}

HpmModel with_head(Classifier model, MetricKind kind) {
  const auto d = model.feature_size();
  HpmHead head{.kind = kind, .lambda = .6, .temperature = .7};
  head.means = fill_rule(5 * d, 8).view({5, d}).to(at::kFloat);
  if (kind == MetricKind::learned) head.metric = fill_rule(4 * d, 9).view({4, d}).to(at::kFloat) - .5;
  head.calibration_sums = 3 * fill_rule(5 * d, 10).view({5, d}).to(at::kFloat);
  head.calibration_counts = torch::tensor({3.f, 4.f, 0.f, 2.f, 3.f});
  head.log_tau = torch::tensor(.3f);
  return {std::move(model), std::move(head)};
}

Tensor logits_of(const HpmModel& model, ContextKind context, const Tensor& x) {
  const auto out = model.classifier.run(x);
  return model.head ? prediction_logits(*model.head, {context}, out.features, out.logits, Tensor()) : out.logits;
}

class Export : public testing::Test {
 protected:
  std::string path(const std::string& name) { return (folder / name).string(); }
  test::TemporaryFolder folder;
};

TEST_F(Export, TorchScriptOfEveryFamilyGivesTheModelsLogitsForAnyBatchSize) {
  for (const std::string architecture :
       {kStack, "resnet2b", "resnet14", "resnet18_cifar", "resnet50_cifar", "preact_resnet18", "preact_resnet18_bn",
        "torchvision_resnet18", "wrn10_1", "wrn10_1_nobias", "dm_wrn10_1", "dm_preact_resnet18_relu"}) {
    const std::vector<int64_t> shape{3, 32, 32};
    const auto model = classifier(architecture, shape);
    const auto file = path("fc.pt");
    export_torchscript({model, std::nullopt}, ContextKind::reference, file, "a test");
    const auto loaded = load_classifier(file).classifier;
    EXPECT_TRUE(loaded.is_black_box());
    for (const int64_t n : {1, 4}) {
      const auto x = images(n, shape);
      EXPECT_TRUE(close(loaded.logits(x), model.logits(x), 1e-5, 1e-5)) << architecture << " " << n;
    }
  }
}

TEST_F(Export, TorchScriptOfEveryMetricAndContextGivesTheHeadsLogitsAndGradients) {
  const std::vector<int64_t> shape{3, 16, 16};
  for (const auto kind : {MetricKind::none, MetricKind::l2norm, MetricKind::learned})
    for (const auto context : {ContextKind::reference, ContextKind::alone}) {
      const auto model = with_head(classifier(kStack, shape), kind);
      export_torchscript(model, context, path("head.pt"), "a test");
      const auto loaded = load_classifier(path("head.pt")).classifier;
      const auto x = images(6, shape).requires_grad_();
      const auto expected = logits_of(model, context, x), found = loaded.logits(x);
      EXPECT_TRUE(close(found, expected, 1e-5, 1e-5)) << to_string(kind) << to_string(context);
      const auto gradient = [&](const Tensor& logits) {
        return torch::autograd::grad({logits.select(1, 2).sum()}, {x})[0];
      };
      EXPECT_TRUE(close(gradient(found), gradient(expected), 1e-5, 1e-4)) << to_string(kind) << to_string(context);
    }
}

TEST_F(Export, ContextsThatDependOnTheBatchAreRefused) {
  const auto model = with_head(classifier(kStack, {3, 16, 16}), MetricKind::none);
  for (const auto context : {ContextKind::solo, ContextKind::joint})
    EXPECT_NE(
        message_of<UsageError>([&] { export_torchscript(model, context, path("no.pt"), ""); }).find(to_string(context)),
        std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path("no.pt")));
}

TEST_F(Export, StateDictOfAnHpmModelLoadsToTheSameModel) {
  const auto model = with_head(classifier(kStack, {3, 16, 16}), MetricKind::l2norm);
  save_model(model, path("model.pth"), "a test", {}, WeightsFormat::state_dict);
  const auto loaded = load_model(path("model.pth")).model;
  ASSERT_TRUE(loaded.head.has_value());
  EXPECT_EQ(loaded.head->kind, MetricKind::l2norm);
  EXPECT_EQ(loaded.head->temperature, .7);
  EXPECT_EQ(loaded.classifier.info().normalisation.mean, model.classifier.info().normalisation.mean);
  const auto a = model.state(), b = loaded.state();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  }
}

TEST_F(Export, PythonReadsAllOfThemAndAgrees) {
  HPM_NEED_PYTHON_TORCH();
  const std::vector<int64_t> shape{3, 16, 16};
  const auto x = images(7, shape);
  NamedTensors expected{{"x", x}};
  for (const auto context : {ContextKind::reference, ContextKind::alone}) {
    const auto model = with_head(classifier(kStack, shape), MetricKind::learned);
    export_torchscript(model, context, path(to_string(context) + ".pt"), "a test");
    expected.emplace_back(to_string(context), logits_of(model, context, x));
  }
  const auto model = with_head(classifier(kStack, shape), MetricKind::learned);
  save_model(model, path("hpm.pth"), "a test", {}, WeightsFormat::state_dict);
  const auto plain = folded(model);
  save_model({plain, std::nullopt}, path("folded.pth"), "a test", {}, WeightsFormat::state_dict);
  expected.emplace_back("folded", plain.logits(x));
  write_state_dict(path("expected.pth"), expected);
  NamedTensors types;
  for (const auto type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
                          at::kFloat, at::kDouble})
    types.emplace_back(c10::toString(type), at::arange(6).remainder(2).view({2, 3}).to(type));
  types.emplace_back("nan", torch::tensor({std::nanf(""), -0.f, INFINITY}));
  types.emplace_back("scalar", torch::tensor(2.5));
  types.emplace_back("empty", at::empty({0, 3}));
  types.emplace_back("transposed", at::arange(6).view({2, 3}).t());
  write_state_dict(path("types.pth"), types);
  EXPECT_EQ(test::python("tests/prototypes/check_export.py", folder.path.string()), "");
  // And what Python saves from it comes back with the same bits.
  const auto again = read_checkpoint(path("again.pth")).tensors;
  ASSERT_EQ(again.size(), types.size());
  for (size_t i = 0; i < types.size(); ++i) {
    EXPECT_EQ(again[i].first, types[i].first);
    EXPECT_EQ(to_stored(again[i].second), to_stored(types[i].second)) << types[i].first;
  }
}

}  // namespace
}  // namespace hpm
