#include "hpm/training/objectives/method.h"

#include "hpm/core/error.h"
#include "hpm/training/objectives/mart.h"
#include "hpm/training/objectives/one_step.h"
#include "hpm/training/objectives/pgd_at.h"
#include "hpm/training/objectives/trades.h"

namespace hpm {
namespace {

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& row : training_methods()) all.push_back(row.name);
  return all;
}

template <class Method>
std::unique_ptr<TrainingMethod> make(const MethodOptions& options) {
  return std::make_unique<Method>(options);
}

}  // namespace

const std::vector<MethodRow>& training_methods() {
  static const std::vector<MethodRow> table = {
      {"pgd", "cross-entropy on PGD images", {"attack-steps"}, false, make<PgdAt>},
      {"trades",
       "clean cross-entropy, and agreement of clean and adversarial",
       {"attack-steps", "beta"},
       false,
       make<Trades>},
      {"mart", "margin loss, with agreement where clean images are wrong", {"attack-steps", "beta"}, false, make<Mart>},
      {"n-fgsm", "one step from a point of a larger ball, not projected", {"noise-radius"}, true, make<NoiseFgsm>},
      {"fgsm-rs", "one step from a random point, with GradAlign", {"grad-align"}, true, make<RandomStartFgsm>},
  };
  return table;
}

const MethodRow& find_method(const std::string& name) {
  for (const auto& row : training_methods())
    if (row.name == name) return row;
  const auto nearest = nearest_name(name, names());
  fail_usage("objective: unknown \"{}\"{}; known are {}", name,
             nearest.empty() ? "" : fmt::format(" (did you mean {}?)", nearest), fmt::join(names(), ", "));
}

std::unique_ptr<TrainingMethod> make_method(const MethodOptions& options) {
  require(options.label_smoothing >= 0 && options.label_smoothing < 1,
          "objective: label smoothing needs a share from 0 to below 1, but got {}", options.label_smoothing);
  require(options.beta >= 0 && options.noise >= 0 && options.grad_align >= 0,
          "objective: beta, noise radius and GradAlign's weight need to be at least 0, but are {}, {} and {}",
          options.beta, options.noise, options.grad_align);
  return find_method(options.objective).make(options);
}

void fields(Fields& f, MethodOptions& o) {
  f.section("objective");
  std::string help;
  for (const auto& row : training_methods())
    help += fmt::format("{}{}: {}", help.empty() ? "" : "; ", row.name, row.summary);
  f.add("objective", o.objective, "what is minimised (" + help + ")", {.choices = names()});
  f.add("beta", o.beta, "trades, mart: weight of the agreement", {.min = 0});
  f.add("noise-radius", o.noise, "n-fgsm: radius of the random start", {.min = 0, .unit = "eps"});
  f.add("grad-align", o.grad_align, "fgsm-rs: weight of GradAlign (0: none)", {.min = 0});
  f.add("label-smoothing", o.label_smoothing, "share of a label that is spread over all classes",
        {.min = 0, .max = .99});
}

Tensor cross_entropy(const Tensor& logits, const TrainingBatch& batch, double smoothing) {
  return at::cross_entropy_loss(logits, batch.targets.defined() ? batch.targets : batch.y, {}, at::Reduction::Mean,
                                -100, smoothing);
}

}  // namespace hpm
