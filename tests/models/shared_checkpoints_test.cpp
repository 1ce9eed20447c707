#include "hpm/core/error.h"
#include "hpm/data/dataset.h"
#include "hpm/models/checkpoint.h"
#include "support/support.h"

namespace hpm {
namespace {

struct Known {
  const char* file;
  std::vector<double> mean, std;
  double clean;  ///< percent of all 10,000 test images
  const char* architecture;
};

const std::vector<double> kMean{.4914, .4822, .4465}, kWide{.2471, .2435, .2616}, kNarrow{.2023, .1994, .2010};
const char* const kCnnA = "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10";
const Known kTable[] = {
    {"resnet4b.pth", kMean, kWide, 77.20, "resnet4b"},
    {"cifar_cnn_a_adv4.model", kMean, kNarrow, 60.07, kCnnA},
    {"cifar_cnn_a_adv.model", kMean, kNarrow, 69.75, kCnnA},
    {"cifar_conv_small_pgd.pth", kMean, kNarrow, 62.92, "conv16k4s2-relu-conv32k4s2-relu-flatten-fc100-relu-fc10"},
    {"cifar_madry_8px.pth", {.485, .456, .406}, {.225, .225, .225}, 35.24, kCnnA},
    {"resnet20-12fca82f.th", {.485, .456, .406}, {.229, .224, .225}, 91.73, "resnet20"},
    {"resnet14_at8.pth", kMean, kWide, 62.40, "resnet14"},
};

TEST(SharedCheckpoints, AllLoadByThemselvesAndReachTheirCleanAccuracyOnAllTestImages) {
  HPM_NEED_SHARED(root, "data");
  HPM_NEED_SHARED(checkpoints, "checkpoints");
  const auto data = load_dataset("cifar10", "test", root.string());
  torch::NoGradGuard guard;
  for (const auto& known : kTable) {
    SCOPED_TRACE(known.file);
    const auto loaded = load_classifier((checkpoints / known.file).string(), {.mean = known.mean, .std = known.std},
                                        data.image_shape());
    EXPECT_EQ(loaded.classifier.info().architecture, known.architecture);
    int64_t correct = 0;
    for (int64_t begin = 0; begin < data.size(); begin += 500)
      correct += loaded.classifier.logits(data.images(begin, begin + 500))
                     .argmax(1)
                     .eq(data.labels.slice(0, begin, begin + 500))
                     .sum()
                     .item<int64_t>();
    EXPECT_NEAR(static_cast<double>(correct) / 100, known.clean, .015);
  }
}

TEST(SharedCheckpoints, TorchScriptFilesAreNotLoadedAsWeights) {
  HPM_NEED_SHARED(checkpoints, "checkpoints");
  EXPECT_NE(test::message_of<Error>([&] {
              load_classifier((checkpoints / "cnn_a_adv4_noise.ts").string());
            }).find("TorchScript"),
            std::string::npos);
}

}  // namespace
}  // namespace hpm
