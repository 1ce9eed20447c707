// Protocols, contexts and checks on the emulated device, through what `hpm evaluate` runs.
#include "device/measured.h"
#include "evaluation/msa_fixture.h"
#include "hpm/evaluation/analysis/analysis.h"
#include "hpm/evaluation/run/evaluate.h"

namespace hpm::test {
namespace {

class DeviceEvaluation : public testing::Test {
 protected:
  DeviceEvaluation() {
    const auto model = tiny_model(.4, at::kFloat);
    for (auto* input : {&cpu, &device}) {
      input->model = input == &cpu ? model : on_device(model);
      input->data = {.name = "tiny", .split = "test", .class_names = {"a", "b", "c", "d", "e"}};
      input->data.pixels = tiny_images(18, 1, at::kFloat).mul(255).round().to(at::kByte);
      input->index = at::arange(18);
      const auto control = tiny_model(.9, at::kFloat).classifier;
      input->peers.control = input == &cpu ? control : on_device(control);
    }
    const auto out = model.run(cpu.data.images(0, 18));
    cpu.data.labels =
        prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, at::arange(18)).argmax(1);
    cpu.data.labels[3] = (cpu.data.labels[3] + 1) % 5;  // one image is misclassified
    device.data.labels = cpu.data.labels;
    options.eps = "0.03", options.settings.steps = 8, options.settings.queries = 40, options.company = 7;
    options.compute.batch_size = 16;
  }
  EvaluationOutcome run(const EvaluationInput& input, Monitor& monitor) {
    Fields declared;
    fields(declared, options);
    const auto plan = plan_evaluation(input, options);
    const RunDirectory directory((folder / "run").string(), declared, environment_json(options.compute, options.seed),
                                 ExistingRun::overwrite);
    auto outcome = evaluate(input, options, plan, {directory}, monitor);
    write_results(input, options, outcome, directory, "{}");
    return outcome;
  }
  static void expect_equal(const Evaluation& found, const Evaluation& expected) {
    ASSERT_EQ(found.contexts.size(), expected.contexts.size());
    for (size_t c = 0; c < found.contexts.size(); ++c) {
      SCOPED_TRACE("context " + expected.contexts[c].context);
      EXPECT_TRUE(at::equal(found.contexts[c].clean_correct, expected.contexts[c].clean_correct));
      EXPECT_TRUE(at::equal(found.contexts[c].robust, expected.contexts[c].robust));
    }
    ASSERT_EQ(found.sweep.size(), expected.sweep.size());
    for (size_t s = 0; s < found.sweep.size(); ++s)
      EXPECT_TRUE(at::equal(found.sweep[s].robust, expected.sweep[s].robust)) << s;
    ASSERT_EQ(found.checks.size(), expected.checks.size());
    for (size_t k = 0; k < found.checks.size(); ++k) {
      EXPECT_EQ(found.checks[k].name, expected.checks[k].name);
      EXPECT_EQ(found.checks[k].status, expected.checks[k].status)
          << found.checks[k].name << ": " << found.checks[k].detail;
    }
    EXPECT_NEAR(found.borderline, expected.borderline, 2) << "another rounding makes other near ties";
  }
  void compare(const std::string& row) {
    SCOPED_TRACE(row);
    const auto expected = run(cpu, silent());
    const auto found = measured(row, [&](Monitor& monitor) { return run(device, monitor); });
    expect_equal(found.evaluation, expected.evaluation);
    EXPECT_EQ(found.control.has_value(), expected.control.has_value());
    if (found.control && expected.control) expect_equal(found.control->evaluation, expected.control->evaluation);
  }
  /// The model without its head.
  void take_heads_off() {
    cpu.model.head.reset(), device.model.head.reset();
    torch::NoGradGuard guard;
    cpu.data.labels = cpu.model.classifier.logits(cpu.data.images(0, 18)).argmax(1);
    device.data.labels = cpu.data.labels;
  }
  TemporaryFolder folder;
  EvaluationInput cpu, device;
  EvaluationOptions options;
};

/// Minutes each: `make oracles` runs them (device_long), `make test` does not.
class LongDeviceEvaluation : public DeviceEvaluation {
 protected:
  void SetUp() override {
    if (!std::getenv("HPM_LONG_TESTS")) GTEST_SKIP() << "takes minutes: HPM_LONG_TESTS=1, or make oracles";
  }
};

TEST_F(DeviceEvaluation, CleanInEveryContext) {
  options.protocol = "clean", options.contexts = {"reference", "alone", "solo", "solo-eot", "joint"};
  compare("evaluate clean");
}

TEST_F(DeviceEvaluation, PgdInEachContextOfRowsAndEachNorm) {
  options.protocol = "pgd", options.checks.level = "none";
  cpu.peers.control = device.peers.control = {};
  for (const auto* context : {"reference", "alone", "solo", "solo-eot"}) {
    options.contexts = {context};
    compare(std::string("evaluate pgd in ") + context);
  }
  options.contexts = {"reference"};
  options.norm = "L2", options.eps = "0.3";
  compare("evaluate pgd L2");
  options.norm = "L1", options.eps = "1.5";
  compare("evaluate pgd L1");
}

TEST_F(DeviceEvaluation, AutoAttackWithAllChecksACurveAndRoundedImages) {
  options.protocol = "autoattack", options.checks.level = "full", options.quantise = options.save_adversarial = true;
  options.eps = "0.03,0.01", options.self_test = "binarisation";
  take_heads_off();
  compare("evaluate autoattack");
}

TEST_F(LongDeviceEvaluation, FastOfAPlainModelAndOfAHead) {
  options.protocol = "fast", options.settings.steps.reset(), options.alarms.no_escalate = true,
  options.alarms.sample = 4;
  compare("evaluate fast of a head");
  take_heads_off();
  compare("evaluate fast");
}

TEST_F(DeviceEvaluation, MsaQuickInEveryContextWithASweepAndABatchsNeighbours) {
  options.contexts = {"reference", "solo", "alone", "joint"}, options.settings.steps = 4;
  options.sweep = {0., .8}, options.msa.collusion.colluders = {2}, options.msa.benign.malicious = {2},
  options.msa.collusion.victims = 2;
  compare("evaluate msa quick");
}

TEST_F(LongDeviceEvaluation, MsaStandardWithEverySurrogateAndCheck) {
  options.version = "standard", options.contexts = {"solo", "joint"}, options.settings.steps = 2,
  options.settings.queries = 10;
  options.checks.level = "full", options.self_test = "binarisation", options.company_sizes = {3};
  compare("evaluate msa standard");
}

TEST_F(LongDeviceEvaluation, MsaPlusBringsTheDrawsOfTheCompany) {
  options.version = "plus", options.contexts = {"solo"}, options.settings.steps = 2, options.settings.queries = 5,
  options.checks.level = "none";
  compare("evaluate msa plus");
}

TEST_F(LongDeviceEvaluation, MsaFast) {
  options.version = "fast", options.contexts = {"reference", "solo"}, options.alarms.no_escalate = true,
  options.alarms.sample = 4;
  compare("evaluate msa fast");
}

TEST_F(DeviceEvaluation, AModelWhoseAnswersDependOnTheBatch) {
  options.coupling = "batch", options.settings.steps = 2, options.settings.queries = 5, options.checks.level = "none";
  take_heads_off();
  compare("evaluate msa of a model that depends on its batch");
}

TEST_F(DeviceEvaluation, TheSensitivityStudy) {
  const ThreatModel threat{Norm::linf, .03};
  const AnalysisOptions study{.radii = {.01}, .iterations = {1, 4, 8}, .batch_size = 16};
  const auto images = [&](const EvaluationInput& input) {
    const auto where = input.model.classifier.device();
    return Images{input.data.images(0, 18).to(where), input.data.labels.to(where), input.index};
  };
  const auto expected = analyze(cpu.model, images(cpu), threat, study);
  const auto found =
      measured("analyze", [&](Monitor& m) { return analyze(device.model, images(device), threat, study, {m}); });
  ASSERT_EQ(found.heads.size(), expected.heads.size());
  for (size_t h = 0; h < found.heads.size(); ++h) {
    EXPECT_TRUE(at::equal(found.heads[h].robust_eps, expected.heads[h].robust_eps)) << h;
    EXPECT_TRUE(at::equal(found.heads[h].robust_iterations, expected.heads[h].robust_iterations)) << h;
    EXPECT_TRUE(close(found.heads[h].local_slope, expected.heads[h].local_slope, 1e-6, 1e-3)) << h;
  }
}

}  // namespace
}  // namespace hpm::test
