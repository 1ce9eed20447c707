// Image folders and numpy arrays as data sets.
#include <ATen/Parallel.h>

#include "hpm/core/error.h"
#include "hpm/data/dataset.h"
#include "hpm/io/npy.h"
#include "hpm/io/npz.h"
#include "hpm/io/tensors.h"
#include "io/io_support.h"
#include "support/libraries.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;
using test::message_of;

fs::path fixtures() { return test::source_dir() / "tests/data/fixtures"; }

class ImageFolder : public testing::Test {
 protected:
  void SetUp() override { HPM_NEED_IMAGES(); }
  /// A folder of its own, into which the test copies fixtures.
  void add(const std::string& fixture, const std::string& name) {
    fs::create_directories((folder / name).parent_path());
    fs::copy_file(fixtures() / "images" / fixture, folder / name);
  }
  std::string data() const { return "images:" + folder.path.string(); }
  test::TemporaryFolder folder;
};

TEST_F(ImageFolder, ResizeAndCropAreThoseOfPillow) {
  const auto expected = read_npz((fixtures() / "images.npz").string());
  double worst = 0;
  for (const ImageOptions& options : {ImageOptions{20, 17, "bilinear"}, {23, 20, "bicubic"}, {64, 50, "bilinear"}}) {
    const auto set = load_dataset("images:" + (fixtures() / "images").string(), "test", "", options);
    ASSERT_EQ(set.size(), 8);
    for (int64_t i = 0; i < set.size(); ++i) {
      const auto path = fs::path(set.reader->path(i));
      const auto key = fmt::format("{}/{}@{},{},{}", path.parent_path().filename().string(), path.filename().string(),
                                   options.interpolation, options.resize, options.crop);
      const auto found = std::ranges::find(expected, key, [](const auto& pair) { return pair.first; });
      ASSERT_NE(found, expected.end()) << key;
      const auto x = set.images(i, i + 1)[0].mul(255), y = to_tensor(found->second).permute({2, 0, 1}).to(at::kFloat);
      ASSERT_EQ(x.sizes(), y.sizes()) << key;
      const double average = (x - y).abs().mean().item<double>();
      EXPECT_LE(average, 0.5) << key;  // asked for: 2
      worst = std::max(worst, average);
    }
  }
  RecordProperty("worst_average_difference_of_255", std::to_string(worst));
}

TEST_F(ImageFolder, ClassesAndImagesAreInTheOrderOfTorchvision) {
  add("warm/color.png", "b/2.png");
  add("warm/color.png", "b/10.png");
  add("warm/color.png", "b/a/1.png");
  add("warm/color.png", "B/x.PNG");
  add("warm/color.png", "a/deep/er/y.png");
  std::ofstream(folder / "a/notes.txt") << "no image";
  std::ofstream(folder / "list.csv") << "no class";
  const auto set = load_dataset(data(), "train");
  EXPECT_EQ(set.class_names, (std::vector<std::string>{"B", "a", "b"}));
  std::vector<std::string> names;
  for (int64_t i = 0; i < set.size(); ++i) names.push_back(fs::relative(set.reader->path(i), folder.path).string());
  EXPECT_EQ(names, (std::vector<std::string>{"B/x.PNG", "a/deep/er/y.png", "b/10.png", "b/2.png", "b/a/1.png"}));
  EXPECT_TRUE(at::equal(set.labels, torch::tensor({0, 1, 2, 2, 2}, at::kLong)));
  EXPECT_EQ(set.split, "all");
}

TEST_F(ImageFolder, ThreadsAndBatchesDoNotChangeImages) {
  const ImageOptions options{32, 28};
  const auto set = load_dataset("images:" + (fixtures() / "images").string(), "test", "", options);
  const auto index = torch::tensor({7, 0, 3, 3, 5, 1}, at::kLong);
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  const auto two = set.images(index);
  at::set_num_threads(1);
  const auto one = set.images(index);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, two));
  EXPECT_TRUE(at::equal(one[2], one[3]));
  for (int64_t i = 0; i < index.numel(); ++i)
    EXPECT_TRUE(at::equal(one[i], set.images(index.slice(0, i, i + 1))[0])) << i;
}

