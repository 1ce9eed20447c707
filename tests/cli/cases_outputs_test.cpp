// Names and modules that people bring, on the way to results, report and stderr.
#include "cli/cases.h"
#include "support/libraries.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

class CasesOutputs : public testing::Test {
 protected:
  test::ProgramRun run(const std::string& arguments) {
    auto r = program(arguments, folder.path);
    EXPECT_EQ(r.status % 3, 0) << arguments << "\n" << r.err;
    return r;
  }
  /// A model for a folder of images of two classes, one of which has a name that is not UTF-8.
  void make_model(const std::filesystem::path& cases) {
    data = " --quiet --threads 1 --data 'images:" + (cases / "latin1_class").string() + "'";
    run("train --arch conv4k4s2p1-relu-flatten-fc2 --epochs 0 --out model" + data);
  }
  test::TemporaryFolder folder;
  std::string data;
};

TEST_F(CasesOutputs, AClassNameThatIsNotUtf8ReachesResultsAndReportEscaped) {
  HPM_NEED_CASES(cases);
  HPM_NEED_IMAGES();
  make_model(cases);
  run("evaluate --protocol pgd --steps 2 --model model/model.safetensors --out run" + data);
  EXPECT_EQ(test::read_json(folder / "run/results.json")["class_names"], nlohmann::json({"chat", "mod\\xE8le"}));
  EXPECT_NE(text_of(folder / "run/report.html").find("mod\\xE8le"), std::string::npos);
  run("report run --html again.html --table t.md");
}

TEST_F(CasesOutputs, FilesAndFoldersThatAreNotUtf8GoThroughEveryVerb) {
  HPM_NEED_CASES(cases);
  HPM_NEED_IMAGES();
  make_model(cases);
  std::filesystem::rename(folder / "model", folder / "mod\xe8l");
  const std::string model = " --model mod\xe8l/model.safetensors";
  const auto evaluate = "evaluate --protocol pgd --steps 2 --json --out r\xfcn" + model + data;
  const auto first = nlohmann::json::parse(run(evaluate).out),
             again = nlohmann::json::parse(run(evaluate + " --resume").out);
  EXPECT_EQ(first["model"], "mod\\xE8l/model.safetensors");
  EXPECT_EQ(first["robust"], again["robust"]);
  EXPECT_NE(text_of(folder / "r\xfcn/config.toml").find("mod\\\\xE8l/model.safetensors"), std::string::npos);
  run("report r\xfcn --html p\xe4ge.html --table t\xfc.md --title \xc4 --label \xd6");
  for (const char* file : {"p\xe4ge.html", "t\xfc.md"})
    EXPECT_NE(text_of(folder / file).find("\\xD6"), std::string::npos);
  run("predict --json --out pr\xe9" + model + data);
  run("inspect --json mod\xe8l/model.safetensors");
  run("export --json --to \xe9.safetensors" + model);
  run("predict --json --model \xe9.safetensors --out again" + data);
  run("analyze --iterations 2 --out stud\xfd" + model + data);
  // Trained on a data set whose place is not UTF-8: said in the model's metadata at the very end.
  std::filesystem::create_directory_symlink(cases / "latin1_class", folder / "d\xe4ta");
  run("train --quiet --threads 1 --epochs 1 --train-batch 3 --data images:d\xe4ta --out trained" + model);
  EXPECT_TRUE(std::filesystem::exists(folder / "trained/model.safetensors"));
}

TEST_F(CasesOutputs, ALibrarysWarningIsShownOnceWithACountOfTheRest) {
  HPM_NEED_CASES(cases);
  HPM_NEED_IMAGES();
  test::write_text(folder / "quantised.py", R"(import sys, torch, warnings
warnings.simplefilter("ignore")
torch.backends.quantized.engine = "qnnpack" if "fbgemm" not in torch.backends.quantized.supported_engines else "fbgemm"
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)).eval()
small = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
torch.jit.trace(small, torch.rand(2, 3, 32, 32)).save(sys.argv[1])
)");
  const auto made = test::output_of("cd '" + folder.path.string() + "' && '" + test::python_path() +
                                    "' quantised.py quantised.pt 2>&1 && echo made");
  if (!made.ends_with("made\n"))
    GTEST_SKIP()
        << "this PyTorch makes no dynamically quantised module (HPM_PYTHON=PROGRAM names a Python with another one): "
        << made;
  // Gradients do not go through such a module, and LibTorch says so of each of its layers in each pass.
  const auto r = program(
      "evaluate --protocol pgd --steps 2 --batch-size 1 --allow-torchscript --model quantised.pt --quiet --threads 1 "
      "--out run --data 'images:" +
          (cases / "latin1_class").string() + "'",
      folder.path);
  int shown = 0, counted = 0;
  std::istringstream text(r.err);
  for (std::string line; std::getline(text, line);) {
    if (line.find("an autograd kernel was not registered") == std::string::npos) continue;
    (line.find("more like it: ") == std::string::npos ? shown : counted)++;
    EXPECT_EQ(line.rfind("warning: LibTorch: ", 0), 0u) << line;
    EXPECT_LT(line.size(), 400u) << line;
  }
  EXPECT_EQ(shown, 1) << r.err;
  EXPECT_EQ(counted, 1) << r.err;
}

}  // namespace
}  // namespace hpm
