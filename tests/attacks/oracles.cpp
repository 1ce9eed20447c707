// All AutoAttack oracles, in both modes: `make oracles`. HPM_ORACLES=text runs the files whose names hold it;
// HPM_SEEDS=0,1 chooses the seeds of the default mode.
#include "attacks/oracle_run.h"

namespace hpm {
namespace {

std::vector<std::filesystem::path> oracle_files() {
  std::vector<std::filesystem::path> files;
  const char* wanted = std::getenv("HPM_ORACLES");
  if (const auto folder = test::shared("oracles/autoattack"))
    for (const auto& entry : std::filesystem::directory_iterator(*folder))
      if (entry.path().extension() == ".json" &&
          (!wanted || entry.path().filename().string().find(wanted) != std::string::npos))
        files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST(Oracles, ConformanceGivesTheOfficialFlags) {
  const auto files = oracle_files();
  HPM_NEED_ORACLES(files);
  for (const auto& file : files) {
    const auto oracle = test::read_json(file);
    const auto c = test::run_oracle(oracle, true, 0);
    HPM_NEED_CHECKPOINT(c);
    test::print_row(file.stem().string(), *c);
    // The official code, run on the machine of this test with the same build of PyTorch, gives other flags than the
    // file for exactly these images, and takes as many passes as we do (docs/autoattack.md): what differs is the
    // processor.
    const bool known = file.stem() == "cnn_a_adv4_L1_4.00000_custom-square_100_bs100" &&
                       c->images_that_differ == std::set<int64_t>{0, 5, 15, 23, 30, 71};
    for (const auto& line : c->differences) {
      if (known) fmt::print("        {}\n", line);
      else ADD_FAILURE() << file.filename().string() << " " << line;
    }
  }
}

/// Files whose flags are one outcome of chance: Square alone at radii where it breaks a quarter to a half of the
/// images, and the random network. The official code misses 5 and 6 of the 25 images of the L1 file with seeds 1 and 2
/// (docs/autoattack.md).
bool is_chance(const std::string& name) {
  return name.find("custom-square") != std::string::npos || name.find("noise") != std::string::npos;
}

TEST(Oracles, DefaultModeMissesNextToNothing) {
  const auto files = oracle_files();
  HPM_NEED_ORACLES(files);
  const char* seeds = std::getenv("HPM_SEEDS");
  for (const char seed : std::string(seeds ? seeds : "0,1,2")) {
    if (seed == ',') continue;
    int64_t broken = 0, missed = 0, more = 0, chance_broken = 0, chance_missed = 0, chance_more = 0;
    for (const auto& file : files) {
      const auto c = test::run_oracle(test::read_json(file), false, static_cast<uint64_t>(seed - '0'));
      HPM_NEED_CHECKPOINT(c);
      test::print_row(fmt::format("seed {} {}", seed, file.stem().string()), *c);
      for (const auto& line : c->differences) fmt::print("        {}\n", line);
      if (is_chance(file.stem().string()))
        chance_broken += c->oracle_broken, chance_missed += c->missed, chance_more += c->more;
      else broken += c->oracle_broken, missed += c->missed, more += c->more;
    }
    fmt::print("seed {}: of {} images that the official runs broke, {} missed; {} more broken\n", seed, broken, missed,
               more);
    fmt::print("seed {}: and of {} in the files of chance, {} missed; {} more broken\n", seed, chance_broken,
               chance_missed, chance_more);
    EXPECT_LE(static_cast<double>(missed), std::max(1., .005 * static_cast<double>(broken)));
    EXPECT_LE(chance_missed, chance_more + chance_broken / 4);
  }
}

}  // namespace
}  // namespace hpm
