// A transformer from Python through the whole program, and back to Python.
#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "hpm/io/npy.h"
#include "hpm/io/tensors.h"
#include "support/python.h"

namespace hpm {
namespace {

class TorchScriptProgram : public testing::Test {
 protected:
  test::ProgramRun run(const std::string& arguments, int status = 0) {
    auto r = test::program(arguments + " --threads 1", folder.path);
    EXPECT_EQ(r.status, status) << arguments << "\n" << r.err;
    return r;
  }
  void expect_said(const test::ProgramRun& run, const std::string& part) {
    EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
  }
  std::string file(const std::string& name) { return (folder / name).string(); }
  test::TemporaryFolder folder;
  const std::string data = " --data fashion-mnist --eps 0.05";
};

TEST_F(TorchScriptProgram, TheExamplesOwnSurrogateAttacksBesideTheOthers) {
  HPM_NEED_PYTHON_TORCH();
  HPM_NEED_FASHION_MNIST();
  ASSERT_EQ(test::python("examples/annealed_surrogate.py", "'" + file("annealed.pt") + "' > /dev/null"), "");
  const auto base = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  run("finetune --quiet --epochs 0 --fit-images 300 --metric-steps 5 --out hpm --model '" + base + "'" + data);
  run("evaluate --quiet --protocol msa --surrogates ste --surrogate annealed.pt --allow-torchscript --full-matrix "
      "--steps 5 --count 30 --checks none --context solo --model hpm/model.safetensors --out own --data fashion-mnist "
      "--eps 0.15");
  const auto surrogates = test::read_json(folder / "own/results.json")["contexts"][0]["surrogates"];
  ASSERT_EQ(surrogates.size(), 2u);
  EXPECT_EQ(surrogates[1]["name"], "annealed");
  EXPECT_GT(surrogates[1]["of"], 20);
  EXPECT_GT(surrogates[1]["broke"], 5);
}

TEST_F(TorchScriptProgram, TransformerIsAttackedFineTunedEvaluatedAndExported) {
  HPM_NEED_PYTHON_TORCH();
  HPM_NEED_FASHION_MNIST();
  const auto module = (test::source_dir() / "tests/models/small_vit.py").string();
  ASSERT_EQ(test::python("scripts/export_torchscript.py",
                         "--module '" + module +
                             ":make' --arguments '{\"channels\": 1, \"size\": 28, \"classes\": 10}' --head head "
                             "--input-shape 1,28,28 --to '" +
                             file("vit.pt") + "' > /dev/null"),
            "");
  run("evaluate --protocol pgd --steps 2 --count 20 --checks none --model vit.pt --out pgd" + data);
  run("evaluate --protocol autoattack --version custom --attacks apgd-ce,fab-t,square --steps 2 --targets 2 --queries "
      "20 --checks none --count 10 --model vit.pt --out aa" +
      data);

  const auto tuned =
      run("finetune --model vit.pt --epochs 1 --count 128 --fit-images 100 --metric-steps 5 --batch-norm batch --out "
          "hpm" +
          data);
  expect_said(tuned, "batch norm is frozen");
  expect_said(tuned, "--batch-norm had no effect");
  run("evaluate --protocol msa --version quick --count 10 --checks none --context reference,solo --base vit.pt --model "
      "hpm/model.safetensors --out msa" +
      data);
  EXPECT_EQ(test::read_json(folder / "msa/results.json")["contexts"].size(), 2u);
  const auto described = nlohmann::json::parse(test::program("inspect hpm/model.safetensors --json", folder.path).out);
  EXPECT_NE(described["note"].get<std::string>().find("not loaded here"), std::string::npos);

  for (const std::string context : {"reference", "alone"}) {
    run("predict --count 50 --data fashion-mnist --model hpm/model.safetensors --context " + context + " --out " +
        context);
    ASSERT_EQ(test::program("export --format torchscript --model hpm/model.safetensors --context " + context +
                                " --to " + context + ".pt",
                            folder.path)
                  .status,
              0);
    run("predict --count 50 --data fashion-mnist --model " + context + ".pt --out " + context + "-again");
    const auto a = to_tensor(read_npy(file(context + "/logits.npy"))),
               b = to_tensor(read_npy(file(context + "-again/logits.npy")));
    EXPECT_TRUE(test::close(a, b, 0, 1e-5)) << context;
    EXPECT_TRUE(at::equal(a.argmax(1), b.argmax(1))) << context;
  }
  const auto fold =
      test::program("export --fold --format state_dict --model hpm/model.safetensors --to folded.pth", folder.path);
  ASSERT_EQ(fold.status, 0) << fold.err;
  // The exported modules and the folded weights, in the Python module, against what predict wrote.
  EXPECT_EQ(test::python("tests/cli/check_torchscript.py",
                         "'" + folder.path.string() + "' /usr/share/datasets/fashion-mnist"),
            "");
}

TEST_F(TorchScriptProgram, WithoutPermissionNoVerbRunsIt) {
  HPM_NEED_SHARED(shared_file, "checkpoints/cnn_a_adv4_noise.ts");
  std::filesystem::copy_file(shared_file, folder / "model.pt");
  const auto refused = run("evaluate --protocol clean --count 10 --model model.pt" + data, 2);
  expect_said(refused, "--allow-torchscript");
  expect_said(refused, "sha256 = \"");
  run("finetune --model model.pt --out no" + data, 2);
  EXPECT_EQ(test::program("export --model model.pt --to a.safetensors", folder.path).status, 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "no"));
  EXPECT_EQ(test::program("inspect model.pt", folder.path).status, 0) << "inspect runs no code";
}

}  // namespace
}  // namespace hpm
