// What hpm evaluate runs, as a library's user runs it.
#include "evaluation/killer.h"
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/defences/function_defence.h"
#include "hpm/evaluation/run/evaluate.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

class EvaluationRun : public test::MsaFixture {
 protected:
  EvaluationRun() {
    input.model = model;
    input.data = {.name = "tiny", .split = "test", .class_names = {"a", "b", "c", "d", "e"}};
    input.data.pixels = images.x.mul(255).round().to(at::kByte);
    const auto out = model.run(input.data.images(0, 18));
    input.data.labels =
        prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, at::arange(18)).argmax(1);
    input.index = at::arange(18);
    input.peers.control = test::tiny_model(.9, at::kFloat).classifier;
    options.eps = "0.03,0.01", options.contexts = {"reference", "solo"}, options.settings.steps = 5,
    options.company = 7;
    options.compute.batch_size = 16;
  }
  RunDirectory directory(ExistingRun existing) {
    Fields declared;
    fields(declared, options);
    return {(folder / "run").string(), declared, environment_json(options.compute, options.seed), existing};
  }
  EvaluationOutcome run(bool resume, Monitor& monitor = silent()) {
    const auto plan = plan_evaluation(input, options);
    const auto where = directory(resume ? ExistingRun::resume : ExistingRun::overwrite);
    return evaluate(input, options, plan, {where, resume}, monitor);
  }
  test::TemporaryFolder folder;
  EvaluationInput input;
  EvaluationOptions options;
};

TEST_F(EvaluationRun, HasContextsCurveControlAndChecksAndWritesThem) {
  const auto outcome = run(false);
  ASSERT_EQ(outcome.evaluation.contexts.size(), 2u);
  ASSERT_EQ(outcome.curve.size(), 2u);
  EXPECT_LE(outcome.curve[1].robust_accuracy, outcome.curve[0].robust_accuracy) << "by increasing radius";
  ASSERT_TRUE(outcome.control.has_value());
  EXPECT_FALSE(outcome.evaluation.checks.empty());
  const auto where = directory(ExistingRun::resume);
  const auto j = nlohmann::json::parse(write_results(input, options, outcome, where, "{}"));
  EXPECT_EQ(j, test::read_json(folder / "run/results.json"));
  EXPECT_EQ(j["contexts"].size(), 2u);
  EXPECT_EQ(j["control"]["robust"].size(), 18u);
}

TEST_F(EvaluationRun, GoesOnAfterInterruptionsToTheSameFlags) {
  test::StepCounter steps;
  const auto expected = run(false, steps);
  int64_t starts = 0;
  for (bool done = false; !done; ++starts) {
    ASSERT_LT(starts, 30);
    test::Killer killer(steps.count * 2 / 3);  // less than the whole, more than its longest attack
    try {
      const auto found = run(starts > 0, killer);
      done = true;
      for (size_t c = 0; c < 2; ++c)
        EXPECT_TRUE(at::equal(found.evaluation.contexts[c].robust, expected.evaluation.contexts[c].robust)) << c;
      EXPECT_TRUE(at::equal(found.control->evaluation.first().robust, expected.control->evaluation.first().robust));
      for (size_t i = 0; i < 2; ++i) EXPECT_EQ(found.curve[i].robust_accuracy, expected.curve[i].robust_accuracy) << i;
    } catch (const Interrupted&) {
    }
  }
  EXPECT_GT(starts, 1) << "nothing was interrupted, nothing is tested";
}

TEST_F(EvaluationRun, RefusesToGoOnWithAnotherSettingAndNamesIt) {
  run(false);
  options.seed = 3;
  EXPECT_NE(test::message_of<Error>([&] { run(true); }).find("--seed was 0, is now 3"), std::string::npos);
}

TEST_F(EvaluationRun, ACleanRunReportsEveryContextAndAsksForNoGradient) {
  options.protocol = "clean", options.contexts = {"reference", "alone", "joint"};
  const auto before = model.classifier.passes().backward;
  const auto outcome = run(false);
  ASSERT_EQ(outcome.evaluation.contexts.size(), 3u);
  EXPECT_EQ(outcome.evaluation.contexts[2].context, "joint");
  EXPECT_EQ(model.classifier.passes().backward, before);
}

