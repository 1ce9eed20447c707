#include "cli/program.h"

#include <nlohmann/json.hpp>
#include <set>

#include "hpm/io/tensors.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/model.h"
#include "support/python.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

const char* const kVerbs[] = {"doctor",   "data",    "inspect", "predict", "train", "finetune",
                              "evaluate", "analyze", "export",  "report",  "bench"};

TEST(Help, OfEveryVerbFitsEightyColumnsAndShowsDefaults) {
  for (const std::string verb : kVerbs) {
    const auto run = program(verb + " --help");
    EXPECT_EQ(run.status, 0) << verb;
    std::istringstream lines(run.out);
    for (std::string line; std::getline(lines, line);)
      EXPECT_TRUE(line.size() <= 80 || line.rfind("example:", 0) == 0) << verb << ": " << line;
  }
  const auto evaluate = program("evaluate --help").out;
  EXPECT_NE(evaluate.find("(default 8/255)"), std::string::npos);
  EXPECT_NE(evaluate.find("--conformance"), std::string::npos);
}

TEST(Doctor, NamesThisBuildAndIsJsonWhenAsked) {
  const auto run = program("doctor --json");
  ASSERT_EQ(run.status, 0) << run.err;
  const auto j = nlohmann::json::parse(run.out);
  EXPECT_TRUE(j.contains("torch"));
  EXPECT_TRUE(j["data"].contains("fashion-mnist"));
}

/// One small model through the whole program, on the first images of Fashion-MNIST.
class Slice : public testing::Test {
 protected:
  static void SetUpTestSuite() { folder = std::make_unique<test::TemporaryFolder>(); }
  static void TearDownTestSuite() { folder.reset(); }
  static std::unique_ptr<test::TemporaryFolder> folder;

  test::ProgramRun run(const std::string& arguments, int status = 0) {
    auto r = program(arguments + " --quiet", folder->path);
    EXPECT_EQ(r.status, status) << arguments << "\n" << r.err;
    return r;
  }
  nlohmann::json results(const std::string& name) { return test::read_json(*folder / (name + "/results.json")); }
  const std::string data = " --data fashion-mnist --threads 1";
  const std::string tune =
      data + " --eps 0.1 --count 512 --epochs 1 --fit-images 300 --metric-steps 20 --model base/model.safetensors";

  /// Trains the base model and fine-tunes it once for all tests.
  void prepare() {
    if (std::filesystem::exists(*folder / "hpm/model.safetensors")) return;
    const auto committed = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
    run("train --model " + committed + " --eps 0.1 --count 256 --epochs 1 --lr .0001 --attack-steps 2 --out base" +
        data);
    run("finetune --head hpm --out hpm" + tune);
    run("finetune --head fc --out fc" + data + " --eps 0.1 --count 512 --epochs 1 --model base/model.safetensors");
  }
};
std::unique_ptr<test::TemporaryFolder> Slice::folder;

