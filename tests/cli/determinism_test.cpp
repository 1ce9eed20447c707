// What stays the same when a command is repeated elsewhere: docs/reliability.md has the table.
#include <iostream>

#include "cli/program.h"
#include "hpm/io/sha256.h"

namespace hpm {
namespace {

using test::program;

class Determinism : public testing::Test {
 protected:
  /// A short attack by gradient, FAB and Square on the committed model, with its adversarial images.
  void attack(const std::string& name, const std::string& environment, const std::string& more = " --threads 1") {
    const auto run = program(
        "evaluate --quiet --checks none --data fashion-mnist --eps 0.1 --count 48 --model '" + base +
            "' --protocol autoattack --steps 10 --targets 2 --queries 100 --save-adversarial --out " + name + more,
        folder.path, environment);
    ASSERT_EQ(run.status, 0) << run.err;
  }
  nlohmann::json flags(const std::string& name) { return test::read_json(folder / (name + "/results.json"))["robust"]; }
  std::string images(const std::string& name) {
    return sha256(std::string_view(test::text_of(folder / (name + "/adversarial.safetensors"))));
  }
  /// Of the logits on the images as they are.
  std::string logits(const std::string& name, const std::string& environment) {
    const auto run = program(
        "predict --quiet --data fashion-mnist --count 64 --threads 1 --model '" + base + "' --out logits-" + name,
        folder.path, environment);
    EXPECT_EQ(run.status, 0) << run.err;
    return sha256(std::string_view(test::text_of(folder / ("logits-" + name + "/logits.npy"))));
  }
  const std::string base = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  test::TemporaryFolder folder;
};

TEST_F(Determinism, TheSameCommandGivesTheSameFlagsAndTheSameBytes) {
  HPM_NEED_FASHION_MNIST();
  attack("one", ""), attack("again", "");
  EXPECT_EQ(flags("one"), flags("again"));
  EXPECT_EQ(images("one"), images("again"));
}

TEST_F(Determinism, FlagsAreTheSameOnEveryInstructionSetOfThisProcessor) {
  HPM_NEED_FASHION_MNIST();
  const auto processor = test::text_of("/proc/cpuinfo");
  const auto has = [&](const char* flag) { return processor.find(flag) != std::string::npos; };
  if (!has(" sse4_2") || !has(" avx2"))
    GTEST_SKIP() << "needs a processor with SSE4.2 and AVX2: run it on an x86-64 machine";
  attack("here", "");
  const std::string sse = "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2";
  for (const auto& [name, environment] : std::map<std::string, std::string>{
           {"sse", sse},
           {"avx2", "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2"},
           {"avx512", "ATEN_CPU_CAPABILITY=avx512 ONEDNN_MAX_CPU_ISA=AVX512_CORE MKL_ENABLE_INSTRUCTIONS=AVX512"}}) {
    if (name == "avx512" && !(has(" avx512f") && has(" avx512bw") && has(" avx512vl"))) {
      std::cout << "AVX-512 is left out: this processor lacks it; run it on one that has it\n";
      continue;
    }
    attack(name, environment);
    EXPECT_EQ(flags(name), flags("here")) << name;
  }
  EXPECT_NE(logits("sse", sse), logits("here", "")) << "the variables had no effect: nothing is tested";
}

TEST_F(Determinism, FlagsAreTheSameWithAnyNumberOfThreads) {
  HPM_NEED_FASHION_MNIST();
  attack("one", ""), attack("two", "", " --threads 2"), attack("three", "", " --threads 3");
  EXPECT_EQ(flags("two"), flags("one"));
  EXPECT_EQ(flags("three"), flags("one"));
}

}  // namespace
}  // namespace hpm
