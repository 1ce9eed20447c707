#include "hpm/evaluation/protocols.h"

#include "hpm/io/journal.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::tiny_model;

class Protocols : public testing::Test {
 protected:
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images = test::tiny_labelled_images(model.classifier, 18);
};

TEST_F(Protocols, NearTiesAreCountedByImageWhereverAVerdictIsGiven) {
  const HpmModel plain{model.classifier.clone(), std::nullopt};
  EXPECT_EQ(evaluate_clean({plain}, images, 16).borderline, 0);
  const auto one = images.y[0].item<int64_t>(), other = (one + 1) % 5;
  {
    torch::NoGradGuard guard;  // two classes are the same: where one leads, the other is level with it
    plain.classifier.weight()[other].copy_(plain.classifier.weight()[one]);
    plain.classifier.bias()[other].copy_(plain.classifier.bias()[one]);
  }
  images.y = plain.classifier.logits(images.x).argmax(1);
  const auto ties = (images.y.eq(one) | images.y.eq(other)).sum().item<int64_t>();
  ASSERT_GT(ties, 0);
  EXPECT_EQ(evaluate_clean({plain}, images, 16).borderline, ties);
  // Not moved at all, they are ties twice, and counted once.
  EXPECT_EQ(evaluate_pgd({plain}, images, {Norm::linf, 0}, {.steps = 1}, 0, 16).borderline, ties);
}

TEST_F(Protocols, ACompanyIsComputedOnceAndReadBackFromTheJournal) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "a test", false);
  const WorkLog log(journal);
  const auto first = make_context(model, "solo", images, 7, 2, 16, log);
  // Another number of threads may round another way; what was seen first stays.
  torch::NoGradGuard guard;
  model.classifier.weight().mul_(-1);
  const auto again = make_context(model, "solo", images, 7, 2, 16, log);
  EXPECT_TRUE(at::equal(first.company->neighbours().products, again.company->neighbours().products));
  EXPECT_TRUE(at::equal(first.company->neighbours().sums, again.company->neighbours().sums));
  const auto fresh = make_context(model, "solo", images, 7, 2, 16);
  EXPECT_FALSE(at::equal(first.company->neighbours().products, fresh.company->neighbours().products));
}

}  // namespace
}  // namespace hpm
