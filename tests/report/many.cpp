#include "report/many.h"

#include <nlohmann/json.hpp>

#include <cmath>

#include "hpm/evaluation/results/statistics.h"

namespace hpm::test {
namespace {

/// Numbers in [0,1) that are spread evenly, the same everywhere.
double spread_out(double i, double step) { return i * step - std::floor(i * step); }

double share(const Flags& flags) {
  int64_t kept = 0;
  for (const int flag : flags) kept += flag;
  return 100. * static_cast<double>(kept) / static_cast<double>(flags.size());
}

ConfidenceInterval interval_of(const Flags& flags) {
  int64_t kept = 0;
  for (const int flag : flags) kept += flag;
  return wilson(kept, static_cast<int64_t>(flags.size()));
}

}  // namespace

RunResults many_results(size_t i, int64_t n) {
  const auto place = static_cast<double>(i);
  // What a model gains in robustness it loses on clean images, more or less.
  const double trade = spread_out(place, .6180339887), luck = spread_out(place, .4142135624);
  const double clean = .95 - .15 * trade - .03 * luck, robust = .3 + .3 * trade - .06 * luck;
  RunResults r;
  r.hpm_version = "0.1.0", r.commit = "4a33c90", r.started = "2026-11-22T18:00:00Z", r.seconds = 41.5;
  r.model = fmt::format("zoo/model-{:03}.safetensors", i);
  r.model_info = {.name = "fc", .file = r.model, .sha256 = std::string(64, 'a'), .architecture = "wrn-28-10"};
  r.model_info.classes = 10, r.model_info.parameters = 36479194, r.model_info.head = "fc";
  r.role = fmt::format("model {:03}", i);
  r.dataset = "cifar10", r.split = "test", r.n = n;
  r.class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  r.norm = "Linf", r.eps = 8. / 255, r.protocol = "autoattack", r.version = "standard", r.threads = 2;
  r.budget = "autoattack standard";
  for (int64_t k = 0; k < n; ++k) {
    const auto image = static_cast<double>(k);
    const double own = .06 * (spread_out((image + 1) * (place + 3), .5698402910) - .5);
    const double difficulty = spread_out(image, .7548776662) + own;
    r.labels.push_back(k % 10);
    r.first.clean_correct.push_back(difficulty < clean ? 1 : 0);
    r.first.robust.push_back(difficulty < robust ? 1 : 0);
    r.predictions.clean.push_back(r.first.clean_correct.back() ? k % 10 : (k + 1) % 10);
    r.predictions.adversarial.push_back(r.first.robust.back() ? k % 10 : (k + 3) % 10);
  }
  r.first.clean_accuracy = share(r.first.clean_correct), r.first.robust_accuracy = share(r.first.robust);
  r.first.clean_interval = interval_of(r.first.clean_correct), r.first.interval = interval_of(r.first.robust);
  for (const char* attack : {"apgd-ce", "apgd-t", "fab-t", "square"})
    r.attacks.push_back({.name = attack, .robust_accuracy = r.first.robust_accuracy, .forward_passes = 100000});
  for (const double eps : {1., 2., 4., 6., 8., 10.})
    r.curve.push_back({eps / 255, 100 * std::max(clean + (robust - clean) * eps / 8, 0.), 1.5});
  for (const char* check : {"unbounded", "convergence", "transfer", "zero gradients", "ball and box", "determinism"})
    r.checks.push_back({.name = check, .status = "passed", .value = 0, .unit = "%", .detail = "none of the images"});
  return r;
}

std::vector<RunFiles> many_runs(size_t count, int64_t n) {
  std::vector<RunFiles> out;
  for (size_t i = 0; i < count; ++i) {
    RunFiles run{.directory = fmt::format("runs/zoo/{:03}", i),
                 .results = nlohmann::json::parse(results_text(many_results(i, n))),
                 .environment = {{"torch", "2.13.0+cpu"}, {"cpu", "AMD EPYC 9454"}, {"seed", 0}},
                 .config = fmt::format("[model]\nmodel = \"zoo/model-{:03}.safetensors\"\n", i),
                 .gallery = {}};
    out.push_back(std::move(run));
  }
  return out;
}

std::vector<std::string> write_runs(const std::vector<RunFiles>& runs, const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& run : runs) {
    paths.push_back(folder + "/" + std::filesystem::path(run.directory).filename().string());
    write_sample(run, paths.back());
  }
  return paths;
}

}  // namespace hpm::test
