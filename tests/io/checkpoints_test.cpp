// The public checkpoints against what torch.load finds in them (checkpoints.json, by make_fixtures.py).
#include "hpm/io/sha256.h"
#include "hpm/io/tensors.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

TEST(SharedCheckpoints, HoldWhatTorchLoadFinds) {
  HPM_NEED_SHARED(folder, "checkpoints");
  const auto checkpoints = read_json(source_dir() / "tests/io/checkpoints.json");
  for (const auto& [name, expected] : checkpoints.items()) {
    SCOPED_TRACE(name);
    const auto file = read_checkpoint(folder / name);
    EXPECT_EQ(file.sha256, expected["file"]);
    EXPECT_EQ(file.tensors.size(), expected["tensors"]);
    Sha256 digest;
    double sum = 0;
    for (const auto& [key, tensor] : file.tensors) {
      digest.update(bytes_of(key + '\0'));
      digest.update({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
      sum += tensor.to(at::kDouble).sum().item<double>();
    }
    EXPECT_EQ(digest.hex(), expected["names_and_bytes"]);
    EXPECT_NEAR(sum, expected["sum"].get<double>(), 1e-9 * std::abs(expected["sum"].get<double>()));
  }
}

TEST(SharedCheckpoints, TorchScriptIsRecognisedAndNotLoaded) {
  HPM_NEED_SHARED(path, "checkpoints/cnn_a_adv4_noise.ts");
  const auto file = read_checkpoint(path);
  EXPECT_EQ(file.container, "TorchScript");
  EXPECT_TRUE(file.tensors.empty());
}

}  // namespace
}  // namespace hpm
