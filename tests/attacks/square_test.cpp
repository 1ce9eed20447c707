#include "hpm/attacks/square.h"

#include "attacks/formula_net.h"
#include "attacks/recorder.h"
#include "hpm/attacks/conformance_streams.h"

namespace hpm {
namespace {

using test::close;
using test::tensor_of;

/// The reference's numbers were drawn in double.
struct DoubleByDefault {
  DoubleByDefault() { at::set_default_dtype(caffe2::TypeMeta::Make<double>()); }
  ~DoubleByDefault() { at::set_default_dtype(caffe2::TypeMeta::Make<float>()); }
};

TEST(Square, FollowsTheReferenceInEveryNorm) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json");
  const auto images = test::formula_images(oracle);
  const auto net = test::formula_net();
  const DoubleByDefault doubles;  // after the network, whose weights are rounded to float32
  for (const auto& run : oracle["runs"]) {
    if (run["attack"] != "square") continue;
    SCOPED_TRACE(run["norm"].get<std::string>());
    const ThreatModel threat{parse_norm(run["norm"]), run["eps"]};
    const SquareOptions options{.queries = run["n_queries"], .conformance = true};
    test::Recorder model(net);
    const ConformanceStreams streams(0);
    streams.begin_attack();
    const auto found = square_run(model, images, threat, options, streams);
    const auto rows = tensor_of(run["active_rows_per_forward"]);
    const auto logits = tensor_of(run["logit_0_of_first_active_row_per_forward"]);
    const auto seen = torch::tensor(model.first_logit, at::kDouble).slice(0, 0, logits.numel());
    EXPECT_TRUE(close(torch::tensor(model.rows, at::kLong).slice(0, 0, rows.numel()), rows, 0));
    EXPECT_TRUE(close(seen, logits, 1e-8));
    EXPECT_TRUE(close(found.broken.logical_not(), tensor_of(run["still_correct"]), 0));
    EXPECT_TRUE(close(found.queries, tensor_of(run["queries"]), 0));
    EXPECT_TRUE(close(norm_of_rows(found.best - images.x, threat.norm), tensor_of(run["distance"]), 1e-8));
    EXPECT_TRUE(close(found.best.flatten(1).sum(1), tensor_of(run["x_adv_sum"]), 1e-6));
  }
}

TEST(Square, HalvesTheShareOnSchedule) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json")["square_p_selection"];
  ASSERT_FALSE(oracle.empty());
  for (const auto& [iteration, share] : oracle.items())
    EXPECT_DOUBLE_EQ(square_share(std::stoll(iteration), {.rescale_schedule = true}), share.get<double>()) << iteration;
  EXPECT_DOUBLE_EQ(square_share(10, {}), .8);
  EXPECT_DOUBLE_EQ(square_share(11, {}), .4);
  EXPECT_DOUBLE_EQ(square_share(4999, {}), .8 / 128);
}

}  // namespace
}  // namespace hpm
