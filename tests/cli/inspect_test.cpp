// hpm inspect: what it says of every kind of file, and that the command it gives works.
#include "cli/program.h"
#include "hpm/io/tensors.h"
#include "hpm/models/card.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"

namespace hpm {
namespace {

using test::program;

class Inspect : public testing::Test {
 protected:
  nlohmann::json described(const std::string& arguments) {
    const auto run = program("inspect --json " + arguments, folder.path);
    EXPECT_EQ(run.status, 0) << run.err;
    return nlohmann::json::parse(run.out, nullptr, false);
  }
  void save(const std::string& name, const NamedTensors& tensors) {
    write_safetensors((folder / name).string(), tensors);
  }
  test::TemporaryFolder folder;
  const Classifier model = make_classifier("conv4k4s2p1-relu-flatten-fc20-relu-fc10", 10, {1, 28, 28}, {}, 1);
};

TEST_F(Inspect, SaysWhatWasFoundAndAssumedAndTheCommandThatEvaluates) {
  HPM_NEED_FASHION_MNIST();
  auto tensors = model.state();
  for (auto& [name, tensor] : tensors) name = "module." + name;
  save("a model.safetensors", tensors);
  const auto j = described("'a model.safetensors'");
  EXPECT_EQ(j["container"], "safetensors");
  EXPECT_EQ(j["peeled"], nlohmann::json({"prefix \"module.\""}));
  EXPECT_EQ(j["architecture"], "conv4k4s2p1-relu-flatten-fc20-relu-fc10");
  EXPECT_EQ(j["input"], nlohmann::json({1, 28, 28}));
  EXPECT_EQ(j["classes"], 10);
  EXPECT_EQ(j["features"], 20);
  EXPECT_EQ(j["parameters"], model.parameter_count());
  EXPECT_EQ(j["head"], "fc");
  const std::string command = j["evaluate"];
  ASSERT_TRUE(command.starts_with("hpm evaluate --model 'a model.safetensors' --arch conv4k4s2p1")) << command;
  const auto run = program(command.substr(4) + " --protocol clean --count 20 --out run", folder.path);
  EXPECT_EQ(run.status, 0) << run.err;
}

TEST_F(Inspect, WritesACardThatDescribesTheModel) {
  save("m.safetensors", model.state());
  described("m.safetensors --write-card --mean .5 --std .25");
  const auto card = read_card((folder / "m.safetensors").string());
  ASSERT_TRUE(card.has_value());
  EXPECT_EQ(card->arch, "conv4k4s2p1-relu-flatten-fc20-relu-fc10");
  EXPECT_EQ(card->mean, std::vector<double>{.5});
  EXPECT_EQ(card->sha256.size(), 64u);
  EXPECT_EQ(described("m.safetensors")["evaluate"], "hpm evaluate --model m.safetensors --data fashion-mnist");
}

TEST_F(Inspect, ACardWrittenAgainKeepsWhatItSaidAndTakesTheFileAsItIsNow) {
  save("m.safetensors", model.state());
  const auto written = described("m.safetensors --write-card --mean .5 --std .25 --source 'a paper'");
  EXPECT_EQ(written["card"], "m.safetensors.toml");
  auto state = model.state();
  state.begin()->second = state.begin()->second + 1;
  save("m.safetensors", state);
  const auto refused = program("inspect m.safetensors", folder.path);
  EXPECT_EQ(refused.status, 1);
  for (const char* part : {"m.safetensors.toml", "hpm inspect --write-card"})
    EXPECT_NE(refused.err.find(part), std::string::npos) << refused.err;
  described("m.safetensors --write-card");
  const auto card = read_card((folder / "m.safetensors").string());
  EXPECT_EQ(card->mean, std::vector<double>{.5});
  EXPECT_EQ(card->source, "a paper");
  EXPECT_EQ(described("m.safetensors")["sha256"], card->sha256);
}

TEST_F(Inspect, WarnsOfANormalisationInUnitsOf255) {
  save("m.safetensors", model.state());
  EXPECT_NE(described("m.safetensors --mean 125 --std 63")["warnings"].dump().find("divide by 255"), std::string::npos);
}

TEST_F(Inspect, ItsCommandsKeepTheNormalisationItKnowsOrSayThatNoneIs) {
  save("m.safetensors", model.state());
  const auto unknown = described("m.safetensors");
  EXPECT_NE(unknown["normalisation"].get<std::string>().find("--mean 0,0,0 --std 1,1,1"), std::string::npos);
  EXPECT_EQ(unknown["evaluate"].get<std::string>().find("--mean"), std::string::npos);
  const std::string flags = "--mean 0.5 --std 0.25 --data fashion-mnist";
  const auto given = described("m.safetensors --mean .5 --std .25");
  EXPECT_NE(given["evaluate"].get<std::string>().find(flags), std::string::npos) << given["evaluate"];
  EXPECT_NE(given["finetune"].get<std::string>().find(flags), std::string::npos) << given["finetune"];
  auto tensors = model.state();
  for (auto& [name, tensor] : tensors) name = "net." + name;
  tensors.emplace_back("norm.mean", at::tensor({.5f}));
  tensors.emplace_back("norm.std", at::tensor({.25f}));
  save("-buffers.safetensors", tensors);
  const auto buffers = described("./-buffers.safetensors");
  EXPECT_NE(buffers["evaluate"].get<std::string>().find(flags), std::string::npos) << buffers["evaluate"];
  HPM_NEED_FASHION_MNIST();
  const auto command = buffers["evaluate"].get<std::string>().substr(4);
  const auto run = program(command + " --protocol clean --count 20 --out run", folder.path);
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(run.err.find("no input normalisation"), std::string::npos) << run.err;
}

TEST_F(Inspect, FilesWhoseNamesAreNotUtf8AreDescribedAndTheCommandOpensThem) {
  HPM_NEED_FASHION_MNIST();
  save("mod\xE8le.safetensors", model.state());
  const std::string name = "\"$(printf 'mod\\350le.safetensors')\"";
  const auto run = program("inspect " + name, folder.path);
  EXPECT_EQ(run.status, 0) << run.err;
  const auto begin = run.out.find("hpm evaluate");
  const auto command = run.out.substr(begin, run.out.find('\n', begin) - begin);
  EXPECT_NE(command.find("--model " + name), std::string::npos) << command;
  EXPECT_EQ(described(name)["file"], "mod\\xE8le.safetensors");
  const auto evaluated = program(command.substr(4) + " --quiet --protocol clean --count 5 --out run", folder.path);
  EXPECT_EQ(evaluated.status, 0) << evaluated.err;
}

TEST_F(Inspect, DescribesAFileThatFitsNoArchitectureBeforeItFails) {
  save("m.safetensors", {{"encoder.weight", at::zeros({3, 4})}, {"decoder.weight", at::zeros({2, 3})}});
  const auto run = program("inspect m.safetensors --keys", folder.path);
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.out.find("encoder.weight Float[3,4]"), std::string::npos) << run.out;
  EXPECT_NE(run.err.find("TorchScript"), std::string::npos) << run.err;
}

TEST_F(Inspect, RunsNothingFromAFile) {
  std::ofstream(folder / "m.pth") << std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15)
                                  << std::string("\x80\x02M\xe9\x03.", 6) << "}X"
                                  << std::string("\x0d\x00\x00\x00little_endian\x88s.", 20)
                                  << "cos\nsystem\n(S'touch was_here'\ntR.].";
  const auto run = program("inspect m.pth", folder.path);
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.err.find("an object of os.system instead of weights"), std::string::npos) << run.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "was_here"));
}

