// `hpm train` with its options, on a data set of 60 images that Python writes.
#include "cli/program.h"
#include "support/python.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

constexpr const char* kArrays =
    "import numpy as np; r = np.random.default_rng(0); y = np.arange(60) % 4;"
    "x = r.integers(0, 100, (60, 8, 8, 3), dtype=np.uint8);"
    "x[y == 1, :4] += 100; x[y == 2, 4:] += 100; x[y == 3, :, :4] += 100;"
    "np.savez('images.npz', x_train=x, y_train=y); np.savez('more.npz', x_train=x[:20], y_train=y[:20]);"
    "np.savez('gray.npz', x_train=x[..., :1], y_train=y); np.savez('classes.npz', x_train=x, y_train=y + 3)";

class TrainVerb : public testing::Test {
 protected:
  void SetUp() override {
    HPM_NEED_PYTHON_TORCH();
    folder_.emplace();
    ASSERT_EQ(
        std::system(
            ("cd '" + folder_->path.string() + "' && '" + test::python_path() + "' -c \"" + kArrays + "\"").c_str()),
        0);
  }
  test::ProgramRun train(const std::string& flags) const {
    return program(
        "train --data npz:images.npz --threads 1 --eps .05 --train-batch 16 --attack-steps 2 --crop 1 "
        "--arch conv8k3s2p1-bn-relu-flatten-fc4 " +
            flags,
        folder_->path);
  }
  std::filesystem::path path(const std::string& name) const { return *folder_ / name; }
  std::optional<test::TemporaryFolder> folder_;
};

/// Also over a finished run (--overwrite), whose model stays.
TEST_F(TrainVerb, BadInputIsASentenceAndTakesNoModelAway) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"--objective trade", {"--objective", "trades", "mart"}},
      {"--extra-share .5", {"--extra-share", "--extra npz:FILE"}},
      {"--extra more.npz", {"--extra-share"}},
      {"--extra gray.npz --extra-share .5", {"[3,8,8]", "[1,8,8]"}},
      {"--extra classes.npz --extra-share .5", {"labels from 0 to 3"}},
      {"--awp -0.1", {"--awp", "from 0 to 1"}},
      {"--ema 1", {"below 1"}},
      {"--validation 60", {"60", "validation"}},
      {"--save-every soon", {"--save-every", "5m"}},
      {"--schedule piecewise --milestones .7,.2", {"--milestones", "ascend"}},
      {"--optimizer sgd --nesterov --momentum 0", {"--nesterov", "--momentum over 0"}},
      {"--label-smoothing 1", {"--label-smoothing"}},
  };
  ASSERT_EQ(train("--epochs 0 --out bad").status, 0);
  const auto model = text_of(path("bad/model.safetensors"));
  ASSERT_FALSE(model.empty());
  for (const auto& [flags, parts] : cases) {
    const auto run = train("--epochs 1 --overwrite --out bad " + flags);
    EXPECT_EQ(run.status, 2) << flags << run.err;
    for (const auto& part : parts) EXPECT_NE(run.err.find(part), std::string::npos) << flags << ": " << run.err;
    EXPECT_EQ(text_of(path("bad/model.safetensors")), model) << flags;
  }
}

TEST_F(TrainVerb, BadInputOfFinetuneIsASentenceAndTakesNoModelAway) {
  ASSERT_EQ(train("--epochs 0 --out base").status, 0);
  const auto finetune = [&](const std::string& flags) {
    return program(
        "finetune --model base/model.safetensors --data npz:images.npz --threads 1 --eps .05 --attack-steps 1 "
        "--epochs 0 --fit-images 48 --metric-steps 2 --out bad " +
            flags,
        folder_->path);
  };
  ASSERT_EQ(finetune("").status, 0);
  const auto model = text_of(path("bad/model.safetensors"));
  ASSERT_FALSE(model.empty());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--validation 60", "validation"},
      {"--rank 1000", "rank from 1 to 128"},
      {"--count 2", "class 2 has no training image"},
      {"--optimizer sgd --nesterov --momentum 0", "--nesterov"},
      {"--extra gray.npz --extra-share .5", "[1,8,8]"},
  };
  for (const auto& [flags, part] : cases) {
    const auto run = finetune("--overwrite " + flags);
    EXPECT_NE(run.status, 0) << flags;
    EXPECT_NE(run.err.find(part), std::string::npos) << flags << ": " << run.err;
    EXPECT_EQ(text_of(path("bad/model.safetensors")), model) << flags;
  }
}

