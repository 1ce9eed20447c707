#include "report/sample.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "hpm/io/safetensors.h"
#include "hpm/report/comparison_impl.h"

namespace hpm::test {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> kClasses = {"T-shirt", "trouser", "pullover", "dress", "coat",
                                           "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};
// How often an image of the class is kept under attack, relative to the others.
const std::vector<double> kEase = {.0, .28, -.18, .08, -.15, .2, -.32, .12, .24, .18};

/// Deterministic everywhere: a standard library may draw its distributions differently, but not the engine.
double uniform(uint64_t seed, uint64_t i) {
  std::mt19937_64 engine(seed * 1000003 + i);
  engine.discard(3);
  return static_cast<double>(engine() >> 11) / 9007199254740992.;
}

std::vector<int64_t> labels_of(int64_t n) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int64_t>(uniform(1, i) * 10));
  return out;
}

struct SampleFlags {
  Flags clean, robust;
};

/// Images share a difficulty, so models mostly agree; `robust` and `clean` are the shares to come near.
SampleFlags flags_of(int64_t n, double clean, double robust, uint64_t seed) {
  SampleFlags out;
  const auto labels = labels_of(n);
  for (int64_t i = 0; i < n; ++i) {
    const double difficulty = uniform(2, i) - .5 * kEase[labels[i]] + .06 * (uniform(seed, i) - .5);
    out.clean.push_back(difficulty < clean ? 1 : 0);
    out.robust.push_back(difficulty < robust ? 1 : 0);
  }
  return out;
}

double share(const Flags& flags) {
  int64_t kept = 0;
  for (int flag : flags) kept += flag;
  return 100. * static_cast<double>(kept) / static_cast<double>(flags.size());
}

int64_t count(const Flags& flags) { return std::count(flags.begin(), flags.end(), 1); }

Json interval_of(const Flags& flags) {
  const auto interval = wilson(count(flags), static_cast<int64_t>(flags.size()));
  return {interval.low, interval.high};
}

Json paired(const std::string& name, const Flags& ours, const SampleFlags& theirs) {
  const auto m = compare_flags(ours, theirs.robust);
  return {{"name", name},
          {"file", "runs/demo/" + name + "/model.safetensors"},
          {"clean_accuracy", share(theirs.clean)},
          {"robust_accuracy", share(theirs.robust)},
          {"difference", *m.difference},
          {"difference_interval", {m.difference_interval->low, m.difference_interval->high}},
          {"wins", m.wins},
          {"losses", m.losses},
          {"p", *m.p},
          {"smallest_detectable", *m.smallest_detectable}};
}

/// ste sees every image; the others divide what it leaves among them, by the shares given.
Json surrogates_of(const SampleFlags& f, const std::vector<std::pair<std::string, double>>& shares) {
  const auto n = static_cast<double>(f.clean.size());
  const int64_t correct = count(f.clean), broken = correct - count(f.robust);
  Json out = Json::array();
  int64_t left = correct, to_break = broken;
  for (const auto& [name, part] : shares) {
    const auto now =
        part < 0 ? to_break : std::min<int64_t>(to_break, std::llround(part * static_cast<double>(broken)));
    Json entry = {{"name", name}, {"complete", left == correct}, {"broke", now}, {"of", left}, {"first", now}};
    if (left == correct) entry["robust_accuracy"] = 100 * static_cast<double>(correct - now) / n;
    left -= now, to_break -= now;
    out.push_back(entry);
  }
  const bool has_hard = shares.size() > 4;
  out.push_back({{"name", "detached"}, {"same_as", has_hard ? "hard" : "ste"}, {"complete", false}});
  return out;
}

Json context_of(const std::string& name, const SampleFlags& f, const SampleFlags& control,
                const std::vector<std::pair<std::string, double>>& shares) {
  Json out = {{"context", name},
              {"clean_accuracy", share(f.clean)},
              {"robust_accuracy", share(f.robust)},
              {"interval", interval_of(f.robust)},
              {"clean_interval", interval_of(f.clean)},
              {"clean_correct", f.clean},
              {"robust", f.robust},
              {"surrogates", surrogates_of(f, shares)},
              {"control", paired("control", f.robust, control)}};
  const auto& first = out["surrogates"][0];
  out["ste_accuracy"] = first["robust_accuracy"];
  out["obfuscation_gap"] = first["robust_accuracy"].get<double>() - share(f.robust);
  return out;
}

