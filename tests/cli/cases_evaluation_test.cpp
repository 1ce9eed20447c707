// What people bring, met by evaluate, finetune and predict. Each test stands for a kind of input.
#include <nlohmann/json.hpp>

#include "cli/cases.h"

namespace hpm {
namespace {

using nlohmann::json;
using test::program;

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

json check_named(const json& results, const std::string& name, const std::string& context = "") {
  for (const auto& check : results["checks"])
    if (check["name"] == name && check.value("context", "") == context) return check;
  ADD_FAILURE() << "no check " << name << " in " << results["checks"];
  return {};
}

/// The cases beside CIFAR-10 and the shared ResNet-14, whose normalisation no file tells.
class Brought : public testing::Test {
 protected:
  static void SetUpTestSuite() { folder = std::make_unique<test::TemporaryFolder>(); }
  static void TearDownTestSuite() { folder.reset(); }

  test::ProgramRun run(const std::string& arguments, int status) {
    const auto r = program(arguments + " --threads 1", folder->path);
    EXPECT_EQ(r.status, status) << arguments << "\n" << r.err;
    return r;
  }
  test::ProgramRun evaluate(const std::string& arguments, const std::string& out, int status,
                            const std::string& checks = "none") {
    return run("evaluate --quiet --overwrite --out " + out + data + " --checks " + checks + " " + arguments, status);
  }
  json results(const std::string& name) { return test::read_json(*folder / (name + "/results.json")); }

  /// The ResNet-14 with an HPM head, fitted on few images, once.
  std::string hpm_model() {
    if (!std::filesystem::exists(*folder / "hpm/model.safetensors"))
      run("finetune --quiet --epochs 0 --fit-images 200 --metric-steps 5 --attack-steps 1 --out hpm --model '" +
              resnet + "'" + normalised + data,
          0);
    return "hpm/model.safetensors";
  }

