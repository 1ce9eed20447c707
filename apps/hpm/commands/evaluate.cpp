#include <torch/torch.h>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks.h"
#include "hpm/evaluation/msa.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/results.h"
#include "hpm/report/report.h"
#include "options.h"

namespace hpm::app {
namespace {

struct EvaluateOptions {
  ModelOptions model;
  DataOptions data;
  ThreatOptions threat;
  std::string protocol = "msa", version, role, base, control, checks = "basic";
  std::vector<std::string> attacks, contexts{"reference"}, surrogates, joint_surrogates;
  int64_t company = 128;
  uint64_t company_seed = 0, seed = 0;
  bool full_matrix = false, conformance = false, save_adversarial = false, random = false;
  std::optional<int64_t> queries;
  PgdOptions pgd;
  ComputeOptions compute;
};

void declare(Fields& f, EvaluateOptions& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  fields(f, o.threat, true);
  f.section("protocol");
  f.add("protocol", o.protocol, "protocol", {.choices = {"clean", "pgd", "autoattack", "msa"}});
  f.add("version", o.version, "of msa: quick (default), standard, plus; of autoattack: standard (default), plus, rand, custom");
  f.add("attacks", o.attacks, "attacks of autoattack, version custom");
  f.add("context", o.contexts, "contexts of an HPM model, the first is headlined", {.choices = {"reference", "alone", "solo", "joint"}});
  f.add("company", o.company, "company size of solo and joint", {.min = 1, .max = 65536, .unit = "images"});
  f.add("company-seed", o.company_seed, "order of the company (0: as the images come)");
  f.add("base", o.base, "model before HPM: surrogate base, and attacked under the same budget");
  f.add("control", o.control, "matched control: surrogate control, and the paired test");
  f.add("surrogates", o.surrogates, "surrogates of msa (none: the version's)");
  f.add("joint-surrogates", o.joint_surrogates, "surrogates of the context joint (none: the same)");
  f.add("full-matrix", o.full_matrix, "every surrogate on every correct image, not the survivors alone");
  f.add("queries", o.queries, "queries of Square (none: as the version)", {.min = 1});
  f.add("conformance", o.conformance, "autoattack: the official code's draws, batches and operations");
  f.add("random", o.random, "the model draws random numbers");
  f.add("checks", o.checks, "checks of the evaluation", {.choices = {"none", "basic", "full"}});
  f.add("role", o.role, "how a comparison calls this run: base, control, l2 or hpm");
  f.add("save-adversarial", o.save_adversarial, "keep all adversarial images and check them after reloading");
  hpm::fields(f, o.pgd);
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

class Evaluate {
 public:
  Evaluate(CommandLine& line, EvaluateOptions& options) : line_(line), o_(options) {}

  int operator()() {
    configure_threads(o_.compute.threads);
    const auto radii = threats(o_.threat);
    check_options();
    data_ = load_dataset(o_.data.data, o_.data.split, o_.data.root);
    const auto index = image_numbers(o_.data, data_);
    model_ = load(o_.model, o_.model.model, data_.image_shape(), line_.monitor());
    require_classes(model_, data_);
    peers_ = {load_peer(o_.base), load_peer(o_.control)};
    if (!model_.head) line_.warn_unused("context", "the model has no HPM head");
    const auto device = parse_device(o_.compute.device);
    model_.to(device);
    images_ = images_of(data_, index);
    images_.x = images_.x.to(device);
    images_.y = images_.y.to(device);
    if (line_.dry_run) return print_cost(radii);

    const auto run = open_run(line_, "evaluate", o_.compute, o_.seed);
    auto evaluation = run_protocol(model_, radii.front());
    finish(evaluation, radii.front(), run);
    std::optional<PeerResult> base, control;
    if (peers_.base && o_.protocol != "clean") base = {"base", o_.base, attack_peer(peers_.base, radii.front())};
    if (peers_.control && o_.protocol != "clean") control = {"control", o_.control, attack_peer(peers_.control, radii.front())};
    ResultsInput input{model_, data_, images_, radii.front(), evaluation, role(), o_.protocol, version(), o_.data.first,
                       !o_.data.indices.empty(), o_.company, o_.company_seed, o_.seed, std::move(base), std::move(control), curve(radii, evaluation)};
    input.config = line_.fields.json();
    write_run(run, input, o_.save_adversarial);
    write_report({run.path()}, run.file("report.html"));
    if (line_.json) fmt::print("{}", results_json(input));
    else print(input, run);
    return evaluation.suspect() ? 3 : 0;
  }

 private:
  bool msa_protocol() const { return o_.protocol == "msa"; }
  std::string version() const {
    if (msa_protocol()) return o_.version.empty() ? "quick" : o_.version;
    if (o_.protocol == "autoattack") return o_.version.empty() ? (o_.attacks.empty() ? "standard" : "custom") : o_.version;
    return "";
  }
  std::string role() const { return o_.role.empty() ? (model_.head ? model_.head_kind() : "") : o_.role; }

  void check_options() {
    const auto unused = [&](bool used, std::initializer_list<const char*> names, const char* why) {
      if (!used) for (const char* name : names) line_.warn_unused(name, why);
    };
    unused(o_.protocol == "pgd", {"steps", "step-size", "restarts", "loss"}, "only --protocol pgd reads it");
    unused(o_.protocol == "autoattack", {"attacks", "conformance", "queries"}, "only --protocol autoattack reads it");
    unused(msa_protocol(), {"surrogates", "joint-surrogates", "full-matrix"}, "only --protocol msa reads it");
    unused(msa_protocol() || o_.protocol == "autoattack", {"version"}, "only autoattack and msa have versions");
    if (o_.protocol == "autoattack" && !o_.attacks.empty() && version() != "custom")
      line_.warn_unused("attacks", "only --version custom reads it");
    if (o_.compute.precision != "float32") line_.monitor().warn("--precision had no effect: the search runs in float32");
  }

  Classifier load_peer(const std::string& path) {
    if (path.empty()) return {};
    auto options = o_.model;
    options.card.sha256.clear();
    auto peer = load(options, path, data_.image_shape(), line_.monitor());
    if (peer.head) line_.monitor().warn(path + ": has an HPM head; as base or control its FC layer alone is used");
    require(peer.classifier.classes() == model_.classifier.classes(), "{}: has {} classes, but the model has {}", path, peer.classifier.classes(), model_.classifier.classes());
    return peer.classifier;
  }

  MsaOptions msa_options() const {
    MsaOptions m{.version = version(), .contexts = o_.contexts, .surrogates = o_.surrogates, .joint_surrogates = o_.joint_surrogates,
                 .company_size = o_.company, .company_seed = o_.company_seed, .seed = o_.seed, .batch_size = o_.compute.batch_size, .full_matrix = o_.full_matrix};
    return m;
  }

  AutoAttackOptions autoattack_options() const {
    AutoAttackOptions a{.version = version(), .attacks = o_.attacks, .seed = o_.seed, .batch_size = o_.compute.batch_size, .conformance = o_.conformance};
    a.queries = o_.queries;
    return a;
  }

  ProtocolSubject subject(const HpmModel& model) {
    return {model, make_context(model, o_.contexts.front(), images_, o_.company, o_.company_seed, o_.compute.batch_size), o_.random};
  }

  Evaluation run_protocol(const HpmModel& model, const ThreatModel& threat) {
    auto& monitor = line_.monitor();
    if (msa_protocol()) return msa(model, peers_, images_, threat, msa_options(), monitor);
    if (o_.protocol == "clean") return evaluate_clean(subject(model), images_, o_.compute.batch_size);
    if (model.head && o_.contexts.front() != "reference" && line_.fields.given("protocol"))
      monitor.warn("one surrogate (ste) flatters a batch-dependent defence; --protocol msa is the honest judge in context " + o_.contexts.front());
    if (o_.protocol == "pgd") return evaluate_pgd(subject(model), images_, threat, o_.pgd, o_.seed, o_.compute.batch_size, monitor);
    return evaluate_autoattack(subject(model), images_, threat, autoattack_options(), monitor);
  }

  Evaluation attack_peer(const Classifier& peer, const ThreatModel& threat) { return run_protocol({peer, std::nullopt}, threat); }

  /// Predictions on the adversarial images, and the checks.
  void finish(Evaluation& evaluation, const ThreatModel& threat, const RunDirectory& run) {
    if (!evaluation.adversarial.defined()) return;
    const auto target = subject(model_);
    const auto predict = [&](const Tensor& x, const Tensor& index) {
      return target.attack_model()->ask({x, index}, nullptr).target_logits;
    };
    evaluation.adversarial_prediction = predict_logits(target, {evaluation.adversarial, images_.y, images_.index}, o_.compute.batch_size).argmax(1);
    Tensor saved;
    if (o_.save_adversarial) {
      write_safetensors(run.file("adversarial.safetensors"), {{"images", evaluation.adversarial}, {"labels", images_.y}, {"index", images_.index}});
      saved = read_checkpoint(run.file("adversarial.safetensors")).tensors.front().second.to(images_.x.device());
    }
    const auto attacked = target.attack_model();
    const bool joint = target.context.kind == ContextKind::joint && model_.head;
    evaluation.checks = run_checks({*attacked, joint, predict}, images_, threat, evaluation, saved,
                                   {.level = o_.checks, .seed = o_.seed, .batch_size = o_.compute.batch_size}, line_.monitor());
  }

  std::vector<RadiusOutcome> curve(const std::vector<ThreatModel>& radii, const Evaluation& first) {
    std::vector<RadiusOutcome> points;
    if (radii.size() < 2) return points;
    for (size_t i = 0; i < radii.size(); ++i) {
      const auto evaluation = i == 0 ? first : run_protocol(model_, radii[i]);
      const double p = percent(evaluation.first().robust);
      points.push_back({radii[i].eps, p, std::sqrt(p * (100 - p) / static_cast<double>(images_.size()))});
    }
    return points;
  }

  int print_cost(const std::vector<ThreatModel>& radii) {
    if (!msa_protocol()) {
      fmt::print("--dry-run: passes are stated for --protocol msa; {} has a fixed budget (docs/autoattack.md)\n", o_.protocol);
      return 0;
    }
    const auto passes = estimate_passes(model_, peers_, radii.front(), msa_options());
    const int64_t n = images_.size(), sample = std::min<int64_t>(n, 64);
    // A timed forward and backward of a small batch gives the estimate.
    ClassifierModel timed(model_.classifier);
    const auto part = images_.select(at::arange(sample));
    const Loss loss{LossKind::ce, part.y, {}};
    timed.ask({part.x, part.index}, &loss);
    const auto start = std::chrono::steady_clock::now();
    timed.ask({part.x, part.index}, &loss);
    const double per_image = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(sample);
    const double seconds = per_image * static_cast<double>(passes.backward * n) * static_cast<double>(radii.size());
    fmt::print("at most {} forward and {} backward passes an image, {} images, {} radii: at most {:.0f} s on this machine\n",
               passes.forward, passes.backward, n, radii.size(), seconds);
    return 0;
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
      rows.push_back({c.context.empty() ? "model" : c.context, fmt::format("{:.1f}", percent(c.clean_correct)), clean ? "-" : fmt::format("{:.1f}", percent(c.robust)),
                      clean ? "-" : fmt::format("{:.1f}-{:.1f}", interval.low, interval.high), c.ste_accuracy ? fmt::format("{:.1f}", *c.ste_accuracy) : "-", versus});
    }
    for (const auto* peer : {&in.base, &in.control})
      if (*peer) rows.push_back({(*peer)->name, fmt::format("{:.1f}", percent((*peer)->evaluation.first().clean_correct)),
                                 fmt::format("{:.1f}", percent((*peer)->evaluation.first().robust)), "", "", ""});
    fmt::print("{} {}, {} eps {}, {} images, {:.1f} s\n{}report: {}\n", o_.protocol, version(), o_.threat.norm, o_.threat.eps, images_.size(), e.seconds,
               table(rows), run.file("report.html"));
  }

  CommandLine& line_;
  EvaluateOptions& o_;
  Dataset data_;
  HpmModel model_;
  Peers peers_;
  Images images_;
};

}  // namespace

int evaluate(const Arguments& arguments) {
  CommandLine line("evaluate", "Evaluates a model: clean, PGD, AutoAttack or the Mixed Surrogate Attack, with checks.",
                   "hpm evaluate --model FILE --data cifar10 --norm Linf --eps 8/255 --count 1000");
  EvaluateOptions options;
  declare(line.fields, options);
  line.with_run_directory(false);
  line.with_dry_run();
  if (!line.parse(arguments)) return 0;
  return Evaluate(line, options)();
}

}  // namespace hpm::app
