#include "hpm/surrogates/bpda.h"

#include <torch/script.h>

#include "hpm/core/error.h"
#include "hpm/models/torchscript.h"
#include "hpm/surrogates/smoothed.h"
#include "support/support.h"

namespace hpm {
namespace {

/// round(4 x) / 4, then a linear layer; the rounding is the submodule "pre", or "front.pre" one floor deeper.
std::string quantised_model(const test::TemporaryFolder& folder, bool nested) {
  torch::jit::Module pre("Pre"), front("Front"), model("Model");
  pre.define("def forward(self, x):\n  return torch.round(x * 4) / 4\n");
  front.register_module("pre", pre);
  front.define("def forward(self, x):\n  return self.pre.forward(x)\n");
  if (nested) model.register_module("front", front);
  else model.register_module("pre", pre);
  model.register_parameter("weight", at::linspace(-1, 1, 12).view({3, 4}), false);
  model.define(std::string("def forward(self, x):\n  return torch.matmul(self.") + (nested ? "front" : "pre") +
               ".forward(x).flatten(1), self.weight.t())\n");
  const auto path = (folder / (nested ? "nested.pt" : "flat.pt")).string();
  model.save(path);
  return path;
}

Classifier loaded(const std::string& path) {
  return load_torchscript(path, {.allow = true, .input_shape = {1, 2, 2}, .normalisation = {}});
}

TEST(Bpda, KeepsThePredictionAndTakesTheGradientOfTheIdentity) {
  const test::TemporaryFolder folder;
  for (const bool nested : {false, true}) {
    const auto model = loaded(quantised_model(folder, nested));
    const auto bpda = bpda_surrogate(model, {parse_bpda(nested ? "front.pre=identity" : "pre=identity")}, false);
    const auto x = at::tensor({.1F, .3F, .6F, .9F}).view({1, 1, 2, 2}).requires_grad_();
    const auto index = at::arange(1);
    const auto logits = bpda.logits({x, {}, {}, index});
    EXPECT_TRUE(at::equal(logits.detach(), model.logits(x.detach())));
    const auto gradient = torch::autograd::grad({logits.select(1, 0).sum()}, {x})[0];
    EXPECT_TRUE(test::close(gradient.flatten(), at::linspace(-1, 1, 12).slice(0, 0, 4), 1e-6));
    // The model itself goes on giving none.
    EXPECT_EQ(torch::autograd::grad({model.logits(x).select(1, 0).sum()}, {x})[0].abs().sum().item<double>(), 0);
  }
}

TEST(Bpda, ATwinFromAFileGivesItsGradient) {
  const test::TemporaryFolder folder;
  torch::jit::Module twin("Twin");
  twin.define("def forward(self, x):\n  return 3 * x\n");
  const auto file = (folder / "twin.pt").string();
  twin.save(file);
  const auto model = loaded(quantised_model(folder, false));
  EXPECT_THROW(bpda_surrogate(model, {{"pre", file}}, false), UsageError) << "a program that nobody trusted";
  const auto bpda = bpda_surrogate(model, {{"pre", file}}, true);
  const auto x = at::tensor({.1F, .3F, .6F, .9F}).view({1, 1, 2, 2}).requires_grad_();
  const auto index = at::arange(1);
  const auto gradient = torch::autograd::grad({bpda.logits({x, {}, {}, index}).select(1, 0).sum()}, {x})[0];
  EXPECT_TRUE(test::close(gradient.flatten(), 3 * at::linspace(-1, 1, 12).slice(0, 0, 4), 1e-6));
  EXPECT_GT(bpda.passes().forward, 0);
}

TEST(Bpda, ANameThatIsNoSubmoduleIsRefusedWithTheNearestOnes) {
  const test::TemporaryFolder folder;
  const auto model = loaded(quantised_model(folder, true));
  const auto message = test::message_of<UsageError>([&] {
    bpda_surrogate(model, {{"front.pree", "identity"}}, false);
  });
  EXPECT_NE(message.find("did you mean front.pre?"), std::string::npos) << message;
  EXPECT_NE(message.find("front, front.pre"), std::string::npos) << message;
  EXPECT_THROW(parse_bpda("pre"), UsageError);
  EXPECT_THROW(parse_bpda("=identity"), UsageError);
}

TEST(Smoothed, AveragesOverNoiseThatDependsOnTheImageAlone) {
  int64_t passes = 0;
  const auto step = [&](const Tensor& x) {
    passes += x.size(0);
    return at::stack({x.flatten(1).sum(1), at::zeros({x.size(0)})}, 1);
  };
  const auto smoothed = smoothed_surrogate(step, {.sigma = .1, .samples = 4});
  const auto x = at::rand({3, 1, 2, 2}), index = at::tensor({5, 2, 9}, at::kLong);
  const auto logits = smoothed.logits({x, {}, {}, index});
  EXPECT_EQ(passes, 12);
  const auto alone = x.slice(0, 1, 2), number = index.slice(0, 1, 2);
  EXPECT_TRUE(test::close(smoothed.logits({alone, {}, {}, number}), logits.slice(0, 1, 2), 1e-6));
  EXPECT_FALSE(test::close(logits, step(x), 1e-4)) << "there is noise";
  EXPECT_TRUE(test::close(logits, step(x), .1 * 2 * 3)) << "of its size";
}

}  // namespace
}  // namespace hpm