  static std::unique_ptr<test::TemporaryFolder> folder;
  const std::string data = " --data cifar10 --data-root '" + test::shared("data").value_or("absent").string() + "'";
  const std::string resnet = test::shared("checkpoints/resnet14_at8.pth").value_or("absent").string();
  const std::string normalised = " --mean .4914,.4822,.4465 --std .2471,.2435,.2616";
};
std::unique_ptr<test::TemporaryFolder> Brought::folder;

#define HPM_NEED_BROUGHT(cases)                                  \
  HPM_NEED_CASES(cases);                                         \
  HPM_NEED_SHARED(cifar10_batches, "data/cifar-10-batches-bin"); \
  HPM_NEED_SHARED(resnet14_file, "checkpoints/resnet14_at8.pth")

TEST_F(Brought, AnUnknownNormalisationIsTheModelsWhereTheArchitectureIsTheSame) {
  HPM_NEED_BROUGHT(cases);
  evaluate("--protocol pgd --steps 2 --count 60 --model " + hpm_model() + " --base '" + resnet + "'", "same", 0);
  const auto j = results("same");
  EXPECT_GT(j["base"]["clean_accuracy"], 45) << "scored without its normalisation";
  EXPECT_TRUE(holds(j["notes"].dump(), "the model's (resnet14, the same architecture)")) << j["notes"];
  EXPECT_EQ(check_named(j, "peer accuracy", "base")["status"], "passed");
}

TEST_F(Brought, AnUnknownNormalisationIsAnErrorWhereSomethingIsBuiltOrComparedOnIt) {
  HPM_NEED_BROUGHT(cases);
  const auto model = "--model '" + resnet + "'";
  for (const auto& command :
       {"finetune --epochs 0 --out refused " + model + data, "train --epochs 0 --out refused " + model + data,
        "evaluate --protocol pgd --count 5 --out refused " + model + " --base '" + resnet + "'" + data})
    EXPECT_TRUE(holds(run(command, 2).err, "normalisation is not known")) << command;
  EXPECT_FALSE(std::filesystem::exists(*folder / "refused"));
  // Another architecture's normalisation is no guess.
  HPM_NEED_SHARED(other, "checkpoints/resnet4b.pth");
  const auto refused =
      evaluate("--protocol pgd --count 5 --model " + hpm_model() + " --base '" + other.string() + "'", "refused", 2);
  EXPECT_TRUE(holds(refused.err, "another architecture")) << refused.err;
  // None at all can be said.
  evaluate("--protocol pgd --steps 1 --count 5 --mean 0 --std 1 " + model + " --base '" + resnet + "'", "none", 0);
  EXPECT_EQ(results("none")["model_info"]["normalisation"]["std"], json({1., 1., 1.}));
  // Alone it is a warning that stands in the results.
  evaluate("--protocol pgd --steps 1 --count 5 " + model, "alone", 0);
  EXPECT_TRUE(holds(results("alone")["notes"].dump(), "no input normalisation is known"));
}

TEST_F(Brought, AComparisonWithAPeerThatSeesOtherInputsIsSuspectAndStillShown) {
  HPM_NEED_BROUGHT(cases);
  std::filesystem::copy_file(resnet, *folder / "raw.pth", std::filesystem::copy_options::overwrite_existing);
  std::ofstream(*folder / "raw.pth.toml") << "[model]\nmean = [0]\nstd = [0.05]\n";
  const auto r = evaluate("--protocol pgd --steps 2 --count 100 --model " + hpm_model() + " --base raw.pth", "far", 3);
  const auto j = results("far");
  EXPECT_EQ(check_named(j, "peer accuracy", "base")["status"], "failed");
  EXPECT_TRUE(holds(r.out, "SUSPECT  peer accuracy in base")) << r.out;
  EXPECT_TRUE(j["base"].contains("difference"));
}

TEST_F(Brought, ABlackBoxRunsSquareAndPredictAndRefusesGradientsInASentence) {
  HPM_NEED_BROUGHT(cases);
  const auto box = "--allow-torchscript --model '" + (cases / "labels.pt").string() + "' --count 12 ";
  evaluate(box + "--protocol autoattack --version custom --attacks square --queries 20", "square", 0, "basic");
  const auto j = results("square");
  for (const char* name : {"unbounded", "zero gradients"}) {
    EXPECT_EQ(check_named(j, name)["status"], "not run");
    EXPECT_EQ(check_named(j, name)["detail"], "the model has no gradient");
  }
  for (const std::string protocol : {"pgd", "autoattack", "msa"}) {
    const auto r = evaluate(box + "--protocol " + protocol, "refused", 2);
    EXPECT_TRUE(holds(r.err, "not differentiable")) << r.err;
    EXPECT_TRUE(holds(r.err, "--attacks square")) << r.err;
    EXPECT_LE(std::count(r.err.begin(), r.err.end(), '\n'), 2) << r.err;
  }
  EXPECT_FALSE(std::filesystem::exists(*folder / "refused"));
  run("predict --quiet --overwrite --out labels " + box + data, 0);
  // A stand-in gives msa its gradient; here the same network before its labels are taken.
  evaluate(box + "--protocol msa --steps 5 --surrogate '" + (cases / "probabilities.pt").string() + "'", "through", 0);
  const auto through = results("through");
  const auto& attacked = through["surrogates"];
  const auto stand_in =
      std::find_if(attacked.begin(), attacked.end(), [](const auto& s) { return s["name"] == "probabilities"; });
  ASSERT_NE(stand_in, attacked.end()) << attacked.dump();
  EXPECT_GT((*stand_in)["broke"], 0);
  EXPECT_EQ(attacked[0]["name"], "self");
  EXPECT_EQ(attacked[0]["unavailable"], "the model has no gradient") << attacked.dump();
  EXPECT_GT(through["attacks"][0]["backward_passes"].get<int64_t>() + through["attacks"].size(), 0);
  EXPECT_LT(through["robust_accuracy"], through["clean_accuracy"]) << "the stand-in broke nothing";
}

TEST_F(Brought, ASurrogateIsRefusedWhereNoProtocolReadsIt) {
  HPM_NEED_BROUGHT(cases);
  const auto r = evaluate("--protocol pgd --count 5 --allow-torchscript --model '" + resnet + "'" + normalised +
                              " --surrogate '" + (cases / "probabilities.pt").string() + "'",
                          "refused", 2);
  EXPECT_TRUE(holds(r.err, "only --protocol msa")) << r.err;
}

TEST_F(Brought, BaseAndControlAttackAModelWithoutAHead) {
  HPM_NEED_BROUGHT(cases);
  evaluate("--protocol msa --steps 3 --count 6 --eps 2/255 --model '" + resnet + "'" + normalised + " --base '" +
               resnet + "' --control '" + resnet + "'",
           "plain", 0, "basic");
  const auto j = results("plain");
  std::set<std::string> through;
  for (const auto& attack : j["attacks"])
    if (attack["surrogate"].is_string()) through.insert(attack["surrogate"].get<std::string>());
  EXPECT_EQ(through, (std::set<std::string>{"base", "control"}));
  EXPECT_NE(check_named(j, "transfer")["status"], "not run");
  EXPECT_EQ(j["control"]["wins"], j["control"]["losses"]) << "the control is the model";
}

TEST_F(Brought, LogitsThatAreNotFiniteAreNamed) {
  HPM_NEED_BROUGHT(cases);
  const auto model = "--model '" + (cases / "nan_bias.pth").string() + "'" + normalised + " --first 5 --count 20 ";
  EXPECT_TRUE(holds(evaluate(model + "--protocol clean", "nan", 3).out, "image 5, class 3"));
  EXPECT_EQ(results("nan")["suspect"], true);
  for (const std::string protocol : {"pgd", "autoattack", "msa"})
    EXPECT_TRUE(holds(evaluate(model + "--protocol " + protocol, "nan", 1).err, "image 5, class 3")) << protocol;
  const auto predicted = run("predict --quiet --overwrite --out nan-labels " + model + data, 3);
  EXPECT_TRUE(holds(predicted.err, "image 5, class 3")) << predicted.err;
  EXPECT_TRUE(holds(test::text_of(*folder / "nan-labels/labels.csv"), "5,-1"));
}

TEST_F(Brought, ProbableMistakesAreNamedAndStandInTheResults) {
  HPM_NEED_BROUGHT(cases);
  const auto own = "--model '" + resnet + "' --count 24 ";
  const auto expect_note = [&](const std::string& arguments, const std::string& part, const char* protocol = "clean") {
    const auto r = program("evaluate --quiet --overwrite --threads 1 --checks none --out noted --protocol " +
                               std::string(protocol) + " " + arguments + data,
                           folder->path);
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_TRUE(holds(r.err, part)) << arguments << "\n" << r.err;
    EXPECT_TRUE(holds(results("noted")["notes"].dump(), part)) << arguments << "\n" << results("noted")["notes"];
  };
  expect_note("--model '" + (cases / "offset.pth").string() + "' --count 24" + normalised, "float32 numbers there are");
  expect_note("--allow-torchscript --steps 1 --count 24 --model '" + (cases / "probabilities.pt").string() + "'",
              "probabilities", "pgd");
  expect_note(own + "--mean 125.3,123,113.9 --std 63,62,67", "divide by 255");
  expect_note(own + "--mean 125.3,123,113.9 --std 63,62,67", "hardly better than guessing");
  expect_note(own + "--steps 1 --eps 8" + normalised, "8 means 8/255?", "pgd");
  expect_note(own + "--steps 1 --step-size 0" + normalised, "no step moves an image", "pgd");
}

TEST_F(Brought, EpsZeroCostsNoAttackAndKeepsTheCleanVerdicts) {
  HPM_NEED_BROUGHT(cases);
  for (const std::string protocol : {"pgd", "autoattack", "msa"}) {
    evaluate("--protocol " + protocol + " --eps 0 --count 20 --context reference --model " + hpm_model(), "zero", 0);
    const auto j = results("zero");
    EXPECT_TRUE(j["attacks"].empty()) << protocol;
    EXPECT_EQ(j["robust"], j["clean_correct"]);
    EXPECT_TRUE(holds(j["notes"].dump(), "within eps 0")) << j["notes"];
  }
  evaluate("--protocol pgd --steps 2 --eps 2/255,0 --count 20 --model " + hpm_model(), "zero", 0);
  const auto j = results("zero");
  EXPECT_EQ(j["curve"][0]["robust_accuracy"], j["clean_accuracy"]);
  EXPECT_LT(j["robust_accuracy"], j["clean_accuracy"]);
}

TEST_F(Brought, CleanReportsEveryContextAskedFor) {
  HPM_NEED_BROUGHT(cases);
  const auto r =
      evaluate("--protocol clean --count 20 --context reference,alone,joint --model " + hpm_model(), "clean", 0);
  const auto j = results("clean");
  ASSERT_EQ(j["contexts"].size(), 3u);
  EXPECT_EQ(j["contexts"][1]["context"], "alone");
  EXPECT_TRUE(j["contexts"][1]["robust_accuracy"].is_null());
  EXPECT_TRUE(holds(r.out, "joint")) << r.out;
}

TEST_F(Brought, AResumedRunKnowsFilesByTheirContentAndNamesWhatDiffers) {
  HPM_NEED_BROUGHT(cases);
  const auto settings =
      "evaluate --quiet --protocol pgd --steps 1 --count 10 --checks none --out again" + normalised + data;
  run(settings + " --model '" + resnet + "'", 0);
  const auto before = results("again")["robust"];
  std::filesystem::create_symlink(resnet, *folder / "moved.pth");
  run(settings + " --model moved.pth --resume", 0);
  EXPECT_EQ(results("again")["robust"], before);
  const auto r = run(settings + " --model moved.pth --resume --seed 3", 1);
  EXPECT_TRUE(holds(r.err, "--seed was 0, is now 3")) << r.err;
  EXPECT_TRUE(holds(run(settings + " --model '" + (cases / "offset.pth").string() + "' --resume", 1).err,
                    "SHA-256 of the model was"));
}

TEST_F(Brought, TwoClassesRunUnderEveryProtocolAndSayWhatStandsInForTheRatio) {
  HPM_NEED_BROUGHT(cases);
  const auto script = *folder / "two.py";
  std::ofstream(script) << "import numpy as np\nr = np.random.default_rng(0)\ny = np.arange(40) % 2\n"
                           "x = np.clip(r.random((40, 3, 8, 8)) * .5 + y.reshape(-1, 1, 1, 1) * .3, 0, 1)\n"
                           "np.savez('two.npz', images=x.astype(np.float32), labels=y)\n";
  ASSERT_EQ(std::system(("cd '" + folder->path.string() + "' && '" + test::python_path() + "' two.py").c_str()), 0);
  const std::string two = " --data npz:two.npz";
  run("train --quiet --epochs 5 --attack-steps 1 --eps .02 --lr .01 --train-batch 8 --arch "
      "conv4k3s2p1-relu-flatten-fc8-relu-fc2 --out two" +
          two,
      0);
  run("finetune --quiet --epochs 0 --eps .02 --fit-images 40 --metric-steps 5 --attack-steps 1 --model "
      "two/model.safetensors --out two-hpm" +
          two,
      0);
  for (const std::string model : {"two", "two-hpm"})
    for (const std::string protocol :
         {"pgd", "autoattack", "msa", "msa --version standard --context reference,solo,joint"}) {
      const auto r =
          program("evaluate --quiet --overwrite --threads 1 --steps 3 --eps .05 --out k2 --model " + model +
                      "/model.safetensors --protocol " + protocol + (protocol == "pgd" ? "" : " --queries 20") + two,
                  folder->path);
      EXPECT_TRUE(r.status == 0 || r.status == 3) << model << " " << protocol << "\n" << r.err;
      if (protocol == "pgd") continue;
      EXPECT_TRUE(holds(results("k2")["notes"].dump(), "difference of two logits")) << results("k2")["notes"];
    }
}

TEST_F(Brought, AFitWithFewImagesIsWarnedOfAndItsAccuracyStandsBesideFc) {
  HPM_NEED_BROUGHT(cases);
  const auto r =
      run("finetune --overwrite --epochs 0 --fit-images 200 --metric-steps 5 --attack-steps 1 --out few --model '" +
              resnet + "'" + normalised + data,
          0);
  EXPECT_TRUE(holds(r.err, "fitted on 200 images")) << r.err;
  EXPECT_TRUE(holds(r.err, "(FC ")) << r.err;
}

}  // namespace
}  // namespace hpm
