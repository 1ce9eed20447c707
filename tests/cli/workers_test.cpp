// Several processes on one evaluation: the flags of one process, whatever happens to the workers.
#include "cli/program.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

class Workers : public testing::Test {
 protected:
  static void SetUpTestSuite() { folder = std::make_unique<test::TemporaryFolder>(); }
  static void TearDownTestSuite() { folder.reset(); }
  static std::unique_ptr<test::TemporaryFolder> folder;

  test::ProgramRun run(const std::string& arguments, int status = 0) {
    auto r = program(arguments, folder->path);
    EXPECT_EQ(r.status, status) << arguments << "\n" << r.err;
    return r;
  }
  nlohmann::json results(const std::string& name) { return test::read_json(*folder / (name + "/results.json")); }
  void prepare() {
    if (std::filesystem::exists(*folder / "hpm/model.safetensors")) return;
    run("finetune --quiet --head hpm --out hpm --eps 0.1 --count 256 --epochs 1 --fit-images 200 --metric-steps 5 "
        "--model '" +
        base + "'" + data);
  }
  void expect_same(const nlohmann::json& one, const nlohmann::json& several) {
    EXPECT_EQ(one["robust"], several["robust"]);
    EXPECT_EQ(one["clean_correct"], several["clean_correct"]);
    EXPECT_EQ(one.value("escalated", false), several.value("escalated", false));
    ASSERT_EQ(one["contexts"].size(), several["contexts"].size());
    for (size_t i = 0; i < one["contexts"].size(); ++i)
      EXPECT_EQ(one["contexts"][i]["robust"], several["contexts"][i]["robust"]) << one["contexts"][i]["context"];
    ASSERT_EQ(one["attacks"].size(), several["attacks"].size());
    for (size_t i = 0; i < one["attacks"].size(); ++i) {
      EXPECT_EQ(one["attacks"][i]["robust"], several["attacks"][i]["robust"]) << i;
      // How long an attack carries broken rows along depends on the batch; an image twice would be a seventh more.
      const double passes = one["attacks"][i]["forward_passes"];
      EXPECT_NEAR(several["attacks"][i]["forward_passes"], passes, .1 * passes) << one["attacks"][i]["name"];
    }
  }
  /// The attack that takes some seconds, by one process; done once.
  nlohmann::json whole_long() {
    if (!std::filesystem::exists(*folder / "whole-long/results.json"))
      run("evaluate --quiet --overwrite --out whole-long" + long_attack);
    return results("whole-long");
  }
  /// Runs lines of bash in the folder. $hpm is the program.
  static void bash(const std::string& lines) {
    std::ofstream(*folder / "lines.sh") << "cd '" << folder->path.string() << "'\nhpm='"
                                        << (test::binary_dir() / "hpm").string() << "'\n"
                                        << lines;
    ASSERT_EQ(std::system(("bash '" + (*folder / "lines.sh").string() + "' 2> /dev/null").c_str()), 0);
  }
  /// Waits until the worker 1 of the run has begun, or the process $pid has ended.
  static std::string until_begun(const std::string& name) {
    return "until [ -s " + name + "/events.1.jsonl ] || ! kill -0 $pid; do sleep .01; done\n";
  }
  /// Two workers on an attack that takes some seconds; `command` is run as soon as the second one has joined ($pid: the
  /// first one). Afterwards the files `status` and `err` say how it ended.
  void disturb(const std::string& name, const std::string& command) const {
    bash("$hpm evaluate --quiet --workers 2 --out " + name + long_attack + " > out 2> err & pid=$!\n" +
         until_begun(name) + command + "; wait $pid; echo $? > status\n");
  }
  /// The variables of a rank of two, on a port of their own.
  static std::string rank(int number, int port) {
    return fmt::format("RANK={} LOCAL_RANK={} WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT={} ",
                       number, number, port);
  }
  const std::string base = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  const std::string data = " --data fashion-mnist --threads 1";
  const std::string attack = data + " --eps 0.1 --count 64 --model '" + base +
                             "' --protocol autoattack --steps 10 --targets 2 --queries 60 --checks none";
  const std::string long_attack = data + " --eps 0.1 --count 64 --model '" + base +
                                  "' --protocol autoattack --steps 60 --targets 2 --queries 400 --checks none";
};
std::unique_ptr<test::TemporaryFolder> Workers::folder;

