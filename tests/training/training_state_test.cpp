// States on the disk: resumed, damaged, of other settings.
#include "training/trainer_fixture.h"

namespace hpm {
namespace {

using namespace test;  // the fixture

TEST(TrainingState, ARunStoppedWithinEpochsEndsWithTheSameBits) {
  const auto data = quarters(96);
  auto extra = std::make_shared<const Dataset>(quarters(20, 9));
  struct Case {
    std::string name;
    MethodOptions method;
    double awp;
    std::function<void(TrainOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"plain", {}, 0, [](TrainOptions&) {}},
      {"everything",
       {.objective = "trades", .label_smoothing = .1},
       .01,
       [&](TrainOptions& o) {
         o.optimizer = {.optimizer = "sgd", .lr = .05, .schedule = "one-cycle", .nesterov = true, .clip = 1};
         o.augment = {.crop = 1, .flip = true, .cutout = 2, .cutmix = .5};
         o.average.decay = .9;
         o.extra = {extra, .25};
         o.validation = {.images = 16, .steps = 2};
       }},
  };
  for (const auto& c : cases) {
    test::TemporaryFolder folder;
    auto options = loop(3);
    c.change(options);
    auto whole = objective(c.method, c.awp);
    train(*whole, data, options);
    options.state_file = (folder / "state.safetensors").string();
    options.resume = true;
    std::vector<int64_t> epochs;
    for (int64_t stop : {2, 3, 4, 100}) {  // each from a model of its own: everything is in the file
      auto part = objective(c.method, c.awp);
      Stopper stopper(stop);
      epochs.clear();
      const auto note = [&](const EpochReport& e) { epochs.push_back(e.epoch); };
      if (stop < 100) EXPECT_THROW(train(*part, data, options, stopper, note), Interrupted) << c.name;
      else train(*part, data, options, stopper, note), expect_equal(whole->model(), part->model());
    }
    EXPECT_EQ(epochs, (std::vector<int64_t>{1, 2, 3})) << "finished epochs are reported again";
  }
}

/// What fast convolutions keep of the weights is made anew by a process that resumes: nothing may depend on when.
TEST(TrainingState, AResidualNetworkUnderSgdStoppedWithinEpochsEndsWithTheSameBits) {
  const auto data = quarters(96);
  for (const std::string precision : {"fast", "bfloat16"}) {
    test::TemporaryFolder folder;
    auto options = loop(2);
    options.optimizer = {.optimizer = "sgd", .lr = .01, .schedule = "constant", .warmup = 0};
    options.validation = {.images = 16, .steps = 2};
    auto passes = adversary();
    passes.precision = precision;
    AdversarialTraining whole(residual_model(), passes, 1);
    train(whole, data, options);
    options.state_file = (folder / "state.safetensors").string();
    options.resume = true;
    for (int64_t stop : {1, 2, 2, 100}) {  // each in a network of its own
      AdversarialTraining part(residual_model(), passes, 1);
      Stopper stopper(stop);
      if (stop < 100) EXPECT_THROW(train(part, data, options, stopper), Interrupted) << precision;
      else train(part, data, options, stopper), expect_equal(whole.model(), part.model());
    }
  }
}

/// A state after four steps of two saves each, and what comes of resuming it.
class States : public testing::Test {
 protected:
  States() {
    options_ = loop(2);
    options_.state_file = path("state.safetensors");
    options_.save_every = {1, 0};
    options_.settings = {{"lr", {"0.005", false}}, {"epochs", {"2", false}}};
    auto o = objective();
    Stopper stopper(4);
    EXPECT_THROW(train(*o, data_, options_, stopper), Interrupted);
    options_.resume = true;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void damage(const std::string& name, int64_t from_end, bool truncate) const {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path(name)));
    if (truncate) return std::filesystem::resize_file(path(name), static_cast<uintmax_t>(size - from_end));
    std::fstream file(path(name), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(size - from_end);
    const auto byte = static_cast<char>(file.get() ^ 64);
    file.seekp(size - from_end);
    file.put(byte);
  }
  std::unique_ptr<Objective> resumed(Stopper& monitor) const {
    auto o = objective();
    train(*o, data_, options_, monitor);
    return o;
  }

