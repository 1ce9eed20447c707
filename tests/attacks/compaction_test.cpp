#include "hpm/attacks/compaction.h"

#include "attacks/formula_net.h"
#include "hpm/attacks/apgd.h"
#include "hpm/attacks/fab.h"
#include "hpm/attacks/square.h"
#include "hpm/core/norms.h"

namespace hpm {
namespace {

TEST(Compaction, CarryingBrokenRowsForSomeStepsChangesNoVerdict) {
  const auto net = test::formula_net();
  at::manual_seed(3);
  const auto x = at::rand({40, 3, 8, 8}, at::kDouble);
  const Images images{x, net.logits(x).argmax(1), at::arange(40)};
  for (const auto& threat : {ThreatModel{Norm::linf, .02}, ThreatModel{Norm::l2, .3}, ThreatModel{Norm::l1, 1.5}}) {
    const auto same = [&](const char* attack, auto run) {
      SCOPED_TRACE(to_string(threat.norm) + " " + attack);
      ClassifierModel model(net);
      const AttackResult expected = run(model, 1), carried = run(model, 8);
      EXPECT_TRUE(at::equal(carried.broken, expected.broken));
      EXPECT_TRUE(at::equal(net.logits(carried.images).argmax(1).ne(images.y), expected.broken));
      EXPECT_TRUE(inside(carried.images, images.x, threat).all().item<bool>());
      EXPECT_GT(expected.broken.sum().item<int64_t>(), 0) << "nothing was broken, nothing is tested";
      EXPECT_LT(expected.broken.sum().item<int64_t>(), 40);
    };
    const RandomStreams streams(1);
    same("apgd", [&](AttackModel& m, int64_t period) {
      return apgd(m, images, threat, {.steps = 20, .restarts = 2, .compaction = period}, streams);
    });
    same("fab-t", [&](AttackModel& m, int64_t period) {
      return fab(m, images, threat, {.steps = 20, .targets = 3, .compaction = period}, streams);
    });
    same("fab", [&](AttackModel& m, int64_t period) {
      return fab(m, images, threat, {.targeted = false, .steps = 20, .compaction = period}, streams);
    });
    same("square", [&](AttackModel& m, int64_t period) {
      return square(m, images, threat, {.queries = 150, .compaction = period}, streams);
    });
  }
}

TEST(Compaction, DefaultsToEveryStepOnTheCpu) {
  EXPECT_EQ(compaction_period(0, at::zeros({1})), 1);
  EXPECT_EQ(compaction_period(5, at::zeros({1})), 5);
}

}  // namespace
}  // namespace hpm
