#include "hpm/attacks/rays.h"

#include "attacks/autoattack_setting.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::kThreats;
using test::Setting;

/// Gives labels alone: one at the predicted class, and no gradient.
class Labels : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    if (loss) throw std::logic_error("a model that gives labels alone was asked for a gradient");
    auto answer = ClassifierModel::ask(query, nullptr);
    answer.target_logits = at::one_hot(answer.target_logits.argmax(1), classes()).to(at::kFloat);
    return answer;
  }
};

TEST(Rays, BreaksImagesByTheirLabelsAloneAndStaysInsideBallAndBox) {
  Setting s;
  for (const auto& threat : {ThreatModel{Norm::linf, .1}, ThreatModel{Norm::l2, 1.}, ThreatModel{Norm::l1, 10.}}) {
    Labels model(s.net);
    const auto found = rays(model, s.images, threat, {.queries = 400}, RandomStreams(0));
    EXPECT_GT(found.broken.sum().item<int64_t>(), 0) << to_string(threat.norm);
    EXPECT_TRUE(inside(found.images, s.images.x, threat).all().item<bool>()) << to_string(threat.norm);
    const auto wrong = s.net.logits(found.images).argmax(1).ne(s.images.y);
    EXPECT_TRUE(at::equal(wrong & found.broken, found.broken)) << "what it calls broken is wrong";
    EXPECT_TRUE(
        at::equal(found.images.index({found.broken.logical_not()}), s.images.x.index({found.broken.logical_not()})));
  }
}

TEST(Rays, FindsTheNearestCornerOfALinearModel) {
  // Two classes, z_1 - z_0 = w.(x - 1/2) - b: the sign vector of w reaches the boundary at r = b / |w|_1, and no other
  // direction is shorter.
  const int64_t d = 16;
  const auto w = at::linspace(-1, 1, d);
  const double b = .3, nearest = b / w.abs().sum().item<double>();
  class Linear : public AttackModel {
   public:
    Linear(Tensor w, double b) : w_(std::move(w)), b_(b) {}
    Answer ask(const Query& query, const Loss*) override {
      const auto gap = (query.x.flatten(1) - .5).matmul(w_) - b_;
      passes_.forward += query.x.size(0);
      return {at::stack({at::zeros_like(gap), gap}, 1), {}, {}};
    }
    int64_t classes() const override { return 2; }
    Passes passes() const override { return passes_; }

   private:
    Tensor w_;
    double b_;
    Passes passes_;
  } model(w, b);
  const Images images{at::full({1, 1, 4, 4}, .5), at::zeros({1}, at::kLong), at::arange(1)};
  EXPECT_TRUE(
      rays(model, images, {Norm::linf, 1.05 * nearest}, {.queries = 2000}, RandomStreams(0)).broken.item<bool>());
  EXPECT_FALSE(
      rays(model, images, {Norm::linf, .95 * nearest}, {.queries = 2000}, RandomStreams(0)).broken.item<bool>());
  EXPECT_LE(model.passes().forward, 2 * 2001);
}

TEST(Rays, FlagsDependNeitherOnTheBatchNorOnOrder) {
  Setting s;
  ClassifierModel model(s.net);
  const RaysOptions options{.queries = 200, .restarts = 2};
  const auto whole = rays(model, s.images, {Norm::linf, .06}, options, RandomStreams(3)).broken;
  const auto back = at::arange(39, -1, -1);
  const auto reversed = rays(model, s.images.select(back), {Norm::linf, .06}, options, RandomStreams(3)).broken;
  EXPECT_TRUE(at::equal(whole.flip(0), reversed));
  for (int64_t i = 0; i < 40; i += 16) {
    const auto part = s.images.select(at::arange(i, std::min<int64_t>(i + 16, 40)));
    EXPECT_TRUE(at::equal(rays(model, part, {Norm::linf, .06}, options, RandomStreams(3)).broken,
                          whole.slice(0, i, std::min<int64_t>(i + 16, 40))));
  }
}

TEST(Rays, RefusesABatchThatIsOneObject) {
  class Coupled : public ClassifierModel {
   public:
    using ClassifierModel::ClassifierModel;
    Coupling coupling() const override { return Coupling::batch; }
  };
  Setting s;
  Coupled model(s.net);
  EXPECT_THROW(rays(model, s.images, {Norm::linf, .1}, {}, RandomStreams(0)), UsageError);
}

TEST(Rays, AsksNoMoreThanItsBudget) {
  Setting s;
  ClassifierModel model(s.net);
  const RaysOptions options{.queries = 50, .restarts = 2};
  const auto before = model.passes().forward;
  rays(model, s.images, {Norm::linf, 1e-6}, options, RandomStreams(0));
  EXPECT_EQ(model.passes().forward - before, 40 * (budget_of(options).passes.forward + 1));
}

}  // namespace
}  // namespace hpm
