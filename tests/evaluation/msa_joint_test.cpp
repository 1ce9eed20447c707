// The context joint, where a batch is one object.
#include "evaluation/msa_fixture.h"
#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"

namespace hpm {
namespace {

using test::logits_in;
using test::msa;

class MsaJoint : public test::MsaFixture {};

TEST_F(MsaJoint, JointCountsTheWorstComposedBatchAndTheExistentialFigureIsLower) {
  const auto result = msa(model, {}, images, threat, options({"joint"}));
  const auto& joint = result.first();
  ASSERT_TRUE(joint.joint_any.has_value());
  EXPECT_LT(*joint.joint_any, percent(joint.robust)) << "some image fell in a batch that is not its worst";
}

// What the official driver does: survivors are repacked into new batches, where other prototypes judge them. Its number
// is not what the batches say of the very images that it found.
TEST_F(MsaJoint, RepackingSurvivorsOfJointBatchesCountsImagesThatTheirOwnBatchesGetWrong) {
  const auto fixed = test::in_context(model, "joint", images, 7, 2);
  AttackedDefence attacked(*fixed, 0, fixed->surrogates(0, {.names = {"ste"}}).front());
  const RandomStreams streams(1);
  const auto before = logits_in(model, "joint", images, images).argmax(1).eq(images.y);
  auto left = before.clone();
  auto found = images.x.clone();
  for (const std::string round : {"first", "second"}) {
    const auto rows = left.nonzero().squeeze(1);
    for (int64_t begin = 0; begin < rows.numel(); begin += 7) {
      const auto here = rows.slice(0, begin, begin + 7);
      const auto result = apgd(attacked, images.select(here), threat, {.steps = 8, .stream = round}, streams);
      found.index_copy_(0, here, result.images);
      left.index_fill_(0, here.index_select(0, result.broken.nonzero().squeeze(1)), false);
    }
  }
  auto composed = images;
  composed.x = at::where(left.view({-1, 1, 1, 1}), images.x, found);
  const auto faithful = logits_in(model, "joint", images, composed).argmax(1).eq(images.y);
  EXPECT_GT((before & left.logical_not()).sum().item<int64_t>(), 0) << "nothing was broken, nothing is tested";
  EXPECT_NE(left.sum().item<int64_t>(), faithful.sum().item<int64_t>());
  EXPECT_THROW(evaluate_autoattack(*fixed, {images, threat}, {}), UsageError);
}

TEST_F(MsaJoint, JointIsNoMoreRobustThanWhatTheOtherContextsFoundWouldLeaveOfItsBatches) {
  const auto both = msa(model, {}, images, threat, options({"solo", "joint"}));
  const auto right = logits_in(model, "joint", images, both.first().adversarial.set()).argmax(1).eq(images.y);
  EXPECT_LE(percent(both.contexts[1].robust), percent(right) + 1e-9);
}

TEST_F(MsaJoint, ImagesOfAWorstBatchThatWasComposedNameTheAttackThatFoundThem) {
  auto weak = options({"solo", "joint"});
  weak.joint_surrogates = {"query"}, weak.settings.queries = 1;
  const auto both = msa(model, {}, images, threat, weak);
  int64_t composed = 0;
  for (int64_t i = 0; i < images.size(); ++i) {
    const auto& by = both.contexts[1].broken_by[static_cast<size_t>(i)];
    const bool broken = (both.contexts[1].clean_correct & both.contexts[1].robust.logical_not())[i].item<bool>();
    EXPECT_EQ(static_cast<bool>(by), broken);
    EXPECT_EQ(to_string(by, "joint").find(" in joint"), std::string::npos) << to_string(by, "joint");
    composed += by.composed && !by.attack.empty();
  }
  EXPECT_GT(composed, 0) << "no composition was worst, nothing is tested";
}

TEST_F(MsaJoint, ContextsComeOutInTheOrderAskedAndTheFirstOnesImagesAreKept) {
  const auto result = msa(model, {}, images, threat, options({"joint", "reference", "solo"}));
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_EQ(result.first().context, "joint");
  EXPECT_EQ(result.contexts[2].context, "solo");
  // The kept images, judged as the joint batches that they are, give the flags.
  const auto right = logits_in(model, "joint", images, result.first().adversarial.set()).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(right, result.first().robust));
  for (size_t i = 0; i < 18; ++i) {
    const auto row = static_cast<int64_t>(i);
    EXPECT_EQ(static_cast<bool>(result.first().broken_by[i]),
              result.first().clean_correct[row].item<bool>() && !right[row].item<bool>())
        << i;
  }
}

TEST_F(MsaJoint, WithLambdaOneJointIsTheL2ClassifierToo) {
  model.head->lambda = 1;
  const auto together = msa(model, {}, images, threat, options({"reference", "joint"}));
  EXPECT_TRUE(at::equal(together.contexts[0].robust, together.contexts[1].robust));
  const auto alone = msa(model, {}, images, threat, options({"joint"}));
  EXPECT_EQ(alone.first().context, "joint");
  EXPECT_TRUE(at::equal(alone.first().robust, together.contexts[0].robust));
  // What attacked it is told under its name.
  for (const auto& record : alone.attacks) EXPECT_EQ(record.context, "joint");
  EXPECT_GT(alone.first().surrogates.front().of, 0);
  EXPECT_EQ(together.contexts[1].surrogates.front().same_as, "ste in reference");
  auto swept = options({"joint", "solo"});
  swept.sweep = {.5, 1};
  for (const auto& s : msa(model, {}, images, threat, swept).sweep)
    EXPECT_EQ(s.context, s.lambda == 1 ? "joint" : "solo") << "a neighbour's influence is not judged where none is";
}

TEST_F(MsaJoint, ColludersAreWarnedOfWhereNoPredictionDependsOnANeighbour) {
  struct Warnings : Monitor {
    void warn(const std::string& line) override { all += line; }
    std::string all;
  } warnings;
  auto o = options({"joint"});
  o.collusion.colluders = {2};
  model.head->lambda = 1;
  EXPECT_TRUE(msa(model, {}, images, threat, o, warnings).first().collusion.empty());
  EXPECT_NE(warnings.all.find("colluders"), std::string::npos);
}

TEST_F(MsaJoint, NeighboursThatNoBatchHasAreRefusedBeforeAnythingIsAttacked) {
  auto o = options({"joint"});
  o.collusion.colluders = {1, 7};
  model.classifier.reset_passes();
  EXPECT_NE(test::message_of<UsageError>([&] { msa(model, {}, images, threat, o); }).find("0 to 6"), std::string::npos);
  EXPECT_EQ(model.classifier.passes().backward, 0);
}

}  // namespace
}  // namespace hpm
