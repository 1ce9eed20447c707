#include "hpm/prototypes/head.h"

#include <ATen/record_function.h>

#include "hpm/core/error.h"
#include "hpm/prototypes/context.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::tensor_of;

Tensor signed_fill(at::IntArrayRef shape, int64_t t) {
  return (2 * fill_rule(c10::multiply_integers(shape), t) - 1).view(shape);
}

HpmHead make_head(const Tensor& means, double lambda, double tau) {
  HpmHead head;
  head.means = means;
  head.log_tau = torch::tensor(std::log(tau), at::kDouble);
  head.lambda = lambda;
  return head;
}

Assignment parse_assignment(const std::string& name) {
  return name == "ste" ? Assignment::ste : name == "soft" ? Assignment::soft : Assignment::hard;
}

/// The solo context of rows whose clean versions are `clean`, one batch; attacked rows come from the same batch.
RowCompany company_of(const HpmHead& head, const Tensor& clean, const Tensor& clean_o) {
  const auto hard = hard_assignment(clean_o);
  const auto h = head.embed(clean);
  const auto [sums, counts] = class_statistics(hard, h);
  const auto all = at::arange(h.size(0));
  return make_neighbours(head, sums.unsqueeze(0), counts.unsqueeze(0), at::zeros_like(all), clean_o.argmax(1), h)
      .of(all);
}

Tensor context_logits(const HpmHead& head, const std::string& context, const Tensor& z, const Tensor& o,
                      Assignment kind, const Tensor& clean, const Tensor& clean_o, const HeadOptions& options = {}) {
  const auto h = head.embed(z);
  const auto assigned = assign(o, kind, head.temperature);
  if (context == "joint") return joint_logits(head, h, assigned, options);
  if (context == "alone") return row_logits(head, h, assigned, nullptr, options);
  if (context == "reference") return reference_logits(head, h, options);
  const auto company = company_of(head, clean, clean_o);
  return row_logits(head, h, assigned, &company, options);
}

TEST(HpmHead, AgreesWithTheOracleInLogitsAndGradients) {
  HPM_NEED_SHARED(path, "oracles/hpm_head.json");
  const auto oracle = test::read_json(path);
  const auto clean = signed_fill({12, 5}, 1), w = signed_fill({4, 5}, 2), cotangent = signed_fill({12, 4}, 6);
  auto b = signed_fill({4}, 3) * .1;
  b[3] -= 5;
  auto head = make_head(signed_fill({4, 5}, 4), .6, 2);
  const auto attacked = clean + .3 * signed_fill({12, 5}, 7);
  const auto clean_o = at::linear(clean, w, b);
  const auto calibration = .9 * attacked.flip(0);
  const auto statistics = class_statistics(hard_assignment(at::linear(calibration, w, b)), calibration);
  head.calibration_sums = statistics.sums;
  head.calibration_counts = statistics.counts;
  int checked = 0;
  for (const auto& [name, expected] : oracle["cases"].items()) {
    SCOPED_TRACE(name);
    const auto context = name.substr(0, name.find(' '));
    const auto rest = name.substr(name.find(' ') + 1);
    const auto kind = parse_assignment(rest.substr(0, rest.find(':')));
    const auto z = (context == "solo" ? attacked : clean).clone().requires_grad_();
    const auto logits = context_logits(head, context, z, at::linear(z, w, b), kind, clean, clean_o);
    EXPECT_TRUE(close(logits, tensor_of(expected["logits"]), 1e-10));
    const auto gradient = torch::autograd::grad({(cotangent * logits).sum()}, {z})[0];
    EXPECT_TRUE(close(gradient, tensor_of(expected["grad"]), 1e-10));
    ++checked;
  }
  EXPECT_EQ(checked, 12);
  const auto counted = class_statistics(hard_assignment(clean_o), clean);
  EXPECT_TRUE(close(counted.sums, tensor_of(oracle["statistics"]["sums"]), 1e-12));
  EXPECT_TRUE(close(counted.counts, tensor_of(oracle["statistics"]["counts"]), 0));
  head.momentum = .9;
  head.update_means(clean, tensor_of(oracle["labels"]).to(at::kLong));
  EXPECT_TRUE(close(head.means, tensor_of(oracle["stable_after_one_update"]), 1e-12));
}