TEST_F(EvaluationRun, AnObjectiveAloneIsCheckedThroughTheLeadingSurrogate) {
  options.msa.surrogates = {"region"}, options.contexts = {"solo", "alone"}, options.eps = "0.03";
  const auto outcome = run(false);
  for (const auto& check : outcome.evaluation.checks) EXPECT_FALSE(check.detail.empty()) << check.name;
  EXPECT_EQ(outcome.evaluation.contexts[0].surrogates.front().name, "region");
}

TEST_F(EvaluationRun, WhatSeveralProtocolsReadIsNotSetInOnePartAlone) {
  const auto refused = [&] { return test::message_of<UsageError>([&] { plan_evaluation(input, options); }); };
  options.msa.seed = 3;
  EXPECT_NE(refused().find("msa has a seed"), std::string::npos);
  options.msa = {}, options.autoattack.settings.steps = 3;
  EXPECT_NE(refused().find("autoattack has a seed"), std::string::npos);
}

TEST_F(EvaluationRun, AHeadThatChangedInMemoryIsNotTakenForTheOldOne) {
  options.eps = "0.03";
  run(false);
  input.model.head->log_tau += 1;
  EXPECT_NE(test::message_of<Error>([&] { run(true); }).find("SHA-256 of the head"), std::string::npos);
}

TEST_F(EvaluationRun, OptionsWithoutEffectAreNamedByThePlan) {
  const auto names = [&] {
    std::set<std::string> all;
    for (const auto& unused : plan_evaluation(input, options).unused) all.insert(unused.name);
    return all;
  };
  EXPECT_TRUE(names().contains("colluders"));
  EXPECT_FALSE(names().contains("transfer-only")) << "there is a control";
  input.peers = {};
  EXPECT_TRUE(names().contains("transfer-only"));
}

TEST_F(EvaluationRun, WithoutImagesIsRefusedBeforeAnything) {
  options.protocol = "clean", input.peers = {};
  const auto plan = plan_evaluation(input, options);
  const auto outcome = run(false);
  const auto where = directory(ExistingRun::resume);
  for (const auto& none : {at::arange(0), Tensor()}) {
    input.index = none;
    const auto refused = [](const auto& call) { return test::message_of<UsageError>(call); };
    EXPECT_EQ(refused([&] { plan_evaluation(input, options); }).rfind("plan_evaluation: needs at least one image", 0),
              0u);
    EXPECT_EQ(refused([&] { evaluate(input, options, plan, {where, true}); }).rfind("evaluate: needs at least", 0), 0u);
    EXPECT_EQ(refused([&] { write_results(input, options, outcome, where, "{}"); }).rfind("write_results: needs", 0),
              0u);
  }
  const auto nothing = images.select(at::arange(0));
  const auto defence = test::in_context(model, "solo", images, 7, 2);
  EXPECT_THROW(predict_logits(*defence, 0, nothing, 16), UsageError);
  EXPECT_THROW(evaluate_clean(*defence, nothing, 16), UsageError);
}

/// The attacks of that name, in the order in which they ran.
std::vector<AttackRecord> attacks_of(const Evaluation& evaluation, const std::string& surrogate,
                                     const std::string& name) {
  std::vector<AttackRecord> all;
  for (const auto& a : evaluation.attacks)
    if (a.surrogate == surrogate && a.name == name) all.push_back(a);
  return all;
}