TEST_F(Workers, TwoGiveTheFlagsOfOneInEveryProtocol) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const std::string model = data + " --eps 0.1 --model '" + base + "'", quiet = " --quiet --checks none";
  std::map<std::string, std::string> protocols;
  protocols["autoattack"] = attack + " --quiet";
  protocols["clean"] = model + " --count 600 --batch-size 64 --protocol clean" + quiet;
  protocols["pgd"] = model + " --count 64 --protocol pgd --steps 5" + quiet;
  protocols["curve"] = data + " --eps 0.1,0.2 --model '" + base + "' --count 32 --protocol pgd --steps 3" + quiet;
  protocols["fast"] = model + " --count 48 --protocol fast --sample 2 --no-escalate" + quiet;
  protocols["msa"] = data +
                     " --eps 0.1 --count 32 --company 16 --model hpm/model.safetensors --protocol msa --steps 3" +
                     " --context solo,joint --surrogates ste,fc" + quiet;
  for (const auto& [name, arguments] : protocols) {
    SCOPED_TRACE(name);
    run("evaluate --out one-" + name + arguments);
    const auto r = run("evaluate --workers 2 --out two-" + name + arguments);
    EXPECT_EQ(r.err.find("had not come to the end"), std::string::npos) << r.err;
    expect_same(results("one-" + name), results("two-" + name));
    EXPECT_TRUE(std::filesystem::exists(*folder / ("two-" + name + "/events.1.jsonl")));
  }
  const auto pieces = text_of(*folder / "two-clean/events.jsonl") + text_of(*folder / "two-clean/events.1.jsonl");
  for (const char* batch : {"clean verdicts/0/0#", "clean verdicts/0/4#", "clean verdicts/0/9#"})
    EXPECT_NE(pieces.find(batch), std::string::npos) << "a clean pass is shared by its batches: " << batch;
}

TEST_F(Workers, AKilledOneIsReplacedByTheOthersWork) {
  HPM_NEED_FASHION_MNIST();
  const auto whole = whole_long();
  disturb("killed", "kill -9 $(pgrep -P $pid)");
  EXPECT_EQ(text_of(*folder / "status"), "0\n") << text_of(*folder / "err");
  EXPECT_NE(text_of(*folder / "err").find("1 of 2 workers had not come to the end"), std::string::npos)
      << text_of(*folder / "err");
  expect_same(whole, results("killed"));
}

TEST_F(Workers, AnotherNumberGoesOnWhereTheyWereInterrupted) {
  HPM_NEED_FASHION_MNIST();
  const auto whole = whole_long();
  disturb("part", "kill -TERM $pid");
  EXPECT_EQ(text_of(*folder / "status"), "130\n");
  EXPECT_NE(text_of(*folder / "err").find("--resume"), std::string::npos) << text_of(*folder / "err");
  for (const std::string workers : {"3", "1"}) {
    run("evaluate --quiet --resume --workers " + workers + " --out part" + long_attack);
    expect_same(whole, results("part"));
  }
}

TEST_F(Workers, OneThatIsLateEndsWellAfterTheFirstHasGone) {
  HPM_NEED_FASHION_MNIST();
  const auto whole = whole_long();
  bash(rank(0, 29661) + "$hpm evaluate --quiet --out late" + long_attack + " > out 2> err & pid=$!\n" + rank(1, 29661) +
       "$hpm evaluate --quiet --out late" + long_attack + " > out1 2> err1 & late=$!\n" + until_begun("late") +
       "kill -STOP $late; wait $pid; echo $? > status\n"
       "kill -CONT $late; wait $late; echo $? >> status\n");
  EXPECT_EQ(text_of(*folder / "status"), "0\n0\n") << text_of(*folder / "err") << text_of(*folder / "err1");
  expect_same(whole, results("late"));
}