TEST(HpmHead, AgreesWithThePythonReferenceInEveryMetricAndContext) {
  const auto reference = test::read_json(test::source_dir() / "tests/prototypes/reference.json");
  const int64_t n = reference["N"], d = reference["D"], r = reference["R"], k = reference["K"], m = reference["B"];
  const auto w = signed_fill({k, d}, 2), b = signed_fill({k}, 3) * .1, cotangent = signed_fill({n, k}, 6);
  for (const auto& c : reference["cases"]) {
    const std::string context = c["context"];
    SCOPED_TRACE(context + " " + c["assignment"].get<std::string>() + " " + c["metric"].get<std::string>());
    auto head = make_head(signed_fill({k, d}, 4), c["lambda"], c["tau"]);
    head.kind = parse_metric(c["metric"]);
    head.temperature = c["temperature"];
    const auto p = signed_fill({r, d}, 5).requires_grad_();
    if (head.kind == MetricKind::learned) head.metric = p;
    const auto z = signed_fill({n, d}, 1).requires_grad_();
    const auto o = at::linear(z, w, b);
    const auto company = signed_fill({m, d}, 7);
    const auto company_hard = hard_assignment(at::linear(company, w, b));
    const auto statistics = class_statistics(company_hard, head.prepare(company));
    head.calibration_sums = statistics.sums, head.calibration_counts = statistics.counts;

    Tensor logits;
    const auto assigned = assign(o, parse_assignment(c["assignment"]), head.temperature);
    const HeadOptions options{.detached = c["detached"]};
    if (context == "solo") {
      // The reference's neighbours are given, the sample's clean part is not among them: add it, and leave it out
      // again.
      const auto own_h = head.embed(company.slice(0, 0, 1)).detach().expand({n, -1});
      const auto own_class = company_hard.slice(0, 0, 1).argmax(1).expand({n}).contiguous();
      const auto h = head.embed(company);
      const auto hard_h = class_statistics(company_hard, h);
      const auto extra = company_hard.slice(0, 0, 1);
      const auto rows = at::arange(n);
      const auto its =
          make_neighbours(head, (hard_h.sums + extra.t().matmul(own_h.slice(0, 0, 1))).unsqueeze(0),
                          (hard_h.counts + extra.squeeze(0)).unsqueeze(0), at::zeros_like(rows), own_class, own_h)
              .of(rows);
      logits = row_logits(head, head.embed(z), assigned, &its, options);
    } else if (context == "alone") {
      logits = row_logits(head, head.embed(z), assigned, nullptr, options);
    } else if (context == "joint") {
      logits = joint_logits(head, head.embed(z), assigned, options);
    } else {
      logits = reference_logits(head, head.embed(z), {.detached = false});
    }
    EXPECT_TRUE(close(logits, tensor_of(c["logits"]), 1e-10));
    const auto gradient = torch::autograd::grad({(cotangent * logits).sum()}, {z}, {}, true)[0];
    EXPECT_TRUE(close(gradient, tensor_of(c["gradient_z"]), 1e-9));
    // In solo the own part that was added and left out holds P too, so the metric's gradient is compared elsewhere
    // only.
    if (!c["gradient_metric"].is_null() && context != "solo" && !(context == "reference" && c["detached"])) {
      const auto metric = torch::autograd::grad({(cotangent * logits).sum()}, {p}, {}, true, false, true)[0];
      EXPECT_TRUE(close(metric, tensor_of(c["gradient_metric"]), 1e-9));
    }
  }
}

TEST(HpmHead, GradientsOfHardAndSoftAssignmentsAreThoseOfFiniteDifferences) {
  const auto w = signed_fill({4, 5}, 2), cotangent = signed_fill({8, 4}, 6), clean = signed_fill({8, 5}, 1);
  auto head = make_head(signed_fill({4, 5}, 4), .4, 1.3);
  head.calibration_sums = signed_fill({4, 5}, 9) * 3, head.calibration_counts = at::ones({4}, at::kDouble) * 3;
  const auto value = [&](const std::string& context, Assignment kind, const Tensor& z) {
    return (cotangent * context_logits(head, context, z, at::linear(z, w), kind, clean, at::linear(clean, w))).sum();
  };
  for (const std::string context : {"joint", "alone", "solo", "reference"})
    for (auto kind : {Assignment::hard, Assignment::soft}) {
      const auto z = (clean + .05 * signed_fill({8, 5}, 11)).requires_grad_();
      const auto gradient = torch::autograd::grad({value(context, kind, z)}, {z})[0];
      torch::NoGradGuard guard;
      auto numeric = at::zeros_like(gradient);
      for (int64_t i = 0; i < 8; ++i)
        for (int64_t j = 0; j < 5; ++j) {
          auto up = z.detach().clone(), down = z.detach().clone();
          up[i][j] += 1e-6, down[i][j] -= 1e-6;
          numeric[i][j] = (value(context, kind, up) - value(context, kind, down)) / 2e-6;
        }
      EXPECT_TRUE(close(gradient, numeric, 1e-6)) << context;
    }
}