  test::TemporaryFolder folder_;
  Dataset data_ = quarters(96);
  TrainOptions options_;
};

TEST_F(States, ADamagedLastStateFallsBackAndSaysSo) {
  auto whole = objective();
  auto options = options_;
  options.state_file.clear();
  train(*whole, data_, options);
  for (const bool truncate : {true, false}) {
    test::TemporaryFolder copy;
    std::filesystem::copy(folder_.path, copy.path, std::filesystem::copy_options::recursive);
    damage("state.safetensors", 40, truncate);
    Stopper monitor(1000);
    expect_equal(whole->model(), resumed(monitor)->model());
    EXPECT_NE(monitor.warnings.find("damaged"), std::string::npos) << monitor.warnings;
    EXPECT_NE(monitor.warnings.find("state.previous.safetensors: epoch 2, step 0"), std::string::npos)
        << monitor.warnings;
    std::filesystem::copy(copy.path, folder_.path,
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  }
  // Killed between the two renames.
  std::filesystem::remove(path("state.safetensors"));
  Stopper monitor(1000);
  expect_equal(whole->model(), resumed(monitor)->model());
}

TEST_F(States, TwoDamagedStatesAreAnError) {
  damage("state.safetensors", 40, true), damage("state.previous.safetensors", 40, true);
  Stopper monitor(1000);
  EXPECT_NE(message_of<Error>([&] { resumed(monitor); }).find("--overwrite"), std::string::npos);
}

TEST_F(States, AStateWhoseMetadataAreNestedTooDeeplyIsDamaged) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  for (const auto* name : {"state.safetensors", "state.previous.safetensors"}) {
    auto file = read_checkpoint(path(name));
    file.metadata["progress"] = deep;
    write_safetensors(path(name), file.tensors, file.metadata);
  }
  Stopper monitor(1000);
  const auto message = message_of<Error>([&] { resumed(monitor); });
  EXPECT_NE(message.find("state.safetensors: metadata progress: needs JSON of at most 64 levels"), std::string::npos)
      << message;
}

TEST_F(States, OtherSettingsAreNamedAndNewOptionsAtTheirDefaultsAreNot) {
  options_.settings["new-option"] = {"0", true};
  options_.settings["lr"].value = "0.1";
  Stopper monitor(1000);
  const auto message = message_of<Error>([&] { resumed(monitor); });
  EXPECT_NE(message.find("lr was 0.005 and is 0.1"), std::string::npos) << message;
  options_.settings["lr"].value = "0.005";
  options_.settings["awp"] = {"0.01", false};
  EXPECT_NE(message_of<Error>([&] { resumed(monitor); }).find("awp was not given and is 0.01"), std::string::npos);
  options_.settings.erase("awp");
  resumed(monitor);
}

TEST_F(States, ALossThatIsNotFiniteNamesTheStateThatStays) {
  auto broken = objective();
  options_.optimizer = {.optimizer = "sgd", .lr = 1e30, .schedule = "constant", .warmup = 0};
  options_.resume = false;
  const auto message = message_of<Error>([&] { train(*broken, data_, options_); });
  EXPECT_NE(message.find("not finite"), std::string::npos) << message;
  EXPECT_NE(message.find("epoch 1"), std::string::npos) << message;
  EXPECT_NE(message.find("the last good state stays in " + path("state.safetensors")), std::string::npos) << message;
  for (const auto& [name, tensor] : read_checkpoint(path("state.safetensors")).tensors)
    if (tensor.is_floating_point()) {
      EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << name;
    }
}

TEST(SaveEvery, ReadsTimesStepsAndEpoch) {
  EXPECT_EQ(parse_save_every("5m").seconds, 300);
  EXPECT_EQ(parse_save_every("90s").seconds, 90);
  EXPECT_EQ(parse_save_every("1h").seconds, 3600);
  EXPECT_EQ(parse_save_every("200").steps, 200);
  EXPECT_EQ(parse_save_every("200").seconds, 0);
  EXPECT_EQ(parse_save_every("epoch").seconds, 0);
  for (const char* bad : {"", "m", "-3m", "0", "1.5", "5 parsecs", "nan"})
    EXPECT_NE(message_of<UsageError>([&] { parse_save_every(bad); }).find("--save-every"), std::string::npos) << bad;
}

}  // namespace
}  // namespace hpm
