#include "hpm/evaluation/run/options.h"

#include <cmath>
#include <sstream>

#include "hpm/core/error.h"

namespace hpm {
namespace {

bool holds(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> attack_names() {
  std::vector<std::string> names;
  for (const auto& attack : attack_table()) names.push_back(attack.name);
  return names;
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
  if (is("autoattack")) return version.empty() ? (attacks.empty() ? "standard" : "custom") : version;
  return "";
}

std::vector<int64_t> EvaluationOptions::composition_sizes() const {
  if (!is("msa") || !has_context("joint")) return {};
  if (!company_sizes.empty()) return {company_sizes.begin(), company_sizes.end()};
  const bool full = effective_version() == "standard" || effective_version() == "plus";
  return full ? std::vector<int64_t>{1, 8, 128} : std::vector<int64_t>{};
}

bool EvaluationOptions::has_square() const {
  if (is("msa"))
    return holds(surrogates, decision_surrogate().name) ||
           (surrogates.empty() ? effective_version() != "quick" : holds(surrogates, query_surrogate().name)) ||
           (has_context("joint") && holds(joint_surrogates, query_surrogate().name));
  return is("autoattack") && (attacks.empty() ? effective_version() != "rand" : holds(attacks, "square"));
}

bool EvaluationOptions::attacks_anything() const {
  const auto all = radii();
  return !is("clean") && std::any_of(all.begin(), all.end(), [](const auto& threat) { return threat.eps > 0; });
}

std::string EvaluationOptions::budget(const std::vector<std::string>& own_surrogates, const std::string& search) const {
  if (protocol == "clean") return "";
  auto text = protocol + (effective_version().empty() ? "" : " " + effective_version());
  if (protocol == "pgd")
    text += fmt::format(" {}, {} steps of {}", loss, steps.value_or(40),
                        step_size ? fmt::format("{:g}", *step_size) : "eps / 4");
  if (!attacks.empty()) text += fmt::format(" {}", fmt::join(attacks, ","));
  if (is("msa")) {
    if (!surrogates.empty()) text += fmt::format(" {}", fmt::join(surrogates, ","));
    if (!own_surrogates.empty()) text += fmt::format(", surrogates of one's own {}", fmt::join(own_surrogates, ","));
    if (!joint_surrogates.empty() && has_context("joint"))
      text += fmt::format(", in joint {}", fmt::join(joint_surrogates, ","));
    if (full_matrix) text += ", full matrix";
  }
  const bool alarms = is("fast") || (is("msa") && effective_version() == "fast");
  if (alarms && sample) text += fmt::format(", sample of {}", *sample);
  if (alarms && no_escalate) text += ", without escalation";
  if (is("fast") && time_limit) text += fmt::format(", {:g} s", *time_limit);
  if (search != "float32") text += ", search in " + search;
  const auto add = [&](const char* what, const std::optional<int64_t>& value) {
    if (value) text += fmt::format(", {} {}", *value, what);
  };
  if (protocol != "pgd") add("steps", steps);
  if (is("msa")) add("times the starts", restarts);
  else add("restarts", protocol == "pgd" ? restarts.value_or(1) : restarts);
  add("targets", targets);
  if (has_square()) add("queries", queries);
  return text;
}

MsaOptions EvaluationOptions::msa() const {
  return {.version = effective_version(),
          .surrogates = surrogates,
          .joint_surrogates = joint_surrogates,
          .seed = seed,
          .batch_size = compute.batch_size,
          .restarts = restarts.value_or(1),
          .steps = steps,
          .queries = queries,
          .escalate = !no_escalate,
          .sample = sample,
          .full_matrix = full_matrix,
          .collusion = {{colluders.begin(), colluders.end()}, victims, steps.value_or(50)},
          .benign = {{malicious.begin(), malicious.end()}, steps.value_or(50)}};
}

AutoAttackOptions EvaluationOptions::autoattack() const {
  return {.version = effective_version(),
          .attacks = attacks,
          .seed = seed,
          .batch_size = compute.batch_size,
          .conformance = conformance,
          .steps = steps,
          .restarts = restarts,
          .targets = targets,
          .queries = queries};
}

PgdOptions EvaluationOptions::pgd() const { return {steps.value_or(40), step_size, restarts.value_or(1), loss}; }

FastOptions EvaluationOptions::fast() const {
  return {.seed = seed, .batch_size = compute.batch_size, .sample = sample, .escalate = !no_escalate};
}

CheckOptions EvaluationOptions::check_options() const {
  return {
      .level = checks, .seed = seed, .batch_size = compute.batch_size, .conformance = conformance && is("autoattack")};
}

DefenceOptions EvaluationOptions::defence() const {
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
  f.add("attacks", o.attacks, "attacks of autoattack, version custom", {.suggestions = attack_names()});
  f.add("steps", o.steps, "gradient steps per restart (none: pgd 40, else the version's)", {.min = 1, .max = 1000000});
  f.add("restarts", o.restarts, "random starts (none: pgd 1, autoattack the version's); of msa: times the version's",
        {.min = 1, .max = 100000});
  f.add("step-size", o.step_size, "step length of pgd (none: eps / 4)", {.min = 0, .unit = "input range"});
  f.add("loss", o.loss, "loss of pgd", {.choices = {"ce", "dlr"}});
  f.add("context", o.contexts, "contexts of an HPM model, the first is headlined",
        {.choices = {"reference", "alone", "solo", "solo-eot", "joint"}});
  f.add("lambda", o.lambda, "mixing weight in place of the model's own", {.min = 0, .max = 1});
  f.add("sweep-lambda", o.sweep, "further mixing weights that msa judges every iterate by (not attacked themselves)",
        {.min = 0, .max = 1});
  f.add("colluders", o.colluders,
        "msa, joint: neighbours that an attacker controls, with the victim's image and without (numbers to try)",
        {.min = 0, .max = 65535});
  f.add("victims", o.victims, "victims of the colluders", {.min = 1, .unit = "images"});
  f.add("malicious", o.malicious,
        "msa, joint: images of a batch that attack the untouched ones, all at once (numbers to try; none: a quarter of "
        "the batch under standard and plus)",
        {.min = 1, .max = 65535});
  f.add("company-sizes", o.company_sizes,
        "msa, joint: batch sizes attacked beside the own one, as the images come and sorted by class (none: 1, 8 and "
        "128 under standard and plus)",
        {.min = 1, .max = 65536});
  f.add("company", o.company, "company size of solo and joint", {.min = 1, .max = 65536, .unit = "images"});
  f.add("company-seed", o.company_seed, "order of the company (0: as the images come)");
  f.add("coupling", o.coupling, "batch: the answer of a model without a head depends on the other images of its batch",
        {.choices = {"rows", "batch"}});
  f.add("company-order", o.company_order, "with --coupling batch: batches of images as they come, or sorted by class",
        {.choices = {"given", "class"}});
  f.add("base", o.base, "model before the defence: surrogate base, and attacked under the same budget",
        {.place = Place::file});
  f.add("control", o.control, "matched control: surrogate control, and the paired test", {.place = Place::file});
  f.add("transfer-only", o.transfer_only, "msa: base and control are surrogates, and not attacked themselves");
  f.add("surrogates", o.surrogates, "surrogates of msa (none: the version's)");
  f.add("surrogate", o.surrogate_files,
        "TorchScript files: surrogates of your own beside these, of any model (needs --allow-torchscript)",
        {.place = Place::file});
  f.add("bpda", o.bpda,
        "msa, TorchScript: NAME=identity or NAME=FILE, what stands in for the submodule NAME in the backward pass");
  f.add("joint-surrogates", o.joint_surrogates, "surrogates of the context joint (none: the same)");
  f.add("full-matrix", o.full_matrix, "every surrogate on every correct image, not the survivors alone");
  f.add("targets", o.targets, "targets of autoattack's targeted attacks (none: as the version)", {.min = 1});
  f.add("queries", o.queries, "queries of Square (none: as the version)", {.min = 0});
  f.add("sample", o.sample,
        "fast, msa fast: survivors that FAB-T and Square attack in full (none: what a quarter of the core pays for, 12 "
        "to 60, or 0; of msa a twentieth)",
        {.min = 0, .unit = "images"});
  f.add("no-escalate", o.no_escalate, "fast, msa fast: nothing follows an alarm; the result is suspect instead");
  f.add("budget", o.time_limit, "fast: time limit; what is known by then is the result", {.min = 0, .unit = "seconds"});
  f.add("conformance", o.conformance, "autoattack: the official code's draws, batches and operations");
  f.add("random", o.random, "the model draws random numbers");
  f.add("checks", o.checks, "checks of the evaluation", {.choices = {"none", "basic", "full"}});
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
  if (o.protocol == "pgd" && o.step_size && *o.step_size == 0)
    notes.push_back("the step size is 0: no step moves an image, they stay at their random start");
  const bool none = std::any_of(radii.begin(), radii.end(), [](const auto& radius) { return radius.eps == 0; });
  if (o.protocol != "clean" && none)
    notes.push_back("within eps 0 nothing can be attacked: the verdicts there are the clean ones");
  if (o.protocol != "clean" && radii.size() > 1 && radii.front().eps == 0)
    notes.push_back("eps 0 stands first: the figures headlined are the clean ones; name another radius first");
  return notes;
}

void check_options(const EvaluationOptions& o, bool has_head,
                   const std::function<void(const std::string&, const std::string&)>& has_no_effect) {
  const bool msa = o.is("msa"), attacked = !o.is("clean");
  const auto unused = [&](bool used, std::initializer_list<const char*> names, const char* why) {
    if (!used)
      for (const char* name : names) has_no_effect(name, why);
  };
  unused(o.protocol == "pgd", {"step-size", "loss"}, "only --protocol pgd reads it");
  const bool fast = o.is("fast");
  const char* fixed = fast ? "the attacks of fast have their own" : "nothing is attacked";
  unused(attacked && !fast, {"steps", "restarts"}, fixed);
  unused(fast || (msa && o.effective_version() == "fast"), {"sample", "no-escalate"},
         "only --protocol fast and msa --version fast read it");
  unused(fast, {"budget"}, "only --protocol fast reads it");
  if (fast)
    for (const auto& radius : o.radii())
      require(radius.eps > 0,
              "--protocol fast needs radii above 0: within 0 nothing can be attacked; --protocol clean "
              "gives the accuracy there");
  require(!fast || !o.has_context("joint"),
          "--protocol fast attacks single images, and in the context joint a batch is one object; use --protocol msa "
          "--version fast");
  unused(o.has_square(), {"queries"}, "no Square is asked for");
  unused(o.has_context("joint"), {"joint-surrogates"}, "it is of the context joint");
  unused(o.has_context("joint") || o.has_context("solo") || o.has_context("solo-eot"), {"company", "company-seed"},
         "no context asked for has a company");
  unused(attacked, {"checks", "base", "control"}, "nothing is attacked");
  unused(o.protocol == "autoattack", {"attacks", "conformance", "targets"}, "only --protocol autoattack reads it");
  unused(attacked, {"save-adversarial", "quantise"}, "there are no adversarial images");
  unused(msa, {"surrogates", "joint-surrogates", "full-matrix", "sweep-lambda", "colluders"},
         "only --protocol msa reads it");
  unused(msa && o.has_peers(), {"transfer-only"}, "there is no --base or --control of msa");
  if ((o.protocol == "pgd" || o.protocol == "autoattack" || fast) && o.contexts.size() > 1)
    has_no_effect("context",
                  fmt::format("beyond one: --protocol {} evaluates the first, {}", o.protocol, o.contexts.front()));
  unused(o.has_context("joint"), {"colluders"}, "it is of the context joint");
  unused(msa && o.has_context("joint"), {"malicious", "company-sizes"}, "it is of the context joint of --protocol msa");
  unused(attacked, {"self-test"}, "nothing is attacked");
  unused(!o.colluders.empty(), {"victims"}, "there are no colluders");
  const auto first = o.radii().front();
  unused(first.eps > 0 || o.protocol == "clean", {"save-adversarial", "quantise"}, "nothing is attacked within eps 0");
  unused(msa || o.protocol == "autoattack", {"version"}, "only autoattack and msa have versions");
  if (o.protocol == "autoattack" && !o.attacks.empty() && o.effective_version() != "custom")
    has_no_effect("attacks", "only --version custom reads it");
  const auto whole = [](const char* name, const std::vector<double>& numbers) {
    for (double m : numbers) require(m == std::floor(m), "--{}: needs whole numbers, but got {}", name, m);
  };
  whole("colluders", o.colluders), whole("malicious", o.malicious), whole("company-sizes", o.company_sizes);
  require(msa || o.surrogate_files.empty(),
          "--surrogate: only --protocol msa attacks through a stand-in; {} differentiates the model itself",
          o.protocol);
  require(msa || o.bpda.empty(), "--bpda: only --protocol msa attacks through a stand-in; {} differentiates the model",
          o.protocol);
  if (fast && o.random)
    for (const char* name : {"budget", "sample"})
      has_no_effect(name, "a random model gets AutoAttack rand, to its end");
  require(!o.random || !has_head, "--random: a model with an HPM head draws no random numbers; leave it out");
  require(!o.coupled() || !has_head,
          "--coupling batch: an HPM model has contexts of its own; choose them with --context solo,joint");
  require(!o.coupled() || msa || !attacked,
          "--coupling batch: {} attacks independent images; use --protocol msa, which attacks batches as a whole",
          o.protocol);
  unused(attacked, {"precision"}, "nothing is searched for");
  unused(o.coupled(), {"company-order"}, "it is of --coupling batch");
  unused(has_head, {"lambda", "sweep-lambda"}, "the model has no HPM head");
  unused(has_head || o.coupled(), {"context", "colluders", "joint-surrogates", "company", "company-seed"},
         "the model has no HPM head (and no --coupling batch)");
}

void require_shareable(const EvaluationOptions& options) {
  require(!options.conformance,
          "--conformance: the official code draws its random numbers from one generator in one order; it runs in one "
          "process (leave --workers or the launcher out)");
  require(!options.random,
          "--random: a random model's draws go on from one piece of work to the next; it is evaluated in one process "
          "(leave --workers or the launcher out)");
  require(!options.time_limit, "--budget: the workers' clocks would end at different pieces; leave --workers out");
}

}  // namespace hpm