TEST_F(ImageFolder, WhatIsNoDataSetIsAnErrorThatSaysWhy) {
  EXPECT_NE(message_of<Error>([&] { load_dataset(data(), "test"); }).find("one sub-folder with images for each class"),
            std::string::npos);
  add("warm/color.png", "a/1.png");
  fs::create_directories(folder / "b");
  EXPECT_NE(message_of<Error>([&] { load_dataset(data(), "test"); }).find("class b has no images"), std::string::npos);
  std::ofstream(folder / "b/x.bmp") << "BM";
  EXPECT_NE(message_of<Error>([&] { load_dataset(data(), "test"); }).find("x.bmp"), std::string::npos);
  fs::remove(folder / "b/x.bmp");
  add("warm/bit.png", "b/2.png");
  const auto sizes = message_of<Error>([&] { load_dataset(data(), "test").images(0, 2); });
  EXPECT_NE(sizes.find("--resize and --centre-crop"), std::string::npos) << sizes;
  EXPECT_NE(
      message_of<Error>([&] { load_dataset(data(), "test", "", {.crop = 100}); }).find("smaller than --centre-crop"),
      std::string::npos);
  fs::create_directory_symlink(folder.path, folder / "b/circle");
  EXPECT_NE(message_of<Error>([&] { load_dataset(data(), "test"); }).find("lies in"), std::string::npos);
  EXPECT_THROW(load_dataset("images:/nowhere", "test"), Error);
  EXPECT_THROW(load_dataset("images:", "test"), UsageError);
}

TEST_F(ImageFolder, ABrokenImageIsAnErrorWithItsPathWhenItIsReached) {
  add("warm/color.png", "a/1.png");
  add("warm/color.png", "a/2.png");
  fs::resize_file(folder / "a/2.png", 1000);
  const auto set = load_dataset(data(), "test");
  EXPECT_NO_THROW(set.images(0, 1));
  EXPECT_NE(message_of<Error>([&] { set.images(0, 2); }).find((folder / "a/2.png").string()), std::string::npos);
}