TEST_F(Workers, WithoutTheFirstTheOthersSayHowToGoOn) {
  HPM_NEED_FASHION_MNIST();
  const auto whole = whole_long();
  bash(rank(0, 29663) + "$hpm evaluate --quiet --out headless" + long_attack + " > out 2> err & pid=$!\n" +
       rank(1, 29663) + "$hpm evaluate --quiet --out headless" + long_attack + " > out1 2> err1 & other=$!\n" +
       until_begun("headless") + "kill -9 $pid; wait $other; echo $? > status\n");
  EXPECT_EQ(text_of(*folder / "status"), "1\n") << text_of(*folder / "err1");
  const auto err = text_of(*folder / "err1");
  EXPECT_NE(err.find("rank 0 has ended"), std::string::npos) << err;
  EXPECT_NE(err.find("to go on: hpm evaluate --quiet --out headless"), std::string::npos) << err;
  EXPECT_NE(err.find(" --resume\n"), std::string::npos) << err;
  run("evaluate --quiet --resume --out headless" + long_attack);
  expect_same(whole, results("headless"));
}

TEST_F(Workers, ALaunchersRestartGoesOnByTheSameCommand) {
  HPM_NEED_FASHION_MNIST();
  const auto whole = whole_long();
  const auto command = "$hpm evaluate --quiet --overwrite --out night" + long_attack;
  bash("export TORCHELASTIC_RUN_ID=night TORCHELASTIC_RESTART_COUNT=0\n" + command + " > out 2> err & pid=$!\n" +
       "until [ $(wc -l < night/events.jsonl) -ge 2 ] || ! kill -0 $pid; do sleep .01; done\n" +
       "kill -TERM $pid; wait $pid; echo $? > status\n" + "head -2 night/events.jsonl > before\n" +
       "TORCHELASTIC_RESTART_COUNT=1 " + command + " > out 2> err; echo $? >> status\n" +
       "head -2 night/events.jsonl | cmp -s - before && echo kept >> status\n");
  EXPECT_EQ(text_of(*folder / "status"), "130\n0\nkept\n") << text_of(*folder / "err");
  const auto err = text_of(*folder / "err");
  EXPECT_NE(err.find("started this job again (torchrun job night): goes on with the run in night"), std::string::npos)
      << err;
  expect_same(whole, results("night"));
  // Another job's run is replaced, as --overwrite says.
  const auto other = program("evaluate --quiet --overwrite --out night" + attack, folder->path,
                             "SLURM_JOB_ID=5 SLURM_RESTART_COUNT=1");
  EXPECT_EQ(other.status, 0) << other.err;
  EXPECT_EQ(other.err.find("goes on"), std::string::npos) << other.err;
}

TEST_F(Workers, UnderTorchrunARestartGoesOnWithTheRun) {
  HPM_NEED_FASHION_MNIST();
  const auto torchrun = test::source_dir() / ".venv/bin/torchrun";
  if (!std::filesystem::exists(torchrun)) GTEST_SKIP() << "needs .venv/bin/torchrun: scripts/setup installs it";
  const auto whole = whole_long();
  bash("'" + torchrun.string() +
       "' --no-python --standalone --nproc-per-node 2 --max-restarts 1 $hpm evaluate --quiet" + " --out restarted" +
       long_attack + " > out 2> err & pid=$!\n" + until_begun("restarted") +
       "for child in $(pgrep -P $pid); do grep -qz '^RANK=1$' /proc/$child/environ && kill -9 $child; done\n"
       "wait $pid; echo $? > status\n");
  const auto err = text_of(*folder / "err");
  EXPECT_EQ(text_of(*folder / "status"), "0\n") << err;
  EXPECT_NE(err.find("goes on with the run in restarted"), std::string::npos) << err;
  expect_same(whole, results("restarted"));
}