TEST_F(Slice, EvaluatesEveryProtocolWithResultsThatAgreeWithThemselves) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto common = data + " --eps 0.1 --count 40 --model hpm/model.safetensors --overwrite";
  run("evaluate --protocol clean --out clean" + common);
  EXPECT_TRUE(results("clean")["robust_accuracy"].is_null());
  EXPECT_GT(results("clean")["clean_accuracy"].get<double>(), 60);
  const auto pgd = run("evaluate --protocol pgd --steps 10 --out pgd" + common);
  EXPECT_NE(pgd.out.find("robust %"), std::string::npos) << pgd.out;
  EXPECT_EQ(pgd.out.find("alone %"), std::string::npos) << "one surrogate attacked, and it led nothing\n" << pgd.out;
  run("evaluate --protocol autoattack --version custom --attacks apgd-ce,apgd-t --restarts 1 --steps 20 --targets 2 "
      "--save-adversarial --quantise --out aa" +
      common);
  const auto msa =
      run("evaluate --protocol msa --context reference,solo,alone,joint --base base/model.safetensors --control "
          "fc/model.safetensors --out msa" +
          common);
  EXPECT_NE(msa.out.find("ste alone %"), std::string::npos) << msa.out;
  const auto j = results("msa");
  std::set<std::string> checked;
  for (const auto& check : j["checks"]) checked.insert(check["context"].get<std::string>());
  EXPECT_EQ(checked, (std::set<std::string>{"reference", "solo", "alone", "joint", "base", "control"}));
  ASSERT_EQ(j["contexts"].size(), 4u);
  EXPECT_LE(j["robust_accuracy"].get<double>(), results("pgd")["robust_accuracy"].get<double>() + 1e-9);
  EXPECT_TRUE(j["control"].contains("p"));
  EXPECT_GT(j["checks_seconds"].get<double>(), 0);
  run("evaluate --protocol msa --steps 3 --count 10 --eps 0.1 --model hpm/model.safetensors --control "
      "fc/model.safetensors --transfer-only --out transfer" +
      data);
  const auto transfer = results("transfer");
  EXPECT_TRUE(transfer["control"].is_null()) << "attacked itself";
  const auto& ran = transfer["contexts"][0]["surrogates"];
  EXPECT_TRUE(std::any_of(ran.begin(), ran.end(), [](const auto& s) { return s["name"] == "control" && s["of"] > 0; }))
      << ran;
  const auto aa = results("aa");
  EXPECT_EQ(aa["attacks"].size(), 2u);
  EXPECT_LE(aa["attacks"][0]["backward_passes"].get<int64_t>(), 40 * 21) << "--steps and --restarts had no effect";
  EXPECT_NEAR(aa["quantised"]["robust_accuracy"].get<double>(), aa["robust_accuracy"].get<double>(), 10);
  EXPECT_EQ(
      read_checkpoint((*folder / "aa/adversarial-8bit.safetensors").string()).tensors.front().second.scalar_type(),
      at::kByte);
  for (const char* file : {"config.toml", "environment.json", "results.json", "verdicts.safetensors", "report.html"})
    EXPECT_TRUE(std::filesystem::exists(*folder / "msa" / file)) << file;
  run("report clean pgd msa --html compare.html --table tables/compare.md");
  EXPECT_GT(std::filesystem::file_size(*folder / "compare.html"), 2000u);
  EXPECT_NE(text_of(*folder / "tables/compare.md").find("msa"), std::string::npos);
}

TEST_F(Slice, ThirtyLinesOfALibraryUserRunWhatTheProgramRuns) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto example = (test::binary_dir() / "examples/03_evaluation").string();
  const auto command = "cd '" + folder->path.string() + "' && OMP_NUM_THREADS=1 '" + example +
                       "' hpm/model.safetensors fc/model.safetensors library 2>&1; echo status $?";
  const auto said = test::output_of(command);
  EXPECT_TRUE(said.ends_with("status 0\n") || said.ends_with("status 3\n")) << said;
  run("evaluate --eps 0.1 --count 24 --context reference,solo --model hpm/model.safetensors --control "
      "fc/model.safetensors --out program" +
          data,
      said.ends_with("status 3\n") ? 3 : 0);
  const auto library = results("library"), program_results = results("program");
  EXPECT_EQ(library["robust"], program_results["robust"]);
  EXPECT_EQ(library["contexts"][1]["robust"], program_results["contexts"][1]["robust"]);
  EXPECT_TRUE(std::filesystem::exists(*folder / "library/report.html"));
  EXPECT_NE(test::output_of(command).find("status"), std::string::npos) << "goes on, and ends";
}

