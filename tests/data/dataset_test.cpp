#include "hpm/data/dataset.h"

#include <zlib.h>

#include "hpm/core/error.h"
#include "support/support.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;
using test::message_of;

void write_gz(const fs::path& path, const std::string& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

std::string big_endian(uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }

/// A Fashion-MNIST of three 28x28 test images whose pixel i is i mod 256.
class IdxTest : public testing::Test {
 protected:
  IdxTest() {
    fs::create_directories(folder / "fashion-mnist");
    for (int i = 0; i < 3 * 784; ++i) images += char(i % 256);
    write();
  }
  void write() {
    write_gz(folder / "fashion-mnist/t10k-images-idx3-ubyte.gz", images);
    write_gz(folder / "fashion-mnist/t10k-labels-idx1-ubyte.gz", labels);
  }
  Dataset load() { return load_dataset("fashion-mnist", "test", folder.path.string()); }
  test::TemporaryFolder folder;
  std::string images = big_endian(0x803) + big_endian(3) + big_endian(28) + big_endian(28),
              labels = big_endian(0x801) + big_endian(3) + std::string("\0\x09\x04", 3);
};

TEST_F(IdxTest, PixelsAndLabelsComeAsWritten) {
  const auto data = load();
  EXPECT_EQ(data.size(), 3);
  EXPECT_EQ(data.image_shape(), (std::vector<int64_t>{1, 28, 28}));
  EXPECT_EQ(data.labels[1].item<int64_t>(), 9);
  const auto x = data.images(torch::tensor({1}, at::kLong));
  EXPECT_FLOAT_EQ(x[0][0][0][3].item<float>(), float((784 + 3) % 256) / 255);
}

TEST_F(IdxTest, TruncatedAndCorruptFilesAreErrorsThatNameThem) {
  images.pop_back();
  write();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("truncated or corrupt"), std::string::npos);
  images[3] = 1;
  write();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("magic number"), std::string::npos);
  const auto path = folder / "fashion-mnist/t10k-images-idx3-ubyte.gz";
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_NE(message_of<Error>([&] { load(); }).find(path.string()), std::string::npos);
}

TEST_F(IdxTest, LabelsBeyondTheClassesAndUnequalCountsAreErrors) {
  labels.back() = 10;
  write();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("label 10"), std::string::npos);
  labels = big_endian(0x801) + big_endian(2) + std::string("\0\1", 2);
  write();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("2 labels"), std::string::npos);
}

TEST(Cifar10, CutRecordIsAnErrorWithItsNumber) {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "cifar-10-batches-bin");
  const auto path = folder / "cifar-10-batches-bin/test_batch.bin";
  std::ofstream(path) << std::string(3073, '\1') << std::string(100, '\1');
  EXPECT_NE(message_of<Error>([&] { load_dataset("cifar10", "test", folder.path.string()); }).find("record 1 is cut"),
            std::string::npos);
  fs::resize_file(path, 3073);
  const auto data = load_dataset("cifar10", "test", folder.path.string());
  EXPECT_EQ(data.size(), 1);
  EXPECT_EQ(data.pixels[0][2][31][31].item<int64_t>(), 1);
}

TEST(Datasets, MissingOneSaysWhereItWasLookedForAndHowToGetIt) {
  const auto message = message_of<Error>([] { load_dataset("cifar10", "test", "/nowhere"); });
  EXPECT_NE(message.find("/nowhere"), std::string::npos) << message;
  EXPECT_NE(message.find("cifar-10-binary"), std::string::npos) << message;
  EXPECT_NE(message_of<UsageError>([] { load_dataset("cifar1O", "test"); }).find("did you mean cifar10"),
            std::string::npos);
  EXPECT_THROW(load_dataset("cifar10", "dev"), UsageError);
}

TEST(Datasets, SharedCifar10HasThePublishedSizeAndLabels) {
  HPM_NEED_SHARED(root, "data");
  const auto data = load_dataset("cifar10", "test", root.string());
  EXPECT_EQ(data.size(), 10000);
  EXPECT_TRUE(at::equal(at::bincount(data.labels), at::full({10}, 1000, at::kLong)));
  EXPECT_EQ(data.labels[0].item<int64_t>(), 3) << "the first test image is a cat";
}

}  // namespace
}  // namespace hpm
