#include "hpm/evaluation/analysis/analysis.h"

#include "evaluation/killer.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/analysis/analysis_summary.h"
#include "hpm/models/registry.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::close;
using test::tiny_images;
using test::tiny_model;

Tensor centred(const Tensor& logits) { return logits - logits.mean(1, true); }

const LinearHead& head_of(const std::vector<LinearHead>& heads, const std::string& name) {
  for (const auto& head : heads)
    if (head.name == name) return head;
  throw std::runtime_error("no head " + name);
}

TEST(LinearHead, DistanceOfTwoClassesIsTheOneComputedByHand) {
  // l_0 - l_1 = 3 z_0 + 4 z_1 + 5: from (0, 0) the line is 5 / 5 = 1 away, from (1, 3) 20 / 5 = 4.
  const LinearHead head{"fc", torch::tensor({{3., 4.}, {0., 0.}}), torch::tensor({5., 0.}), {}};
  const auto z = torch::tensor({{0., 0.}, {1., 3.}, {-3., 1.}, {-3., -4.}});
  const auto b = head.boundary(z, torch::tensor({0, 0, 0, 1}));
  EXPECT_TRUE(close(b.distance, torch::tensor({1., 4., 0., 4.}), 1e-12));
  EXPECT_EQ(b.distance[2].item<double>(), 0) << "a point of the boundary";
  EXPECT_TRUE(close(b.slope, torch::tensor({5., 5., 5., 5.}), 1e-12));
  EXPECT_TRUE(at::equal(b.nearest, torch::tensor({1, 1, 1, 0})));
  EXPECT_TRUE(close(head.boundary(z, torch::tensor({1, 1, 1, 0})).distance, -b.distance, 1e-12))
      << "the wrong side of the boundary is as far below 0";
}

TEST(LinearHead, MovingByTheDistanceAlongTheNormalReachesTheBoundary) {
  for (const auto& head : linear_heads(tiny_model())) {
    const auto z = test::fill_rule(20 * 8, 3).view({20, 8});
    const auto y = head.logits(z).argmax(1);
    const auto b = head.boundary(z, y);
    EXPECT_GT(b.distance.min().item<double>(), 0);
    const auto normal = head.weight.index_select(0, b.nearest) - head.weight.index_select(0, y);
    const auto at_boundary = z + (b.distance / b.slope).unsqueeze(1) * normal;
    EXPECT_TRUE(close(head.boundary(at_boundary, y).distance, at::zeros({20}, at::kDouble), 1e-9)) << head.name;
  }
}

TEST(LinearHead, DistancesDoNotDependOnTheScaleOfTheLogits) {
  auto model = tiny_model();
  const auto z = test::fill_rule(20 * 8, 3).view({20, 8});
  const auto y = at::arange(20) % 5;
  const auto before = linear_heads(model);
  model.head->log_tau = model.head->log_tau + 2;
  const auto after = linear_heads(model);
  for (size_t h = 1; h < before.size(); ++h)
    EXPECT_TRUE(close(before[h].boundary(z, y).distance, after[h].boundary(z, y).distance, 1e-9)) << before[h].name;
}

TEST(LinearHead, LogitsAreTheHeadsUpToWhatAllClassesShare) {
  for (auto kind : {MetricKind::none, MetricKind::l2norm, MetricKind::learned}) {
    auto model = tiny_model();
    auto& head = *model.head;
    head.kind = kind;
    if (kind == MetricKind::learned) head.metric = test::fill_rule(3 * 8, 9).view({3, 8}) - .5;
    const auto z = test::fill_rule(20 * 8, 3).view({20, 8}) * 4;
    const auto heads = linear_heads(model);
    ASSERT_EQ(heads.size(), 3u);
    EXPECT_TRUE(close(heads[0].logits(z), model.classifier.head(z), 1e-12));
    EXPECT_TRUE(close(centred(heads[1].logits(z)), centred(stable_logits(head, head.embed(z))), 1e-9));
    EXPECT_TRUE(close(centred(heads[2].logits(z)), centred(reference_logits(head, head.embed(z))), 1e-9));
  }
}

TEST(LinearHead, OfLambdaOneIsL2AlongAndOfLambdaZeroTheDynamicPrototypesAlone) {
  const auto stable = linear_heads(tiny_model(1));
  ASSERT_EQ(stable.size(), 2u) << "l2 stands for both";
  EXPECT_EQ(stable[1].name, "l2");
  const auto nearly = linear_heads(tiny_model(1 - 1e-12));
  EXPECT_TRUE(close(head_of(nearly, "hpm").weight, head_of(nearly, "l2").weight, 1e-9));
  const auto model = tiny_model(0);
  const auto dynamic = model.head->calibration_sums / model.head->calibration_counts.clamp_min(1).unsqueeze(1);
  const auto expected = at::where(model.head->calibration_counts.gt(0).unsqueeze(1), dynamic, model.head->means);
  EXPECT_TRUE(close(head_of(linear_heads(model), "hpm").prototypes, expected, 1e-12));
}

