// README's section "Your own model", from checkpoint to report, on a checkpoint that has an input normalisation: every
// command knows it from the card that the first one wrote, and the figures are those of hpm evaluate with --mean and
// --std by hand.
//
// The commands are README's own. A shell runs them in a folder where model.pth and DATA are links to a real checkpoint
// and real images. Two things differ: README's data set, radius and normalisation become those of the checkpoint at
// hand, and flags at the end of a command make it short (fewer images, steps and queries).
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

using Replacements = std::vector<std::pair<std::string, std::string>>;

/// The commands of the block that README marks with "test: own-model", each on one line.
std::vector<std::string> own_model_commands() {
  const auto readme = text_of(test::source_dir() / "README.md");
  const std::string mark = "<!-- test: own-model -->\n```sh\n";
  const auto begin = readme.find(mark);
  if (begin == std::string::npos) return {};
  const auto first = begin + mark.size();
  std::istringstream block(readme.substr(first, readme.find("```", first) - first));
  std::vector<std::string> commands;
  std::string command;
  for (std::string line; std::getline(block, line);) {
    const bool goes_on = line.ends_with("\\");
    command += goes_on ? line.substr(0, line.size() - 1) : line;
    if (goes_on) continue;
    commands.push_back(std::exchange(command, {}));
  }
  return commands;
}

/// Replaces every one of `replacements`; fails the test where README does not have what is to be replaced.
std::string replaced(std::string text, const Replacements& replacements) {
  for (const auto& [from, to] : replacements) {
    auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << "README's commands have no \"" << from << "\" any more";
    for (; at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
  }
  return text;
}

/// The flags that make a command short.
std::string shortened(const std::string& command) {
  if (command.starts_with("hpm finetune"))
    return command + " --epochs 1 --count 256 --attack-steps 1 --threads 1 --quiet" +
           (command.find("--head hpm") != std::string::npos ? " --fit-images 256 --metric-steps 20" : "");
  if (command.starts_with("hpm evaluate"))
    return command + " --steps 3 --threads 1 --quiet" +
           (command.find("autoattack") != std::string::npos ? " --targets 1 --queries 20" : "");
  return command;
}

class OwnModel : public testing::Test {
 protected:
  /// Runs README's commands in `folder`.
  void run_readme(const Replacements& replacements) {
    std::string all;
    for (const auto& command : own_model_commands()) all += command + "\n";
    std::istringstream commands(replaced(all, replacements));
    int count = 0;
    for (std::string command; std::getline(commands, command); ++count) {
      ASSERT_TRUE(command.starts_with("hpm ")) << command;
      const auto run = program(shortened(command).substr(4), folder.path);
      // 3: finished, and a check failed. Attacks as short as these may well fail one.
      ASSERT_TRUE(run.status == 0 || run.status == 3) << command << "\n" << run.out << run.err;
    }
    ASSERT_GE(count, 6) << "README has no block \"test: own-model\", or a short one";
  }

  /// Clean accuracy of a model with what is given by hand.
  double by_hand(const std::string& model, const std::string& flags) {
    const auto run = program(
        "evaluate --protocol clean --overwrite --out by-hand --threads 1 --quiet --json --model " + model + flags,
        folder.path);
    EXPECT_EQ(run.status, 0) << run.err;
    return nlohmann::json::parse(run.out, nullptr, false).value("clean_accuracy", -1.);
  }

  /// README's results are those of the same files with the normalisation by hand. `data`: flags for the images.
  void compare_with_hand(const std::string& data, const std::string& normalisation, const std::string& none) {
    const auto base = test::read_json(folder / "runs/base/results.json");
    const auto msa = test::read_json(folder / "runs/msa/results.json");
    // The same weights without a card: nothing but the flags tells the normalisation.
    std::filesystem::copy_file(folder / "model.pth", folder / "bare.pth");
    const auto clean = by_hand("bare.pth", data + normalisation);
    EXPECT_GT(clean, by_hand("bare.pth", data + none) + 15) << "the checkpoint needs its normalisation";
    EXPECT_EQ(base.at("clean_accuracy"), clean);
    EXPECT_EQ(msa.at("base").at("clean_accuracy"), clean);
    EXPECT_EQ(msa.at("control").at("clean_accuracy"), by_hand("runs/control/model.safetensors", data + normalisation));
    EXPECT_EQ(msa.at("contexts").size(), 4u);
    for (const auto& context : msa.at("contexts")) {
      const std::string name = context.at("context");
      EXPECT_EQ(context.at("clean_accuracy"),
                by_hand("runs/hpm/model.safetensors", data + normalisation + " --context " + name))
          << name;
    }
    EXPECT_NE(text_of(folder / "report.html").find("<html"), std::string::npos);
    EXPECT_NE(text_of(folder / "table.tex").find("tabular"), std::string::npos);
  }

  test::TemporaryFolder folder;
};

TEST_F(OwnModel, IsEvaluatedWithItsNormalisationFromCheckpointToReport) {
  HPM_NEED_SHARED(checkpoint, "checkpoints/resnet4b.pth");
  HPM_NEED_SHARED(data, "data/cifar-10-batches-bin");
  std::filesystem::copy_file(checkpoint, folder / "model.pth");  // the card is written beside it
  std::filesystem::create_directory_symlink(data.parent_path(), folder / "DATA");
  run_readme({{"8/255", "2/255"}, {"--count 1000", "--count 40"}});
  compare_with_hand(" --data cifar10 --data-root DATA --count 40", " --mean .4914,.4822,.4465 --std .2471,.2435,.2616",
                    " --mean 0,0,0 --std 1,1,1");
}

TEST_F(OwnModel, OfFashionMnistIsEvaluatedWithItsNormalisationFromCheckpointToReport) {
  HPM_NEED_FASHION_MNIST();
  // The committed weights alone: their file's metadata and card, which tell the normalisation, are left behind.
  const auto committed = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  write_safetensors((folder / "model.pth").string(), read_checkpoint(committed).tensors);
  run_readme({{".4914,.4822,.4465", ".286"},
              {".2471,.2435,.2616", ".353"},
              {"cifar10 --data-root DATA", "fashion-mnist"},
              {"8/255", ".1"},
              {"--count 1000", "--count 40"}});
  compare_with_hand(" --data fashion-mnist --count 40", " --mean .286 --std .353", " --mean 0 --std 1");
}

}  // namespace
}  // namespace hpm
