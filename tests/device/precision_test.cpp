// The precision of a search, and names of devices, as far as both can be tested without a GPU.
#include "attacks/autoattack_setting.h"
#include "device/measured.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"
#include "hpm/core/tf32.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/defences/plain_defence.h"

namespace hpm::test {
namespace {

TEST(Devices, ANameIsUnderstoodOrRefusedWithWhatIsNeeded) {
  EXPECT_EQ(parse_device("cpu"), at::Device(at::kCPU));
  for (const auto* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1000", "CUDA", "hpu", "hpu:0", ""})
    EXPECT_NE(message_of<UsageError>([&] { parse_device(name); }).find("needs cpu, cuda or cuda:<i>"),
              std::string::npos)
        << name;
  if (at::hasCUDA()) GTEST_SKIP() << "this LibTorch has CUDA: run it with a LibTorch without";
  for (const auto* name : {"cuda", "cuda:0", "cuda:3"})
    EXPECT_NE(message_of<UsageError>([&] { parse_device(name); }).find("needs a CUDA build of LibTorch"),
              std::string::npos)
        << name;
}

TEST(Devices, EachProcessOfAMachineTakesTheGpuOfItsRank) {
  EXPECT_EQ(device_of_rank("cuda", 0, 4), "cuda:0");
  EXPECT_EQ(device_of_rank("cuda", 3, 4), "cuda:3");
  EXPECT_EQ(device_of_rank("cuda", 3, 1), "cuda:0") << "srun --gpus-per-task=1 shows each process one";
  EXPECT_EQ(device_of_rank("cuda", 5, 4), "cuda:1") << "more processes than GPUs share them";
  EXPECT_EQ(device_of_rank("cuda", 1, 0), "cuda") << "no GPU: parse_device says so";
  EXPECT_EQ(device_of_rank("cuda:1", 3, 4), "cuda:1") << "a device that the user chose";
  EXPECT_EQ(device_of_rank("cpu", 3, 4), "cpu");
}

TEST(Precision, ANameSaysHowTheSearchComputes) {
  const auto is = [](const char* name, at::Device device, at::ScalarType type, bool tf32) {
    const auto found = parse_precision(name, device);
    return found.type == type && found.tf32 == tf32;
  };
  const auto device = emulated_device();
  EXPECT_TRUE(is("float32", device, at::kFloat, false));
  EXPECT_TRUE(is("tf32", device, at::kFloat, true));
  EXPECT_TRUE(is("bfloat16", device, at::kBFloat16, true));
  EXPECT_TRUE(is("auto", device, at::kBFloat16, true));
  EXPECT_TRUE(is("tf32", at::kCPU, at::kFloat, false));
  EXPECT_TRUE(is("auto", at::kCPU, at::kFloat, false));
  EXPECT_TRUE(is("bfloat16", at::kCPU, at::kBFloat16, false));
  EXPECT_THROW(parse_precision("half", device), UsageError);
}

bool tf32_allowed() { return at::globalContext().allowTF32CuDNN() && at::globalContext().allowTF32CuBLAS(); }

/// Notes for each of its passes whether TF32 was allowed.
class Noting : public Network {
 public:
  Noting() { linear_ = register_module("linear", torch::nn::Linear(192, 10)); }
  Tensor features(const Tensor& x) override {
    auto z = x.flatten(1) * 1.;
    forward.push_back(tf32_allowed());
    if (z.requires_grad()) z.register_hook([this](const Tensor&) { backward.push_back(tf32_allowed()); });
    return z;
  }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<Noting>(); }
  torch::nn::Linear head() override { return linear_; }
  std::vector<bool> forward, backward;

 private:
  torch::nn::Linear linear_{nullptr};
};

TEST(Precision, Tf32IsAllowedInASearchAlone) {
  const ScopedTf32 of_the_user(true, test_device());  // PyTorch's own setting allows it in convolutions
  for (const bool allowed : {false, true})
    for (const bool as_a_defence : {false, true}) {
      const auto network = std::make_shared<Noting>();
      Classifier net(network, {"noting", 10, {3, 8, 8}});
      net.to(test_device());
      net.set_search_tf32(allowed);
      EXPECT_EQ(net.exact_search(), !allowed);
      const auto images = on_device(Setting().images);
      PlainDefence defence(net, {});
      const auto make = [&]() -> std::unique_ptr<AttackModel> {
        if (!as_a_defence) return std::make_unique<ClassifierModel>(net);
        return std::make_unique<AttackedDefence>(defence, 0, defence.surrogates(0, {.names = {"self"}}).front());
      };
      const auto model = make();
      const Loss loss{LossKind::ce, images.y, {}};
      model->ask({images.x, images.index}, &loss);
      ASSERT_FALSE(network->forward.empty());
      EXPECT_EQ(network->forward.front(), allowed) << "the search";
      for (size_t i = 1; i < network->forward.size(); ++i)
        EXPECT_FALSE(network->forward[i]) << "rows that are confirmed";
      EXPECT_EQ(network->backward, std::vector<bool>{allowed});
      network->forward.clear();
      model->ask({images.x, images.index}, nullptr);
      EXPECT_EQ(network->forward, std::vector<bool>{false}) << "a verdict";
      EXPECT_TRUE(tf32_allowed()) << "the user's setting is back";
    }
}

TEST(Precision, TheMostClearlyWrongRowsAreConfirmedAndTheirNumberFollowsTheNeed) {
  // Rows 40 .. 99 are wrong, the later the more clearly; a pass in full precision agrees but for the last one.
  const auto labels = at::zeros({100}, at::kLong);
  auto logits = at::zeros({100, 3});
  logits.select(1, 1).copy_((at::arange(100) - 39.5) / 100);
  logits = on_device(logits);
  const auto y = on_device(labels);
  std::vector<int64_t> asked;
  Confirmation confirm;
  const auto wrong = [&] {
    const auto exact = [&](const Tensor& rows) {
      asked.push_back(rows.numel());
      auto again = logits.index_select(0, rows);
      again.select(1, 0).copy_(at::where(rows.eq(99), 5., again.select(1, 0)));
      return again;
    };
    return confirm(logits, y, exact).argmax(1).ne(y).cpu();
  };
  EXPECT_TRUE(at::equal(wrong(), at::arange(100).ge(67) & at::arange(100).lt(99))) << "33 rows have a place at first";
  for (int i = 0; i < 15; ++i) wrong();
  EXPECT_TRUE(at::equal(wrong(), at::arange(100).ge(40) & at::arange(100).lt(99)));
  EXPECT_EQ(asked.front(), 33);
  EXPECT_EQ(asked.back(), 83) << "60 were needed, a quarter more, and 8";
}

TEST(Precision, ASearchInBfloat16FindsNothingThatFloat32DoesNotConfirm) {
  Setting setting;
  auto net = on_device(setting.net);
  net.set_search_precision(at::kBFloat16);
  const auto images = on_device(setting.images);
  const auto attack = [&](const Classifier& classifier, const Images& some, Monitor& monitor) {
    ClassifierModel model(classifier);
    return attack_entry("apgd-ce").run(model, some, kThreats[0], {.name = "apgd-ce", .steps = 100}, RandomStreams(0),
                                       monitor);
  };
  const auto found = measured("apgd-ce Linf bfloat16", [&](Monitor& monitor) { return attack(net, images, monitor); });
  const auto wrong = setting.net.logits(found.images.cpu()).argmax(1).ne(setting.images.y);
  EXPECT_TRUE(at::equal(wrong, found.broken.cpu())) << "what counts as broken is broken in float32";
  const auto exact = attack(setting.net, setting.images, silent()).broken.sum().item<int64_t>();
  EXPECT_NEAR(found.broken.sum().item<int64_t>(), exact, 1);
  EXPECT_LE(4 * synchronisation_table().at("apgd-ce Linf bfloat16").synchronisations, 100) << "not one a pass";
}

}  // namespace
}  // namespace hpm::test