TEST_F(TrainVerb, OptionsThatNobodyReadAreWarnedOf) {
  const auto run = train("--epochs 1 --out unread --objective n-fgsm --beta 3 --patience 2 --bn-batches 3 --peak .5");
  EXPECT_EQ(run.status, 0) << run.err;
  for (const char* name : {"--beta", "--attack-steps", "--patience", "--bn-batches", "--peak"})
    EXPECT_NE(run.err.find(std::string(name) + " had no effect"), std::string::npos) << name << run.err;
}

TEST_F(TrainVerb, FinetuneKeepsTheBestModelAndWarnsOfWhatNobodyReadsAlone) {
  ASSERT_EQ(train("--epochs 0 --out base").status, 0);
  const auto finetune = [&](const std::string& head) {
    return program(
        "finetune --model base/model.safetensors --data npz:images.npz --threads 1 --eps .05 --epochs 1 "
        "--train-batch 16 --objective n-fgsm --attack-steps 2 --fit-images 48 --metric-steps 2 --validation 12 "
        "--validation-steps 2 --out " +
            head + " --head " + head,
        folder_->path);
  };
  const auto unread = [](const test::ProgramRun& run) { return run.err.find("--attack-steps had no effect"); };
  const auto hpm = finetune("hpm"), control = finetune("fc");
  ASSERT_EQ(hpm.status, 0) << hpm.err;
  ASSERT_EQ(control.status, 0) << control.err;
  EXPECT_EQ(unread(hpm), std::string::npos) << "the fit and the calibration read it: " << hpm.err;
  EXPECT_NE(unread(control), std::string::npos) << control.err;
  for (const std::string flags : {"fc/best.safetensors", "hpm/best.safetensors --context alone"}) {
    const auto run = program(
        "evaluate --protocol clean --overwrite --quiet --data npz:images.npz --split train --out "
        "clean --model " +
            flags,
        folder_->path);
    EXPECT_EQ(run.status, 0) << flags << run.err;
  }
}

