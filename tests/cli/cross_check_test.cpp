// HPM in its two deterministic contexts, attacked from outside.
#include "cli/program.h"
#include "support/python.h"

namespace hpm {
namespace {

TEST(CrossCheck, AnIndependentImplementationAgreesOnTheExportedReferenceAndAloneModels) {
  HPM_NEED_PYTHON_TORCH();
  HPM_NEED_FASHION_MNIST();
  const auto has = test::output_of("'" + test::python_path() + "' -c 'import torchattacks' 2>&1 && echo done");
  if (!has.ends_with("done\n")) GTEST_SKIP() << "needs torchattacks, absent here: scripts/setup installs it in .venv";
  const test::TemporaryFolder folder;
  const auto run = [&](const std::string& arguments) {
    const auto r = test::program(arguments + " --threads 1 --quiet", folder.path);
    ASSERT_TRUE(r.status == 0 || r.status == 3) << arguments << "\n" << r.err;
  };
  const auto base = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  const std::string data = " --data fashion-mnist --eps 0.1", model = " --model hpm/model.safetensors";
  run("finetune --epochs 0 --lambda .5 --fit-images 1000 --metric-steps 60 --out hpm --model '" + base + "'" + data);
  for (const std::string context : {"reference", "alone"}) {
    ASSERT_EQ(test::program("export --format torchscript --context " + context +
                                (context == "reference" ? " --fold" : "") + " --to " + context + ".pt" + model,
                            folder.path)
                  .status,
              0);
    // hard: the exact local gradient, which autograd gives of the exported module too.
    run("evaluate --protocol msa --surrogates hard --steps 20 --count 300 --checks none --out " + context +
        " --context " + context + model + data);
    std::filesystem::copy_file(folder / (context + "/results.json"), folder / (context + ".json"));
  }
  EXPECT_EQ(test::python("tests/cli/cross_check.py",
                         "'" + folder.path.string() + "' /usr/share/datasets/fashion-mnist 300 20 0.1"),
            "");
}

}  // namespace
}  // namespace hpm
