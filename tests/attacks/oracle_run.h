// Runs AutoAttack as an oracle file says and compares the flags, image by image.
#pragma once
#include <sys/resource.h>
#include <nlohmann/json.hpp>

#include <set>

#include "attacks/real_models.h"
#include "hpm/attacks/autoattack.h"

namespace hpm::test {

inline double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct OracleComparison {
  AutoAttackResult result;
  double seconds = 0, oracle_seconds = 0;   // CPU
  int64_t forward = 0, oracle_forward = 0;  // the oracle's without the passes of the official driver's own checks
  int64_t oracle_broken = 0, missed = 0, more = 0;  // at the end: broken there; there but not here; here but not there
  std::vector<std::string> differences;             // one line for each image and attack with another flag
  std::set<int64_t> images_that_differ;
};

inline void compare_flags(const nlohmann::json& oracle, const AutoAttackResult& result, AttackModel& model,
                          const Images& images, OracleComparison& out) {
  const auto logits = model.ask({result.adversarial.all(), images.index}, nullptr).target_logits;
  const auto margins = margin(logits, images.y);
  const auto ranges = logits.amax(1) - logits.amin(1);
  const auto note = [&](const std::string& attack, const Tensor& theirs, const Tensor& ours) {
    const auto rows = theirs.ne(ours).nonzero().squeeze(1);
    for (int64_t i = 0; i < rows.numel(); ++i) {
      const auto row = rows[i].item<int64_t>();
      out.images_that_differ.insert(row);
      out.differences.push_back(
          fmt::format("{}: image {} is {} there and {} here, margin here {:.2e} of a range of {:.3g}", attack, row,
                      theirs[row].item<bool>() ? "robust" : "broken", ours[row].item<bool>() ? "robust" : "broken",
                      margins[row].item<double>(), ranges[row].item<double>()));
    }
  };
  const auto clean = tensor_of(oracle["clean"]).to(at::kBool);
  note("clean", clean, result.clean_correct);
  Tensor last = clean;
  for (size_t i = 0; i < oracle["attacks"].size(); ++i) {
    const auto& attack = oracle["attacks"][i];
    const auto before = last;
    last = tensor_of(attack["robust"]).to(at::kBool);
    note(attack["name"], last, result.attacks.at(i).robust);
    const int64_t checks = oracle["version"] == "rand" ? 3 : 8;
    out.oracle_forward += attack["fwd"].get<int64_t>() - checks * before.sum().item<int64_t>();
    out.oracle_seconds += attack["cpu"].get<double>();
  }
  const auto theirs = clean & last.logical_not(), ours = result.clean_correct & result.robust().logical_not();
  out.oracle_broken = theirs.sum().item<int64_t>();
  out.missed = (theirs & ours.logical_not()).sum().item<int64_t>();
  out.more = (ours & theirs.logical_not() & clean).sum().item<int64_t>();
}

/// The random network's file holds no flags after each attack, only which images the driver replaced, and their sums.
inline void compare_replaced(const nlohmann::json& oracle, const AutoAttackResult& result, const Images& images,
                             OracleComparison& out) {
  const auto theirs = tensor_of(oracle["x_adv_changed"]).to(at::kBool);
  const auto ours = result.adversarial.all().ne(images.x).flatten(1).any(1);
  const auto sums = result.adversarial.all().to(at::kDouble).flatten(1).sum(1);
  const auto apart = (sums - tensor_of(oracle["x_adv_sum"])).abs();
  for (int64_t row = 0; row < images.size(); ++row)
    if (theirs[row].item<bool>() != ours[row].item<bool>() || apart[row].item<double>() > .05)
      out.differences.push_back(fmt::format("image {}: replaced {} there, {} here; sums {:.3g} apart", row,
                                            theirs[row].item<bool>(), ours[row].item<bool>(),
                                            apart[row].item<double>()));
  out.oracle_broken = theirs.sum().item<int64_t>();
  out.missed = (theirs & ours.logical_not()).sum().item<int64_t>();
  out.more = (ours & theirs.logical_not()).sum().item<int64_t>();
}

/// None where a file it needs is absent.
inline std::optional<OracleComparison> run_oracle(const nlohmann::json& oracle, bool conformance, uint64_t seed) {
  const auto classifier = real_model(oracle["model"]);
  const auto images = cifar_images(oracle["n"]);
  if (!classifier || !images) return std::nullopt;
  const ThreatModel threat{parse_norm(oracle["norm"]), oracle["eps"]};
  AutoAttackOptions options{.version = oracle["version"], .seed = seed, .conformance = conformance};
  if (conformance) options.batch_size = oracle["batch"];
  if (options.version == "custom") options.attacks = oracle["attacks_to_run"].get<std::vector<std::string>>();
  const bool random = oracle["model"].get<std::string>().find("noise") != std::string::npos;
  ClassifierModel model(*classifier, random);
  torch::manual_seed(0);
  OracleComparison out;
  const auto before = cpu_seconds();
  out.result = autoattack(model, *images, threat, options);
  out.seconds = cpu_seconds() - before;
  for (const auto& attack : out.result.attacks) out.forward += attack.passes.forward;
  if (oracle["attacks"].empty()) compare_replaced(oracle, out.result, *images, out);
  else compare_flags(oracle, out.result, model, *images, out);
  return out;
}

inline void print_row(const std::string& name, const OracleComparison& c) {
  fmt::print(
      "{:58s} {:7.1f} s (official {:6.1f})  {:8d} passes (official {:8d})  broken there {:3d}, missed {}, more {}; "
      "{}\n",
      name, c.seconds, c.oracle_seconds, c.forward, c.oracle_forward, c.oracle_broken, c.missed, c.more,
      c.differences.empty() ? "all flags equal" : std::to_string(c.differences.size()) + " flags differ");
  for (const auto& attack : c.result.attacks)
    fmt::print("    {:10s} {:7.1f} s  robust {:3d}  forward {:8d}  backward {:8d}\n", attack.spec.name, attack.seconds,
               attack.robust.sum().item<int64_t>(), attack.passes.forward, attack.passes.backward);
  std::fflush(stdout);
}

}  // namespace hpm::test

/// Skips where run_oracle or the like gave nothing.
#define HPM_NEED_CHECKPOINT(found)                                                                                \
  if (!(found))                                                                                                   \
  GTEST_SKIP() << "needs ../shared/checkpoints and ../shared/data, absent here (HPM_SHARED=FOLDER names another " \
                  "place)"

#define HPM_NEED_ORACLES(files) \
  if ((files).empty())          \
  GTEST_SKIP() << "needs ../shared/oracles/autoattack, absent here (HPM_SHARED=FOLDER names another place)"