TEST_F(ImageFolder, HiddenFoldersAndFilesAreLeftOutAndSaid) {
  add("warm/color.png", "b/1.png");
  add("warm/color.png", "a/1.png");
  for (const char* hidden : {".ipynb_checkpoints", "__MACOSX", "a/.cache", "@eaDir"}) {
    fs::create_directories(folder / hidden);
    add("warm/color.png", std::string(hidden) + "/2.png");
  }
  std::ofstream(folder / "b/._1.png") << "a resource fork";
  std::ofstream(folder / "b/.DS_Store") << "no image";
  const auto set = load_dataset(data(), "test");
  EXPECT_EQ(set.class_names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(set.size(), 2);
  ASSERT_EQ(set.notes.size(), 1u);
  for (const char* part : {".ipynb_checkpoints", "__MACOSX", "a/.cache", "@eaDir", "b/._1.png"})
    EXPECT_NE(set.notes[0].find(part), std::string::npos) << set.notes[0];
  EXPECT_EQ(set.notes[0].find("DS_Store"), std::string::npos) << "no image, no word";
  EXPECT_EQ(load_images(data()).size(), 2);
}

TEST_F(ImageFolder, NamesOfAnyBytesOpenAndAreShownEscaped) {
  add("warm/color.png", "mod\xE8le/a\xFF.png");
  add("warm/color.png", "modèle/b.png");
  const auto set = load_dataset(data(), "test");
  EXPECT_EQ(set.class_names, (std::vector<std::string>{"modèle", "mod\\xE8le"})) << "in the order of their bytes";
  EXPECT_EQ(set.images(0, 2).size(0), 2);
  EXPECT_TRUE(set.reader->path(1).ends_with("mod\xE8le/a\xFF.png")) << "the path opens the file";
}

TEST_F(ImageFolder, WithoutLabelsSubFoldersAreNotNeeded) {
  add("warm/color.png", "2.png");
  add("warm/color.png", "1.png");
  const auto set = load_images(data());
  EXPECT_EQ(set.size(), 2);
  EXPECT_EQ(fs::path(set.reader->path(0)).filename(), "1.png");
  EXPECT_EQ(set.labels[0].item<int64_t>(), -1);
}

// ---- arrays

class Arrays : public testing::Test {
 protected:
  void write(const std::string& name, const Tensor& x) { write_npy(folder / name, to_stored(x)); }
  std::string npz(const std::vector<std::pair<std::string, Tensor>>& arrays) {
    std::vector<test::ZipItem> items;
    for (const auto& [name, x] : arrays) {
      write("part.npy", x);
      std::ifstream file(folder / "part.npy", std::ios::binary);
      items.push_back({name + ".npy", {std::istreambuf_iterator<char>(file), {}}, true});
    }
    std::ofstream(folder / "x.npz", std::ios::binary) << test::make_zip(items);
    return "npz:" + (folder / "x.npz").string();
  }
  test::TemporaryFolder folder;
  Tensor x = at::arange(5 * 4 * 6 * 3).remainder(256).to(at::kByte).view({5, 4, 6, 3});  // [N,H,W,C]
  Tensor y = torch::tensor({3, 0, 1, 3, 2}, at::kLong);
};

TEST_F(Arrays, CorruptionsInTheLayoutOfCifar10CAreReadInParts) {
  write("fog.npy", x);
  write("labels.npy", y.to(at::kByte));
  const auto set = load_dataset("npy:" + (folder / "fog.npy").string(), "test");
  EXPECT_FALSE(set.pixels.defined()) << "the images stay in their file";
  EXPECT_EQ(set.image_shape(), (std::vector<int64_t>{3, 4, 6}));
  EXPECT_TRUE(at::equal(set.labels, y));
  const auto expected = x.permute({0, 3, 1, 2}).to(at::kFloat).div(255);
  EXPECT_TRUE(at::equal(set.images(0, 5), expected));
  const auto index = torch::tensor({4, 0, 4}, at::kLong);
  EXPECT_TRUE(at::equal(set.images(index), expected.index_select(0, index)));
  EXPECT_THROW(set.images(torch::tensor({5}, at::kLong)), Error);
}

TEST_F(Arrays, EveryLayoutOfImagesIsRead) {
  const auto expected = x.permute({0, 3, 1, 2}).to(at::kFloat).div(255);
  const auto same = [&](const std::string& name) {
    return test::close(load_dataset(name, "test").images(0, 5), expected, 1e-7);
  };
  EXPECT_TRUE(same(npz({{"images", x}, {"labels", y}})));
  EXPECT_TRUE(same(npz({{"x", x.permute({0, 3, 1, 2}).contiguous()}, {"y", y.to(at::kInt).unsqueeze(1)}})));
  EXPECT_TRUE(same(npz({{"x_train", x.zero_()}, {"x_test", expected}, {"y_train", y}, {"y_test", y}})));
  EXPECT_TRUE(same(npz({{"test_images", expected.to(at::kDouble)}, {"test_labels", y}})));
  write("float.npy", expected);
  write("labels.npy", y);
  EXPECT_TRUE(same("npy:" + (folder / "float.npy").string()));
  const auto gray = load_dataset(npz({{"images", expected.select(1, 0)}, {"labels", y}}), "test");
  EXPECT_EQ(gray.image_shape(), (std::vector<int64_t>{1, 4, 6}));
  EXPECT_EQ(gray.classes(), 4);
  EXPECT_FALSE(gray.names_known);
}

TEST_F(Arrays, WhatIsNoDataSetIsAnErrorThatSaysWhy) {
  const auto error = [&](const std::vector<std::pair<std::string, Tensor>>& arrays) {
    return message_of<Error>([&] { load_dataset(npz(arrays), "test"); });
  };
  EXPECT_NE(error({{"pictures", x}, {"labels", y}}).find("but holds pictures, labels"), std::string::npos);
  EXPECT_NE(error({{"images", x}, {"labels", y.slice(0, 0, 4)}}).find("4 labels for 5 images"), std::string::npos);
  EXPECT_NE(error({{"images", x}, {"labels", y.to(at::kFloat)}}).find("integer labels"), std::string::npos);
  EXPECT_NE(error({{"images", x}, {"labels", y - 1}}).find("from 0 on"), std::string::npos);
  EXPECT_NE(error({{"images", x.to(at::kFloat)}, {"labels", y}}).find("values in [0,1]"), std::string::npos);
  EXPECT_NE(error({{"images", x.to(at::kBool)}, {"labels", y}}).find("uint8 or floating"), std::string::npos);
  EXPECT_NE(error({{"images", x.view({5, 6, 4, 3}).transpose(1, 3).contiguous().view({5, 3, 8, 3})}, {"labels", y}})
                .find("either"),
            std::string::npos);
  EXPECT_NE(error({{"images", x.slice(0, 0, 0)}, {"labels", y}}).find("no images"), std::string::npos);
  EXPECT_THROW(load_dataset("npz:" + (folder / "x.txt").string(), "test"), UsageError);
  EXPECT_THROW(load_dataset("npy:/nowhere.npy", "test"), Error);
  write("nan.npy", at::full({2, 3, 4, 4}, std::numeric_limits<float>::quiet_NaN()));
  write("labels.npy", y.slice(0, 0, 2));
  EXPECT_THROW(load_dataset("npy:" + (folder / "nan.npy").string(), "test").images(0, 1), Error);
}

TEST_F(Arrays, ImagesAloneNeedNoLabels) {
  write("x.npy", x);
  EXPECT_EQ(load_images((folder / "x.npy").string()).image_shape(), (std::vector<int64_t>{3, 4, 6}));
  npz({{"anything", x}});
  EXPECT_EQ(load_images((folder / "x.npz").string()).size(), 5);
  npz({{"one", x}, {"two", x}});
  EXPECT_NE(message_of<Error>([&] { load_images((folder / "x.npz").string()); }).find("one, two"), std::string::npos);
  EXPECT_THROW(load_images("x.png"), UsageError);
}

/// The message of a data set with one value changed, and its note.
class Values : public Arrays {
 protected:
  Tensor pixels = at::rand({9, 3, 4, 4});
  Tensor labels = at::zeros({9}, at::kLong);
  Dataset load() { return load_dataset(npz({{"images", pixels}, {"labels", labels}}), "test"); }
  /// From a file that is read in parts.
  Dataset load_npy() {
    write("v.npy", pixels), write("labels.npy", labels);
    return load_dataset("npy:" + (folder / "v.npy").string(), "test");
  }
};

TEST_F(Values, RoundingOutsideIsClampedAndSaidAndMoreIsRefusedWithAllItsDigits) {
  pixels[7][1][2][3] = 1.0000008f, pixels[3][0][0][0] = -3e-7f;
  const auto clamped = load();
  EXPECT_EQ(clamped.images(7, 8).max().item<float>(), 1);
  EXPECT_EQ(clamped.images(3, 4).min().item<float>(), 0);
  ASSERT_EQ(clamped.notes.size(), 1u);
  EXPECT_NE(clamped.notes[0].find("[-3e-07, 1.0000008]"), std::string::npos) << clamped.notes[0];
  pixels[7][1][2][3] = 1.0000021f;
  const auto message = message_of<Error>([&] { load(); });
  EXPECT_NE(message.find("1.0000021], first in image 7"), std::string::npos) << message;
  pixels.mul_(255);
  EXPECT_NE(message_of<Error>([&] { load(); }).find("divide by 255"), std::string::npos);
  pixels.div_(64).sub_(2);
  EXPECT_NE(message_of<Error>([&] { load(); }).find("x * std + mean"), std::string::npos);
}

TEST_F(Values, NanAndInfinityNameTheFirstImageAndCount) {
  pixels[7][1][2][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("NaN in image 7"), std::string::npos);
  pixels[8][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(message_of<Error>([&] { load(); }).find("NaN in image 7; 2 of 9 images"), std::string::npos);
  pixels.nan_to_num_(.5);
  pixels[2][0][0][0] = -INFINITY;
  EXPECT_NE(message_of<Error>([&] { load(); }).find("an infinite value in image 2"), std::string::npos);
}

TEST_F(Values, OfAFileReadInPartsAreCheckedWithTheNumbersOfTheFile) {
  pixels[7][1][2][3] = std::numeric_limits<float>::quiet_NaN();
  pixels[1][0][0][0] = 1.0000001f;
  const auto set = load_npy();
  std::vector<std::string> notes;
  set.reader->on_note = [&](const std::string& note) { notes.push_back(note); };
  EXPECT_NO_THROW(set.images(0, 4));
  EXPECT_NO_THROW(set.images(1, 2));
  ASSERT_EQ(notes.size(), 1u) << "once";
  EXPECT_NE(notes[0].find("1.0000001"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { set.images(6, 9); }).find("NaN in image 7"), std::string::npos);
}

TEST_F(Values, IntegersOfAnyTypeArePixelsUpTo255AndLabels) {
  const auto bytes = pixels.mul(255).to(at::kByte);
  for (const auto type : {at::kShort, at::kInt, at::kLong, at::kUInt16, at::kUInt32, at::kUInt64}) {
    const auto converted = [&](const Tensor& t) { return t.to(at::kLong).to(type); };
    const auto set = load_dataset(npz({{"images", converted(bytes)}, {"labels", converted(labels)}}), "test");
    EXPECT_TRUE(at::equal(set.pixels, bytes)) << type;
    EXPECT_TRUE(at::equal(set.labels, labels));
    ASSERT_EQ(set.notes.size(), 1u);
    EXPECT_NE(set.notes[0].find("8-bit pixels"), std::string::npos) << set.notes[0];
  }
  const auto deep = npz({{"images", bytes.to(at::kInt).mul(257).to(at::kUInt16)}, {"labels", labels}});
  EXPECT_NE(message_of<Error>([&] { load_dataset(deep, "test"); }).find("65535 for 16 bits"), std::string::npos);
}

}  // namespace
}  // namespace hpm
