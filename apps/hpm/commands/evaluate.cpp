#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "commands/evaluate_options.h"
#include "cost.h"
#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/evaluation/checks.h"
#include "hpm/evaluation/image_file.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/results.h"
#include "hpm/io/file.h"
#include "hpm/io/journal.h"
#include "hpm/io/sha256.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "outputs.h"

namespace hpm::app {
namespace {

class Evaluate {
 public:
  Evaluate(CommandLine& line, EvaluateOptions& options) : line_(line), o_(options) {}

  int operator()() {
    if (o_.conformance) official_computing();
    configure_threads(o_.compute.threads);
    const auto radii = threats(o_.threat);
    if (o_.is_msa()) o_.contexts = msa_contexts(o_.msa(o_.contexts));
    check_options(o_, line_);
    data_ = load(o_.data, line_);
    const auto index = image_numbers(o_.data, data_);
    load_models();
    const auto device = to_device();
    images_ = image_set(data_, index, device);
    if (o_.is_msa() && o_.has_context("joint"))
      check_colluders(o_.msa(o_.contexts).collusion, std::min(o_.company, images_.size()));
    if (!say_cost(radii)) return 0;
    if (o_.quantise)  // refuses images that are not 8-bit before the work
      for_chunks(images_, o_.compute.batch_size,
                 [&](const Images& chunk, int64_t) { quantised(chunk.x, chunk.x, radii.front()); });

    const auto run = open_run(line_, "evaluate", o_.compute, o_.seed);
    images_ = image_set(data_, index, device, run.path());
    Journal journal(run.path(), fingerprint(index), line_.resume);
    if (journal.size() > 0)
      line_.monitor().say(fmt::format("going on after {} finished pieces of work", journal.size()));
    log_ = WorkLog(journal);
    auto evaluation = run_protocol(model_, radii.front(), images_, o_.contexts, "model");
    if (const auto other = begun_by_another_build(run); !other.empty()) {
      evaluation.notes.push_back(other);
      line_.monitor().warn(other);
    }
    const auto points = curve(model_, radii, evaluation);
    finish(evaluation, radii.front(), run);
    auto base = attack_peer("base", o_.base, peers_.base, radii, evaluation),
         control = attack_peer("control", o_.control, peers_.control, radii, evaluation);
    ResultsInput input{model_, data_, images_, radii.front(), evaluation, role(), o_.protocol, o_.effective_version()};
    input.base = std::move(base), input.control = std::move(control), input.curve = points;
    return write(input, run);
  }

 private:
  void load_models() {
    model_ = load(o_.model, o_.model.model, data_.image_shape(), line_.monitor());
    require_classes(model_, data_);
    peers_ = {load_peer(o_.base), load_peer(o_.control)};
    if (!model_.head)
      for (const char* name : {"context", "lambda", "sweep-lambda", "colluders", "surrogate", "joint-surrogates",
                               "full-matrix", "company", "company-seed"})
        line_.warn_unused(name, "the model has no HPM head");
    if (!model_.head) o_.own_surrogates.clear();
    if (model_.head && o_.lambda) model_.head->lambda = *o_.lambda;
    for (const auto& file : o_.own_surrogates) add_surrogate(torchscript_surrogate(file, o_.model.allow_torchscript));
  }

  at::Device to_device() {
    const auto device = parse_device(o_.compute.device);
    model_.to(device);
    for (auto* peer : {&peers_.base, &peers_.control})
      if (*peer) peer->to(device);
    const auto precision = parse_precision(o_.compute.precision, device);
    require(precision == at::kFloat || !o_.conformance,
            "evaluate: --conformance needs --precision float32, as the official code has");
    for (auto* classifier : {&model_.classifier, &peers_.base, &peers_.control})
      classifier->set_search_precision(precision);
    return device;
  }

  /// Says what the attacks will take; false for --dry-run, which goes no further.
  bool say_cost(const std::vector<ThreatModel>& radii) {
    const bool attacks = o_.is_msa() || o_.protocol == "autoattack";
    if (!line_.dry_run && (line_.quiet || !attacks)) return true;
    const auto cost = cost_of(model_.classifier, images_.slice(0, std::min<int64_t>(images_.size(), 64)),
                              expected_passes(radii.front()), images_.size(), static_cast<int64_t>(radii.size()));
    if (line_.dry_run) cost.print(line_);
    else line_.monitor().say(cost.text());
    return !line_.dry_run;
  }

