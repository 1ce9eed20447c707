#include "hpm/training/fit_accuracy.h"

#include "hpm/core/error.h"
#include "hpm/core/random.h"

namespace hpm {
namespace {

constexpr int64_t kImages = 1000, kBatch = 250;

}  // namespace

std::string HeadAccuracy::text() const {
  return fmt::format("clean accuracy {:.1f} % (FC {:.1f} %) on {} training images that the fit {}", head, fc, images,
                     unseen ? "did not see" : "saw");
}

HeadAccuracy head_accuracy(const HpmModel& model, const Dataset& data, const FinetuneOptions& options) {
  torch::NoGradGuard guard;
  const auto order = fit_order(data, options);
  const int64_t fitted = std::min(options.fit_images, order.numel());
  HeadAccuracy accuracy{.unseen = fitted < order.numel()};
  const auto chosen = accuracy.unseen ? order.slice(0, fitted, fitted + kImages) : order.slice(0, 0, kImages);
  accuracy.images = chosen.numel();
  const auto& head = *model.head;
  int64_t by_head = 0, by_fc = 0;
  for (const auto& index : chosen.split(kBatch)) {
    const auto labels = data.labels.index_select(0, index).to(model.classifier.device());
    const auto out = model.run(data.images(index).to(model.classifier.device()));
    const auto h = head.embed(out.features);
    const auto logits = head.calibration_sums.defined() ? reference_logits(head, h) : stable_logits(head, h);
    by_head += logits.argmax(1).eq(labels).sum().item<int64_t>();
    by_fc += out.logits.argmax(1).eq(labels).sum().item<int64_t>();
  }
  const auto share = [&](int64_t right) {
    return 100. * static_cast<double>(right) / static_cast<double>(std::max<int64_t>(accuracy.images, 1));
  };
  accuracy.head = share(by_head), accuracy.fc = share(by_fc);
  return accuracy;
}

int64_t fit_images_needed(const HpmHead& head) {
  return head.metric.defined() ? std::max(300 * head.classes(), 6 * head.metric.size(1)) : 0;
}

}  // namespace hpm