TEST(HpmHead, WithLambdaOneEveryContextIsTheL2Classifier) {
  const auto z = signed_fill({9, 5}, 1), w = signed_fill({4, 5}, 2);
  auto head = make_head(signed_fill({4, 5}, 4), 1, 1);
  head.calibration_sums = signed_fill({4, 5}, 9), head.calibration_counts = at::ones({4}, at::kDouble);
  const auto expected = -(z.unsqueeze(1) - head.means.unsqueeze(0)).square().sum(2);
  for (const std::string context : {"joint", "alone", "solo", "reference"})
    for (auto kind : {Assignment::ste, Assignment::hard, Assignment::soft})
      EXPECT_TRUE(close(context_logits(head, context, z, at::linear(z, w), kind, z, at::linear(z, w)), expected, 1e-10))
          << context;
}

TEST(HpmHead, GivesForSeveralLambdasAtOnceWhatItGivesForEach) {
  const auto w = signed_fill({4, 5}, 2), clean = signed_fill({9, 5}, 1), z = signed_fill({9, 5}, 31);
  auto head = make_head(signed_fill({4, 5}, 4), .5, 1.3);
  head.calibration_sums = signed_fill({4, 5}, 9), head.calibration_counts = at::ones({4}, at::kDouble);
  const std::vector<double> lambdas{0, .3, .9, 1};
  for (const std::string context : {"joint", "alone", "solo", "reference"}) {
    const auto logits = [&](const HeadOptions& options) {
      return context_logits(head, context, z, at::linear(z, w), Assignment::hard, clean, at::linear(clean, w), options);
    };
    const auto all = logits({.lambdas = lambdas});
    ASSERT_EQ(all.sizes().vec(), (std::vector<int64_t>{4, 9, 4})) << context;
    for (size_t l = 0; l < lambdas.size(); ++l)
      EXPECT_TRUE(close(all[static_cast<int64_t>(l)], logits({.lambda = lambdas[l]}), 1e-12)) << context << lambdas[l];
  }
}

TEST(HpmHead, JointWithOneSampleEqualsAlone) {
  const auto w = signed_fill({4, 5}, 2);
  const auto head = make_head(signed_fill({4, 5}, 4), .5, 1);
  for (int64_t t = 20; t < 30; ++t) {
    const auto z = signed_fill({1, 5}, t), o = at::linear(z, w);
    for (auto kind : {Assignment::ste, Assignment::soft})
      EXPECT_TRUE(close(context_logits(head, "joint", z, o, kind, z, o),
                        context_logits(head, "alone", z, o, kind, z, o), 1e-10));
  }
}

TEST(HpmHead, SoloEqualsTheRealBatchWithOneSampleReplaced) {
  const auto w = signed_fill({4, 5}, 2), clean = signed_fill({7, 5}, 1), attacked = signed_fill({7, 5}, 31);
  const auto head = make_head(signed_fill({4, 5}, 4), .5, 1);
  const auto clean_o = at::linear(clean, w), attacked_o = at::linear(attacked, w);
  const auto counts = hard_assignment(clean_o).sum(0);
  ASSERT_TRUE(counts.eq(1).any().item<bool>()) << "one sample needs to leave its class empty";
  const auto solo = context_logits(head, "solo", attacked, attacked_o, Assignment::hard, clean, clean_o);
  for (int64_t i = 0; i < 7; ++i) {
    auto batch = clean.clone(), batch_o = clean_o.clone();
    batch[i] = attacked[i], batch_o[i] = attacked_o[i];
    const auto real = context_logits(head, "joint", batch, batch_o, Assignment::hard, batch, batch_o);
    EXPECT_TRUE(close(solo[i], real[i], 1e-10)) << i;
  }
}