TEST_F(Workers, TorchrunTakesASuspectRunForASuccessThatIsSaid) {
  HPM_NEED_FASHION_MNIST();
  // Pixels in units of 1e-38 of their own: the logits are infinite.
  const std::string broken =
      "evaluate --quiet --overwrite --out suspect --protocol clean --count 8 --mean 0 --std 1e-38 --model '" + base +
      "'" + data;
  run(broken, 3);
  const auto launched = program(broken, folder->path, "TORCHELASTIC_RUN_ID=night");
  EXPECT_EQ(launched.status, 0) << launched.err;
  EXPECT_NE(launched.err.find("finished but suspect: status 0 in place of 3"), std::string::npos) << launched.err;
  EXPECT_TRUE(results("suspect")["suspect"].get<bool>());
}

TEST_F(Workers, TrainingIsNotStartedSideBySide) {
  const auto variables = rank(1, 29665);
  for (const std::string verb : {"train", "finetune"}) {
    const auto refused = program(verb + " --data fashion-mnist --out side-by-side", folder->path, variables);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_NE(refused.err.find("has started 2 processes, but " + verb + " runs in one"), std::string::npos)
        << refused.err;
  }
  EXPECT_FALSE(std::filesystem::exists(*folder / "side-by-side"));
}

TEST_F(Workers, ASecondJobInTheDirectoryIsToldWhoWritesThere) {
  HPM_NEED_FASHION_MNIST();
  bash("SLURM_JOB_ID=77 $hpm evaluate --quiet --out taken" + long_attack + " > out 2> err & pid=$!\n" +
       "until [ -s taken/events.jsonl ] || ! kill -0 $pid; do sleep .01; done\n" +
       "$hpm evaluate --quiet --resume --out taken" + long_attack + " > out1 2> err1; echo $? > status\n" +
       "kill -TERM $pid; wait $pid; echo $? >> status\n");
  EXPECT_EQ(text_of(*folder / "status"), "1\n130\n") << text_of(*folder / "err1");
  EXPECT_NE(text_of(*folder / "err1").find("another process (Slurm job 77, on "), std::string::npos)
      << text_of(*folder / "err1");
}

TEST_F(Workers, TwoGoOnWithWhatOneHasDone) {
  HPM_NEED_FASHION_MNIST();
  run("evaluate --quiet --overwrite --out whole" + attack);
  std::filesystem::copy(*folder / "whole", *folder / "gone-on", std::filesystem::copy_options::recursive);
  const auto before = std::filesystem::file_size(*folder / "gone-on/events.bin");
  const auto r = run("evaluate --resume --workers 2 --out gone-on" + attack);
  EXPECT_NE(r.err.find("going on after"), std::string::npos) << r.err;
  EXPECT_EQ(std::filesystem::file_size(*folder / "gone-on/events.bin"), before) << "nothing is done again";
  EXPECT_EQ(std::filesystem::file_size(*folder / "gone-on/events.1.bin"), 0u);
  expect_same(results("whole"), results("gone-on"));
}