TEST_F(EvaluationRun, AnEscalatedFastAttackIsWrittenWithOneMatrixOfEachAttack) {
  // Probabilities instead of logits are an alarm, whatever the attacks find.
  const auto probabilities = [net = model.classifier](const Tensor& x) { return net.logits(x).softmax(1); };
  input.defence = [&](const ImageSet& on, const StandIns&) -> std::unique_ptr<Defence> {
    return std::make_unique<FunctionDefence>(
        PredictionFunction{.logits = probabilities, .classes = 5, .coupling = Coupling::batch}, on,
        FunctionDefenceOptions{.contexts = {"alone"}});
  };
  input.model.head.reset(), input.peers = {}, input.index = at::arange(6);
  {
    torch::NoGradGuard guard;
    input.data.labels = probabilities(input.data.images(0, 18)).argmax(1);
  }
  options.version = "fast", options.eps = "0.005", options.contexts = EvaluationOptions{}.contexts;
  options.settings.queries = 20, options.alarms.sample = 1, options.checks.level = "none";
  const auto outcome = run(false);
  ASSERT_TRUE(outcome.evaluation.fast->escalated);
  const auto written =
      read_results(write_results(input, options, outcome, directory(ExistingRun::resume), "{}"), "results.json");
  EXPECT_EQ(written.attacks.size(), outcome.evaluation.attacks.size());
  const auto verdicts = read_checkpoint((folder / "run/verdicts.safetensors").string());
  const std::vector<std::pair<std::string, std::string>> twice{
      {"self", "fab-t"}, {"query", "square"}};
  for (const auto& [surrogate, name] : twice) {
    const auto ran = attacks_of(outcome.evaluation, surrogate, name);
    ASSERT_EQ(ran.size(), 2u) << surrogate << "/" << name;
    // (The reader of checkpoints leaves out a prefix that all tensors share.)
    Tensor matrix;
    for (const auto& [key, tensor] : verdicts.tensors)
      if (key.ends_with(fmt::format("matrix.{}/{}", surrogate, name))) matrix = tensor;
    ASSERT_TRUE(matrix.defined()) << surrogate << "/" << name;
    EXPECT_TRUE(at::equal(matrix, at::maximum(ran[0].matrix, ran[1].matrix))) << surrogate << "/" << name;
    EXPECT_GT(matrix.max().item<int64_t>(), 0) << "nothing was attacked, nothing is tested";
  }
}

TEST_F(EvaluationRun, AnAlarmDoesNotTakeTheResultOfTheSameAttackInThePlan) {
  options.version = "fast", options.msa.surrogates = {"ste", "query"}, options.contexts = {"reference"};
  options.eps = "0.002", options.settings.queries = 20, options.alarms.no_escalate = true;
  options.checks.level = "none", input.peers = {}, input.index = at::arange(3);
  for (const bool resume : {false, true}) {
    const auto outcome = run(resume);
    const auto squares = attacks_of(outcome.evaluation, "query", "square");
    ASSERT_EQ(squares.size(), 2u);
    ASSERT_TRUE(squares[0].matrix.eq(1).any().item<bool>()) << "nothing survived, nothing is tested";
    EXPECT_GT(squares[1].passes.forward, 10 * squares[0].passes.forward) << "5000 queries, not the plan's 20";
    const auto written =
        read_results(write_results(input, options, outcome, directory(ExistingRun::resume), "{}"), "results.json");
    EXPECT_EQ(written.attacks.size(), outcome.evaluation.attacks.size());
  }
}

TEST_F(EvaluationRun, NothingElseIsStudiedAtTheOtherRadii) {
  options.version = "standard", options.msa.surrogates = {"ste"}, options.contexts = {"joint"};
  options.settings.steps = 2, options.company_sizes = {7}, options.checks.level = "none", input.peers = {};
  options.msa.collusion = {{1}, 2};
  const auto outcome = run(false);
  ASSERT_EQ(outcome.evaluation.first().benign.size(), 1u) << "the version standard tries a quarter of the batch";
  std::stringstream journal;
  journal << std::ifstream(folder / "run/events.jsonl").rdbuf();
  const auto said = journal.str();
  EXPECT_NE(said.find("model/joint/benign/1/0"), std::string::npos);
  EXPECT_NE(said.find("model/eps 0.01/joint/ste/"), std::string::npos);
  EXPECT_EQ(said.find("model/eps 0.01/joint/benign"), std::string::npos);
  EXPECT_EQ(said.find("model/eps 0.01/joint/collusion"), std::string::npos);
  options.eps = "0.03", options.msa.benign.malicious = {0};
  EXPECT_TRUE(run(false).evaluation.first().benign.empty()) << "switched off";
}