TEST(LinearHead, SlopeOfL2normIsTheGradientsNorm) {
  auto model = tiny_model();
  model.head->kind = MetricKind::l2norm;
  const auto head = linear_heads(model)[1];
  const auto z = (test::fill_rule(6 * 8, 3).view({6, 8}) * 3).requires_grad_();
  const auto y = at::arange(6) % 5;
  const auto b = head.boundary(z.detach(), y);
  const auto logits = head.logits(z);
  const auto gap = (logits.gather(1, y.unsqueeze(1)) - logits.gather(1, b.nearest.unsqueeze(1))).squeeze(1);
  const auto gradient = torch::autograd::grad({gap.sum()}, {z})[0];
  EXPECT_TRUE(close(b.slope, gradient.norm(2, 1), 1e-9));
  EXPECT_TRUE(close(b.distance, (gap / gradient.norm(2, 1)).detach(), 1e-9));
}

TEST(LinearHead, ClassesWithTheSameWeightsHaveNoBoundaryBetweenThem) {
  const LinearHead head{"fc", torch::tensor({{1., 0.}, {1., 0.}, {-1., 0.}}), torch::tensor({1., 0., 0.}), {}};
  const auto b = head.boundary(torch::tensor({{2., 0.}, {2., 0.}}), torch::tensor({0, 1}));
  EXPECT_DOUBLE_EQ(b.distance[0].item<double>(), 5 / 2.) << "class 1 never wins; class 2 is (3 + 2) / 2 away";
  EXPECT_EQ(b.distance[1].item<double>(), -std::numeric_limits<double>::infinity()) << "class 0 wins everywhere";
}

TEST(ClassScatter, IsTheOneComputedByHandAndAddsUpOverChunks) {
  // Class 0: 0 and 2 (mean 1); class 1: 7 and 7. Within (1 + 1 + 0 + 0) / 4; between: means 1 and 7 around 4, 9.
  const auto h = torch::tensor({{0.}, {2.}, {7.}, {7.}});
  const auto y = torch::tensor({0, 0, 1, 1});
  auto scatter = class_scatter(h.slice(0, 0, 1), y.slice(0, 0, 1), 3);
  scatter += class_scatter(h.slice(0, 1, 4), y.slice(0, 1, 4), 3);
  EXPECT_DOUBLE_EQ(scatter.within(), .5);
  EXPECT_DOUBLE_EQ(scatter.between(), 9);
  const auto z = test::fill_rule(40 * 3, 8).view({40, 3});
  const auto all = class_scatter(z, at::arange(40) % 4, 4);
  EXPECT_NEAR(all.within() + all.between(), (z - z.mean(0)).pow(2).sum(1).mean().item<double>(), 1e-12);
}

TEST(Quantiles, AreThoseOfTheFiniteValues) {
  const auto q = quantiles(torch::tensor({4., 1., std::nan(""), 2., 3., HUGE_VAL, 5.}));
  EXPECT_DOUBLE_EQ(q.mean, 3);
  EXPECT_DOUBLE_EQ(q.median, 3);
  EXPECT_DOUBLE_EQ(q.p25, 2);
  EXPECT_DOUBLE_EQ(q.p5, 1.2);
  EXPECT_DOUBLE_EQ(q.max, 5);
  EXPECT_TRUE(std::isnan(quantiles(at::zeros({0})).median));
}

TEST(FailurePatterns, CountEveryImageOnce) {
  const auto wrong = torch::tensor({{0, 1, 0, 1}, {0, 1, 0, 0}, {1, 1, 0, 0}}, at::kBool);
  EXPECT_EQ(failure_patterns(wrong), (std::vector<int64_t>{1, 1, 0, 0, 1, 0, 0, 1}));
}

class Analyze : public testing::Test {
 protected:
  const HpmModel model = study_model();
  const Images images = labelled(14);
  const ThreatModel threat{Norm::linf, .05};
  const AnalysisOptions options{.radii = {.02, .1}, .iterations = {1, 4, 12}, .seed = 3, .batch_size = 5};

  /// Stable prototypes near the class means, so that every head has most images right.
  static HpmModel study_model() {
    auto made = tiny_model(.4, at::kFloat);
    auto& head = *made.head;
    head.means = head.calibration_sums / head.calibration_counts.clamp_min(1).unsqueeze(1) +
                 .02 * test::fill_rule(40, 6).view({5, 8}).to(at::kFloat);
    return made;
  }