TEST(HpmHead, SoloFollowsRowsOfSeveralBatchesInAnyOrder) {
  const auto w = signed_fill({4, 5}, 2), head_means = signed_fill({4, 5}, 4);
  const auto head = make_head(head_means, .5, 1);
  std::vector<Tensor> sums, counts, expected, cleans, own_class;
  for (int64_t b = 0; b < 3; ++b) {
    const auto clean = signed_fill({6, 5}, 50 + b), o = at::linear(clean, w);
    const auto statistics = class_statistics(hard_assignment(o), clean);
    sums.push_back(statistics.sums), counts.push_back(statistics.counts);
    cleans.push_back(clean), own_class.push_back(o.argmax(1));
    const auto z = clean + .2;
    expected.push_back(context_logits(head, "solo", z, at::linear(z, w), Assignment::hard, clean, o));
  }
  const auto order = torch::tensor({17, 3, 9, 0, 12, 5, 3}, at::kLong);
  const auto h0 = at::cat(cleans).index_select(0, order);
  const auto batch = at::arange(18).div(6, "floor");
  const auto company =
      make_neighbours(head, at::stack(sums), at::stack(counts), batch, at::cat(own_class), at::cat(cleans)).of(order);
  const auto z = h0 + .2;
  const auto logits = row_logits(head, z, assign(at::linear(z, w), Assignment::hard), &company);
  EXPECT_TRUE(close(logits, at::cat(expected).index_select(0, order), 1e-10));
}

TEST(HpmHead, ReferenceEqualsItsFoldedFcLayerAndIgnoresTheBatch) {
  const auto z = signed_fill({9, 5}, 1);
  auto head = make_head(signed_fill({4, 5}, 4), .5, 1.7);
  head.kind = MetricKind::learned;
  head.metric = signed_fill({3, 5}, 8);
  head.calibration_sums = signed_fill({4, 5}, 9),
  head.calibration_counts = torch::tensor({2., 0., 1., 3.}, at::kDouble);
  head.calibration_sums[1].zero_();
  const auto logits = reference_logits(head, head.embed(z));
  const auto [weight, bias] = fold(head);
  const auto folded = at::linear(z, weight, bias);
  EXPECT_TRUE(close(at::softmax(folded, 1), at::softmax(logits, 1), 1e-12));
  EXPECT_TRUE(at::equal(folded.argmax(1), logits.argmax(1)));
  EXPECT_TRUE(close(reference_logits(head, head.embed(z.slice(0, 4, 5))), logits.slice(0, 4, 5), 1e-12));
  head.kind = MetricKind::l2norm;
  EXPECT_NE(test::message_of<UsageError>([&] { fold(head); }).find("l2norm"), std::string::npos);
}

TEST(HpmHead, SurvivesOneClassForAllHugeSizesAndOneSample) {
  const int64_t k = 1000, d = 2048, n = 4;
  torch::manual_seed(0);
  auto head = make_head(at::randn({k, d}), .9, 1);
  head.log_tau = head.log_tau.to(at::kFloat);
  const auto z = at::randn({n, d});
  auto o = at::zeros({n, k});
  o.select(1, 7).fill_(1);
  for (const std::string context : {"joint", "alone", "solo"}) {
    const auto logits = context_logits(head, context, z, o, Assignment::soft, z, o);
    EXPECT_EQ(logits.sizes(), at::IntArrayRef({n, k}));
    EXPECT_TRUE(logits.isfinite().all().item<bool>()) << context;
  }
}

TEST(HpmHead, FirstIndexWinsATieInTheAssignment) {
  EXPECT_TRUE(at::equal(hard_assignment(torch::tensor({{1., 2., 2.}})), torch::tensor({{0., 1., 0.}})));
}

TEST(HpmHead, ReferenceWithoutCalibrationIsAnErrorThatSaysWhatToDo) {
  const auto head = make_head(signed_fill({4, 5}, 4), .5, 1);
  EXPECT_NE(test::message_of<Error>([&] { reference_prototypes(head); }).find("hpm finetune"), std::string::npos);
}