TEST_F(Slice, TheFlagsOfTheMixedSurrogateAttackReachIt) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto r = program(
      "evaluate --protocol msa --context joint,solo --lambda .7 --sweep-lambda .3,.7 --colluders 2 "
      "--victims 3 --company 16 --company-seed 3 --surrogates ste,fc,hard --joint-surrogates ste "
      "--full-matrix --steps 3 --count 30 --eps 0.1 --checks none --model hpm/model.safetensors "
      "--out flags" +
          data,
      folder->path);
  ASSERT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.err.find("passes"), std::string::npos) << "the cost is said before the start: " << r.err;
  const auto j = results("flags");
  EXPECT_NEAR(j["model_info"]["lambda"].get<double>(), .7, 1e-9);
  EXPECT_EQ(j["company"]["size"], 16);
  EXPECT_EQ(j["company"]["seed"], 3);
  const auto &joint = j["contexts"][0], &solo = j["contexts"][1];
  ASSERT_EQ(joint["surrogates"].size(), 1u);
  ASSERT_EQ(solo["surrogates"].size(), 3u);
  for (const auto& s : solo["surrogates"]) EXPECT_TRUE(s["complete"].get<bool>()) << s;
  ASSERT_EQ(joint["collusion"].size(), 2u);
  for (const auto& study : joint["collusion"]) EXPECT_EQ(study["victims"], 3);
  EXPECT_EQ(j["sweep"].size(), 4u);
  const auto verdicts = read_checkpoint((*folder / "flags/verdicts.safetensors").string()).tensors;
  const auto tensor = [&](const std::string& name) {
    for (const auto& [known, value] : verdicts)
      if (known == name) return value;
    ADD_FAILURE() << name << " is not in verdicts.safetensors";
    return at::zeros({30}, at::kLong);
  };
  EXPECT_TRUE(tensor("solo.matrix.ste/apgd-ce").gt(0).equal(tensor("solo.clean_correct")));
  EXPECT_FALSE((tensor("solo.matrix.fc/apgd-ce").eq(2) & tensor("solo.robust")).any().item<bool>());
}

TEST_F(Slice, AFailedCheckMakesTheResultSuspectEverywhere) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  // Logits so large that float32 has no gradient left.
  auto tensors = read_checkpoint((*folder / "base/model.safetensors").string()).tensors;
  tensors[tensors.size() - 2].second.mul_(1e6), tensors.back().second.mul_(1e6);
  write_safetensors((*folder / "masked.safetensors").string(), tensors);
  const auto r = program(
      "evaluate --quiet --protocol pgd --steps 5 --count 40 --eps 0.1 --out masked --model "
      "masked.safetensors" +
          data,
      folder->path);
  EXPECT_EQ(r.status, 3) << r.err;
  EXPECT_EQ(r.out.find("SUSPECT"), 0u) << r.out;
  const auto j = results("masked");
  EXPECT_TRUE(j["suspect"].get<bool>());
  ASSERT_FALSE(j["reasons"].empty());
  EXPECT_NE(j["reasons"].dump().find("zero gradients"), std::string::npos) << j["reasons"];
  EXPECT_NE(text_of(*folder / "masked/report.html").find("suspect"), std::string::npos);
  // As an HPM head, under the attack of its own gradient alone, and under all of them.
  for (const std::string surrogates : {"--surrogates ste", ""}) {
    run("finetune --model base/model.safetensors --head hpm --epochs 0 --tau 1e-6 --count 200 --overwrite --out sharp" +
        data);
    const auto head = program(
        "evaluate --quiet --protocol msa --steps 5 --count 40 --eps 0.1 --context reference "
        "--overwrite --out sharp-msa --model sharp/model.safetensors " +
            surrogates + data,
        folder->path);
    EXPECT_EQ(head.status, 3) << head.err;
    EXPECT_NE(results("sharp-msa")["reasons"].dump().find("zero gradients"), std::string::npos);
  }
  run("report masked --html masked.html --table masked.md");
  EXPECT_NE(text_of(*folder / "masked.md").find("suspect"), std::string::npos);
}

TEST_F(Slice, AnotherProtocolsFurtherContextsAreWarnedOf) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto r = program(
      "evaluate --protocol pgd --steps 1 --eps 0.1 --context reference,solo --count 10 --model hpm/model.safetensors "
      "--out first-context" +
          data,
      folder->path);
  EXPECT_NE(r.err.find("evaluates the first, reference"), std::string::npos) << r.err;
}