  /// Base or control under the model's budget: the first radius, and what a smaller one broke. Its checks are the
  /// evaluation's too.
  std::optional<PeerResult> attack_peer(const std::string& name, const std::string& file, const Classifier& classifier,
                                        std::vector<ThreatModel> radii, Evaluation& evaluation) {
    if (!classifier || o_.protocol == "clean" || o_.transfer_only) return std::nullopt;
    const HpmModel model{classifier, std::nullopt};
    PeerResult peer{name, file, run_protocol(model, radii.front(), images_, o_.contexts, name)};
    std::erase_if(radii, [first = radii.front().eps](const auto& radius) { return radius.eps > first; });
    curve(model, radii, peer.evaluation, name + " ");
    check(model, peer.evaluation, 0, radii.front(), std::nullopt, name);
    for (auto& check : peer.evaluation.checks) {
      check.context = name;
      evaluation.checks.push_back(check);
    }
    return peer;
  }

  /// Writes everything; the exit status.
  int write(ResultsInput& input, const RunDirectory& run) {
    input.budget = o_.budget(model_.classifier.search_precision());
    input.first_index = o_.data.first, input.indices_given = !o_.data.indices.empty();
    input.company_size = o_.company, input.company_seed = o_.company_seed, input.seed = o_.seed;
    input.config = line_.fields.json();
    input.started =
        nlohmann::json::parse(std::string(read_file(run.file("environment.json")).text())).value("started", "");
    write_run(run, input);
    const bool reported = write_run_report(run, RunKind::evaluation);
    if (line_.json) fmt::print("{}", results_json(input));
    else print(input, run);
    return !reported ? 1 : input.evaluation.suspect() ? 3 : 0;
  }

  /// What to say where pieces of a resumed run may be of another program: they stay as they were made.
  std::string begun_by_another_build(const RunDirectory& run) const {
    const auto commit = [](std::string_view text) { return nlohmann::json::parse(text).value("commit", ""); };
    const auto begun = commit(read_file(run.file("environment.json")).text()),
               now = commit(environment_json(o_.compute, o_.seed));
    return begun == now
               ? ""
               : fmt::format("begun by commit {}, resumed by {}: what was finished before is the former's", begun, now);
  }

  std::string role() const { return o_.role.empty() ? (model_.head ? model_.head_kind() : "") : o_.role; }

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

  /// Everything the verdicts depend on: the options but those of computing, and the contents of images and files. A
  /// change of the batch size shows in the journal itself.
  std::string fingerprint(const Tensor& index) const {
    auto all = nlohmann::json::parse(line_.fields.json());
    all.erase("compute");
    all["precision"] = o_.compute.precision;
    all["images"] = sha256_of_images(data_, index);
    for (const auto* classifier : {&model_.classifier, &peers_.base, &peers_.control})
      if (*classifier) {
        const auto& info = classifier->info();
        all["files"].push_back({info.sha256, info.normalisation.mean, info.normalisation.std});
      }
    for (const auto& file : o_.own_surrogates) all["files"].push_back(sha256_of_file(file));
    return sha256(json_text(all));
  }

  /// Conformance holds for one thread, and the official batch size unless another is given.
  void official_computing() {
    if (!line_.fields.given("threads")) o_.compute.threads = 1;
    if (!line_.fields.given("batch-size")) o_.compute.batch_size = 250;
  }

  ProtocolSubject subject(const HpmModel& model, const ImageSet& images, const std::string& part, size_t context = 0) {
    return {model,
            make_context(model, o_.contexts[context], images, o_.company, o_.company_seed, o_.compute.batch_size,
                         log_.below(part)),
            o_.random};
  }

  Evaluation run_protocol(const HpmModel& model, const ThreatModel& threat, const ImageSet& images,
                          const std::vector<std::string>& contexts, const std::string& part) {
    auto& monitor = line_.monitor();
    const auto log = log_.below(part);
    if (o_.is_msa()) {
      auto options = o_.msa(contexts);
      if (part.find("eps ") != std::string::npos)
        options.sweep.clear(), options.collusion.colluders.clear();  // for the curve
      return msa(model, peers_, images, threat, options, monitor, log);
    }
    if (o_.protocol == "clean") return evaluate_clean(subject(model, images, part), images, o_.compute.batch_size);
    if (model.head && o_.contexts.front() != "reference")
      monitor.warn(
          "one surrogate (ste) flatters a batch-dependent defence; --protocol msa is the honest judge in context " +
          o_.contexts.front());
    if (o_.protocol == "pgd")
      return evaluate_pgd(subject(model, images, part), images, threat,
                          {o_.steps.value_or(40), o_.step_size, o_.restarts.value_or(1), o_.loss}, o_.seed,
                          o_.compute.batch_size, monitor, log);
    return evaluate_autoattack(subject(model, images, part), images, threat, o_.autoattack(), monitor, log);
  }

