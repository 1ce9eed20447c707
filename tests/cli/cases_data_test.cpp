// Data that people bring: values by rounding outside [0,1], unsigned labels, hidden folders, names that are not UTF-8.
#include "cli/cases.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"
#include "support/libraries.h"

namespace hpm {
namespace {

using test::program;

class CaseData : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = std::make_unique<test::TemporaryFolder>();
    for (const auto& [name, classes, channels] :
         {std::tuple{"ten", 10, 3}, {"three", 3, 3}, {"two", 2, 3}, {"gray", 10, 1}}) {
      const auto layers = fmt::format("flatten-fc{}", classes);
      const HpmModel model{make_classifier(layers, classes, {channels, 32, 32}, {}, 0), std::nullopt};
      save_model(model, (*folder / (std::string(name) + ".safetensors")).string(), "");
    }
  }
  static void TearDownTestSuite() { folder.reset(); }
  test::ProgramRun evaluate(const std::string& model, const std::string& data, const std::string& flags = "") {
    return program("evaluate --quiet --overwrite --out run --protocol clean --model " + model +
                       ".safetensors --data '" + data + "' " + flags,
                   folder->path);
  }
  static std::unique_ptr<test::TemporaryFolder> folder;
};
std::unique_ptr<test::TemporaryFolder> CaseData::folder;

TEST_F(CaseData, RoundingBeyondOneIsClampedWithANoteUnderQuietToo) {
  HPM_NEED_CASES(cases);
  const auto run = evaluate("ten", "npz:" + (cases / "above_one.npz").string());
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find("1.0000001"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("clamped"), std::string::npos) << run.err;
}

TEST_F(CaseData, NanNamesTheImage) {
  HPM_NEED_CASES(cases);
  const auto run = evaluate("ten", "npz:" + (cases / "nan_pixel.npz").string());
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.err.find("NaN in image 7"), std::string::npos) << run.err;
}

TEST_F(CaseData, UnsignedLabelsAreRead) {
  HPM_NEED_CASES(cases);
  EXPECT_EQ(evaluate("ten", "npz:" + (cases / "uint16_labels.npz").string()).status, 0);
}

TEST_F(CaseData, HiddenFoldersAreNoClassesAndAreNamed) {
  HPM_NEED_IMAGES();
  HPM_NEED_CASES(cases);
  const auto data = "images:" + (cases / "hidden_class").string();
  const auto run = evaluate("two", data);
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find(".ipynb_checkpoints"), std::string::npos) << run.err;
  const auto results = test::read_json(*folder / "run/results.json");
  EXPECT_EQ(results["class_names"], nlohmann::json({"a", "b"}));
}

TEST_F(CaseData, ClassesWhoseNamesAreNotUtf8AreReadAndShownEscaped) {
  HPM_NEED_IMAGES();
  HPM_NEED_CASES(cases);
  const auto data = "images:" + (cases / "latin1_class").string();
  const auto run = evaluate("two", data);
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(test::read_json(*folder / "run/results.json")["class_names"], nlohmann::json({"chat", "mod\\xE8le"}));
  const auto predicted =
      program("predict --quiet --overwrite --out labels --model two.safetensors --data '" + data + "'", folder->path);
  EXPECT_EQ(predicted.status, 0) << predicted.err;
  const auto csv = test::text_of(*folder / "labels/labels.csv");
  EXPECT_NE(csv.find("mod\\xE8le/0.png\""), std::string::npos) << csv;
}

TEST_F(CaseData, ImagesOfAnotherShapeThanTheModelsAreNamedInEveryVerb) {
  HPM_NEED_FASHION_MNIST();
  for (const std::string verb : {"evaluate --protocol clean", "finetune", "analyze", "predict"}) {
    const auto run = program(verb + " --overwrite --out other --model ten.safetensors --data fashion-mnist --count 20",
                             folder->path);
    EXPECT_EQ(run.status, 2) << verb << run.err;
    EXPECT_NE(run.err.find("the images have 1 channel, the model takes 3"), std::string::npos) << verb << run.err;
  }
  const auto size = evaluate("gray", "fashion-mnist", "--count 20");
  EXPECT_EQ(size.status, 2);
  EXPECT_NE(size.err.find("the images are 28x28, the model takes 32x32"), std::string::npos) << size.err;
  // Without a description of its own: keys and shapes alone tell.
  const auto bare = make_classifier("resnet14", 10, {3, 32, 32}, {}, 0);
  write_safetensors((*folder / "bare.safetensors").string(), bare.state());
  const auto colours = evaluate("bare", "fashion-mnist", "--count 20");
  EXPECT_NE(colours.err.find("the images have 1 channel, the model takes 3"), std::string::npos) << colours.err;
  const auto hidden = make_classifier("resnet2b", 10, {1, 32, 32}, {}, 0);
  write_safetensors((*folder / "hidden.safetensors").string(), hidden.state());
  const auto sizes = evaluate("hidden", "fashion-mnist", "--count 20");
  EXPECT_NE(sizes.err.find("the images are 28x28, the model takes 32x32"), std::string::npos) << sizes.err;
}

}  // namespace
}  // namespace hpm