Json checks() {
  const auto check = [](const char* name, const char* status, double value, double limit, const char* detail) {
    return Json{{"name", name},   {"status", status}, {"value", value},
                {"limit", limit}, {"unit", "%"},      {"detail", detail}};
  };
  Json out = {check("unbounded", "passed", 0, 1, "APGD-CE with eps = 1 left 0.0 %"),
              check("convergence", "passed", .4, 1, "200 iterations broke 0.4 % more of the survivors"),
              check("Square after white-box", "passed", 0, .2, "Square broke none of 300 survivors"),
              check("transfer", "passed", .2, .5, "images of the control broke 0.2 points more"),
              check("zero gradients", "passed", 1.2, 5, "1.2 % of the images start without a gradient"),
              check("NaN or infinite", "passed", 0, 0, "none"),
              check("ball and box", "passed", 0, 0, "largest norm 0.1, all pixels in [0,1]"),
              check("determinism", "passed", 0, 0, "the same argmax twice")};
  out.push_back({{"name", "consistency"},
                 {"status", "reported"},
                 {"value", .8},
                 {"unit", "%"},
                 {"detail", "joint: 0.8 % of the predictions change when a batch is split"}});
  out.push_back({{"name", "reload"}, {"status", "not run"}, {"detail", "needs --save-adversarial"}});
  return out;
}

Json attacks_of(const SampleFlags& f, bool hpm) {
  Json out = Json::array();
  const double clean = share(f.clean), robust = share(f.robust), n = static_cast<double>(f.clean.size());
  std::vector<std::string> surrogates = {""};
  if (hpm) surrogates = {"ste", "fc", "hard", "soft", "stable", "region"};
  double left = clean;
  for (const auto& surrogate : surrogates)
    for (const char* name : {"apgd-ce", "apgd-dlr"}) {
      const double before = left;
      left = robust + (left - robust) * .3;
      if (surrogate == surrogates.back() && std::string(name) == "apgd-dlr") left = robust;
      const auto passes = std::llround(n * before / 100 * 50);
      out.push_back({{"name", name},
                     {"surrogate", surrogate.empty() ? Json(nullptr) : Json(surrogate)},
                     {"robust_accuracy", left},
                     {"forward_passes", passes},
                     {"backward_passes", passes},
                     {"seconds", static_cast<double>(passes) * 1.6e-4}});
      if (hpm) out.back()["context"] = "reference";
    }
  return out;
}

Json curve_of(const SampleFlags& f) {
  Json out = Json::array();
  const double clean = share(f.clean), robust = share(f.robust), n = static_cast<double>(f.clean.size());
  for (double eps : {.025, .05, .075, .1, .15, .2}) {
    const double value = clean * std::pow(robust / clean, std::pow(eps / .1, 1.35)), p = value / 100;
    out.push_back({{"eps", eps}, {"robust_accuracy", value}, {"standard_error", 100 * std::sqrt(p * (1 - p) / n)}});
  }
  return out;
}

/// A silhouette for each class, so that the gallery looks like something. x, y in [-1,1].
double garment(int64_t label, double x, double y) {
  const double ax = std::abs(x);
  switch (label) {
    case 0:
    case 6: return y > -.7 && y < .8 && (ax < .42 || (y < -.1 && ax < .85 - .3 * (y + .7))) ? 1 : 0;
    case 1: return y > -.85 && y < .9 && ax < .45 && !(y > -.35 && ax < .07 + .1 * y) ? 1 : 0;
    case 2:
    case 4: return y > -.75 && y < .8 && (ax < .45 || (ax < .8 && y < .75)) && !(ax > .45 && ax < .52) ? 1 : 0;
    case 3: return y > -.85 && y < .9 && ax < .22 + .2 * (y + .85) * .7 ? 1 : 0;
    case 5: return y > .05 && y < .45 && ax < .9 && (y > .3 || std::fmod(std::abs(x * 4 + y), 1.) < .5) ? 1 : 0;
    case 7: return y > -.1 + .35 * x && y < .45 && ax < .9 ? 1 : 0;
    case 8:
      return (y > -.2 && y < .7 && ax < .75) || (y <= -.2 && y > -.7 && std::abs(std::hypot(x, y + .2) - .4) < .07);
    default: return (x > 0 && y > -.8 && y < .6 && x < .7) || (y > .1 && y < .6 && ax < .8) ? 1 : 0;
  }
}

