// Bad input is met with a sentence and exit status 1 or 2, never a crash.
#include "cli/program.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"

namespace hpm {
namespace {

using test::program;

class BadInput : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = std::make_unique<test::TemporaryFolder>();
    HpmModel model{make_classifier("flatten-fc10", 10, {1, 28, 28}, {{.5}, {.5}}, 0), std::nullopt};
    save_model(model, (*folder / "good.safetensors").string(), "");
    HpmModel five{make_classifier("flatten-fc5", 5, {1, 28, 28}, {{.5}, {.5}}, 0), std::nullopt};
    save_model(five, (*folder / "five.safetensors").string(), "");
    const auto good = test::text_of(*folder / "good.safetensors");
    std::ofstream(*folder / "truncated.safetensors") << good.substr(0, good.size() / 2);
    std::string noise(5000, '\0');
    for (size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<char>((i * 2654435761u) >> 13);
    std::ofstream(*folder / "noise.pth") << noise;
    std::ofstream(*folder / "empty.pth").flush();
    std::filesystem::create_directories(*folder / "directory");
    std::ofstream(*folder / "bad.toml") << "[threat]\nnorm = \"Linf\"\nespilon = \"8/255\"\n";
  }
  static void TearDownTestSuite() { folder.reset(); }

  /// Exit status and a part of the sentence; stdout stays empty.
  void expect(const std::string& arguments, int status, const std::string& part) {
    const auto run = program(arguments, folder->path);
    EXPECT_EQ(run.status, status) << arguments << "\n" << run.err;
    EXPECT_NE(run.err.find(part), std::string::npos) << arguments << "\n" << run.err;
    EXPECT_EQ(run.err.find("terminate called"), std::string::npos) << run.err;
    EXPECT_EQ(run.out, "") << arguments;
  }
  static std::unique_ptr<test::TemporaryFolder> folder;
  const std::string fashion = " --data fashion-mnist --protocol clean --count 10";
};
std::unique_ptr<test::TemporaryFolder> BadInput::folder;

TEST_F(BadInput, UnknownVerbsAndFlagsNameTheNearest) {
  expect("evalute", 2, "did you mean evaluate?");
  expect("evaluate --esp 8/255", 2, "did you mean --eps?");
  expect("evaluate --model good.safetensors nonsense", 2, "nonsense");
  EXPECT_EQ(program("").status, 2);
}

TEST_F(BadInput, RadiiThatCannotBeAreUsageErrors) {
  for (const char* eps : {"-1/255", "8/0", "eight", "-.1", "\"\"", "8/255,x"})
    expect(std::string("evaluate --model good.safetensors --eps=") + eps, 2, "--eps");
  expect("evaluate --norm L7", 2, "Linf");
  expect("evaluate --count -5", 2, "--count");
}

TEST_F(BadInput, OptionsOfTheMixedSurrogateAttackAreCheckedOrSaidToHaveNoEffect) {
  const std::string run = "evaluate --model good.safetensors --data fashion-mnist --dry-run ";
  expect(run + "--colluders 1.5", 2, "needs a whole number, but got \"1.5\"");
  expect(run + "--lambda 2", 2, "lambda");
  expect(run + "--sweep-lambda .5,-1", 2, "sweep-lambda");
  HPM_NEED_FASHION_MNIST();
  const auto idle = program(run + "--count 5 --colluders 3 --lambda .5", folder->path);
  EXPECT_EQ(idle.status, 0) << idle.err;
  for (const char* flag : {"--colluders", "--lambda"})
    EXPECT_NE(idle.err.find(std::string(flag) + " had no effect"), std::string::npos) << idle.err;
  // A surrogate attacks a model without a head too, but only in msa.
  expect(run + "--count 5 --surrogate none.pt", 2, "--allow-torchscript");
  expect(run + "--count 5 --surrogate none.pt --protocol pgd", 2, "only --protocol msa");
  const auto warned = [&](const std::string& flags, const std::string& flag) {
    const auto r = program(run + "--count 5 --protocol msa " + flags, folder->path);
    EXPECT_EQ(r.status, 0) << r.err;
    return r.err.find(flag + " had no effect") != std::string::npos;
  };
  EXPECT_TRUE(warned("--queries 5000", "--queries")) << "quick has no Square";
  EXPECT_FALSE(warned("--queries 5000 --version standard", "--queries"));
  EXPECT_FALSE(warned("--queries 5000 --surrogates ste,query", "--queries"));
  EXPECT_TRUE(warned("--joint-surrogates ste", "--joint-surrogates"));
  EXPECT_TRUE(warned("--company-seed 4", "--company-seed"));
}

TEST_F(BadInput, FilesThatAreNoCheckpointsAreNamed) {
  HPM_NEED_FASHION_MNIST();
  expect("evaluate --model nothere.pth" + fashion, 1, "nothere.pth");
  expect("evaluate --model directory" + fashion, 1, "directory");
  expect("evaluate --model truncated.safetensors" + fashion, 1, "truncated.safetensors");
  expect("evaluate --model noise.pth" + fashion, 1, "noise.pth");
  expect("evaluate --model empty.pth" + fashion, 1, "empty.pth");
  expect("inspect noise.pth", 1, "noise.pth");
  expect("inspect", 2, "one file");
}

TEST_F(BadInput, WrongNumberOfClassesSaysBothNumbers) {
  HPM_NEED_FASHION_MNIST();
  expect("evaluate --model good.safetensors --classes 7" + fashion, 2, "10 classes");
  expect("evaluate --model five.safetensors" + fashion, 2, "5 classes");
}

TEST_F(BadInput, UnknownKeysInTheConfigurationNameFileLineAndNearest) {
  expect("evaluate --config bad.toml", 2, "bad.toml:3");
  expect("evaluate --config none.toml", 2, "none.toml");
  expect("evaluate --set threat.epz=1", 2, "\"eps\"");
}

TEST_F(BadInput, RangesBeyondTheDataSetSayItsSize) {
  HPM_NEED_FASHION_MNIST();
  expect("evaluate --model good.safetensors --data fashion-mnist --protocol clean --first 9990 --count 20", 2, "10000");
  expect("evaluate --model good.safetensors --data fashion-mnist --protocol clean --first 10000", 2, "10000");
  std::ofstream(*folder / "numbers") << "3, 10000";
  expect("evaluate --model good.safetensors --data fashion-mnist --protocol clean --indices numbers", 2, "10000");
}

TEST_F(BadInput, MissingDataSaysHowToGetIt) {
  expect("evaluate --model good.safetensors --data cifar10 --data-root /nowhere --protocol clean", 1,
         "cifar-10-binary");
  expect("evaluate --model good.safetensors --data imagenet --protocol clean", 2, "fashion-mnist");
}

TEST_F(BadInput, ARunDirectoryThatHoldsAnotherRunIsRefused) {
  HPM_NEED_FASHION_MNIST();
  const auto command = "evaluate --model good.safetensors --out twice" + fashion;
  EXPECT_EQ(program(command, folder->path).status, 0);
  expect(command, 2, "--overwrite");
  EXPECT_EQ(program(command + " --overwrite", folder->path).status, 0);
}

TEST_F(BadInput, OptionsWithoutEffectAreWarnedOf) {
  HPM_NEED_FASHION_MNIST();
  const auto run = program(
      "evaluate --model good.safetensors --steps 3 --full-matrix --overwrite --out warned" + fashion, folder->path);
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_NE(run.err.find("--steps had no effect"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("--full-matrix had no effect"), std::string::npos) << run.err;
  const auto clean = program(
      "evaluate --model good.safetensors --control good.safetensors --overwrite --out warned" + fashion, folder->path);
  EXPECT_NE(clean.err.find("--control had no effect"), std::string::npos) << clean.err;
}

}  // namespace
}  // namespace hpm
