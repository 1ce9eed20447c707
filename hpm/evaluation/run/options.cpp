#include "hpm/evaluation/run/options.h"

#include <algorithm>
#include <sstream>

#include "hpm/core/error.h"

namespace hpm {
namespace {

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::vector<ThreatModel> EvaluationOptions::radii() const {
  std::vector<ThreatModel> all;
  std::istringstream parts(eps);
  for (std::string part; std::getline(parts, part, ',');)
    all.push_back({parse_norm(norm), parse_radius(part, "--eps")});
  return all;
}

bool EvaluationOptions::has_context(const std::string& name) const { return holds(evaluated_contexts(), name); }

std::vector<std::string> EvaluationOptions::evaluated_contexts() const {
  if (coupled() && contexts == EvaluationOptions{}.contexts) return {"alone", "solo", "joint"};
  if (is("clean")) return contexts;
  if (coupled()) return contexts;
  return is("msa") ? msa_contexts(contexts, effective_version()) : std::vector<std::string>{contexts.front()};
}

std::string EvaluationOptions::effective_version() const {
  if (is("msa")) return version.empty() ? "quick" : version;
  if (is("autoattack")) return version.empty() ? (autoattack.attacks.empty() ? "standard" : "custom") : version;
  return "";
}

std::vector<int64_t> EvaluationOptions::composition_sizes() const {
  if (!is("msa") || !has_context("joint")) return {};
  if (!company_sizes.empty()) return company_sizes;
  const bool full = effective_version() == "standard" || effective_version() == "plus";
  return full ? std::vector<int64_t>{1, 8, 128} : std::vector<int64_t>{};
}

bool EvaluationOptions::has_queries() const {
  if (is("msa"))
    return holds(msa.surrogates, decision_surrogate().name) ||
           (msa.surrogates.empty() ? effective_version() != "quick" : holds(msa.surrogates, query_surrogate().name)) ||
           (has_context("joint") && holds(msa.joint_surrogates, query_surrogate().name));
  if (!is("autoattack")) return false;
  return autoattack.attacks.empty() ? effective_version() != "rand" : holds(autoattack.attacks, "square");
}

bool EvaluationOptions::attacks_anything() const {
  const auto all = radii();
  return !is("clean") && std::any_of(all.begin(), all.end(), [](const auto& threat) { return threat.eps > 0; });
}

std::string EvaluationOptions::budget(const std::vector<std::string>& own_surrogates, const std::string& search) const {
  if (protocol == "clean") return "";
  auto text = protocol + (effective_version().empty() ? "" : " " + effective_version());
  if (protocol == "pgd")
    text += fmt::format(" {}, {} steps of {}", pgd.loss, for_pgd().steps,
                        pgd.step_size ? fmt::format("{:g}", *pgd.step_size) : "eps / 4");
  if (!autoattack.attacks.empty()) text += fmt::format(" {}", fmt::join(autoattack.attacks, ","));
  if (is("msa")) {
    if (!msa.surrogates.empty()) text += fmt::format(" {}", fmt::join(msa.surrogates, ","));
    if (!own_surrogates.empty()) text += fmt::format(", surrogates of one's own {}", fmt::join(own_surrogates, ","));
    if (!msa.joint_surrogates.empty() && has_context("joint"))
      text += fmt::format(", in joint {}", fmt::join(msa.joint_surrogates, ","));
    if (msa.full_matrix) text += ", full matrix";
  }
  const bool has_alarms = is("fast") || (is("msa") && effective_version() == "fast");
  if (has_alarms && alarms.sample) text += fmt::format(", sample of {}", *alarms.sample);
  if (has_alarms && alarms.no_escalate) text += ", without escalation";
  if (is("fast") && time_limit) text += fmt::format(", {:g} s", *time_limit);
  if (search != "float32") text += ", search in " + search;
  const auto add = [&](const char* what, const std::optional<int64_t>& value) {
    if (value) text += fmt::format(", {} {}", *value, what);
  };
  if (protocol != "pgd") add("steps", settings.steps);
  if (is("msa")) add("times the starts", settings.restarts);
  else add("restarts", protocol == "pgd" ? for_pgd().restarts : settings.restarts);
  add("targets", settings.targets);
  if (has_queries()) add("queries", settings.queries);
  return text;
}

MsaOptions EvaluationOptions::for_msa() const {
  auto all = msa;
  all.version = effective_version();
  all.seed = seed, all.batch_size = compute.batch_size;
  all.settings = settings, all.alarms = alarms;
  if (settings.steps) all.collusion.steps = all.benign.steps = *settings.steps;
  return all;
}

AutoAttackOptions EvaluationOptions::for_autoattack() const {
  auto all = autoattack;
  all.version = effective_version();
  all.seed = seed, all.batch_size = compute.batch_size;
  all.settings = settings;
  return all;
}

PgdOptions EvaluationOptions::for_pgd() const {
  auto all = pgd;
  all.steps = settings.steps.value_or(pgd.steps), all.restarts = settings.restarts.value_or(pgd.restarts);
  return all;
}

FastOptions EvaluationOptions::for_fast() const {
  return {.seed = seed, .batch_size = compute.batch_size, .alarms = alarms};
}

CheckOptions EvaluationOptions::for_checks() const {
  auto all = checks;
  all.seed = seed, all.batch_size = compute.batch_size;
  all.conformance = autoattack.conformance && is("autoattack");
  return all;
}

DefenceOptions EvaluationOptions::for_defence() const {
  DefenceOptions options;
  options.random = random, options.by_votes = is("msa"), options.seed = seed;
  options.coupling = coupled() ? Coupling::batch : Coupling::rows;
  options.by_class = company_order == "class";
  if (const auto first = radii().front(); first.norm == Norm::linf && first.eps > 0) options.smoothing = first.eps / 2;
  options.contexts = evaluated_contexts();
  options.sweep = is("msa") ? sweep : std::vector<double>{};
  options.company_size = company, options.company_seed = company_seed;
  options.batch_size = compute.batch_size;
  return options;
}

void fields(Fields& f, EvaluationOptions& o) {
  f.section("threat");
  f.add("norm", o.norm, "norm of the perturbation", {.choices = {"Linf", "L2", "L1"}});
  f.add("eps", o.eps, "radius, or a list for a curve", {.unit = "input range [0,1]", .radius = true});
  f.section("protocol");
  f.add("protocol", o.protocol, "protocol", {.choices = {"clean", "pgd", "autoattack", "fast", "msa"}});
  f.add("version", o.version,
        "of msa: quick (default), fast, standard, plus; of autoattack: standard (default), plus, rand, custom",
        {.suggestions = {"quick", "fast", "standard", "plus", "rand", "custom"}});
  fields(f, o.settings);
  fields(f, o.pgd);
  fields(f, o.autoattack);
  fields(f, o.alarms);
  f.add("budget", o.time_limit, "fast: time limit; what is known by then is the result", {.min = 0, .unit = "seconds"});
  f.add("base", o.base, "model before the defence: surrogate base, and attacked under the same budget",
        {.place = Place::file});
  f.add("control", o.control, "matched control: surrogate control, and the paired test", {.place = Place::file});
  f.add("transfer-only", o.transfer_only, "msa: base and control are surrogates, and not attacked themselves");
  f.add("surrogate", o.surrogate_files,
        "TorchScript files: surrogates of your own beside these, of any model (needs --allow-torchscript)",
        {.place = Place::file});
  f.add("bpda", o.bpda,
        "msa, TorchScript: NAME=identity or NAME=FILE, what stands in for the submodule NAME in the backward pass");
  fields(f, o.msa);
  f.add("context", o.contexts, "contexts of an HPM model, the first is headlined",
        {.choices = {"reference", "alone", "solo", "solo-eot", "joint"}});
  f.add("lambda", o.lambda, "mixing weight in place of the model's own", {.min = 0, .max = 1});
  f.add("sweep-lambda", o.sweep, "further mixing weights that msa judges every iterate by (not attacked themselves)",
        {.min = 0, .max = 1});
  f.add("company", o.company, "company size of solo and joint", {.min = 1, .max = 65536, .unit = "images"});
  f.add("company-seed", o.company_seed, "order of the company (0: as the images come)");
  f.add("company-sizes", o.company_sizes,
        "msa, joint: batch sizes attacked beside the own one, as the images come and sorted by class (none: 1, 8 and "
        "128 under standard and plus)",
        {.min = 1, .max = 65536});
  f.add("coupling", o.coupling, "batch: the answer of a model without a head depends on the other images of its batch",
        {.choices = {"rows", "batch"}});
  f.add("company-order", o.company_order, "with --coupling batch: batches of images as they come, or sorted by class",
        {.choices = {"given", "class"}});
  f.add("random", o.random, "the model draws random numbers");
  fields(f, o.checks);
  f.add("self-test", o.self_test, "binarisation: does the attack in use find adversarial images that were planted?",
        {.choices = {"none", "binarisation"}});
  f.add("role", o.role, "what the run is in a comparison: base, control, l2 or hpm; any other is its name",
        {.suggestions = {"base", "control", "l2", "hpm"}});
  f.add("save-adversarial", o.save_adversarial, "keep all adversarial images and check them after reloading");
  f.add("quantise", o.quantise, "round the adversarial images to 8 bits, save and judge them");
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

std::vector<std::string> setting_notes(const EvaluationOptions& o) {
  std::vector<std::string> notes;
  const auto radii = o.radii();
  if (o.protocol == "pgd" && o.pgd.step_size && *o.pgd.step_size == 0)
    notes.push_back("the step size is 0: no step moves an image, they stay at their random start");
  const bool none = std::any_of(radii.begin(), radii.end(), [](const auto& radius) { return radius.eps == 0; });
  if (o.protocol != "clean" && none)
    notes.push_back("within eps 0 nothing can be attacked: the verdicts there are the clean ones");
  if (o.protocol != "clean" && radii.size() > 1 && radii.front().eps == 0)
    notes.push_back("eps 0 stands first: the figures headlined are the clean ones; name another radius first");
  return notes;
}

namespace {

/// Options that no protocol asked for reads.
std::vector<UnusedOption> unused_options(const EvaluationOptions& o, const EvaluatedModel& model) {
  const bool has_head = model.has_head || model.own_defence;
  std::vector<UnusedOption> all;
  const bool msa = o.is("msa"), autoattack = o.is("autoattack"), fast = o.is("fast"), attacked = !o.is("clean");
  const bool joint = o.has_context("joint");
  const auto unless = [&](bool used, std::initializer_list<const char*> names, const std::string& why) {
    if (!used)
      for (const char* name : names) all.push_back({name, why});
  };
  unless(o.is("pgd"), {"step-size", "loss"}, "only --protocol pgd reads it");
  unless(attacked && !fast, {"steps", "restarts"}, fast ? "the attacks of fast have their own" : "nothing is attacked");
  unless(fast || (msa && o.effective_version() == "fast"), {"sample", "no-escalate"},
         "only --protocol fast and msa --version fast read it");
  unless(fast, {"budget"}, "only --protocol fast reads it");
  unless(!fast || !o.random, {"budget", "sample"}, "a random model gets AutoAttack rand, to its end");
  unless(o.has_queries(), {"queries"}, "no Square or RayS is asked for");
  unless(joint, {"joint-surrogates", "colluders"}, "it is of the context joint");
  unless(joint || o.has_context("solo") || o.has_context("solo-eot"), {"company", "company-seed"},
         "no context asked for has a company");
  unless(attacked, {"checks", "base", "control", "self-test"}, "nothing is attacked");
  unless(autoattack, {"attacks", "conformance", "targets"}, "only --protocol autoattack reads it");
  unless(!autoattack || o.autoattack.attacks.empty() || o.effective_version() == "custom", {"attacks"},
         "only --version custom reads it");
  unless(attacked, {"save-adversarial", "quantise"}, "there are no adversarial images");
  unless(msa, {"surrogates", "joint-surrogates", "full-matrix", "sweep-lambda", "colluders"},
         "only --protocol msa reads it");
  unless(msa && (model.has_peers || o.names_peers()), {"transfer-only"}, "there is no --base or --control of msa");
  unless(msa || !attacked || o.contexts.size() < 2, {"context"},
         fmt::format("beyond one: --protocol {} evaluates the first, {}", o.protocol, o.contexts.front()));
  unless(msa && joint, {"malicious", "company-sizes"}, "it is of the context joint of --protocol msa");
  unless(!o.msa.collusion.colluders.empty(), {"victims"}, "there are no colluders");
  unless(o.radii().front().eps > 0 || !attacked, {"save-adversarial", "quantise"}, "nothing is attacked within eps 0");
  unless(msa || autoattack, {"version"}, "only autoattack and msa have versions");
  unless(attacked, {"precision"}, "nothing is searched for");
  unless(o.coupled(), {"company-order"}, "it is of --coupling batch");
  unless(has_head, {"lambda", "sweep-lambda"}, "the model has no HPM head");
  unless(has_head || o.coupled(), {"context", "colluders", "joint-surrogates", "company", "company-seed"},
         "the model has no HPM head (and no --coupling batch)");
  return all;
}

/// What several protocols read is set once, in the options themselves.
void require_shared_alone(const EvaluationOptions& o) {
  const auto require_default = [](bool is_default, const char* part) {
    require(is_default,
            "EvaluationOptions: {} has a seed, batch size, version, settings or alarms of its own, which would have no "
            "effect; set these on EvaluationOptions",
            part);
  };
  const MsaOptions msa;
  require_default(o.msa.seed == msa.seed && o.msa.batch_size == msa.batch_size && o.msa.version == msa.version &&
                      o.msa.settings == msa.settings && o.msa.alarms == msa.alarms,
                  "msa");
  const AutoAttackOptions autoattack;
  require_default(o.autoattack.seed == autoattack.seed && o.autoattack.batch_size == autoattack.batch_size &&
                      o.autoattack.version == autoattack.version && o.autoattack.settings == autoattack.settings,
                  "autoattack");
  require_default(o.checks.seed == 0 && o.checks.batch_size == CheckOptions{}.batch_size, "checks");
}

}  // namespace

std::vector<UnusedOption> check_options(const EvaluationOptions& o, const EvaluatedModel& model) {
  const bool msa = o.is("msa"), has_head = model.has_head;
  require_shared_alone(o);
  if (o.is("fast")) {
    for (const auto& radius : o.radii())
      require(radius.eps > 0,
              "--protocol fast needs radii above 0: within 0 nothing can be attacked; --protocol clean gives the "
              "accuracy there");
    require(!o.has_context("joint"),
            "--protocol fast attacks single images, and in the context joint a batch is one object; use --protocol msa "
            "--version fast");
  }
  require(msa || o.surrogate_files.empty(),
          "--surrogate: only --protocol msa attacks through a stand-in; {} differentiates the model itself",
          o.protocol);
  require(msa || o.bpda.empty(), "--bpda: only --protocol msa attacks through a stand-in; {} differentiates the model",
          o.protocol);
  require(!o.random || !has_head, "--random: a model with an HPM head draws no random numbers; leave it out");
  require(!o.coupled() || !has_head,
          "--coupling batch: an HPM model has contexts of its own; choose them with --context solo,joint");
  require(!o.coupled() || !model.own_defence, "--coupling batch: a defence of your own says itself what it depends on");
  require(!o.random || !model.own_defence, "--random: a defence of your own says itself whether it is random");
  require(!o.coupled() || msa || o.is("clean"),
          "--coupling batch: {} attacks independent images; use --protocol msa, which attacks batches as a whole",
          o.protocol);
  return unused_options(o, model);
}

void use_official_computing(const Fields& declared, EvaluationOptions& options) {
  if (!options.autoattack.conformance) return;
  if (!declared.given("threads")) options.compute.threads = 1;
  if (!declared.given("batch-size")) options.compute.batch_size = AutoAttackOptions{}.batch_size;
}

void require_shareable(const EvaluationOptions& options) {
  require(!options.autoattack.conformance,
          "--conformance: the official code draws its random numbers from one generator in one order; it runs in one "
          "process (leave --workers or the launcher out)");
  require(!options.random,
          "--random: a random model's draws go on from one piece of work to the next; it is evaluated in one process "
          "(leave --workers or the launcher out)");
  require(!options.time_limit, "--budget: the workers' clocks would end at different pieces; leave --workers out");
}

}  // namespace hpm
