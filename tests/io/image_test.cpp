#include "hpm/io/image.h"

#include "hpm/io/file.h"
#include "hpm/io/image_impl.h"
#include "hpm/io/mat.h"
#include "hpm/io/md5.h"
#include "hpm/io/npz.h"
#include "io/io_support.h"
#include "support/libraries.h"

namespace hpm {
namespace {

using test::bytes_of;
using test::message_of;

std::filesystem::path fixtures() { return test::source_dir() / "tests/data/fixtures"; }

std::string text_of_file(const std::filesystem::path& path) { return std::string(read_file(path.string()).text()); }

TEST(Image, DecodesAsPillowDoes) {
  HPM_NEED_IMAGES();
  int compared = 0;
  for (const auto& [name, expected] : read_npz((fixtures() / "images.npz").string())) {
    if (name.find('@') != std::string::npos) continue;
    const auto picture = decode_image(FileSource((fixtures() / "images" / name).string()));
    ASSERT_EQ(expected.shape, (std::vector<int64_t>{picture.height, picture.width, 3})) << name;
    int64_t difference = 0, largest = 0;
    for (size_t i = 0; i < expected.data.size(); ++i) {
      const int64_t d =
          std::abs(std::to_integer<int>(expected.data.data()[i]) - std::to_integer<int>(picture.pixels.data()[i]));
      difference += d;
      largest = std::max(largest, d);
    }
    const double average = static_cast<double>(difference) / static_cast<double>(expected.data.size());
    const bool lossless = name.ends_with(".png");
    EXPECT_LE(average, lossless ? 0 : 0.5) << name;  // libjpeg-turbo's versions may round differently
    EXPECT_LE(largest, lossless ? 0 : 4) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 8);
}

TEST(Image, EveryTruncationIsRefused) {
  HPM_NEED_IMAGES();
  for (const char* name : {"warm/bit.png", "warm/palette.png", "cold/gray.JPEG", "cold/progressive.jpg"}) {
    const auto file = text_of_file(fixtures() / "images" / name);
    // Behind the end marker of a JPEG and the last checksum of a PNG nothing is needed.
    for (size_t size = 0; size + 2 < file.size(); ++size)
      EXPECT_THROW(decode_image(MemorySource("cut", bytes_of(file).first(size))), Error) << name << " " << size;
  }
}

TEST(Image, FlippedBytesAreDecodedOrRefused) {
  HPM_NEED_IMAGES();
  for (const char* name : {"warm/bit.png", "warm/palette.png", "cold/gray.JPEG", "cold/color.jpg"})
    test::expect_flips_survived(text_of_file(fixtures() / "images" / name),
                                [](const ByteSource& source) { decode_image(source); });
}

TEST(Image, HugeSizesAreRefusedBeforeTheMemoryIsTaken) {
  HPM_NEED_IMAGES();
  auto file = text_of_file(fixtures() / "images/warm/bit.png");
  file.replace(16, 8, std::string("\x00\x00\xFF\x00\x00\x00\xFF\x00", 8));  // 65280 x 65280; then its checksum
  const auto crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(file.data()) + 12, 17));
  for (int i = 0; i < 4; ++i) file[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
  EXPECT_NE(message_of<Error>([&] { decode_image(MemorySource("bomb", bytes_of(file))); }).find("65280x65280"),
            std::string::npos);
  auto jpeg = text_of_file(fixtures() / "images/cold/gray.JPEG");
  const auto frame = jpeg.find("\xFF\xC0");
  jpeg.replace(frame + 5, 4, "\xFF\x00\xFF\x00", 4);
  EXPECT_NE(message_of<Error>([&] { decode_image(MemorySource("bomb", bytes_of(jpeg))); }).find("65280x65280"),
            std::string::npos);
}

TEST(Image, OtherFormatsAreRefusedByTheirFirstBytes) {
  EXPECT_NE(message_of<Error>([] { decode_image(MemorySource("x.jpg", bytes_of("GIF89a..."))); }).find("neither"),
            std::string::npos);
}

TEST(Md5, MatchesTheVectorsOfRfc1321) {
  const auto of = [](const std::string& text) { return md5(bytes_of(text)); };
  EXPECT_EQ(of(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(of("abc"), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(of("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
  EXPECT_EQ(of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"), "d174ab98d277d9f5a5611c2c9f419d9f");
  EXPECT_EQ(of("12345678901234567890123456789012345678901234567890123456789012345678901234567890"),
            "57edf4a22be3c955ac49da2e2107b67a");
}

TEST(Mat, ArraysComeWithTheirDimensionsInReverse) {
  for (const char* name : {"svhn_plain.mat", "svhn_compressed.mat"}) {
    const auto arrays = read_mat(FileSource((fixtures() / name).string()), {"X", "y"}, 1 << 20);
    EXPECT_EQ(arrays[0].second.shape, (std::vector<int64_t>{2, 3, 32, 32})) << name;
    // Element [row 1, column 2, channel 1, image 1] of the generator's C-order array.
    const auto expected = static_cast<std::byte>((((1 * 32 + 2) * 3 + 1) * 2 + 1) * 11 % 249);
    EXPECT_EQ(arrays[0].second.data.data()[((1 * 3 + 1) * 32 + 2) * 32 + 1], expected) << name;
    EXPECT_EQ(arrays[1].second.data.data()[0], std::byte{10}) << name;
  }
}

TEST(Mat, MissingTooLargeAndForeignArraysAreErrors) {
  const auto path = (fixtures() / "svhn_compressed.mat").string();
  EXPECT_NE(message_of<Error>([&] { read_mat(FileSource(path), {"Z"}, 1 << 20); }).find("no array \"Z\""),
            std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_mat(FileSource(path), {"X"}, 1000); }).find("takes 6144 bytes"),
            std::string::npos);
  EXPECT_THROW(read_mat(FileSource((fixtures() / "cifar_python2").string()), {"X"}, 1000), Error);
  EXPECT_THROW(read_mat(FileSource("/nowhere.mat"), {"X"}, 1000), Error);
}

TEST(Mat, TruncatedAndFlippedFilesAreReadOrRefused) {
  test::TemporaryFolder folder;
  const auto path = (folder / "x.mat").string();
  for (const char* name : {"svhn_plain.mat", "svhn_compressed.mat"}) {
    const auto file = text_of_file(fixtures() / name);
    const auto survives = [&](const std::string& content) {
      std::ofstream(path, std::ios::binary) << content;
      try {
        read_mat(FileSource(path), {"X", "y"}, 1 << 20);
      } catch (const Error&) {
      }
    };
    for (size_t size = 0; size < file.size(); size += size < 200 ? 1 : 97) survives(file.substr(0, size));
    for (size_t i = 0; i < std::min<size_t>(file.size(), 260); ++i)
      for (const unsigned flip : {0x01u, 0xFFu}) {
        auto flipped = file;
        flipped[i] = static_cast<char>(static_cast<unsigned char>(flipped[i]) ^ flip);
        survives(flipped);
      }
  }
}

}  // namespace
}  // namespace hpm
