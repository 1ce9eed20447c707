// The emulated device itself: it computes what the CPU computes, refuses what a GPU refuses, and counts waits.
#include <torch/autograd.h>

#include "attacks/autoattack_setting.h"
#include "device/measured.h"

namespace hpm::test {
namespace {

class EmulatedDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (test_device() != emulated_device())
      GTEST_SKIP() << "HPM_TEST_DEVICE names a real device: leave it out to test the emulated one";
  }
  static Tensor there(const Tensor& t) { return t.to(emulated_device()); }
};

TEST_F(EmulatedDevice, ForwardAndInputGradientEqualTheCpus) {
  for (const char* architecture : {"resnet14", "conv8k3s2p1-relu-conv16k3s2p1-relu-flatten-fc10"}) {
    auto host = make_classifier(architecture, 10, {3, 32, 32}, {{.5, .4, .3}, {.2, .3, .25}}, 3);
    auto device = host.clone();
    device.to(emulated_device());
    const auto x = fill_rule(4 * 3072, 1).view({4, 3, 32, 32}).to(at::kFloat), y = at::arange(4);
    const auto pass = [&](Classifier& net, const Tensor& images, const Tensor& labels) {
      ClassifierModel model(net);
      const Loss loss{LossKind::ce, labels, {}};
      return model.ask({images, at::arange(4)}, &loss);
    };
    const auto a = pass(host, x, y);
    const auto b = pass(device, there(x), there(y));
    EXPECT_EQ(b.gradient.device(), emulated_device());
    EXPECT_TRUE(close(b.target_logits.cpu(), a.target_logits, 0, 1e-5));
    EXPECT_TRUE(close(b.gradient.cpu(), a.gradient, 0, 1e-4));
  }
}

TEST_F(EmulatedDevice, RefusesTensorsOfTwoDevices) {
  const auto x = at::ones({3}), d = there(x);
  EXPECT_ANY_THROW(x + d);
  EXPECT_ANY_THROW(d + x);
  EXPECT_ANY_THROW(d.index_select(0, at::arange(2)));
  EXPECT_ANY_THROW(at::cat({x, d}));
  EXPECT_EQ((d + at::ones({})).sum().item<float>(), 6);  // a CPU tensor without dimensions is a number
}

TEST_F(EmulatedDevice, InPlaceOperationsViewsAndResizesReachTheDevicesMemory) {
  auto d = there(at::arange(6).to(at::kFloat)).view({2, 3});
  d.select(0, 1).add_(10);
  d.t().slice(0, 0, 1).fill_(-1);
  EXPECT_TRUE(at::equal(d.cpu(), torch::tensor({-1.f, 1.f, 2.f, -1.f, 14.f, 15.f}).view({2, 3})));
  auto out = at::empty({0}, d.options());
  at::cumsum_out(out, d, 1);
  EXPECT_EQ(out.device(), emulated_device());
  EXPECT_TRUE(at::equal(out.cpu(), d.cpu().cumsum(1)));
}

TEST_F(EmulatedDevice, CountsWhatAHostWouldWaitFor) {
  const auto d = there(at::arange(4).to(at::kFloat));
  const auto count = [](auto f) {
    const auto before = device_counts();
    f();
    return (device_counts() - before).synchronisations();
  };
  EXPECT_EQ(count([&] { (d * 2 + 1).clamp(0, 3).sort(0); }), 0);
  EXPECT_EQ(count([&] { d.sum().item<float>(); }), 1);
  EXPECT_EQ(count([&] { d.cpu(); }), 1);
  EXPECT_EQ(count([&] { d.gt(1).nonzero(); }), 1);
  EXPECT_EQ(count([&] { d.index({d.gt(1)}); }), 2);  // the places of the mask, and their number
  EXPECT_EQ(count([&] { there(at::ones({2})); }), 1);
  EXPECT_EQ(count([&] { at::ones({2}).to(emulated_device(), true); }), 0);
}

}  // namespace
}  // namespace hpm::test