  /// Labels of which FC has most right, and one wrong.
  Images labelled(int64_t n) const {
    const auto x = tiny_images(n, 4, at::kFloat);
    auto y = model.run(x).logits.argmax(1);
    y[2] = (y[2] + 1) % 5;
    return {x, y, at::arange(n) + 100};
  }
};

TEST_F(Analyze, CurvesFallWithEpsAndBeginBelowCleanAccuracy) {
  const auto a = analyze(model, images, threat, options);
  EXPECT_EQ(a.radii, (std::vector<double>{.02, .05, .1}));
  EXPECT_EQ(a.own_radius, 1u);
  ASSERT_EQ(a.heads.size(), 3u);
  for (const auto& h : a.heads) {
    EXPECT_EQ(h.robust_eps.sizes(), (at::IntArrayRef{3, 14}));
    auto before = h.clean_correct;
    for (size_t e = 0; e < 3; ++e) {
      EXPECT_FALSE((h.robust(e) & before.logical_not()).any().item<bool>()) << "a broken image came back";
      before = h.robust(e);
    }
    EXPECT_FALSE((h.robust_iterations & h.clean_correct.logical_not()).any().item<bool>());
    EXPECT_FALSE((h.robust(1) & h.robust_iterations[2].logical_not()).any().item<bool>())
        << "the curves meet in the run with all iterations";
  }
  EXPECT_LT(a.heads[0].robust(2).sum().item<int64_t>(), a.heads[0].clean_correct.sum().item<int64_t>())
      << "nothing was broken, so nothing was tested";
}

TEST_F(Analyze, DistancesAreBelowTheModelsSlopeTimesTheChange) {
  const auto a = analyze(model, images, threat, options);
  for (const auto& h : a.heads) {
    const auto change = h.distance - h.attacked_distance;
    EXPECT_TRUE((change.abs() <= h.feature_change * (1 + 1e-5) + 1e-6).all().item<bool>())
        << "a distance moves by no more than z does";
    EXPECT_LE(h.input_change.max().item<double>(), threat.eps * (1 + 1e-6) + 1e-7);
    EXPECT_TRUE((h.distance.gt(0) == h.clean_correct).all().item<bool>()) << "right is a distance over 0";
    const auto wrong = h.clean_correct.logical_not();
    EXPECT_TRUE(at::equal(h.distance.index({wrong}), h.attacked_distance.index({wrong}))) << "not attacked";
    const auto raised = (h.attacked_distance.gt(0) & h.robust(a.own_radius).logical_not()).sum().item<int64_t>();
    EXPECT_LE(raised, 1) << "the largest loss lies beyond the boundary of nearly every broken image";
    const auto own = &h - a.heads.data();
    EXPECT_TRUE(at::equal(h.transferred[own], h.attacked_distance.gt(0)));
  }
}

TEST_F(Analyze, TransferIsJudgedOnTheImagesThatEveryHeadHasRight) {
  auto mixed = images;
  mixed.y = images.y.clone();
  mixed.y.slice(0, 0, 6).copy_((images.y.slice(0, 0, 6) + 1) % 5);  // wrong for most heads: nothing attacks them
  const auto a = analyze(model, mixed, threat, options);
  const auto common = common_images(a);
  ASSERT_LT(common.sum().item<int64_t>(), images.size());
  ASSERT_GT(common.sum().item<int64_t>(), 0);
  const auto matrix = transfer_matrix(a);
  for (size_t made = 0; made < a.heads.size(); ++made)
    for (size_t by = 0; by < a.heads.size(); ++by) {
      int64_t right = 0;
      for (int64_t i = 0; i < images.size(); ++i)
        right += common[i].item<bool>() && a.heads[made].transferred[static_cast<int64_t>(by)][i].item<bool>();
      EXPECT_NEAR(matrix[static_cast<int64_t>(made)][static_cast<int64_t>(by)].item<double>(),
                  100. * static_cast<double>(right) / static_cast<double>(common.sum().item<int64_t>()), 1e-9);
    }
}

TEST_F(Analyze, LocalSlopeIsTheSteepestFall) {
  const auto a = analyze(model, images, threat, options);
  const auto heads = linear_heads(model);
  for (size_t h = 0; h < heads.size(); ++h) {
    // Along the sign of the gradient a small step costs slope times its length: central differences.
    const auto attacked = heads[h].attack_model(model);
    const auto b = heads[h].boundary(model.run(images.x).features, images.y);
    const Loss loss{LossKind::difference, images.y, b.nearest};
    const auto direction = attacked->ask({images.x, images.index}, &loss).gradient.sign();
    const auto at_step = [&](double step) {
      return heads[h].boundary(model.run(images.x + step * direction).features, images.y).distance;
    };
    const auto slope = (at_step(-1e-3) - at_step(1e-3)) / 2e-3;
    const auto near = (slope - a.heads[h].local_slope).abs() < .05 * a.heads[h].local_slope;
    EXPECT_GE(near.sum().item<int64_t>(), 12) << "relu's kinks may spoil a few";
  }
}

