#include "hpm/data/dataset.h"

#include <zlib.h>

#include "hpm/core/error.h"
#include "hpm/data/catalogue.h"
#include "hpm/data/cifar.h"
#include "hpm/io/mat.h"
#include "io/io_support.h"
#include "io/tar.h"
#include "support/libraries.h"
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

TEST_F(IdxTest, DecompressedFilesAndTorchvisionsFolderAreFound) {
  fs::remove_all(folder / "fashion-mnist");
  fs::create_directories(folder / "FashionMNIST/raw");
  std::ofstream(folder / "FashionMNIST/raw/t10k-images-idx3-ubyte") << images;
  write_gz(folder / "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz", labels);
  EXPECT_EQ(load().size(), 3);
}

TEST(Cifar, CutRecordIsAnErrorWithItsNumberAndOffset) {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "cifar-10-batches-bin");
  const auto path = folder / "cifar-10-batches-bin/test_batch.bin";
  std::ofstream(path) << std::string(3073, '\1') << std::string(100, '\1');
  const auto message = message_of<Error>([&] { load_dataset("cifar10", "test", folder.path.string()); });
  EXPECT_NE(message.find("record 1 is cut after 100"), std::string::npos) << message;
  EXPECT_NE(message.find("at byte 3073"), std::string::npos) << message;
  fs::resize_file(path, 3073);
  const auto data = load_dataset("cifar10", "test", folder.path.string());
  EXPECT_EQ(data.size(), 1);
  EXPECT_EQ(data.pixels[0][2][31][31].item<int64_t>(), 1);
}

/// Two records of CIFAR-100: coarse label 5, fine label 42 or as given, pixels of 7.
std::string cifar100_records(char second_fine = 99) {
  const std::string pixels(3072, '\7');
  return std::string("\5\x2A", 2).append(pixels).append("\5", 1).append(1, second_fine).append(pixels);
}

TEST(Cifar, TheFineLabelOfCifar100Counts) {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "cifar-100-binary");
  const auto path = folder / "cifar-100-binary/test.bin";
  std::ofstream(path) << cifar100_records();
  const auto data = load_dataset("cifar100", "test", folder.path.string());
  EXPECT_EQ(data.class_names.at(static_cast<size_t>(data.labels[0].item<int64_t>())), "leopard");
  EXPECT_EQ(data.class_names.at(static_cast<size_t>(data.labels[1].item<int64_t>())), "worm");
  std::ofstream(path) << cifar100_records(100);
  const auto message = message_of<Error>([&] { load_dataset("cifar100", "test", folder.path.string()); });
  EXPECT_NE(message.find("record 1 has label 100"), std::string::npos) << message;
  EXPECT_NE(message.find("at byte 3075"), std::string::npos) << message;
}

std::string data_fixture(const std::string& name) {
  std::ifstream file(test::source_dir() / "tests/data/fixtures" / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The pixels of the generator's record `i`.
Tensor generated(int64_t i) {
  return (at::arange(i * 3072, (i + 1) * 3072) * 7).remainder(251).to(at::kByte).view({3, 32, 32});
}

TEST(Cifar, ThePythonVersionIsReadAsPython2And3WroteIt) {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "cifar-10-batches-py");
  for (const char* name : {"cifar_python2", "cifar_python3_protocol2", "cifar_python3_protocol4"}) {
    std::ofstream(folder / "cifar-10-batches-py/test_batch", std::ios::binary) << data_fixture(name);
    const auto data = load_dataset("cifar10", "test", folder.path.string());
    ASSERT_EQ(data.size(), 2) << name;
    EXPECT_EQ(data.labels[0].item<int64_t>(), 3);
    EXPECT_EQ(data.labels[1].item<int64_t>(), 8);
    for (int64_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(data.pixels[i], generated(i))) << name;
  }
}

TEST(Cifar, BrokenPicklesAreRefused) {
  const auto read = [](const ByteSource& source) { read_cifar_pickle(source, 10); };
  auto file = data_fixture("cifar_python2");
  test::expect_truncations_refused(file, read);
  // The pixels may be anything: flip what is not pixels.
  for (size_t i = 0; i < file.size(); ++i) {
    if (i > 400 && i + 200 < file.size()) continue;
    auto flipped = file;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x41);
    try {
      read(MemorySource("flipped", test::bytes_of(flipped)));
    } catch (const Error&) {
    }
  }
  auto shape = file;
  shape.replace(shape.find("M\x02\x00", 0, 3), 3, std::string("M\x03\x00", 3));
  EXPECT_NE(message_of<Error>([&] { read(MemorySource("x", test::bytes_of(shape))); }).find("takes 9216 bytes"),
            std::string::npos);
}

TEST(Archives, AreReadAsDownloadedAndAFolderComesFirst) {
  HPM_NEED_ARCHIVES();
  test::TemporaryFolder folder;
  const auto path = test::write_tar_gz(folder / "cifar-100-binary.tar.gz",
                                       {{"cifar-100-binary/"}, {"cifar-100-binary/test.bin", cifar100_records()}});
  const auto data = load_dataset("cifar100", "test", folder.path.string());
  EXPECT_EQ(data.folder, path);
  EXPECT_EQ(data.labels[1].item<int64_t>(), 99);
  EXPECT_NE(message_of<Error>([&] { load_dataset("cifar100", "train", folder.path.string()); }).find("ends without"),
            std::string::npos);
  fs::create_directories(folder / "cifar-100-binary");
  std::ofstream(folder / "cifar-100-binary/test.bin") << cifar100_records(3);
  EXPECT_EQ(load_dataset("cifar100", "test", folder.path.string()).labels[1].item<int64_t>(), 3);
  fs::remove_all(folder / "cifar-100-binary");
  fs::resize_file(path, fs::file_size(path) / 2);
  EXPECT_NE(message_of<Error>([&] { load_dataset("cifar100", "test", folder.path.string()); }).find(path),
            std::string::npos);
}

TEST(Svhn, TenIsZeroAndRowsAreRows) {
  test::TemporaryFolder folder;
  fs::create_directories(folder / "svhn");
  for (const char* name : {"svhn_plain.mat", "svhn_compressed.mat"}) {
    std::ofstream(folder / "svhn/test_32x32.mat", std::ios::binary) << data_fixture(name);
    const auto data = load_dataset("svhn", "test", folder.path.string());
    ASSERT_EQ(data.size(), 2);
    EXPECT_EQ(data.labels[0].item<int64_t>(), 0);
    EXPECT_EQ(data.labels[1].item<int64_t>(), 4);
    // The generator's X[row, column, channel, image].
    const auto x = (at::arange(32 * 32 * 3 * 2) * 11).remainder(249).to(at::kByte).view({32, 32, 3, 2});
    EXPECT_TRUE(at::equal(data.pixels, x.permute({3, 2, 0, 1}))) << name;
  }
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