  /// False for a black box that Square alone attacked.
  static bool asks_for_gradients(const Evaluation& evaluation) {
    return std::any_of(evaluation.attacks.begin(), evaluation.attacks.end(),
                       [](const auto& attack) { return attack.name != "square"; });
  }

  /// Predictions on the adversarial images, and the checks.
  void finish(Evaluation& evaluation, const ThreatModel& threat, const RunDirectory& run) {
    if (!evaluation.first().adversarial.defined()) return;
    const auto target = subject(model_, images_, "model");
    const auto adversarial = evaluation.first().adversarial.set();
    const auto batch_size = o_.compute.batch_size;
    const auto logits = predict_logits(target, adversarial, batch_size);
    evaluation.adversarial_prediction = logits.argmax(1).to(at::kCPU);
    evaluation.not_finite = logits.isfinite().logical_not().sum().item<int64_t>();
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
      check(model_, evaluation, c, threat, saved, "model");
    }
  }

  CheckOptions checks() const {
    return {.level = o_.checks,
            .seed = o_.seed,
            .batch_size = o_.compute.batch_size,
            .conformance = o_.conformance && o_.protocol == "autoattack"};
  }

  /// The surrogates that the checks look at: of those that attacked this context ste, fc and stable, what one leaves
  /// the next one tries; else the first with a gradient.
  static std::vector<std::string> checked_surrogates(const ContextOutcome& outcome) {
    std::vector<std::string> attacked, checked;
    for (const auto& s : outcome.surrogates)
      if (s.unavailable.empty() && s.name != "query" && s.name != "base" && s.name != "control")
        attacked.push_back(s.name);
    for (const char* name : {"ste", "fc", "stable"})
      if (std::find(attacked.begin(), attacked.end(), name) != attacked.end()) checked.push_back(name);
    if (checked.empty()) checked.push_back(attacked.empty() ? "ste" : attacked.front());
    return checked;
  }

  /// The checks of one context.
  void check(const HpmModel& model, Evaluation& evaluation, size_t c, const ThreatModel& threat,
             const std::optional<ImageSet>& saved, const std::string& part) {
    const WorkTimer timer(log_);
    const auto target = subject(model, images_, part, c);
    const auto names = checked_surrogates(evaluation.contexts.at(c));
    const auto attacked = target.attack_model(names.front());
    const bool joint = model.head && target.context.kind == ContextKind::joint;
    CheckSubject subject{*attacked, joint, [&](const Tensor& x, const Tensor& index) {
                           return attacked->ask({x, index}, nullptr).target_logits;
                         }};
    if (model.head) subject.name = names.front();
    std::vector<std::unique_ptr<AttackModel>> others;
    for (size_t i = 1; i < names.size(); ++i) {
      others.push_back(target.attack_model(names[i]));
      subject.others.emplace_back(names[i], others.back().get());
    }
    subject.context = c;
    if (joint) subject.batches = batch_rows(*target.context.company, images_.index);
    auto options = checks();
    options.gradients = asks_for_gradients(evaluation);
    auto lines = run_checks(subject, images_, threat, evaluation, saved, options, line_.monitor(), log_.below(part));
    std::move(lines.begin(), lines.end(), std::back_inserter(evaluation.checks));
    evaluation.checks_seconds += timer.seconds();
  }