TEST_F(Analyze, DoesNotDependOnTheBatchSize) {
  auto other = options;
  other.batch_size = 14;
  const auto a = analyze(model, images, threat, options), b = analyze(model, images, threat, other);
  for (size_t h = 0; h < 3; ++h) {
    EXPECT_TRUE(at::equal(a.heads[h].robust_eps, b.heads[h].robust_eps));
    EXPECT_TRUE(at::equal(a.heads[h].robust_iterations, b.heads[h].robust_iterations));
    EXPECT_TRUE(close(a.heads[h].distance, b.heads[h].distance, 1e-5));
    EXPECT_NEAR(a.scatter[h].z.within(), b.scatter[h].z.within(), 1e-4);
  }
}

TEST_F(Analyze, EveryNormStaysInItsBall) {
  for (auto [norm, eps] : {std::pair{Norm::l2, .5}, {Norm::l1, 4.}}) {
    const auto a = analyze(model, images, {norm, eps}, {.iterations = {2, 8}, .batch_size = 7});
    for (const auto& h : a.heads) {
      EXPECT_LE(h.input_change.max().item<double>(), allowed_norm({norm, eps}, 192)) << to_string(norm);
      EXPECT_GT(h.input_change.max().item<double>(), .5 * eps);
      EXPECT_TRUE(h.local_slope.isfinite().all().item<bool>());
    }
  }
}

TEST_F(Analyze, ScatterOfLambdaAndPlainModelsIsThatOfTheFeatures) {
  const auto a = analyze(model, images, threat, options);
  const auto z = model.run(images.x).features;
  ASSERT_EQ(a.scatter.size(), 4u);
  EXPECT_NEAR(a.scatter[0].z.within(), class_scatter(z, images.y, 5).within(), 1e-9);
  EXPECT_FALSE(a.scatter[0].h.sums.defined()) << "without a metric the prototypes live among the features";
  HpmModel plain{model.classifier, std::nullopt};
  const auto alone = analyze(plain, images, threat, options);
  ASSERT_EQ(alone.heads.size(), 1u);
  EXPECT_TRUE(at::equal(alone.heads[0].robust_eps, a.heads[0].robust_eps)) << "FC is studied as with a head beside it";
}

TEST_F(Analyze, PassesStayWithinTheStatedBound) {
  const auto bound = analysis_passes(model, threat, options);
  const auto before = model.classifier.passes();
  analyze(model, images, threat, options);
  const auto used = model.classifier.passes() - before;
  EXPECT_LE(used.forward, 14 * bound.forward);
  EXPECT_LE(used.backward, 14 * bound.backward);
  EXPECT_GT(used.backward, 14 * bound.backward / 4);
}

TEST_F(Analyze, GoesOnFromItsJournalToTheResultOfAnUndisturbedRun) {
  const auto expected = analyze(model, images, threat, options);
  test::TemporaryFolder folder;
  int64_t starts = 0;
  for (bool done = false; !done; ++starts) {
    ASSERT_LT(starts, 60);
    Journal journal(folder.path, "a test", starts > 0);
    test::Killer monitor(60);
    try {
      const auto a = analyze(model, images, threat, options, {monitor, WorkLog(journal)});
      done = true;
      for (size_t h = 0; h < 3; ++h) {
        EXPECT_TRUE(at::equal(a.heads[h].robust_eps, expected.heads[h].robust_eps));
        EXPECT_TRUE(at::equal(a.heads[h].attacked_distance, expected.heads[h].attacked_distance));
        EXPECT_EQ(a.scatter[h + 1].z.within(), expected.scatter[h + 1].z.within());
      }
    } catch (const Interrupted&) {
    }
  }
  EXPECT_GT(starts, 2);
}

TEST_F(Analyze, BadOptionsAreUsageErrors) {
  const auto message = [&](const ThreatModel& t, const AnalysisOptions& o) {
    return test::message_of<UsageError>([&] { analyze(model, images, t, o); });
  };
  EXPECT_NE(message({Norm::linf, 0}, options).find("eps over 0"), std::string::npos);
  EXPECT_NE(message(threat, {.iterations = {}}).find("iterations"), std::string::npos);
  EXPECT_NE(message(threat, {.iterations = {0, 3}}).find("at least 1"), std::string::npos);
  EXPECT_NE(message(threat, {.radii = {0}}).find("radii over 0"), std::string::npos);
  EXPECT_THROW(analyze(model, images.select(at::arange(0)), threat, options), UsageError);
}

}  // namespace
}  // namespace hpm
