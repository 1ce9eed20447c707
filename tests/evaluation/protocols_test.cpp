#include "hpm/evaluation/protocols.h"

#include "evaluation/msa_fixture.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/io/journal.h"

namespace hpm {
namespace {

using test::tiny_model;

class Protocols : public testing::Test {
 protected:
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images = test::tiny_labelled_images(model.classifier, 18);
};

TEST_F(Protocols, NearTiesAreCountedByImageWhereverAVerdictIsGiven) {
  const auto classifier = model.classifier.clone();
  PlainDefence plain(classifier, {});
  EXPECT_EQ(evaluate_clean(plain, images, 16).borderline, 0);
  const auto one = images.y[0].item<int64_t>(), other = (one + 1) % 5;
  {
    torch::NoGradGuard guard;  // two classes are the same: where one leads, the other is level with it
    classifier.weight()[other].copy_(classifier.weight()[one]);
    classifier.bias()[other].copy_(classifier.bias()[one]);
  }
  images.y = classifier.logits(images.x).argmax(1);
  const auto ties = (images.y.eq(one) | images.y.eq(other)).sum().item<int64_t>();
  ASSERT_GT(ties, 0);
  EXPECT_EQ(evaluate_clean(plain, images, 16).borderline, ties);
  // Not moved at all, they are ties twice, and counted once.
  EXPECT_EQ(evaluate_pgd(plain, {images, {Norm::linf, 0}}, {.steps = 1}, {.batch_size = 16}).borderline, ties);
}

TEST_F(Protocols, ACompanyIsComputedOnceAndReadBackFromTheJournal) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "a test", false);
  const WorkLog log(journal);
  DefenceOptions options;
  options.contexts = {"solo"}, options.company_size = 7, options.company_seed = 2, options.batch_size = 16;
  const auto company = [&](const WorkLog& kept) { return HpmDefence(model, images, options, kept).context(0).company; };
  const auto first = company(log);
  // Another number of threads may round another way; what was seen first stays.
  torch::NoGradGuard guard;
  model.classifier.weight().mul_(-1);
  const auto again = company(log);
  EXPECT_TRUE(at::equal(first->neighbours().products, again->neighbours().products));
  EXPECT_TRUE(at::equal(first->neighbours().sums, again->neighbours().sums));
  const auto fresh = company({});
  EXPECT_FALSE(at::equal(first->neighbours().products, fresh->neighbours().products));
}

TEST_F(Protocols, CleanVerdictsAreCutIntoPiecesForSeveralProcessesAndReadBack) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "a test", false);
  const ImageSet many = test::tiny_labelled_images(model.classifier, 64);
  PlainDefence plain(model.classifier, {});
  const auto alone = evaluate_clean(plain, many, 8);
  const WorkLog log(journal, nullptr, 2);
  const auto shared = evaluate_clean(plain, many, 8, log);
  EXPECT_EQ(journal.size(), 4u) << "pieces of 16 images, two batches each";
  const auto before = plain.passes().forward;
  const auto again = evaluate_clean(plain, many, 8, log);
  EXPECT_EQ(plain.passes().forward, before) << "nothing is computed twice";
  for (const auto* other : {&shared, &again}) {
    EXPECT_TRUE(other->first().clean_logits.equal(alone.first().clean_logits));
    EXPECT_TRUE(other->first().clean_correct.equal(alone.first().clean_correct));
    EXPECT_EQ(other->borderline, alone.borderline);
  }
}

TEST_F(Protocols, CleanVerdictsOfFixedBatchesComeInTheOrderOfTheImages) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "a test", false);
  DefenceOptions options;
  options.contexts = {"joint"}, options.company_size = 5, options.company_seed = 2, options.batch_size = 16;
  HpmDefence joint(model, images, options);
  ASSERT_FALSE(at::cat(batch_places(joint, images)).equal(at::arange(18))) << "companies are drawn";
  const auto expected = predict_logits(joint, 0, images, 16);
  EXPECT_TRUE(evaluate_clean(joint, images, 16, WorkLog(journal, nullptr, 2)).first().clean_logits.equal(expected));
  EXPECT_GT(journal.size(), 0u);
}

}  // namespace
}  // namespace hpm
