#include "hpm/models/classifier.h"

#include <ATen/autocast_mode.h>

#include "hpm/models/registry.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;

struct Probe {
  Tensor logits, gradient;
};

Probe with_gradient(const Classifier& model, const Tensor& images) {
  const auto x = images.detach().requires_grad_();
  const auto out = model.run(x);
  EXPECT_EQ(out.logits.scalar_type(), at::kFloat);
  EXPECT_EQ(out.features.scalar_type(), at::kFloat);
  return {out.logits.detach(), torch::autograd::grad({out.logits.select(1, 0).sum()}, {x})[0]};
}

TEST(SearchPrecision, RoundsThePassesThatCarryAGradientAndNoOthers) {
  auto model = make_classifier("conv8k3p1-relu-flatten-fc16-relu-fc5", 5, {3, 8, 8}, {}, 3);
  const auto x = fill_rule(6 * 192, 1).view({6, 3, 8, 8}).to(at::kFloat);
  const auto exact = with_gradient(model, x);
  const auto verdict = model.logits(x);
  EXPECT_TRUE(close(exact.logits, verdict, 1e-6));
  model.set_search_precision(at::kBFloat16);
  EXPECT_TRUE(at::equal(model.logits(x), verdict)) << "a verdict's pass changed";
  const auto rounded = with_gradient(model, x);
  EXPECT_FALSE(at::equal(rounded.logits, exact.logits)) << "the search still runs in float32";
  EXPECT_TRUE(close(rounded.logits, exact.logits, .05));
  const auto cosine = at::cosine_similarity(rounded.gradient.flatten(), exact.gradient.flatten(), 0).item<double>();
  EXPECT_GT(cosine, .99);
  EXPECT_EQ(model.clone().search_precision(), at::kBFloat16);
  EXPECT_EQ(model.passes().backward, 12);
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU)) << "autocast outlived the pass";
}

}  // namespace
}  // namespace hpm