TEST_F(Inspect, NamesATorchScriptFileAndWhatItNeeds) {
  HPM_NEED_SHARED(path, "checkpoints/cnn_a_adv4_noise.ts");
  std::filesystem::copy_file(path, folder / "m.ts");
  const auto j = described("m.ts");
  EXPECT_EQ(j["container"], "TorchScript");
  EXPECT_NE(j["note"].get<std::string>().find("--allow-torchscript"), std::string::npos);
  EXPECT_EQ(j["evaluate"], "hpm evaluate --model m.ts --allow-torchscript --data cifar10");
  EXPECT_EQ(described("m.ts --mean .5,.5,.5 --std 1,1,1")["evaluate"],
            "hpm evaluate --model m.ts --allow-torchscript --mean 0.5,0.5,0.5 --std 1,1,1 --data cifar10");
  EXPECT_FALSE(j.contains("architecture"));
  described("m.ts --write-card --source 'a paper'");
  EXPECT_EQ(read_card((folder / "m.ts").string())->sha256, j["sha256"]);
  const auto normalised = described("m.ts --write-card --mean .5,.5,.5 --std 1,1,1")["normalisation"].dump();
  EXPECT_NE(normalised.find("does not normalise by itself"), std::string::npos) << normalised;
  EXPECT_EQ(read_card((folder / "m.ts").string())->source, "a paper");
}

}  // namespace
}  // namespace hpm
