// Data sets as a user meets them: listed, verified, unpacked, and read by the verbs that need images.
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "hpm/io/npy.h"
#include "hpm/io/tensors.h"
#include "io/tar.h"
#include "support/libraries.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;
using test::program;

TEST(DataVerb, VerifiesFashionMnistAndTellsADifference) {
  HPM_NEED_FASHION_MNIST();
  const auto run = program("data verify fashion-mnist --json --data-root /usr/share/datasets");
  ASSERT_EQ(run.status, 0) << run.err;
  const auto found = nlohmann::json::parse(run.out);
  EXPECT_TRUE(found["ok"].get<bool>());
  EXPECT_EQ(found["files"].size(), 4u);
  // The same names and sizes, but MNIST's checksums are others.
  test::TemporaryFolder folder;
  fs::create_directory_symlink("/usr/share/datasets/fashion-mnist", folder / "mnist");
  const auto other = program("data verify mnist --data-root " + folder.path.string());
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.out.find("differs"), std::string::npos) << other.out;
}

TEST(DataVerb, VerifiesTheSharedCifar10) {
  HPM_NEED_SHARED(root, "data");
  const auto run = program("data verify cifar10 --data-root " + root.string());
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.out.find("cifar10 train: 50000 images, 3x32x32"), std::string::npos) << run.out;
}

TEST(DataVerb, UnpacksArchivesAndRefusesHostileOnes) {
  HPM_NEED_ARCHIVES();
  test::TemporaryFolder folder;
  test::write_tar_gz(folder / "mine.tar.gz", {{"set/a", "1"}, {"set/b", "22"}});
  const auto run = program("data unpack mine.tar.gz --json", folder.path);
  ASSERT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(nlohmann::json::parse(run.out)["bytes"], 3);
  EXPECT_TRUE(fs::exists(folder / "set/b"));
  test::write_tar_gz(folder / "evil.tar.gz", {{"../evil", "1"}});
  const auto evil = program("data unpack evil.tar.gz", folder.path);
  EXPECT_EQ(evil.status, 1);
  EXPECT_NE(evil.err.find("leads out of its folder"), std::string::npos) << evil.err;
  test::write_tar_gz(folder / "cifar-10-python.tar.gz", {{"cifar-10-batches-py/test_batch", "forged"}});
  const auto forged = program("data unpack cifar10 --data-root .", folder.path);
  EXPECT_EQ(forged.status, 1);
  EXPECT_NE(forged.err.find("differs from the published file"), std::string::npos) << forged.err;
  EXPECT_EQ(program("data unpack nothing.tar", folder.path).status, 2);
}

TEST(DataVerb, AMissingSetSaysWhereItWasLookedForAndHowToGetIt) {
  const auto run = program("data verify svhn --data-root /nowhere");
  EXPECT_EQ(run.status, 1);
  for (const char* part : {"/nowhere", "train_32x32.mat", "ufldl.stanford.edu", "--data-root"})
    EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
}

TEST(Doctor, NamesTheOptionalParts) {
  const auto parts = nlohmann::json::parse(program("doctor --json").out)["optional_parts"];
  for (const char* part : {"archives", "JPEG", "PNG"}) EXPECT_TRUE(parts.contains(part)) << part;
}

TEST(ImagesOfAFolder, AreTrainedOnEvaluatedAndPredictedLikeTheSameArrays) {
  HPM_NEED_IMAGES();
  test::TemporaryFolder folder;
  const auto images = "images:" + (test::source_dir() / "tests/data/fixtures/images").string();
  const auto run = [&](const std::string& arguments) {
    const auto r = program(arguments + " --threads 1", folder.path);
    EXPECT_EQ(r.status, 0) << arguments << "\n" << r.err;
    return r;
  };
  const std::string size = " --resize 20 --centre-crop 16";
  run("train --data " + images + size + " --arch conv4k4s2p1-relu-flatten-fc2 --epochs 0 --eps .1 --out base");
  run("predict --model base/model.safetensors --input " + images + size + " --out a");
  run("predict --model base/model.safetensors --data " + images + size + " --batch-size 3 --out b");
  const auto a = to_tensor(read_npy((folder / "a/logits.npy").string())),
             b = to_tensor(read_npy((folder / "b/logits.npy").string()));
  EXPECT_EQ(a.size(0), 8);
  EXPECT_TRUE(test::close(a, b, 1e-6));
  std::ifstream csv(folder / "a/labels.csv");
  std::string header, first;
  std::getline(csv, header), std::getline(csv, first);
  EXPECT_EQ(header, "index,label,file");
  EXPECT_NE(first.find("cold/color.jpg"), std::string::npos) << first;
  const auto evaluated =
      run("evaluate --model base/model.safetensors --data " + images + size + " --split test --protocol clean --out c");
  EXPECT_NE(evaluated.err.find("--split had no effect"), std::string::npos) << evaluated.err;
  const auto results = test::read_json(folder / "c/results.json");
  EXPECT_EQ(results["split"], "all");
  EXPECT_EQ(results["class_names"], (std::vector<std::string>{"cold", "warm"}));
  const auto unsized_images =
      program("predict --model base/model.safetensors --input " + images + " --out d", folder.path);
  EXPECT_EQ(unsized_images.status, 2);
  EXPECT_NE(unsized_images.err.find("--resize"), std::string::npos) << unsized_images.err;
}

}  // namespace
}  // namespace hpm
