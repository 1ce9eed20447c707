#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "cost.h"
#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks.h"
#include "hpm/evaluation/image_file.h"
#include "hpm/evaluation/msa.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/results.h"
#include "hpm/io/file.h"
#include "hpm/io/journal.h"
#include "hpm/io/sha256.h"
#include "hpm/report/report.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "options.h"

namespace hpm::app {
namespace {

struct EvaluateOptions {
  ModelOptions model;
  DataOptions data;
  ThreatOptions threat;
  std::string protocol = "msa", version, role, base, control, checks = "basic";
  std::vector<std::string> attacks, contexts{"reference"}, surrogates, joint_surrogates, own_surrogates;
  std::optional<double> lambda;
  std::vector<double> sweep;
  std::vector<double> colluders;
  int64_t victims = 100;
  int64_t company = 128;
  uint64_t company_seed = 0, seed = 0;
  bool full_matrix = false, transfer_only = false, conformance = false, save_adversarial = false, quantise = false,
       random = false;
  std::optional<int64_t> steps, restarts, targets, queries;
  std::optional<double> step_size;
  std::string loss = "ce";
  ComputeOptions compute;
};

void declare(Fields& f, EvaluateOptions& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  fields(f, o.threat, true);
  f.section("protocol");
  f.add("protocol", o.protocol, "protocol", {.choices = {"clean", "pgd", "autoattack", "msa"}});
  f.add("version", o.version,
        "of msa: quick (default), standard, plus; of autoattack: standard (default), plus, rand, custom");
  f.add("attacks", o.attacks, "attacks of autoattack, version custom");
  f.add("steps", o.steps, "gradient steps per restart (none: pgd 40, else the version's)", {.min = 1, .max = 1000000});
  f.add("restarts", o.restarts, "random starts (none: pgd 1, autoattack the version's)", {.min = 1, .max = 100000});
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
  f.add("base", o.base, "model before HPM: surrogate base, and attacked under the same budget");
  f.add("control", o.control, "matched control: surrogate control, and the paired test");
  f.add("transfer-only", o.transfer_only, "msa: base and control are surrogates, and not attacked themselves");
  f.add("surrogates", o.surrogates, "surrogates of msa (none: the version's)");
  f.add("surrogate", o.own_surrogates,
        "TorchScript files: surrogates of your own beside these (needs --allow-torchscript)");
  f.add("joint-surrogates", o.joint_surrogates, "surrogates of the context joint (none: the same)");
  f.add("full-matrix", o.full_matrix, "every surrogate on every correct image, not the survivors alone");
  f.add("targets", o.targets, "targets of autoattack's targeted attacks (none: as the version)", {.min = 1});
  f.add("queries", o.queries, "queries of Square (none: as the version)", {.min = 0});
  f.add("conformance", o.conformance, "autoattack: the official code's draws, batches and operations");
  f.add("random", o.random, "the model draws random numbers");
  f.add("checks", o.checks, "checks of the evaluation", {.choices = {"none", "basic", "full"}});
  f.add("role", o.role, "how a comparison calls this run: base, control, l2 or hpm");
  f.add("save-adversarial", o.save_adversarial, "keep all adversarial images and check them after reloading");
  f.add("quantise", o.quantise, "round the adversarial images to 8 bits, save and judge them");
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

class Evaluate {
 public:
  Evaluate(CommandLine& line, EvaluateOptions& options) : line_(line), o_(options) {}

  int operator()() {
    if (o_.conformance) official_computing();
    configure_threads(o_.compute.threads);
    const auto radii = threats(o_.threat);
    check_options();
    data_ = load(o_.data, line_);
    const auto index = image_numbers(o_.data, data_);
    model_ = load(o_.model, o_.model.model, data_.image_shape(), line_.monitor());
    require_classes(model_, data_);
    peers_ = {load_peer(o_.base), load_peer(o_.control)};
    if (!model_.head)
      for (const char* name : {"context", "lambda", "sweep-lambda", "colluders", "surrogate"})
        line_.warn_unused(name, "the model has no HPM head");
    if (!model_.head) o_.own_surrogates.clear();
    if (model_.head && o_.lambda) model_.head->lambda = *o_.lambda;
    for (const auto& file : o_.own_surrogates) add_surrogate(torchscript_surrogate(file, o_.model.allow_torchscript));
    const auto device = parse_device(o_.compute.device);
    model_.to(device);
    for (auto* peer : {&peers_.base, &peers_.control})
      if (*peer) peer->to(device);
    const auto precision = parse_precision(o_.compute.precision, device);
    require(precision == at::kFloat || !o_.conformance,
            "evaluate: --conformance needs --precision float32, as the official code has");
    for (auto* classifier : {&model_.classifier, &peers_.base, &peers_.control})
      classifier->set_search_precision(precision);
    images_ = image_set(data_, index, device);
    const bool attacks = o_.protocol == "msa" || o_.protocol == "autoattack";
    if (line_.dry_run || (attacks && !line_.quiet)) {
      const auto cost = cost_of(model_.classifier, images_.slice(0, std::min<int64_t>(images_.size(), 64)),
                                expected_passes(radii.front()), images_.size(), static_cast<int64_t>(radii.size()));
      if (line_.dry_run) {
        cost.print(line_);
        return 0;
      }
      line_.monitor().say(cost.text());
    }

    if (o_.quantise)  // refuses images that are not 8-bit before the work
      for_chunks(images_, o_.compute.batch_size,
                 [&](const Images& chunk, int64_t) { quantised(chunk.x, chunk.x, radii.front()); });

    const auto run = open_run(line_, "evaluate", o_.compute, o_.seed);
    images_ = image_set(data_, index, device, run.path());
    Journal journal(run.path(), fingerprint(), line_.resume);
    if (journal.size() > 0)
      line_.monitor().say(fmt::format("going on after {} finished pieces of work", journal.size()));
    log_ = WorkLog(journal);
    auto evaluation = run_protocol(model_, radii.front(), images_, o_.contexts, "model");
    finish(evaluation, radii.front(), run);
    const auto peer = [&](const char* name, const std::string& file,
                          const Classifier& classifier) -> std::optional<PeerResult> {
      if (!classifier || o_.protocol == "clean" || o_.transfer_only) return std::nullopt;
      return PeerResult{name, file,
                        run_protocol({classifier, std::nullopt}, radii.front(), images_, o_.contexts, name)};
    };
    auto base = peer("base", o_.base, peers_.base), control = peer("control", o_.control, peers_.control);
    ResultsInput input{model_, data_, images_, radii.front(), evaluation, role(), o_.protocol, version()};
    input.budget = budget();
    input.first_index = o_.data.first, input.indices_given = !o_.data.indices.empty();
    input.company_size = o_.company, input.company_seed = o_.company_seed, input.seed = o_.seed;
    input.base = std::move(base), input.control = std::move(control);
    input.curve = curve(radii, evaluation);
    input.config = line_.fields.json();
    input.started =
        nlohmann::json::parse(std::string(read_file(run.file("environment.json")).text())).value("started", "");
    write_run(run, input);
    write_report({run.path()}, run.file("report.html"));
    if (line_.json) fmt::print("{}", results_json(input));
    else print(input, run);
    return evaluation.suspect() ? 3 : 0;
  }

 private:
  bool msa_protocol() const { return o_.protocol == "msa"; }
  std::string version() const {
    if (msa_protocol()) return o_.version.empty() ? "quick" : o_.version;
    if (o_.protocol == "autoattack")
      return o_.version.empty() ? (o_.attacks.empty() ? "standard" : "custom") : o_.version;
    return "";
  }
  /// The attacks in words, equal for equal budgets.
  std::string budget() const {
    if (o_.protocol == "clean") return "";
    auto text = o_.protocol + (version().empty() ? "" : " " + version());
    if (o_.protocol == "pgd")
      text += fmt::format(" {}, {} steps of {}", o_.loss, o_.steps.value_or(40),
                          o_.step_size ? fmt::format("{:g}", *o_.step_size) : "eps / 4");
    if (!o_.attacks.empty()) text += fmt::format(" {}", fmt::join(o_.attacks, ","));
    if (msa_protocol() && !o_.surrogates.empty()) text += fmt::format(" {}", fmt::join(o_.surrogates, ","));
    if (msa_protocol() && !o_.joint_surrogates.empty())
      text += fmt::format(", in joint {}", fmt::join(o_.joint_surrogates, ","));
    if (model_.classifier.search_precision() != at::kFloat) text += ", search in bfloat16";
    const auto add = [&](const char* what, const std::optional<int64_t>& value) {
      if (value) text += fmt::format(", {} {}", *value, what);
    };
    if (o_.protocol != "pgd") add("steps", o_.steps);
    add("restarts", o_.protocol == "pgd" ? o_.restarts.value_or(1) : o_.restarts);
    add("targets", o_.targets);
    add("queries", o_.queries);
    return text;
  }
  bool has_context(const std::string& name) const {
    return std::find(o_.contexts.begin(), o_.contexts.end(), name) != o_.contexts.end();
  }
  std::string role() const { return o_.role.empty() ? (model_.head ? model_.head_kind() : "") : o_.role; }

  void check_options() {
    const auto unused = [&](bool used, std::initializer_list<const char*> names, const char* why) {
      if (!used)
        for (const char* name : names) line_.warn_unused(name, why);
    };
    unused(o_.protocol == "pgd", {"step-size", "loss"}, "only --protocol pgd reads it");
    unused(o_.protocol != "clean", {"steps"}, "nothing is attacked");
    unused(o_.protocol == "pgd" || o_.protocol == "autoattack", {"restarts"},
           "only --protocol pgd and autoattack read it");
    unused(o_.protocol == "autoattack", {"attacks", "conformance", "targets", "queries"},
           "only --protocol autoattack reads it");
    unused(o_.protocol != "clean", {"save-adversarial", "quantise"}, "there are no adversarial images");
    unused(msa_protocol(), {"surrogates", "surrogate", "joint-surrogates", "full-matrix", "sweep-lambda", "colluders"},
           "only --protocol msa reads it");
    unused(msa_protocol() && !(o_.base.empty() && o_.control.empty()), {"transfer-only"},
           "there is no --base or --control of msa");
    if (msa_protocol() && version() == "plus" && has_context("solo") && !has_context("solo-eot"))
      o_.contexts.push_back("solo-eot");  // expectation over the company
    const bool joint = has_context("joint");
    unused(joint, {"colluders"}, "it is of the context joint");
    unused(!o_.colluders.empty(), {"victims"}, "there are no colluders");
    unused(msa_protocol() || o_.protocol == "autoattack", {"version"}, "only autoattack and msa have versions");
    if (o_.protocol == "autoattack" && !o_.attacks.empty() && version() != "custom")
      line_.warn_unused("attacks", "only --version custom reads it");
    for (double m : o_.colluders) require(m == std::floor(m), "--colluders: needs whole numbers, but got {}", m);
    require(!o_.random || !msa_protocol(),
            "evaluate: msa judges deterministic models; for a random one use --protocol autoattack --version rand "
            "--random");
    unused(o_.protocol != "clean", {"precision"}, "nothing is searched for");
  }

  Classifier load_peer(const std::string& path) {
    if (path.empty()) return {};
    auto options = o_.model;
    options.card.sha256.clear();
    auto peer = load(options, path, data_.image_shape(), line_.monitor());
    if (peer.head) line_.monitor().warn(path + ": has an HPM head; as base or control its FC layer alone is used");
    require(peer.classifier.classes() == model_.classifier.classes(), "{}: has {} classes, but the model has {}", path,
            peer.classifier.classes(), model_.classifier.classes());
    return peer.classifier;
  }

  MsaOptions msa_options(const std::vector<std::string>& contexts) const {
    MsaOptions m{.version = version(),
                 .contexts = contexts,
                 .surrogates = o_.surrogates,
                 .joint_surrogates = o_.joint_surrogates,
                 .company_size = o_.company,
                 .company_seed = o_.company_seed,
                 .seed = o_.seed,
                 .batch_size = o_.compute.batch_size,
                 .steps = o_.steps,
                 .full_matrix = o_.full_matrix,
                 .sweep = o_.sweep,
                 .collusion = {{o_.colluders.begin(), o_.colluders.end()}, o_.victims, o_.steps.value_or(50)}};
    for (const auto& file : o_.own_surrogates) m.more_surrogates.push_back(std::filesystem::path(file).stem().string());
    return m;
  }

  AutoAttackOptions autoattack_options() const {
    AutoAttackOptions a{.version = version(),
                        .attacks = o_.attacks,
                        .seed = o_.seed,
                        .batch_size = o_.compute.batch_size,
                        .conformance = o_.conformance};
    a.steps = o_.steps;
    a.restarts = o_.restarts;
    a.targets = o_.targets;
    a.queries = o_.queries;
    return a;
  }

  /// Everything the verdicts depend on: the options but those of computing, and the files' contents. A change of the
  /// batch size shows in the journal itself.
  std::string fingerprint() const {
    auto all = nlohmann::json::parse(line_.fields.json());
    all.erase("compute");
    all["precision"] = o_.compute.precision;
    for (const auto* classifier : {&model_.classifier, &peers_.base, &peers_.control})
      if (*classifier) all["files"].push_back(classifier->info().sha256);
    for (const auto& file : o_.own_surrogates) all["files"].push_back(sha256_of_file(file));
    return sha256(all.dump());
  }

  /// Conformance holds for one thread, and the official batch size unless another is given.
  void official_computing() {
    if (!line_.fields.given("threads")) o_.compute.threads = 1;
    if (!line_.fields.given("batch-size")) o_.compute.batch_size = 250;
  }

  ProtocolSubject subject(const HpmModel& model, const ImageSet& images, size_t context = 0) {
    return {model,
            make_context(model, o_.contexts[context], images, o_.company, o_.company_seed, o_.compute.batch_size),
            o_.random};
  }

  Evaluation run_protocol(const HpmModel& model, const ThreatModel& threat, const ImageSet& images,
                          const std::vector<std::string>& contexts, const std::string& part) {
    auto& monitor = line_.monitor();
    const auto log = log_.below(part);
    if (msa_protocol()) return msa(model, peers_, images, threat, msa_options(contexts), monitor, log);
    if (o_.protocol == "clean") return evaluate_clean(subject(model, images), images, o_.compute.batch_size);
    if (model.head && o_.contexts.front() != "reference")
      monitor.warn(
          "one surrogate (ste) flatters a batch-dependent defence; --protocol msa is the honest judge in context " +
          o_.contexts.front());
    if (o_.protocol == "pgd")
      return evaluate_pgd(subject(model, images), images, threat,
                          {o_.steps.value_or(40), o_.step_size, o_.restarts.value_or(1), o_.loss}, o_.seed,
                          o_.compute.batch_size, monitor, log);
    return evaluate_autoattack(subject(model, images), images, threat, autoattack_options(), monitor, log);
  }

  /// False for a black box that Square alone attacked.
  static bool asks_for_gradients(const Evaluation& evaluation) {
    return std::any_of(evaluation.attacks.begin(), evaluation.attacks.end(),
                       [](const auto& attack) { return attack.name != "square"; });
  }

  /// Predictions on the adversarial images, and the checks.
  void finish(Evaluation& evaluation, const ThreatModel& threat, const RunDirectory& run) {
    if (!evaluation.adversarial.defined()) return;
    const auto target = subject(model_, images_);
    const auto adversarial = evaluation.adversarial.set();
    const auto batch_size = o_.compute.batch_size;
    evaluation.adversarial_prediction = predict_logits(target, adversarial, batch_size).argmax(1).to(at::kCPU);
    std::optional<ImageSet> saved;
    if (o_.save_adversarial) {
      write_image_file(run.file("adversarial.safetensors"), adversarial, batch_size);
      saved = read_image_file(run.file("adversarial.safetensors"), images_);
    }
    if (o_.quantise) {
      const auto rounded = adversarial.with_pixels([&](const Tensor& places) {
        return quantised(adversarial.select(places).x, images_.select(places).x, threat);
      });
      evaluation.quantised_robust = predict_logits(target, rounded, batch_size).argmax(1).eq(images_.y).to(at::kCPU);
      write_image_file(run.file("adversarial-8bit.safetensors"), rounded, batch_size, true);
    }
    for (size_t c = 0; c < evaluation.contexts.size(); ++c) {
      if (c > 0 && model_.head && model_.head->lambda == 1) break;  // every context is the l2 classifier
      check(evaluation, c, threat, saved);
    }
  }

  /// The checks of one context; in an HPM model's, what ste leaves or masks is tried by fc and stable.
  void check(Evaluation& evaluation, size_t c, const ThreatModel& threat, const std::optional<ImageSet>& saved) {
    const auto target = subject(model_, images_, c);
    const auto attacked = target.attack_model();
    std::vector<std::unique_ptr<AttackModel>> others;
    for (const char* name : {"fc", "stable"})
      if (model_.head && msa_protocol()) others.push_back(target.attack_model(name));
    CheckSubject subject{*attacked, target.context.kind == ContextKind::joint && model_.head.has_value(),
                         [&](const Tensor& x, const Tensor& index) {
                           return attacked->ask({x, index}, nullptr).target_logits;
                         }};
    for (const auto& other : others) subject.others.push_back(other.get());
    subject.context = c;
    auto checks = run_checks(subject, images_, threat, evaluation, saved,
                             {.level = o_.checks,
                              .seed = o_.seed,
                              .batch_size = o_.compute.batch_size,
                              .conformance = o_.conformance,
                              .gradients = asks_for_gradients(evaluation)},
                             line_.monitor());
    std::move(checks.begin(), checks.end(), std::back_inserter(evaluation.checks));
  }

  /// Accuracy against eps in the first context, by increasing radius. An image that is broken within a radius is broken
  /// within every larger one, so it is not attacked again (in solo and joint it is: it is company to the others).
  std::vector<RadiusOutcome> curve(std::vector<ThreatModel> radii, const Evaluation& headline) {
    std::vector<RadiusOutcome> points;
    if (radii.size() < 2) return points;
    const double first = radii.front().eps;
    std::sort(radii.begin(), radii.end(), [](const auto& a, const auto& b) { return a.eps < b.eps; });
    const auto& context = o_.contexts.front();
    const bool drop = !model_.head || context == "reference" || context == "alone";
    auto robust = headline.first().clean_correct;
    for (const auto& radius : radii) {
      if (radius.eps == first) {
        robust = robust & headline.first().robust;
      } else {
        const auto rows = drop ? robust.nonzero().squeeze(1) : at::arange(images_.size());
        if (rows.numel() > 0) {
          const auto held =
              run_protocol(model_, radius, images_.subset(rows), {context}, fmt::format("eps {}", radius.eps))
                  .first()
                  .robust;
          robust = robust.index_copy(0, rows, robust.index_select(0, rows) & held);
        }
      }
      const double p = percent(robust);
      points.push_back({radius.eps, p, std::sqrt(p * (100 - p) / static_cast<double>(images_.size()))});
    }
    return points;
  }

  /// Image passes for an image that survives everything, at most.
  Passes expected_passes(const ThreatModel& threat) const {
    if (msa_protocol()) {
      auto passes = estimate_passes(model_, peers_, threat, msa_options(o_.contexts), !o_.transfer_only);
      const auto study = collusion_passes(msa_options(o_.contexts).collusion, o_.company);
      passes.forward += study.forward / images_.size(), passes.backward += study.backward / images_.size();
      return passes;
    }
    Passes total{1, 0};
    if (o_.protocol == "pgd")
      total = {2 + o_.restarts.value_or(1) * (o_.steps.value_or(40) + 1),
               o_.restarts.value_or(1) * o_.steps.value_or(40)};
    if (o_.protocol == "autoattack") {
      const auto a = autoattack_options();
      for (const auto& spec : autoattack_sequence({a.version, threat.norm, model_.classifier.classes(), a.attacks,
                                                   a.steps, a.restarts, a.targets, a.queries})
                                  .attacks) {
        const auto passes = passes_of(spec);
        total.forward += passes.forward, total.backward += passes.backward;
      }
    }
    const int64_t models = 1 + (peers_.base ? 1 : 0) + (peers_.control ? 1 : 0);
    return {total.forward * models, total.backward * models};
  }

  void print(const ResultsInput& in, const RunDirectory& run) {
    const auto& e = in.evaluation;
    for (const auto& reason : e.reasons()) fmt::print("SUSPECT  {}\n", reason);
    std::vector<std::vector<std::string>> rows{{"", "clean %", "robust %", "95 %", "ste alone %", "vs control"}};
    for (const auto& c : e.contexts) {
      const auto interval = wilson(c.robust.sum().item<int64_t>(), c.robust.numel());
      std::string versus = "-";
      if (in.control) {
        const auto paired = compare_paired(c.robust, in.control->evaluation.first().robust);
        versus = fmt::format("{:+.1f} (p = {:.2g})", paired.difference, paired.p);
      }
      const bool clean = o_.protocol == "clean";
      rows.push_back({c.context.empty() ? "model" : c.context, fmt::format("{:.1f}", percent(c.clean_correct)),
                      clean ? "-" : fmt::format("{:.1f}", percent(c.robust)),
                      clean ? "-" : fmt::format("{:.1f}-{:.1f}", interval.low, interval.high),
                      c.ste_accuracy ? fmt::format("{:.1f}", *c.ste_accuracy) : "-", versus});
    }
    for (const auto* peer : {&in.base, &in.control})
      if (*peer)
        rows.push_back({(*peer)->name, fmt::format("{:.1f}", percent((*peer)->evaluation.first().clean_correct)),
                        fmt::format("{:.1f}", percent((*peer)->evaluation.first().robust)), "", "", ""});
    const auto what = o_.protocol + (version().empty() ? "" : " " + version());
    const auto threat = o_.protocol == "clean" ? "" : fmt::format(", {} eps {}", o_.threat.norm, o_.threat.eps);
    fmt::print("{}{}, {} images, {:.1f} s\n{}report: {}\n", what, threat, images_.size(), e.seconds, table(rows),
               run.file("report.html"));
  }

  CommandLine& line_;
  EvaluateOptions& o_;
  Dataset data_;
  HpmModel model_;
  Peers peers_;
  ImageSet images_;
  WorkLog log_;
};

}  // namespace

int evaluate(const Arguments& arguments) {
  CommandLine line("evaluate", "Evaluates a model: clean, PGD, AutoAttack or the Mixed Surrogate Attack, with checks.",
                   "hpm evaluate --model FILE --data cifar10 --norm Linf --eps 8/255 --count 1000");
  EvaluateOptions options;
  declare(line.fields, options);
  line.with_run_directory(true);
  line.with_dry_run();
  if (!line.parse(arguments)) return 0;
  return Evaluate(line, options)();
}

}  // namespace hpm::app
