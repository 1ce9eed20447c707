#include "hpm/attacks/fab.h"

#include "attacks/formula_net.h"
#include "attacks/recorder.h"
#include "hpm/attacks/apgd.h"
#include "hpm/attacks/hyperplane.h"

namespace hpm {
namespace {

using test::close;
using test::tensor_of;

TEST(Fab, FollowsTheReferenceInEveryNorm) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json");
  const auto net = test::formula_net();
  const auto images = test::formula_images(oracle);
  for (const auto& run : oracle["runs"]) {
    if (run["attack"] != "fab") continue;
    SCOPED_TRACE(run["norm"].get<std::string>() + " " + run["target_rank"].dump());
    const ThreatModel threat{parse_norm(run["norm"]), run["eps"]};
    FabOptions options{.targeted = !run["target_rank"].is_null(), .steps = run["n_iter"], .conformance = true};
    const auto targets = options.targeted ? ranked_target(net.logits(images.x), run["target_rank"]) : Tensor();
    ClassifierModel model(net);
    const auto found = fab_run(model, images, {}, targets, threat, options);
    EXPECT_TRUE(close(found.distance.lt(1e9).to(at::kDouble), tensor_of(run["found"]), 0));
    EXPECT_TRUE(close(found.distance, tensor_of(run["distance"]), 1e-7));
    EXPECT_TRUE(close(found.adversarial.flatten(1).sum(1), tensor_of(run["x_adv_sum"]), 1e-5));
  }
}

TEST(Fab, DefaultModeBreaksWhatConformanceBreaksInFewerPasses) {
  const auto net = test::formula_net(at::kFloat);
  const auto images = test::own_images(net, 60);
  for (const auto& threat : {ThreatModel{Norm::linf, .03}, {Norm::l2, .3}, {Norm::l1, 1.5}})
    for (const bool targeted : {false, true}) {
      SCOPED_TRACE(to_string(threat.norm) + (targeted ? " targeted" : ""));
      FabOptions options{.targeted = targeted, .steps = 30, .restarts = 2, .targets = 3};
      ClassifierModel model(net);
      const auto start = model.passes();
      const auto found = fab(model, images, threat, options, RandomStreams(0));
      const auto between = model.passes();
      options.conformance = true;
      const auto reference = fab(model, images, threat, options, RandomStreams(0));
      const auto differ = found.broken.ne(reference.broken).sum().item<int64_t>();
      EXPECT_LE(differ, 1);
      EXPECT_GT(found.broken.sum().item<int64_t>(), 5);
      EXPECT_LT((between - start).forward, (model.passes() - between).forward);
      const auto delta = found.images - images.x;
      EXPECT_TRUE((norm_of_rows(delta, threat.norm) <= threat.eps).all().item<bool>());
      EXPECT_TRUE(net.logits(found.images).argmax(1).ne(images.y).equal(found.broken));
    }
}

/// The verdicts of one network, the gradients and the ranking of another; counts how often each image's targets are
/// asked for.
class OtherSurrogate : public ClassifierModel {
 public:
  OtherSurrogate(const Classifier& target, const Classifier& surrogate)
      : ClassifierModel(target), surrogate_(surrogate) {}
  Answer ask(const Query& query, const Loss* loss) override {
    auto answer = ClassifierModel::ask(query, nullptr);
    if (!loss) return answer;
    const auto other = surrogate_.ask(query, loss);
    answer.loss = other.loss, answer.gradient = other.gradient;
    for (int64_t i = 0; i < loss->targets.numel(); ++i)
      ++targets[query.index[i].item<int64_t>()][loss->targets[i].item<int64_t>()];
    return answer;
  }
  bool has_surrogate_logits() const override { return true; }
  Tensor surrogate_logits(const Query& query) override { return surrogate_.ask(query, nullptr).target_logits; }
  std::map<int64_t, std::map<int64_t, int64_t>> targets;

 private:
  ClassifierModel surrogate_;
};

TEST(Fab, AndTargetedApgdAreDecidedByTheTargetAndTryTheSurrogatesRankingTooEachClassOnce) {
  const auto net = test::formula_net(at::kFloat);
  auto other = test::formula_net(at::kFloat);
  {
    torch::NoGradGuard guard;
    other.weight().slice(0, 0, 5).mul_(-1);  // ranks half of the classes the other way round
  }
  const auto images = test::own_images(net, 30);
  const auto own = net.logits(images.x), theirs = other.logits(images.x);
  // The true class ranks first, wherever the surrogate has it: its own first class is a target where it is another one.
  const auto without_own = theirs.scatter(1, images.y.unsqueeze(1), 1e9);
  const ThreatModel threat{Norm::linf, .02};
  for (const bool is_fab : {true, false}) {
    OtherSurrogate model(net, other);
    const ApgdOptions targeted{.loss = LossKind::dlr_targeted, .steps = 10, .targets = 2};
    const auto found = is_fab ? fab(model, images, threat, {.steps = 10, .targets = 2}, RandomStreams(0))
                              : apgd(model, images, threat, targeted, RandomStreams(0));
    EXPECT_TRUE(net.logits(found.images).argmax(1).ne(images.y).equal(found.broken));
    int64_t more = 0;
    for (int64_t i = 0; i < 30; ++i) {
      if (found.broken[i].item<bool>()) continue;  // it may have left before
      const auto& asked = model.targets[images.index[i].item<int64_t>()];
      for (int64_t rank : {2, 3}) {
        EXPECT_TRUE(asked.contains(ranked_target(own, rank)[i].item<int64_t>()));
        EXPECT_TRUE(asked.contains(ranked_target(without_own, rank)[i].item<int64_t>())) << i << " " << rank;
      }
      for (const auto& [target, times] : asked) EXPECT_LE(times, 16) << "one start of 10 steps: " << i << " " << target;
      more += asked.size() > 2;
    }
    EXPECT_GT(more, 0) << "the rankings do not differ, nothing is tested";
  }
}

TEST(Fab, FindsTheBoundaryOfALinearClassifier) {
  // Two classes, logits (0, <w, x> + b): the nearest point of the boundary is the projection onto a hyperplane.
  auto net = make_classifier("flatten-fc2", 2, {1, 4, 4}, {}, 0);
  {
    torch::NoGradGuard guard;
    net.weight().zero_();
    net.weight()[1] = (2 * test::fill_rule(16, 4) - 1).to(at::kFloat);
    net.state()[1].second.zero_();
  }
  const auto x = test::fill_rule(16 * 20, 5).view({20, 1, 4, 4}).to(at::kFloat);
  const Images images{x, net.logits(x).argmax(1), at::arange(20)};
  ClassifierModel model(net);
  for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
    const auto w = net.weight()[1].unsqueeze(0).expand({20, -1});
    const auto nearest = norm_of_rows(project_hyperplane_sorted(x.flatten(1), w, at::zeros({20}), norm), norm);
    const auto run = fab_run(model, images, {}, 1 - images.y, {norm, 0}, {.steps = 20});
    EXPECT_TRUE((run.distance >= nearest * .999).all().item<bool>());
    EXPECT_TRUE((run.distance <= nearest * 1.1 + 1e-5).all().item<bool>()) << run.distance / nearest;
  }
}

}  // namespace
}  // namespace hpm
