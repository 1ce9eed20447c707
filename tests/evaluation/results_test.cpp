#include "hpm/evaluation/results/results.h"

#include <nlohmann/json.hpp>

#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

using test::message_of;

TEST(Results, HoldEveryFieldOfTheFormatWithOneFlagAnImage) {
  const auto model = test::tiny_model(.4, at::kFloat);
  Images images{test::tiny_images(12, 1, at::kFloat), at::zeros({12}, at::kLong), at::arange(12)};
  const auto out = model.run(images.x);
  images.y = prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, images.index).argmax(1);
  const ThreatModel threat{Norm::linf, .04};
  test::MsaSetting setting;
  setting.contexts = {"reference", "alone"}, setting.settings.steps = 10;
  auto evaluation = test::msa(model, {}, images, threat, setting);
  evaluation.adversarial_prediction = images.y;
  const HpmModel plain{model.classifier, std::nullopt};
  PeerResult control{"control", "c.safetensors", test::msa(plain, {}, images, threat, setting)};
  const Dataset data{.name = "cifar10", .split = "test", .class_names = {"a", "b", "c", "d", "e"}};
  ResultsInput input{model, data, images, threat, evaluation, "hpm", "msa", "quick"};
  input.control = control;

  test::TemporaryFolder folder;
  Fields none;
  const RunDirectory run((folder / "run").string(), none, "{}", ExistingRun::refuse);
  write_run(run, input);
  const auto j = test::read_json(folder / "run/results.json");
  for (const char* key :
       {"schema",          "model",         "dataset", "n",       "first_index",    "norm",     "eps",
        "protocol",        "version",       "context", "company", "seed",           "threads",  "clean_accuracy",
        "robust_accuracy", "clean_correct", "robust",  "attacks", "standard_error", "interval", "control",
        "joint_any",       "borderline",    "checks",  "suspect"})
    EXPECT_TRUE(j.contains(key)) << key;
  EXPECT_EQ(j["robust"].size(), 12u);
  EXPECT_TRUE(j["control"].contains("p") && j["control"].contains("robust_accuracy"));
  for (const auto& attack : j["attacks"])
    EXPECT_TRUE(attack.contains("name") && attack.contains("surrogate") && attack.contains("seconds"));
  double sum = 0;
  for (const auto& flag : j["robust"]) sum += flag.get<double>();
  EXPECT_NEAR(j["robust_accuracy"].get<double>(), 100 * sum / 12, 1e-5);
  for (const auto& attack : j["attacks"]) {
    EXPECT_EQ(attack["robust"].size(), 12u);
    EXPECT_GE(attack["forward_passes"].get<int64_t>(), 0);
  }
  EXPECT_EQ(j["control"]["wins"].get<int64_t>() - j["control"]["losses"].get<int64_t>(),
            std::lround(j["control"]["difference"].get<double>() * 12 / 100));
  const auto gallery = read_checkpoint((folder / "run/gallery.safetensors").string());
  EXPECT_EQ(gallery.tensors.front().second.size(0), static_cast<int64_t>(j["gallery"].size()));
}

TEST(RunDirectory, RefusesAnotherRunUnlessToldAndNeverLeavesAStaleResult) {
  test::TemporaryFolder folder;
  Fields none;
  const auto path = (folder / "run").string();
  {
    const RunDirectory first(path, none, "{}", ExistingRun::refuse);
    first.write("results.json", "{}");
    EXPECT_NE(
        message_of<Error>([&] { RunDirectory(path, none, "{}", ExistingRun::overwrite); }).find("another process"),
        std::string::npos);
    EXPECT_TRUE(std::filesystem::exists(folder / "run/results.json")) << "a refused writer removed the other's result";
  }
  EXPECT_NE(message_of<UsageError>([&] { RunDirectory(path, none, "{}", ExistingRun::refuse); }).find("--overwrite"),
            std::string::npos);
  RunDirectory(path, none, "{}", ExistingRun::resume);
  EXPECT_TRUE(std::filesystem::exists(path + "/results.json"));
  RunDirectory(path, none, "{}", ExistingRun::overwrite);
  EXPECT_FALSE(std::filesystem::exists(path + "/results.json"));
  std::ofstream(folder / "file") << "x";
  EXPECT_THROW(RunDirectory((folder / "file/run").string(), none, "{}", ExistingRun::refuse), Error);
}

TEST(Environment, NamesVersionsAndMachine) {
  const auto e = nlohmann::json::parse(environment_json({}, 5));
  for (const char* key :
       {"hpm_version", "commit", "compiler", "flags", "torch", "blas", "cpu", "isa", "threads", "device", "seed"})
    EXPECT_TRUE(e.contains(key)) << key;
  EXPECT_EQ(e["seed"], 5);
}

}  // namespace
}  // namespace hpm
