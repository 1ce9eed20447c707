// Models that hide their gradients, evaluated as someone does who does not know: with default settings.
#include <nlohmann/json.hpp>
#include <set>

#include "cli/program.h"
#include "support/python.h"

namespace hpm {
namespace {

class MaskedProgram : public testing::Test {
 protected:
  void make_models() {
    const auto base = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
    ASSERT_EQ(test::python("tests/models/make_masked.py",
                           "'" + folder.path.string() + "' '" + base + "' /usr/share/datasets/fashion-mnist"),
              "");
  }
  nlohmann::json results_of(const std::string& model, const std::string& more, int status) {
    const auto r = test::program(
        "evaluate --protocol msa --data fashion-mnist --eps 0.1 --threads 1 --quiet "
        "--allow-torchscript --out " +
            model + " --model " + model + ".pt " + more,
        folder.path);
    EXPECT_EQ(r.status, status) << model << "\n" << r.out << r.err;
    return test::read_json(folder / (model + "/results.json"));
  }
  static std::set<std::string> causes(const nlohmann::json& results) {
    std::set<std::string> all;
    for (const auto& check : results["checks"])
      if (check["status"] == "failed") all.insert(check.value("cause", ""));
    return all;
  }
  test::TemporaryFolder folder;
};

TEST_F(MaskedProgram, DefaultSettingsPassNoModelThatHidesItsGradient) {
  HPM_NEED_PYTHON_TORCH();
  HPM_NEED_FASHION_MNIST();
  make_models();
  const auto winners = results_of("winners", "--count 40", 3);
  EXPECT_TRUE(winners["suspect"]);
  EXPECT_TRUE(causes(winners).count("shattered gradient"));
  const auto quantised = results_of("quantised", "--count 40 --self-test binarisation", 3);
  EXPECT_TRUE(causes(quantised).count("zero gradient"));
  EXPECT_EQ(quantised["self_test"]["readout"], "logits");
  EXPECT_LT(quantised["self_test"]["share"], 50) << "the attack stands still and finds nothing";
  // The same network without a mask, with the same settings.
  const auto honest = results_of("base", "--count 40 --self-test binarisation", 0);
  EXPECT_FALSE(honest["suspect"]) << honest["reasons"];
  EXPECT_GE(honest["self_test"]["share"], 95);
  EXPECT_GT(quantised["robust_accuracy"], honest["robust_accuracy"]) << "the mask flatters, or nothing is tested";
}

TEST_F(MaskedProgram, ABatchDependentModelIsAttackedThroughItsBatchToo) {
  HPM_NEED_PYTHON_TORCH();
  HPM_NEED_FASHION_MNIST();
  make_models();
  const auto results = results_of("centred",
                                  "--coupling batch --context joint --company 8 --count 24 --steps 5 --checks none "
                                  "--surrogates self,gmsa-avg,gmsa-min --malicious 4 --company-sizes 1,8",
                                  0);
  const auto& joint = results["contexts"][0];
  std::vector<std::string> names;
  for (const auto& surrogate : joint["surrogates"]) {
    names.push_back(surrogate["name"]);
    EXPECT_TRUE(surrogate["complete"]);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"self", "gmsa-avg", "gmsa-min"}));
  ASSERT_EQ(joint["benign"].size(), 1u);
  EXPECT_EQ(joint["benign"][0]["images"], 12) << "four of eight in each of three batches";
  EXPECT_LT(joint["benign"][0]["accuracy"], joint["benign"][0]["clean_accuracy"]);
  ASSERT_EQ(results["compositions"].size(), 3u) << "1, 8, and 8 by class";
  EXPECT_EQ(results["compositions"][2]["order"], "class");
  EXPECT_LT(results["compositions"][2]["clean_accuracy"], results["compositions"][1]["clean_accuracy"])
      << "a batch of one class loses what its images have in common";
  std::ifstream file(folder / "centred/report.html");
  const std::string page((std::istreambuf_iterator<char>(file)), {});
  EXPECT_NE(page.find("Malicious images a batch"), std::string::npos);
  EXPECT_NE(page.find("8 images, sorted by class"), std::string::npos);
  EXPECT_NE(page.find("gmsa-avg"), std::string::npos);
}

}  // namespace
}  // namespace hpm