TEST_F(Slice, ResumingOnOtherImagesUnderTheSameNameIsRefused) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto settings =
      "evaluate --quiet --protocol pgd --steps 2 --eps 0.1 --indices images.txt --out renumbered "
      "--model base/model.safetensors" +
      data;
  std::ofstream(*folder / "images.txt") << "1 2 3";
  ASSERT_EQ(program(settings, folder->path).status, 0);
  std::ofstream(*folder / "images.txt") << "1 2 4";
  const auto r = program(settings + " --resume", folder->path);
  EXPECT_EQ(r.status, 1) << r.err;
  std::ofstream(*folder / "images.txt") << "1 2 3";
  EXPECT_EQ(program(settings + " --resume", folder->path).status, 0);
  EXPECT_EQ(results("renumbered")["notes"].dump().find("resumed by"), std::string::npos);
  // What another program left stays, and is said to be another's.
  auto environment = nlohmann::json::parse(text_of(*folder / "renumbered/environment.json"));
  environment["commit"] = "0123abc";
  std::ofstream(*folder / "renumbered/environment.json") << environment.dump();
  EXPECT_EQ(program(settings + " --resume", folder->path).status, 0);
  EXPECT_NE(results("renumbered")["notes"].dump().find("begun by commit 0123abc"), std::string::npos);
  auto card = text_of(*folder / "base/model.safetensors.toml");
  const auto mean = card.find("mean = [");
  ASSERT_NE(mean, std::string::npos) << card;
  std::ofstream(*folder / "base/model.safetensors.toml") << card.replace(mean, 8, "mean = [0.5]\n# ");
  EXPECT_EQ(program(settings + " --resume", folder->path).status, 1) << "another normalisation";
}

TEST_F(Slice, TheRunsOwnConfigurationReproducesIt) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  run("evaluate --protocol pgd --steps 5 --count 30 --eps 0.1 --model base/model.safetensors --out first" + data);
  run("evaluate --config first/config.toml --out again");
  EXPECT_EQ(results("first")["robust"], results("again")["robust"]);
}

TEST_F(Slice, ListOfRadiiGivesACurveThatFalls) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  run("evaluate --protocol pgd --steps 5 --count 30 --eps 0.02,0.1,0.3 --model base/model.safetensors --out curve" +
      data);
  const auto curve = results("curve")["curve"];
  ASSERT_EQ(curve.size(), 3u);
  EXPECT_GE(curve[0]["robust_accuracy"], curve[2]["robust_accuracy"]);
}

TEST_F(Slice, WhatASmallerRadiusBreaksCountsForTheFirst) {
  HPM_NEED_FASHION_MNIST();
  const auto committed = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  // One small step from a random start, so that chance has the small radius break some that the large one does not.
  run("evaluate --protocol pgd --steps 1 --step-size .02 --count 1000 --eps 0.4,0.03 --checks none --model '" +
      committed + "' --control '" + committed + "' --out radii" + data);
  const auto j = results("radii");
  EXPECT_EQ(j["curve"][1]["robust_accuracy"], j["robust_accuracy"]);
  ASSERT_FALSE(j["notes"].empty()) << "the small radius broke nothing more, nothing is tested";
  EXPECT_NE(j["notes"].dump().find("within eps 0.03"), std::string::npos);
  const auto& by = j["broken_by"];
  EXPECT_TRUE(std::any_of(by.begin(), by.end(), [](const auto& b) {
    return b["by"] == "pgd, eps 0.03" && b["attack"] == "pgd" && b["eps"] == .03;
  })) << by;
  for (size_t i = 0; i < 1000; ++i)
    EXPECT_EQ(j["predictions"]["adversarial"][i] == j["labels"][i], j["robust"][i] == 1) << i;
  EXPECT_EQ(j["control"]["robust"], j["robust"]) << "the control, here the same model, has the same budget";
  EXPECT_GT(j["attacks"][0]["robust_accuracy"], j["robust_accuracy"]) << "an attack's record is its own";
}

TEST_F(Slice, FoldedExportPredictsAsTheReferenceContext) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  run("export --fold --model hpm/model.safetensors --to folded.safetensors");
  run("predict --count 200 --model hpm/model.safetensors --context reference --out p1" + data);
  run("predict --count 200 --model folded.safetensors --out p2" + data);
  const auto a = text_of(*folder / "p1/labels.csv"), b = text_of(*folder / "p2/labels.csv");
  EXPECT_EQ(a, b);
  EXPECT_NE(a.find("199,"), std::string::npos);
  const auto folded = nlohmann::json::parse(program("inspect folded.safetensors --json", folder->path).out);
  EXPECT_EQ(folded["head"], "fc");
  EXPECT_EQ(folded["architecture"], "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10");
}