/// What CONTRIBUTING promises: a surrogate is a function and a row, and everything else follows from the row.
TEST_F(EvaluationRun, ASurrogateOfOnesOwnIsOneRowAndIsAttackedReportedAndPriced) {
  HpmSurrogate halved{.name = "halved", .summary = "half of the FC logits"};
  halved.logits = [](const HpmSurrogateInput& in) { return in.o / 2; };
  options.eps = "0.03", options.msa.surrogates = {"ste"}, options.checks.level = "none";
  const auto before = plan_evaluation(input, options).passes;
  input.hpm_surrogates = {halved};
  EXPECT_GT(plan_evaluation(input, options).passes.forward, before.forward);
  const auto outcome = run(false);
  const auto& all = outcome.evaluation.contexts.front().surrogates;
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].name, "halved");
  const auto where = directory(ExistingRun::resume);
  const auto j = nlohmann::json::parse(write_results(input, options, outcome, where, "{}"));
  EXPECT_EQ(j["contexts"][0]["surrogates"][1]["name"], "halved");
  EXPECT_NE(j["budget"].get<std::string>().find("halved"), std::string::npos) << j["budget"];
}

TEST_F(EvaluationRun, ThePlanCoversThePassesThatAreUsed) {
  options.eps = "0.03", options.checks.level = "none";
  const auto plan = plan_evaluation(input, options);
  const std::vector<Classifier> networks{model.classifier, input.peers.control};
  for (auto network : networks) network.reset_passes();
  run(false);
  Passes used;
  for (const auto& network : networks)
    used.forward += network.passes().forward, used.backward += network.passes().backward;
  EXPECT_LE(used.backward, plan.passes.backward * 18);
  EXPECT_GT(used.backward, 0);
}

TEST(EvaluationOptions, AreDeclaredOnceAndReachEveryProtocol) {
  EvaluationOptions options;
  Fields declared;
  fields(declared, options);
  declared.set("steps", "7", Origin::flag, "--steps");
  declared.set("restarts", "3", Origin::flag, "--restarts");
  declared.set("seed", "5", Origin::flag, "--seed");
  declared.set("attacks", "square,fab", Origin::flag, "--attacks");
  declared.set("step-size", ".5", Origin::flag, "--step-size");
  declared.set("colluders", "1,8", Origin::flag, "--colluders");
  declared.set("sample", "4", Origin::flag, "--sample");
  declared.set("batch-size", "32", Origin::flag, "--batch-size");
  EXPECT_EQ(options.for_pgd().steps, 7);
  EXPECT_EQ(options.for_pgd().restarts, 3);
  EXPECT_EQ(options.for_pgd().step_size, .5);
  EXPECT_EQ(options.for_autoattack().settings.steps, 7);
  EXPECT_EQ(options.for_autoattack().seed, 5u);
  EXPECT_EQ(options.for_autoattack().attacks, (std::vector<std::string>{"square", "fab"}));
  EXPECT_EQ(options.for_msa().settings.steps, 7);
  EXPECT_EQ(options.for_msa().settings.restarts, 3);
  EXPECT_EQ(options.for_msa().seed, 5u);
  EXPECT_EQ(options.for_msa().collusion.colluders, (std::vector<int64_t>{1, 8}));
  EXPECT_EQ(options.for_msa().collusion.steps, 7);
  EXPECT_EQ(options.for_msa().alarms.sample, 4);
  EXPECT_EQ(options.for_fast().alarms.sample, 4);
  EXPECT_EQ(options.for_checks().batch_size, 32);
  EXPECT_EQ(options.for_defence().seed, 5u);
  EXPECT_THROW(declared.set("colluders", "1.5", Origin::flag, "--colluders"), UsageError);
  EXPECT_THROW(declared.set("protocol", "fastest", Origin::flag, "--protocol"), UsageError);
}

}  // namespace
}  // namespace hpm