TEST_F(Workers, WhatTheyCannotShareIsASentence) {
  HPM_NEED_FASHION_MNIST();
  const auto refused = [&](const std::string& arguments) { return run("evaluate --workers 2" + arguments, 2).err; };
  EXPECT_NE(refused(" --out c --conformance" + attack).find("runs in one process"), std::string::npos);
  EXPECT_NE(refused(" --out r --random" + attack).find("evaluated in one process"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(*folder / "c")) << "refused before anything is written";
  const auto launched = program("evaluate --out l" + attack + " --quiet", folder->path);
  EXPECT_EQ(launched.status, 0);
  const auto half = "cd '" + folder->path.string() + "' && RANK=1 WORLD_SIZE=2 '" +
                    (test::binary_dir() / "hpm").string() + "' evaluate --out h" + attack + " 2> half; [ $? = 2 ]";
  ASSERT_EQ(std::system(half.c_str()), 0);
  EXPECT_NE(text_of(*folder / "half").find("MASTER_ADDR"), std::string::npos) << text_of(*folder / "half");
}

TEST_F(Workers, OtherSettingsOnAnotherRankAreRefused) {
  HPM_NEED_FASHION_MNIST();
  const auto command = [&](int number, const std::string& more) {
    return rank(number, 29653) + "$hpm evaluate --quiet --out ranks" + attack + more;
  };
  bash(command(0, "") + " > out 2> err & pid=$!\n" + command(1, " --seed 5") + " > out1 2> err1; echo $? > status\n" +
       command(1, " --batch-size 32") + " > out2 2> err2; echo $? >> status\n" + "wait $pid; echo $? >> status\n");
  EXPECT_EQ(text_of(*folder / "status"), "1\n1\n0\n") << text_of(*folder / "err") << text_of(*folder / "err1");
  EXPECT_NE(text_of(*folder / "err1").find("are not those of the first worker"), std::string::npos)
      << text_of(*folder / "err1");
  EXPECT_NE(text_of(*folder / "err2").find("--batch-size is 32, and 256 on the first worker"), std::string::npos)
      << text_of(*folder / "err2");
}

TEST_F(Workers, ShareTheStudyOfHeads) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const std::string study =
      "analyze --quiet --iterations 1,3 --eps 0.1 --count 40 --batch-size 16 --model "
      "hpm/model.safetensors" +
      data;
  run(study + " --out study-1"), run(study + " --out study-2 --workers 2");
  const auto one = test::read_json(*folder / "study-1/analysis.json"),
             two = test::read_json(*folder / "study-2/analysis.json");
  ASSERT_EQ(one["heads"].size(), 3U);
  for (size_t h = 0; h < 3; ++h) {
    EXPECT_EQ(one["heads"][h]["clean_accuracy"], two["heads"][h]["clean_accuracy"]);
    EXPECT_EQ(one["heads"][h]["against_eps"], two["heads"][h]["against_eps"]) << h;
  }
  EXPECT_EQ(one["agreement"], two["agreement"]);
  EXPECT_TRUE(std::filesystem::exists(*folder / "study-2/events.1.jsonl")) << "the second one did nothing";
  run(study + " --out study-2 --resume");
}

TEST_F(Workers, ShareTheGauntletWhichGoesOnWhereItWas) {
  HPM_NEED_FASHION_MNIST();
  const std::string some =
      "gauntlet --quiet --eps 0.1 --count 16 --steps 10 --queries 200 --training-images 200 --model '" + base + "'" +
      data;
  const auto rows = [&](const std::string& name) {
    auto all = test::read_json(*folder / (name + "/gauntlet.json"))["rows"];
    for (auto& row : all) row.erase("seconds");
    return all;
  };
  const auto run_one = program(some + " --only scaled-logits,least-squares --out rows-1", folder->path);
  ASSERT_TRUE(run_one.status == 0 || run_one.status == 3) << run_one.err;
  ASSERT_EQ(rows("rows-1").size(), 2U);
  program(some + " --only scaled-logits,least-squares --workers 2 --out rows-2", folder->path);
  EXPECT_EQ(rows("rows-2"), rows("rows-1"));
  EXPECT_NE(text_of(*folder / "rows-2/report.html").find("scaled-logits"), std::string::npos);

  const auto events = text_of(*folder / "rows-1/events.jsonl");
  program(some + " --only scaled-logits,least-squares --out rows-1 --resume", folder->path);
  EXPECT_EQ(rows("rows-1"), rows("rows-2"));
  EXPECT_EQ(text_of(*folder / "rows-1/events.jsonl"), events) << "the rows were taken from the journal";
  EXPECT_NE(run(some + " --only scaled-logits,least-squares --seed 5 --out rows-1 --resume", 1).err.find("--seed"),
            std::string::npos);
  EXPECT_NE(run("gauntlet --from rows-1/gauntlet.json --out rows-1 --resume", 2).err.find("nothing to --resume"),
            std::string::npos);
  program("gauntlet --quiet --from rows-1/gauntlet.json --out shown", folder->path);
  const auto page = text_of(*folder / "shown/report.html");
  EXPECT_NE(page.find("Rows of rows-1/gauntlet.json"), std::string::npos);
  EXPECT_EQ(page.find("cifar10"), std::string::npos) << "the default data set, which these rows are not of";
}