TEST_F(Slice, InterruptedFineTuningResumesToTheSameModel) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto settings =
      data + " --eps 0.1 --count 256 --fit-images 100 --metric-steps 5 --model base/model.safetensors --epochs 3";
  run("finetune --out whole" + settings);
  // Killed after the first epoch's state is on the disk.
  const auto kill = "sh -c '\"" + (test::binary_dir() / "hpm").string() + "\" finetune --quiet --out part" + settings +
                    " & pid=$!; while [ ! -f part/training.safetensors ] && kill -0 $pid 2>/dev/null; do :; done; kill "
                    "-9 $pid; wait $pid; true' >/dev/null 2>&1";
  ASSERT_EQ(std::system(("cd '" + folder->path.string() + "' && " + kill).c_str()), 0);
  EXPECT_EQ(program("finetune --out part" + settings, folder->path).status, 2) << "without --resume it is refused";
  run("finetune --resume --out part" + settings);
  const auto a = read_checkpoint((*folder / "whole/model.safetensors").string()).tensors,
             b = read_checkpoint((*folder / "part/model.safetensors").string()).tensors;
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].second, b[i].second)) << a[i].first;
  run("finetune --resume --out part --lr .1" + settings, 1);
}

TEST_F(Slice, EvaluationKilledTwentyTimesEndsWithTheFlagsOfAnUndisturbedOne) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto settings =
      data +
      " --eps 0.1 --count 120 --model hpm/model.safetensors --protocol autoattack --steps 20 --targets 3 --queries 120 "
      "--batch-size 6 --checks none --role hpm";
  run("evaluate --out whole-aa" + settings);
  const auto hpm = "'" + (test::binary_dir() / "hpm").string() + "' evaluate --quiet --out killed-aa" + settings;
  std::ofstream(*folder / "kill.sh")
      << "cd '" << folder->path.string() << "'\nkills=0\nresume=\nRANDOM=7\nwhile ((kills < 20)); do\n  " << hpm
      << " $resume > /dev/null 2>&1 & pid=$!\n  sleep $(printf '.%03d' $((150 + RANDOM % 700)))\n"
         "  if kill -9 $pid 2> /dev/null; then kills=$((kills + 1)); else break; fi\n  wait $pid 2> /dev/null\n"
         "  [[ -f killed-aa/config.toml ]] && resume=--resume\ndone\nwait\necho $kills > kills\n"
      << hpm << " $resume\n";
  ASSERT_EQ(std::system(("bash '" + (*folder / "kill.sh").string() + "' > /dev/null 2>&1").c_str()), 0);
  EXPECT_GE(std::stoi(text_of(*folder / "kills")), 5) << "the run was over before it could be killed";
  const auto whole = results("whole-aa"), killed = results("killed-aa");
  EXPECT_EQ(whole["robust"], killed["robust"]);
  EXPECT_EQ(whole["clean_correct"], killed["clean_correct"]);
  ASSERT_EQ(whole["attacks"].size(), killed["attacks"].size());
  for (size_t i = 0; i < whole["attacks"].size(); ++i) {
    EXPECT_EQ(whole["attacks"][i]["robust"], killed["attacks"][i]["robust"]) << i;
    EXPECT_EQ(whole["attacks"][i]["forward_passes"], killed["attacks"][i]["forward_passes"]) << i;
  }
  EXPECT_EQ(program("evaluate --out killed-aa --resume --seed 3" + settings, folder->path).status, 1)
      << "other settings must not go on with it";
}