/// The most numbers in a tensor that any operation of `f` gives out.
template <class F>
int64_t largest_tensor(F f) {
  static int64_t largest;
  largest = 0;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> { return nullptr; },
          [](const at::RecordFunction& fn, at::ObserverContext*) {
            for (const auto& value : fn.outputs())
              if (value.isTensor() && value.toTensor().defined()) largest = std::max(largest, value.toTensor().numel());
          })
          .needsOutputs(true));
  f();
  at::removeCallback(handle);
  return largest;
}

TEST(Head, FormsNoTensorOfSamplesTimesClassesTimesFeatures) {
  constexpr int64_t n = 96, k = 40, d = 50;
  const auto z = signed_fill({n, d}, 1), o = signed_fill({n, k}, 2);
  const auto head = make_head(signed_fill({k, d}, 3), .5, 1);
  EXPECT_GE(largest_tensor([&] {
              at::einsum("nd,kd->nkd", {z, head.means});
            }),
            n * k * d)
      << "the instrument sees such a tensor";
  for (const std::string context : {"joint", "alone", "solo"})
    for (auto kind : {Assignment::hard, Assignment::ste, Assignment::soft}) {
      const auto largest = largest_tensor([&] {
        const auto x = z.detach().clone().requires_grad_();
        torch::autograd::grad({context_logits(head, context, x, o, kind, z, o).sum()}, {x});
      });
      EXPECT_LE(largest, 3 * std::max({n * k, n * d, k * d})) << context;
      EXPECT_GT(largest, 0);
    }
}

TEST(Company, KeepsWhatItWasAskedLastAndMakesItAnewForOtherRows) {
  const auto z = signed_fill({9, 5}, 1), o = signed_fill({9, 4}, 2);
  const Company company(make_head(signed_fill({4, 5}, 3), .5, 1), at::arange(10, 19), z, o, 4, 0);
  auto index = torch::tensor({18, 11, 15}, at::kLong);
  const auto first = company.rows(index);
  EXPECT_TRUE(company.rows(index).columns.is_same(first.columns)) << "computed twice";
  EXPECT_TRUE(at::equal(first.own_class.squeeze(1), company.neighbours().own_class.index_select(0, index - 10)));
  const auto other = torch::tensor({12, 11, 15}, at::kLong);
  const auto expected = company.rows(other);
  EXPECT_FALSE(at::equal(expected.counts, first.counts));
  company.rows(index);
  index[0] = 12;
  const auto written = company.rows(index);
  EXPECT_TRUE(at::equal(written.counts, expected.counts)) << "the tensor was written to";
  EXPECT_TRUE(at::equal(written.own_features, expected.own_features));
  Tensor inference;
  {
    const c10::InferenceMode mode;
    inference = torch::tensor({12, 11, 15}, at::kLong);
    EXPECT_TRUE(at::equal(company.rows(inference).counts, expected.counts));
    inference[0] = 18;
    EXPECT_TRUE(at::equal(company.rows(inference).counts, first.counts)) << "such tensors do not count what is written";
  }
  EXPECT_FALSE(company.rows(inference).counts.is_inference()) << "no gradient could go through it";
  index[0] = 19;
  EXPECT_NE(test::message_of<Error>([&] { company.rows(index); }).find("19 is not in the plan"), std::string::npos);
}

TEST(HeadProjections, AreKeptWhileTheirTensorsStayAndMadeAnewWhenTheyDoNot) {
  at::manual_seed(9);
  HpmHead head{.kind = MetricKind::learned, .means = at::randn({5, 8}), .metric = at::randn({4, 8})};
  const auto expected = [&] { return head.means.matmul(head.metric.t()); };
  const auto once = head.stable();
  EXPECT_TRUE(head.stable().is_same(once)) << "computed twice";
  EXPECT_TRUE(at::equal(once, expected()));
  head.metric.mul_(2);
  EXPECT_TRUE(at::equal(head.stable(), expected()));
  head.update_means(at::randn({6, 8}), torch::tensor({0, 1, 2, 3, 4, 0}, at::kLong));
  EXPECT_TRUE(at::equal(head.stable(), expected()));
  const auto copy = head.clone();
  copy.metric.zero_();
  EXPECT_TRUE(at::equal(copy.stable(), at::zeros({5, 4})));
  EXPECT_TRUE(at::equal(head.stable(), expected()));
  head.metric.requires_grad_();
  EXPECT_TRUE(head.stable().requires_grad()) << "a metric that learns gets its gradient";
}

}  // namespace
}  // namespace hpm
