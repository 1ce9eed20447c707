// Honest models, the shared checkpoints with their plain FC layers, come out of every check unflagged.
#include "hpm/data/dataset.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/checks/checks.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/evaluation/protocols.h"
#include "support/support.h"

namespace hpm {
namespace {

struct Known {
  const char* file;
  std::vector<double> std;
  double eps;
};
const std::vector<double> kMean{.4914, .4822, .4465};
const Known kTable[] = {
    {"cifar_cnn_a_adv4.model", {.2023, .1994, .2010}, 2. / 255},
    {"cifar_cnn_a_adv.model", {.2023, .1994, .2010}, 2. / 255},
    {"cifar_conv_small_pgd.pth", {.2023, .1994, .2010}, 2. / 255},
    {"cifar_madry_8px.pth", {.225, .225, .225}, 8. / 255},
    {"resnet4b.pth", {.2471, .2435, .2616}, 2. / 255},
    {"resnet14_at8.pth", {.2471, .2435, .2616}, 8. / 255},
    {"resnet20-12fca82f.th", {.229, .224, .225}, 8. / 255},
};

TEST(SharedModels, ComeOutUnflagged) {
  HPM_NEED_SHARED(root, "data");
  HPM_NEED_SHARED(checkpoints, "checkpoints");
  const auto data = load_dataset("cifar10", "test", root.string());
  const auto index = at::arange(32);
  const Images images{data.images(index), data.labels.index_select(0, index), index};
  for (const auto& known : kTable) {
    SCOPED_TRACE(known.file);
    const bool imagenet = known.std[1] == .225 || known.std[1] == .224;
    const auto mean = imagenet ? std::vector<double>{.485, .456, .406} : kMean;
    const HpmModel model{
        load_classifier((checkpoints / known.file).string(), {.mean = mean, .std = known.std}, data.image_shape())
            .classifier,
        std::nullopt};
    const ThreatModel threat{Norm::linf, known.eps};
    PlainDefence plain(model.classifier, {});
    const auto evaluation = evaluate_autoattack(
        plain, {images, threat}, {.version = "custom", .attacks = {"apgd-ce", "apgd-t"}, .batch_size = 64});
    ClassifierModel attacked(model.classifier);
    const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
    CheckSubject subject{attacked, false, predict};
    subject.saved = evaluation.first().adversarial.set();
    for (const auto& check : run_checks(subject, {images, threat}, evaluation, {.level = "full"}))
      EXPECT_NE(check.status, CheckOutcome::Status::failed) << check.name << ": " << check.detail;
  }
}

}  // namespace
}  // namespace hpm
