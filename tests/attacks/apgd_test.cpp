#include "hpm/attacks/apgd.h"
#include "attacks/formula_net.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::tensor_of;

/// Notes the first logit of chosen samples at every pass.
class Recorder : public ClassifierModel {
 public:
  explicit Recorder(const Classifier& classifier) : ClassifierModel(classifier) {}
  Answer ask(const Query& query, const Loss* loss) override {
    auto answer = ClassifierModel::ask(query, loss);
    for (int64_t row : {0, 5}) trace[row].push_back(answer.target_logits[row][0].item<double>());
    return answer;
  }
  std::map<int64_t, std::vector<double>> trace;
};

Tensor oracle_start(const Images& images, const ThreatModel& threat) {
  const auto v = (2 * fill_rule(images.x.numel(), 2) - 1).view(images.x.sizes());
  if (threat.norm == Norm::linf) return (images.x + threat.eps * v).clamp(0, 1);
  if (threat.norm == Norm::l2) return (images.x + threat.eps * v / per_row(norm_of_rows(v, Norm::l2), v)).clamp(0, 1);
  return images.x + v + project_l1_box(images.x, v, threat.eps);
}

TEST(Apgd, FollowsTheReferenceInEveryNormAndLoss) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json");
  const auto net = test::formula_net();
  const auto images = test::formula_images(oracle);
  EXPECT_TRUE(close(net.logits(images.x), tensor_of(oracle["logits"]), 1e-9));
  for (const auto& run : oracle["runs"]) {
    if (run["attack"] != "apgd") continue;
    SCOPED_TRACE(run["loss"].get<std::string>() + " " + run["norm"].get<std::string>());
    const ThreatModel threat{parse_norm(run["norm"]), run["eps"]};
    ApgdOptions options{.steps = run["n_iter"], .conformance = true};
    Tensor targets;
    if (run["loss"] == "dlr") options.loss = LossKind::dlr;
    if (run["loss"] == "dlr-targeted") {
      options.loss = LossKind::dlr_targeted;
      targets = ranked_target(net.logits(images.x), run["target_rank"]);
    }
    Recorder model(net);
    const auto result = apgd_run(model, images, {oracle_start(images, threat)}, targets, threat, options);
    for (int64_t row : {0, 5}) {
      const auto expected = tensor_of(run["logit_0_of_sample_" + std::to_string(row) + "_per_forward"]);
      const auto seen = torch::tensor(model.trace[row], at::kDouble);
      ASSERT_GE(seen.numel(), 30);
      EXPECT_TRUE(close(seen.slice(0, 0, 30), expected.slice(0, 0, 30), 1e-8));
    }
    EXPECT_TRUE(close(result.correct.to(at::kDouble), tensor_of(run["acc"]), 0));
    EXPECT_TRUE(close(result.best_loss, tensor_of(run["loss_best"]), 1e-6));
    EXPECT_TRUE(close(norm_of_rows(result.best - images.x, threat.norm), tensor_of(run["x_best_norm"]), 1e-6));
  }
}

TEST(Losses, AreTheReferencesDifferencesOfLogitsRatios) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json");
  const auto logits = test::tensor_of(oracle["logits"]);
  const auto y = test::tensor_of(oracle["losses"]["labels"]).to(at::kLong);
  EXPECT_TRUE(test::close(dlr(logits, y), test::tensor_of(oracle["losses"]["dlr"]), 1e-10));
  EXPECT_TRUE(test::close(dlr_targeted(logits, y, (y + 3) % 10),
                          test::tensor_of(oracle["losses"]["dlr_targeted_target=(label+3)%10"]), 1e-10));
}

}  // namespace
}  // namespace hpm