  /// Accuracy against eps in the first context, by increasing radius. An image that is broken within a radius is broken
  /// within every larger one: it is not attacked again (in solo and joint it is: it is company to the others), and
  /// where the headline's own attacks missed it, it counts as broken there too (not in joint, where batches are
  /// counted).
  std::vector<RadiusOutcome> curve(const HpmModel& model, std::vector<ThreatModel> radii, Evaluation& headline,
                                   const std::string& part = "") {
    std::vector<RadiusOutcome> points;
    if (radii.size() < 2) return points;
    const double first = radii.front().eps;
    std::sort(radii.begin(), radii.end(), [](const auto& a, const auto& b) { return a.eps < b.eps; });
    const auto& context = o_.contexts.front();
    const bool drop = !model.head || context == "reference" || context == "alone";
    const bool joint = model.head && context == "joint";
    auto robust = headline.first().clean_correct;
    for (const auto& radius : radii) {
      if (radius.eps == first) {
        robust = joint ? headline.first().robust : robust & headline.first().robust;
      } else {
        const auto rows = drop ? robust.nonzero().squeeze(1) : at::arange(images_.size());
        if (rows.numel() > 0) {
          const auto found =
              run_protocol(model, radius, images_.subset(rows), {context}, fmt::format("{}eps {}", part, radius.eps));
          const auto held = found.first().robust;
          robust = joint ? held : robust.index_copy(0, rows, robust.index_select(0, rows) & held);
          if (radius.eps < first && !joint) take_over(found, rows, radius.eps, headline);
        }
      }
      const double p = percent(robust);
      points.push_back({radius.eps, p, std::sqrt(p * (100 - p) / static_cast<double>(images_.size()))});
    }
    return points;
  }

  /// Images `rows` [m] that were broken within a smaller radius, and stood in the first context.
  void take_over(const Evaluation& smaller, const Tensor& rows, double eps, Evaluation& headline) const {
    auto& context = headline.contexts.front();
    const auto broken = smaller.first().clean_correct & smaller.first().robust.logical_not();
    const auto places = (broken & context.robust.index_select(0, rows)).nonzero().squeeze(1);
    for (int64_t i = 0; i < places.numel(); ++i) {
      const auto from = places.slice(0, i, i + 1), to = rows.index_select(0, from);
      context.adversarial.put(to, smaller.first().adversarial.select(from));
      context.robust.index_fill_(0, to, false);
      if (!context.broken_by.empty())
        context.broken_by[static_cast<size_t>(to.item<int64_t>())] = fmt::format("eps {:g}", eps);
    }
    if (places.numel() > 0)
      headline.notes.push_back(
          fmt::format("{} images broken within eps {:g} count as broken within the first radius", places.numel(), eps));
  }

  /// Image passes for an image that survives everything, at most.
  Passes expected_passes(const ThreatModel& threat) const {
    if (o_.is_msa()) {
      auto passes = estimate_passes(model_, peers_, threat, o_.msa(o_.contexts), !o_.transfer_only);
      const auto study = collusion_passes(o_.msa(o_.contexts).collusion, o_.company);
      const auto n = images_.size();
      passes.forward += (study.forward + n - 1) / n, passes.backward += (study.backward + n - 1) / n;
      add_checks(passes);
      return passes;
    }
    Passes total{1, 0};
    if (o_.protocol == "pgd")
      total = {2 + o_.restarts.value_or(1) * (o_.steps.value_or(40) + 1),
               o_.restarts.value_or(1) * o_.steps.value_or(40)};
    if (o_.protocol == "autoattack") {
      const auto a = o_.autoattack();
      for (const auto& spec : autoattack_sequence({a.version, threat.norm, model_.classifier.classes(), a.attacks,
                                                   a.steps, a.restarts, a.targets, a.queries})
                                  .attacks) {
        const auto passes = passes_of(spec);
        total.forward += passes.forward, total.backward += passes.backward;
      }
    }
    const int64_t models = 1 + (peers_.base ? 1 : 0) + (peers_.control ? 1 : 0);
    total = {total.forward * models, total.backward * models};
    if (o_.protocol != "clean") add_checks(total);
    return total;
  }

  void add_checks(Passes& total) const {
    const int64_t n = images_.size(), peers = o_.transfer_only ? 0 : (peers_.base ? 1 : 0) + (peers_.control ? 1 : 0);
    const bool hpm = model_.head && o_.is_msa();
    const auto contexts = !hpm || model_.head->lambda == 1 ? 1 : static_cast<int64_t>(o_.contexts.size());
    const auto one = check_passes(checks(), n, 1), own = check_passes(checks(), n, hpm ? 3 : 1);
    total.forward += (contexts * own.forward + peers * one.forward + n - 1) / n;
    total.backward += (contexts * own.backward + peers * one.backward + n - 1) / n;
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
    const auto what = o_.protocol + (o_.effective_version().empty() ? "" : " " + o_.effective_version());
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