void fill_gallery(RunFiles& run, const SampleFlags& f, const std::vector<int64_t>& labels,
                  const std::vector<int64_t>& adversarial) {
  auto& images = run.gallery;
  images = {.original = {}, .adversarial = {}, .count = 0, .channels = 1, .height = 28, .width = 28};
  Json entries = Json::array();
  for (size_t i = 0; i < labels.size() && images.count < 8; ++i) {
    if (!f.clean[i] || (f.robust[i] && images.count != 3)) continue;
    double largest = 0;
    for (int p = 0; p < 28 * 28; ++p) {
      const double x = (p % 28 - 13.5) / 14, y = (p / 28 - 13.5) / 14, shape = garment(labels[i], x, y);
      const double shade = shape * (.55 + .25 * std::sin(9 * x + static_cast<double>(i)) * std::cos(5 * y) + .12 * y);
      const double wave = std::sin(11 * x * y + static_cast<double>(i)) + .8 * (uniform(50 + i, p) - .5) + (shape - .5);
      const double attacked = std::clamp(shade + (wave > 0 ? .1 : -.1), 0., 1.);
      images.original.push_back(static_cast<float>(shade));
      images.adversarial.push_back(static_cast<float>(attacked));
      largest = std::max(largest, std::abs(attacked - shade));
    }
    entries.push_back({{"index", i},
                       {"label", labels[i]},
                       {"clean_prediction", labels[i]},
                       {"adversarial_prediction", adversarial[i]},
                       {"surrogate", i % 2 ? "fc" : "ste"},
                       {"attack", "apgd-ce"},
                       {"norm", largest}});
    ++images.count;
  }
  run.results["gallery"] = entries;
}

Json model_info(const std::string& role) {
  Json out = {{"name", role},
              {"file", "runs/demo/" + role + "/model.safetensors"},
              {"sha256", "9f2c0e7d41b3a58c6d70e1f2a3b4c5d60718293a4b5c6d7e8f90a1b2c3d4e5f6"},
              {"architecture", "conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10"},
              {"classes", 10},
              {"parameters", 166406},
              {"feature_size", 100},
              {"head", role == "hpm" || role == "l2" ? role : "fc"},
              {"normalisation", {{"mean", {.286}}, {"std", {.353}}}}};
  if (role == "hpm") out.update({{"lambda", .9}, {"tau", 1.31}, {"metric", "learned (R = 9)"}, {"ema", .99}});
  return out;
}

std::vector<int64_t> predictions_of(const std::vector<int64_t>& labels, const Flags& correct) {
  const int64_t kNear[] = {6, 3, 4, 0, 2, 7, 0, 9, 6, 7};
  std::vector<int64_t> out;
  for (size_t i = 0; i < labels.size(); ++i)
    out.push_back(correct[i] ? labels[i] : uniform(9, i) < .7 ? kNear[labels[i]] : (labels[i] + 3) % 10);
  return out;
}

std::string config_of(const std::string& role) {
  return "# the effective configuration\n[model]\nmodel = \"runs/demo/" + role +
         "/model.safetensors\"\n\n[data]\ndata = \"fashion-mnist\"\nsplit = \"test\"\ncount = 500\n\n[threat]\n"
         "norm = \"Linf\"\neps = \"0.1\"\n\n[evaluation]\nprotocol = \"msa\"\nversion = \"quick\"\nchecks = "
         "\"basic\"\nseed = 0\n";
}

}  // namespace

