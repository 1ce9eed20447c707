// What `hpm evaluate` does, from a program of your own: the Mixed Surrogate Attack on an HPM model with its matched
// control, checks, a run that can be interrupted and goes on, results.json and the report. Run it again after Ctrl-C:
// it continues.
//     build/release/examples/03_evaluation MODEL CONTROL RUN_FOLDER
#include <ATen/ops/arange.h>

#include <cstdio>
#include <filesystem>

#include "hpm/evaluation/run/evaluate.h"
#include "hpm/report/report.h"

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: 03_evaluation MODEL CONTROL RUN_FOLDER\n"), 2;
  const std::string folder = argv[3];
  hpm::EvaluationOptions options;
  options.norm = "Linf", options.eps = "0.1", options.contexts = {"reference", "solo"};

  hpm::EvaluationInput input{.model = hpm::load_model(argv[1]).model,
                             .data = hpm::load_dataset("fashion-mnist", "test")};
  input.index = at::arange(24);
  input.peers.control = hpm::load_model(argv[2]).model.classifier;

  const bool resume = std::filesystem::exists(folder + "/config.toml");
  hpm::Fields declared;
  hpm::fields(declared, options);
  const hpm::RunDirectory run(folder, declared, hpm::environment_json(options.compute, options.seed),
                              resume ? hpm::ExistingRun::resume : hpm::ExistingRun::refuse);
  const auto plan = hpm::plan_evaluation(input, options);
  const auto outcome = hpm::evaluate(input, options, plan, {run, resume});
  hpm::write_results(input, options, outcome, run, declared.json());
  hpm::write_report({run.path()}, run.file("report.html"));
  for (const auto& c : outcome.evaluation.contexts)
    std::printf("%-9s clean %.1f %%, robust %.1f %%\n", c.context.c_str(), hpm::percent(c.clean_correct),
                hpm::percent(c.robust));
  return outcome.evaluation.suspect() ? 3 : 0;
}