TEST_F(Workers, AreNotNeededForShardsMadeByHandWhichMergeIntoOneRun) {
  HPM_NEED_FASHION_MNIST();
  const auto shard = [&](const std::string& name, const std::string& images, const std::string& more = "") {
    run("evaluate --quiet --checks none --eps 0.1 --model '" + base + "'" + data +
        " --protocol autoattack --version custom --attacks apgd-ce --steps 10 --out " + name + images + more);
  };
  shard("all", " --count 60"), shard("shard-a", " --count 40"), shard("shard-b", " --first 40 --count 20");
  run("merge shard-b shard-a --out merged");
  auto all = results("all"), merged = results("merged");
  for (const char* field : {"n", "first_index", "labels", "robust", "clean_correct", "robust_accuracy",
                            "clean_accuracy", "interval", "standard_error", "broken_by"})
    EXPECT_EQ(merged.value(field, nlohmann::json()), all.value(field, nlohmann::json())) << field;
  EXPECT_TRUE(std::filesystem::exists(*folder / "merged/report.html"));
  const auto config = text_of(*folder / "merged/config.toml");
  EXPECT_NE(config.find("#   shard-a\n#   shard-b\n"), std::string::npos) << config;
  EXPECT_NE(config.find("apgd-ce"), std::string::npos) << "the settings";

  const auto kept = results("shard-a");
  EXPECT_NE(run("merge shard-a shard-b --out ./shard-a --overwrite", 2).err.find("is one of the shards"),
            std::string::npos);
  EXPECT_EQ(results("shard-a"), kept) << "the shard is still there";
  EXPECT_NE(run("merge shard-a shard-b --out m1").err.find("images 60 to 9999 are in no shard"), std::string::npos);

  shard("overlapping", " --first 50 --count 20");
  EXPECT_NE(run("merge shard-a shard-b overlapping --out m2", 2).err.find("image 50 is in"), std::string::npos);
  shard("far", " --first 70 --count 10");
  const auto gap = run("merge shard-a shard-b far --out m3").err;
  EXPECT_NE(gap.find("images 60 to 69 are in no shard"), std::string::npos) << gap;
  shard("other", " --first 60 --count 10", " --seed 5");
  const auto other = run("merge shard-a other --out m4", 2).err;
  EXPECT_NE(other.find("--seed is 0 in shard-a, and 5 in other"), std::string::npos) << other;
}

TEST_F(Workers, AreNotNeededForShardsButThoseMustNotCutCompanies) {
  HPM_NEED_FASHION_MNIST();
  prepare();
  const auto shard = [&](int first, int count, const std::string& name) {
    run(fmt::format(
        "evaluate --quiet --protocol clean --context solo --company 8 --model hpm/model.safetensors --first "
        "{} --count {} --out {}{}",
        first, count, name, data));
  };
  shard(0, 16, "company-a"), shard(16, 8, "company-b"), shard(0, 12, "company-c"), shard(12, 12, "company-d");
  EXPECT_EQ(run("merge company-a company-b --out companies").err.find("cut companies"), std::string::npos);
  const auto cut = run("merge company-c company-d --out cut").err;
  EXPECT_NE(cut.find("multiples of 8"), std::string::npos) << cut;
}

}  // namespace
}  // namespace hpm