RunFiles sample_run(const std::string& role, int64_t n, double hpm_shift) {
  const auto control = flags_of(n, .875, .615, 22);
  const double shift = hpm_shift / 100;
  const auto own = role == "base"      ? flags_of(n, .862, .588, 21)
                   : role == "control" ? control
                   : role == "l2"      ? flags_of(n, .848, .572, 23)
                                       : flags_of(n, .874, .615 + shift, 24);
  const auto labels = labels_of(n);
  const auto adversarial = predictions_of(labels, own.robust);
  RunFiles run{
      .directory = "runs/demo/" + role, .results = {}, .environment = {}, .config = config_of(role), .gallery = {}};
  run.results = {{"schema", 1},
                 {"hpm_version", "0.1.0"},
                 {"commit", "4a33c90"},
                 {"started", "2026-11-22T18:00:00Z"},
                 {"seconds", role == "hpm" ? 81.2 : 22.4},
                 {"model", "runs/demo/" + role + "/model.safetensors"},
                 {"model_info", model_info(role)},
                 {"role", role},
                 {"dataset", "fashion-mnist"},
                 {"split", "test"},
                 {"class_names", kClasses},
                 {"n", n},
                 {"first_index", 0},
                 {"labels", labels},
                 {"norm", "Linf"},
                 {"eps", .1},
                 {"protocol", "msa"},
                 {"version", "quick"},
                 {"seed", 0},
                 {"threads", 2},
                 {"clean_accuracy", share(own.clean)},
                 {"robust_accuracy", share(own.robust)},
                 {"clean_correct", own.clean},
                 {"robust", own.robust},
                 {"interval", interval_of(own.robust)},
                 {"clean_interval", interval_of(own.clean)},
                 {"predictions", {{"clean", predictions_of(labels, own.clean)}, {"adversarial", adversarial}}},
                 {"attacks", attacks_of(own, role == "hpm")},
                 {"curve", curve_of(own)},
                 {"borderline", 0},
                 {"checks", checks()},
                 {"suspect", false},
                 {"reasons", Json::array()}};
  run.environment = {{"torch", "2.13.0+cpu"},
                     {"blas", "OpenBLAS 0.3.30"},
                     {"compiler", "GNU 12.2.0"},
                     {"flags", "Release -O2 -DNDEBUG"},
                     {"cpu", {{"name", "AMD EPYC 9454"}, {"isa", "AVX512"}, {"cores", 2}}},
                     {"device", "cpu"},
                     {"threads", 2}};
  if (role == "hpm") {
    const auto solo = flags_of(n, .868, .583 + shift, 25), alone = flags_of(n, .866, .604 + shift, 26);
    const auto joint = flags_of(n, .868, .552 + shift, 27);
    auto& contexts = run.results["contexts"];
    contexts.push_back(
        context_of("reference", own, control, {{"ste", .86}, {"fc", .6}, {"stable", .02}, {"region", -1}}));
    contexts.push_back(
        context_of("alone", alone, control,
                   {{"ste", .44}, {"fc", .5}, {"hard", .02}, {"soft", .02}, {"stable", .01}, {"region", -1}}));
    contexts.push_back(
        context_of("solo", solo, control,
                   {{"ste", .78}, {"fc", .1}, {"hard", .06}, {"soft", .03}, {"stable", .02}, {"region", -1}}));
    contexts.push_back(context_of("joint", joint, control, {{"ste", .85}, {"fc", -1}}));
    contexts[1]["broken_by"] = {{{"by", "fc/apgd-dlr"}, {"images", 80}},
                                {{"by", "ste/apgd-ce in solo"}, {"images", 51}}};
    contexts[3]["joint_any"] = share(joint.robust) - 2.4;
    for (bool too : {true, false})
      contexts[3]["collusion"].push_back(
          {{"colluders", 8}, {"victim_too", too}, {"victims", 100}, {"broke", too ? 37 : 6}});
    contexts[3]["benign"].push_back({{"malicious", 32}, {"images", 96}, {"clean_accuracy", 86.5}, {"accuracy", 71.9}});
    for (const char* order : {"given", "class"})
      run.results["compositions"].push_back(
          {{"size", 8}, {"order", order}, {"clean_accuracy", 80.1}, {"robust_accuracy", 44.2}});
    for (const char* context : {"reference", "solo"})
      for (double lambda : {.3, .5, .7, .9, 1.})
        run.results["sweep"].push_back({{"context", context},
                                        {"lambda", lambda},
                                        {"clean_accuracy", share(own.clean)},
                                        {"robust_accuracy", share(own.robust) + 4 * (.9 - lambda)},
                                        {"attacked", lambda == .9}});
    contexts[0]["surrogates"].push_back({{"name", "base"}, {"unavailable", "needs --base FILE"}, {"complete", false}});
    run.results["context"] = "reference";
    run.results["company"] = {{"size", 128}, {"seed", 0}};
    run.results["control"] = paired("control", own.robust, control);
    run.results["base"] = paired("base", own.robust, flags_of(n, .862, .588, 21));
  }
  if (role != "base") fill_gallery(run, own, labels, adversarial);
  return run;
}

std::vector<RunFiles> sample_runs(int64_t n, double hpm_shift) {
  std::vector<RunFiles> out;
  for (const char* role : {"hpm", "base", "l2", "control"}) out.push_back(sample_run(role, n, hpm_shift));
  return out;
}

void write_sample(const RunFiles& run, const std::string& directory) {
  const std::filesystem::path root(directory);
  std::filesystem::create_directories(root);
  std::ofstream(root / "results.json") << run.results.dump();
  std::ofstream(root / "environment.json") << run.environment.dump(1);
  std::ofstream(root / "config.toml") << run.config;
  const auto& g = run.gallery;
  if (g.count == 0) return;
  const auto entry = [&](const char* name, const std::vector<float>& values) {
    return SafetensorsEntry{
        name, ScalarType::float32, {g.count, g.channels, g.height, g.width}, std::as_bytes(std::span(values))};
  };
  write_safetensors((root / "gallery.safetensors").string(),
                    std::vector<SafetensorsEntry>{entry("original", g.original), entry("adversarial", g.adversarial)});
}

}  // namespace hpm::test
