#include "hpm/attacks/fab.h"

#include "attacks/formula_net.h"
#include "attacks/recorder.h"
#include "hpm/attacks/apgd.h"

namespace hpm {
namespace {

using test::close;
using test::tensor_of;

TEST(Fab, FollowsTheReferenceInEveryNorm) {
  HPM_NEED_SHARED(path, "oracles/attacks.json");
  const auto oracle = test::read_json(path);
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

}  // namespace
}  // namespace hpm
