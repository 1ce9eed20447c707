#include "commands/evaluate_options.h"

#include "hpm/attacks/sequence.h"
#include "hpm/core/error.h"

namespace hpm::app {
namespace {

std::vector<std::string> attack_names() {
  std::vector<std::string> names;
  for (const auto& attack : attack_table()) names.push_back(attack.name);
  return names;
}

}  // namespace

bool EvaluateOptions::has_context(const std::string& name) const {
  return std::find(contexts.begin(), contexts.end(), name) != contexts.end();
}

std::string EvaluateOptions::effective_version() const {
  if (is_msa()) return version.empty() ? "quick" : version;
  if (protocol == "autoattack") return version.empty() ? (attacks.empty() ? "standard" : "custom") : version;
  return "";
}

bool EvaluateOptions::has_square() const {
  const auto holds = [](const std::vector<std::string>& names, const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (is_msa())
    return (surrogates.empty() ? effective_version() != "quick" : holds(surrogates, "query")) ||
           (has_context("joint") && holds(joint_surrogates, "query"));
  return protocol == "autoattack" && (attacks.empty() ? effective_version() != "rand" : holds(attacks, "square"));
}

std::string EvaluateOptions::budget(at::ScalarType search) const {
  if (protocol == "clean") return "";
  auto text = protocol + (effective_version().empty() ? "" : " " + effective_version());
  if (protocol == "pgd")
    text += fmt::format(" {}, {} steps of {}", loss, steps.value_or(40),
                        step_size ? fmt::format("{:g}", *step_size) : "eps / 4");
  if (!attacks.empty()) text += fmt::format(" {}", fmt::join(attacks, ","));
  if (is_msa()) {
    if (!surrogates.empty()) text += fmt::format(" {}", fmt::join(surrogates, ","));
    if (!own_surrogates.empty()) text += fmt::format(", surrogates of one's own {}", fmt::join(own_surrogates, ","));
    if (!joint_surrogates.empty() && has_context("joint"))
      text += fmt::format(", in joint {}", fmt::join(joint_surrogates, ","));
    if (full_matrix) text += ", full matrix";
  }
  if (search != at::kFloat) text += ", search in bfloat16";
  const auto add = [&](const char* what, const std::optional<int64_t>& value) {
    if (value) text += fmt::format(", {} {}", *value, what);
  };
  if (protocol != "pgd") add("steps", steps);
  if (is_msa()) add("times the starts", restarts);
  else add("restarts", protocol == "pgd" ? restarts.value_or(1) : restarts);
  add("targets", targets);
  if (has_square()) add("queries", queries);
  return text;
}

MsaOptions EvaluateOptions::msa(const std::vector<std::string>& contexts) const {
  MsaOptions m{.version = effective_version(),
               .contexts = contexts,
               .surrogates = surrogates,
               .joint_surrogates = joint_surrogates,
               .company_size = company,
               .company_seed = company_seed,
               .seed = seed,
               .batch_size = compute.batch_size,
               .restarts = restarts.value_or(1),
               .steps = steps,
               .queries = queries,
               .full_matrix = full_matrix,
               .sweep = sweep,
               .collusion = {{colluders.begin(), colluders.end()}, victims, steps.value_or(50)}};
  for (const auto& file : own_surrogates) m.more_surrogates.push_back(std::filesystem::path(file).stem().string());
  return m;
}

AutoAttackOptions EvaluateOptions::autoattack() const {
  AutoAttackOptions a{.version = effective_version(),
                      .attacks = attacks,
                      .seed = seed,
                      .batch_size = compute.batch_size,
                      .conformance = conformance};
  a.steps = steps;
  a.restarts = restarts;
  a.targets = targets;
  a.queries = queries;
  return a;
}

void declare(Fields& f, EvaluateOptions& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  fields(f, o.threat, true);
  f.section("protocol");
  f.add("protocol", o.protocol, "protocol", {.choices = {"clean", "pgd", "autoattack", "msa"}});
  f.add("version", o.version,
        "of msa: quick (default), standard, plus; of autoattack: standard (default), plus, rand, custom",
        {.suggestions = {"quick", "standard", "plus", "rand", "custom"}});
  f.add("attacks", o.attacks, "attacks of autoattack, version custom",
        {.suggestions = attack_names()});
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
  f.add("company", o.company, "company size of solo and joint", {.min = 1, .max = 65536, .unit = "images"});
  f.add("company-seed", o.company_seed, "order of the company (0: as the images come)");
  f.add("base", o.base, "model before HPM: surrogate base, and attacked under the same budget", {.place = Place::file});
  f.add("control", o.control, "matched control: surrogate control, and the paired test", {.place = Place::file});
  f.add("transfer-only", o.transfer_only, "msa: base and control are surrogates, and not attacked themselves");
  f.add("surrogates", o.surrogates, "surrogates of msa (none: the version's)");
  f.add("surrogate", o.own_surrogates,
        "TorchScript files: surrogates of your own beside these (needs --allow-torchscript)", {.place = Place::file});
  f.add("joint-surrogates", o.joint_surrogates, "surrogates of the context joint (none: the same)");
  f.add("full-matrix", o.full_matrix, "every surrogate on every correct image, not the survivors alone");
  f.add("targets", o.targets, "targets of autoattack's targeted attacks (none: as the version)", {.min = 1});
  f.add("queries", o.queries, "queries of Square (none: as the version)", {.min = 0});
  f.add("conformance", o.conformance, "autoattack: the official code's draws, batches and operations");
  f.add("random", o.random, "the model draws random numbers");
  f.add("checks", o.checks, "checks of the evaluation", {.choices = {"none", "basic", "full"}});
  f.add("role", o.role, "what the run is in a comparison: base, control, l2 or hpm; any other is its name",
        {.suggestions = {"base", "control", "l2", "hpm"}});
  f.add("save-adversarial", o.save_adversarial, "keep all adversarial images and check them after reloading");
  f.add("quantise", o.quantise, "round the adversarial images to 8 bits, save and judge them");
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

void check_options(const EvaluateOptions& o, CommandLine& line) {
  const auto unused = [&](bool used, std::initializer_list<const char*> names, const char* why) {
    if (!used)
      for (const char* name : names) line.warn_unused(name, why);
  };
  unused(o.protocol == "pgd", {"step-size", "loss"}, "only --protocol pgd reads it");
  unused(o.protocol != "clean", {"steps"}, "nothing is attacked");
  unused(o.protocol != "clean", {"restarts"}, "nothing is attacked");
  unused(o.has_square(), {"queries"}, "no Square is asked for");
  unused(o.has_context("joint"), {"joint-surrogates"}, "it is of the context joint");
  unused(o.has_context("joint") || o.has_context("solo") || o.has_context("solo-eot"), {"company", "company-seed"},
         "no context asked for has a company");
  unused(o.protocol != "clean", {"checks", "base", "control"}, "nothing is attacked");
  unused(o.protocol == "autoattack", {"attacks", "conformance", "targets"}, "only --protocol autoattack reads it");
  unused(o.protocol != "clean", {"save-adversarial", "quantise"}, "there are no adversarial images");
  unused(o.is_msa(), {"surrogates", "surrogate", "joint-surrogates", "full-matrix", "sweep-lambda", "colluders"},
         "only --protocol msa reads it");
  unused(o.is_msa() && !(o.base.empty() && o.control.empty()), {"transfer-only"},
         "there is no --base or --control of msa");
  if (!o.is_msa() && o.contexts.size() > 1)
    line.monitor().warn("context: --protocol " + o.protocol + " evaluates the first, " + o.contexts.front());
  unused(o.has_context("joint"), {"colluders"}, "it is of the context joint");
  unused(!o.colluders.empty(), {"victims"}, "there are no colluders");
  unused(o.is_msa() || o.protocol == "autoattack", {"version"}, "only autoattack and msa have versions");
  if (o.protocol == "autoattack" && !o.attacks.empty() && o.effective_version() != "custom")
    line.warn_unused("attacks", "only --version custom reads it");
  for (double m : o.colluders) require(m == std::floor(m), "--colluders: needs whole numbers, but got {}", m);
  require(!o.random || !o.is_msa(),
          "evaluate: msa judges deterministic models; for a random one use --protocol autoattack --version rand "
          "--random");
  unused(o.protocol != "clean", {"precision"}, "nothing is searched for");
}

}  // namespace hpm::app