TEST_F(TrainVerb, AnAdversaryOfOneStepWithoutValidationIsWarnedOfOnce) {
  const auto warnings = [&](const std::string& flags) {
    const auto run = train("--epochs 2 --overwrite --out unguarded " + flags);
    EXPECT_EQ(run.status, 0) << run.err;
    int count = 0;
    for (size_t at = 0; (at = run.err.find("without held-out images", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_EQ(warnings("--objective n-fgsm"), 1);
  EXPECT_EQ(warnings("--objective fgsm-rs"), 1);
  EXPECT_EQ(warnings("--objective n-fgsm --validation 12"), 0);
  EXPECT_EQ(warnings("--objective trades"), 0);
}

TEST_F(TrainVerb, ALossThatIsNotFiniteLosesNothing) {
  const auto run = train("--epochs 3 --out broken --optimizer sgd --lr 1000 --momentum 0 --warmup 0 --save-every 1");
  ASSERT_EQ(run.status, 1) << "a rate of 1000 was survived, nothing is tested: " << run.err;
  EXPECT_NE(run.err.find("not finite"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("the last good state stays in broken/training.safetensors"), std::string::npos) << run.err;
  EXPECT_TRUE(std::filesystem::exists(path("broken/training.safetensors")));
}

/// Killed after every state that appears, until it is through.
TEST_F(TrainVerb, ARunKilledAgainAndAgainEndsAsOneThatWasNot) {
  const std::string flags =
      " --epochs 3 --objective trades --awp .01 --ema .9 --label-smoothing .1 --extra more.npz --extra-share .25 "
      "--cutmix .5 --cutout 2 --validation 12 --validation-steps 2 --save-every 1 --tensorboard --optimizer sgd --lr "
      ".05 "
      "--schedule one-cycle --nesterov --clip-gradient 1 --quiet";
  ASSERT_EQ(train("--out whole" + flags).status, 0);
  std::ofstream(path("kill.sh")) << "hpm=\"$1\"; shift; resume=; kills=0\nwhile [ $kills -lt 6 ]; do\n"
                                    "  before=$(stat -c %i part/training.safetensors 2>/dev/null)\n"
                                    "  \"$hpm\" \"$@\" --out part $resume > /dev/null 2>&1 & pid=$!\n"
                                    "  while kill -0 $pid 2>/dev/null && [ \"$(stat -c %i part/training.safetensors "
                                    "2>/dev/null)\" = \"$before\" ]; do sleep .02; done\n"
                                    "  kill -9 $pid 2>/dev/null || break\n  wait $pid 2>/dev/null\n"
                                    "  kills=$((kills + 1)); resume=--resume\ndone\necho $kills > kills\n"
                                    "\"$hpm\" \"$@\" --out part $resume\n";
  const auto command = "cd '" + folder_->path.string() + "' && bash kill.sh '" + (test::binary_dir() / "hpm").string() +
                       "' train --data npz:images.npz --threads 1 --eps .05 --train-batch 16 --attack-steps 2 --crop 1 "
                       "--arch conv8k3s2p1-bn-relu-flatten-fc4 " +
                       flags + " > out 2>&1";
  ASSERT_EQ(std::system(command.c_str()), 0) << text_of(path("out"));
  EXPECT_GE(std::stoi(text_of(path("kills"))), 3) << "it was over before it could be killed";
  const auto bytes = text_of(path("whole/model.safetensors"));
  EXPECT_FALSE(bytes.empty());
  EXPECT_EQ(bytes, text_of(path("part/model.safetensors")));
  const auto log = text_of(path("part/log.csv"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 4) << log;
  EXPECT_TRUE(std::filesystem::exists(path("part/best.safetensors")));
  EXPECT_TRUE(std::filesystem::exists(path("part/training.previous.safetensors")));

  auto changed = flags;
  changed.replace(changed.find("--awp .01"), 9, "--awp .02");
  const auto other = train("--out part --resume" + changed);
  EXPECT_EQ(other.status, 1);
  EXPECT_NE(other.err.find("--awp was 0.01, is now 0.02"), std::string::npos) << other.err;
}

TEST_F(TrainVerb, EventFilesHoldScalarsPicturesAndHistograms) {
  ASSERT_EQ(train("--epochs 2 --out events --validation 12 --validation-steps 2 --tensorboard").status, 0);
  std::string file;
  for (const auto& entry : std::filesystem::directory_iterator(path("events")))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) file = entry.path().string();
  ASSERT_FALSE(file.empty());
  const auto out = test::output_of("'" + test::python_path() + "' '" +
                                   (test::source_dir() / "tests/io/read_events.py").string() + "' '" + file + "' 2>&1");
  const auto j = nlohmann::json::parse(out, nullptr, false);
  ASSERT_FALSE(j.is_discarded()) << out;
  std::map<std::string, int> tags;
  for (const auto& e : j["events"]) {
    ++tags[e["tag"].get<std::string>()];
    if (e.contains("image")) {
      EXPECT_EQ(e["image"][1], 8 * 8) << "eight images side by side";
    }
  }
  for (const char* tag :
       {"train/loss", "validation/pgd", "validation/clean and adversarial", "validation/margins, adversarial"})
    EXPECT_EQ(tags[tag], 2) << tag;
}

}  // namespace
}  // namespace hpm