TEST_F(Slice, TwoWritersInOneRunDirectoryAreRefused) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto settings =
      data +
      " --eps 0.1 --count 60 --model base/model.safetensors --protocol autoattack --checks none --out shared-run";
  const auto hpm = "'" + (test::binary_dir() / "hpm").string() + "' evaluate --quiet" + settings;
  std::ofstream(*folder / "two.sh")
      << "cd '" << folder->path.string() << "'\n"
      << hpm << " > /dev/null 2>&1 & pid=$!\nwhile [ ! -f shared-run/events.jsonl ]; do sleep .05; done\n"
      << hpm << " --resume 2> second; echo $? > status\nkill -INT $pid; wait $pid; echo $? >> status";
  ASSERT_EQ(std::system(("bash -m '" + (*folder / "two.sh").string() + "' > /dev/null 2>&1").c_str()), 0);
  const auto status = text_of(*folder / "status"), second = text_of(*folder / "second");
  EXPECT_EQ(status, "1\n130\n") << second;
  EXPECT_NE(second.find("another process"), std::string::npos) << second;
}

TEST_F(Slice, InterruptExitsWith130AndPrintsTheCommandThatGoesOn) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto command = "'" + (test::binary_dir() / "hpm").string() +
                       "' finetune --quiet --out stopped --epochs 50 --model base/model.safetensors --fit-images 100" +
                       data;
  std::ofstream(*folder / "stop.sh") << "cd '" + folder->path.string() + "'\n" + command +
                                            " 2>err & pid=$!; while [ ! -f stopped/config.toml ]; do sleep .1; done; "
                                            "kill -INT $pid; wait $pid; echo $? > status";
  ASSERT_EQ(std::system(("bash -m '" + (*folder / "stop.sh").string() + "' >/dev/null 2>&1").c_str()), 0);
  const auto status = text_of(*folder / "status"), err = text_of(*folder / "err");
  EXPECT_EQ(status, "130\n") << err;
  EXPECT_NE(err.find("--resume"), std::string::npos) << err;
}

TEST_F(Slice, DryRunPrintsTheCostAndRunsNothing) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto r = run("evaluate --dry-run --count 40 --eps 0.1 --model hpm/model.safetensors --out dry" + data);
  EXPECT_NE(r.out.find("backward passes"), std::string::npos);
  const auto passes = [&](const std::string& flags) {
    const auto out =
        run("evaluate --dry-run --json --count 40 --eps 0.1 --model hpm/model.safetensors --out dry" + flags + data)
            .out;
    return nlohmann::json::parse(out)["backward_passes_per_image"].get<int64_t>();
  };
  EXPECT_EQ(passes(" --checks full") - passes(" --checks none"), 3 * (201 + 54) + 4 + 16 * 3 * 40 / 40)
      << "checks are part of the cost: three surrogates, one gradient at four places, and FAB-T for 16 of 40 images";
  EXPECT_GT(passes(" --restarts 2"), 3 * passes("") / 2);
  EXPECT_FALSE(std::filesystem::exists(*folder / "dry"));
}

TEST(Acceptance, CifarCnnReachesItsKnownAccuracies) {
  HPM_NEED_SHARED(checkpoint, "checkpoints/cifar_cnn_a_adv4.model");
  HPM_NEED_SHARED(root, "data");
  test::TemporaryFolder folder;
  const auto common = "evaluate --model " + checkpoint.string() +
                      " --arch conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10 --classes 10 "
                      "--mean .4914,.4822,.4465 --std .2023,.1994,.2010 --data cifar10 --data-root " +
                      root.string() + " --norm Linf --eps 2/255 --quiet ";
  ASSERT_EQ(program(common + "--protocol pgd --count 1000 --out pgd", folder.path).status, 0);
  const auto pgd = test::read_json(folder / "pgd/results.json");
  EXPECT_NEAR(pgd["clean_accuracy"], 60.2, .05);
  EXPECT_NEAR(pgd["robust_accuracy"], 51, 1.2) << "APGD-CE leaves 51.6 of 1024 images";
  ASSERT_EQ(program(common + "--protocol autoattack --version custom --attacks apgd-ce,apgd-t --count 500 --out aa",
                    folder.path)
                .status,
            0);
  const auto aa = test::read_json(folder / "aa/results.json");
  EXPECT_NEAR(aa["clean_accuracy"], 58.6, 1e-9);
  EXPECT_NEAR(aa["robust_accuracy"], 46.8, .6);
  EXPECT_FALSE(aa["suspect"].get<bool>()) << "an honest model comes out unflagged";
}

}  // namespace
}  // namespace hpm
