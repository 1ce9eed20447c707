#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "commands/evaluate_options.h"
#include "cost.h"
#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/advice.h"
#include "hpm/evaluation/checks.h"
#include "hpm/evaluation/fingerprint.h"
#include "hpm/evaluation/gradient_probe.h"
#include "hpm/evaluation/image_file.h"
#include "hpm/evaluation/input_warnings.h"
#include "hpm/evaluation/peers.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/results.h"
#include "hpm/io/file.h"
#include "hpm/io/journal.h"
#include "hpm/io/sha256.h"
#include "hpm/models/normalisation.h"
#include "hpm/report/report.h"
#include "hpm/surrogates/torchscript_surrogate.h"

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
    for (const auto& line : threat_warnings(radii)) note(line);
    for (const auto& line : setting_notes(o_, radii)) note(line);
    attacks_ = o_.protocol != "clean" && std::any_of(radii.begin(), radii.end(), [](auto& r) { return r.eps > 0; });
    data_ = load(o_.data, line_);
    const auto index = image_numbers(o_.data, data_);
    load_models();
    const auto device = to_device();
    images_ = image_set(data_, index, device);
    if (o_.is_msa() && o_.has_context("joint"))
      check_colluders(o_.msa(o_.contexts).collusion, std::min(o_.company, images_.size()));
    if (attacks_) probe(radii.front());
    if (!say_cost(radii)) return 0;
    if (o_.quantise)  // refuses images that are not 8-bit before the work
      for_chunks(images_, o_.compute.batch_size,
                 [&](const Images& chunk, int64_t) { quantised(chunk.x, chunk.x, radii.front()); });

    const auto run = open_run(line_, "evaluate", o_.compute, o_.seed);
    images_ = image_set(data_, index, device, run.path());
    const auto settings = fingerprint(index, radii);
    if (line_.resume) settings.require_same(run.path());
    Journal journal(run.path(), settings.digest(), line_.resume);
    settings.write(run.path());
    if (journal.size() > 0)
      line_.monitor().say(fmt::format("going on after {} finished pieces of work", journal.size()));
    log_ = WorkLog(journal);
    if (attacks_) look_at_logits();
    auto evaluation = run_protocol(model_, radii.front(), images_, o_.contexts, "model");
    if (!attacks_)
      for (const auto& line : look_at_verdicts(model_, images_, o_.compute.batch_size, log_.below("model"), evaluation))
        note(line);
    if (const auto other = begun_by_another_build(run); !other.empty()) {
      evaluation.notes.push_back(other);
      line_.monitor().warn(other);
    }
    const auto points = curve(model_, radii, evaluation);
    evaluation.notes.insert(evaluation.notes.begin(), notes_.begin(), notes_.end());
    finish(evaluation, radii.front(), run);
    auto base = attack_peer("base", o_.base, peers_.base, radii, evaluation),
         control = attack_peer("control", o_.control, peers_.control, radii, evaluation);
    ResultsInput input{model_, data_, images_, radii.front(), evaluation, role(), o_.protocol, o_.effective_version()};
    input.base = std::move(base), input.control = std::move(control), input.curve = points;
    return write(input, run);
  }

 private:
  /// A line for the user that stands in the results too.
  void note(const std::string& line) {
    line_.monitor().warn(line);
    notes_.push_back(line);
  }

  void load_models() {
    const bool compared = o_.protocol != "clean" && !(o_.base.empty() && o_.control.empty());
    model_ = load(o_.model, o_.model.model, data_.image_shape(), line_.monitor(),
                  compared ? "--base and --control are compared with it" : "");
    const auto& classifier = model_.classifier;
    if (!normalisation_known(classifier))
      notes_.push_back("no input normalisation is known: none is applied (--mean, --std or a card)");
    for (const auto& line : unlikely_values(classifier.info().normalisation)) notes_.push_back(line);
    require_classes(model_, data_);
    if (compared) peers_ = {load_peer("base", o_.base), load_peer("control", o_.control)};
    if (!model_.head)
      for (const char* name : {"context", "lambda", "sweep-lambda", "colluders", "joint-surrogates", "full-matrix",
                               "company", "company-seed"})
        line_.warn_unused(name, "the model has no HPM head");
    if (model_.head && o_.lambda) model_.head->lambda = *o_.lambda;
    for (const auto& file : o_.own_surrogates) add_surrogate(torchscript_surrogate(file, o_.model.allow_torchscript));
  }

  /// Whether the protocol differentiates the model, or peer, itself.
  bool asks_for_gradients(const HpmModel& model, const ThreatModel& threat) const {
    if (o_.protocol == "autoattack") return attacks_ask_for_gradients(sequence(threat).attacks);
    if (o_.protocol == "pgd" || model.head) return true;
    const auto plan = msa_plan(o_.msa(o_.contexts), threat.norm, model.classifier.classes(), false);
    return std::any_of(plan.begin(), plan.end(), [](const auto& s) { return attacks_ask_for_gradients(s.attacks); });
  }

  /// Looks once whether the models have gradients, and refuses attacks that need one where there is none.
  void probe(const ThreatModel& threat) {
    const auto sample = images_.slice(0, std::min<int64_t>(images_.size(), 16));
    const bool peers = (peers_.base || peers_.control) && o_.surrogates.empty();
    const bool stand_ins = o_.is_msa() && !model_.head && (peers || !o_.own_surrogates.empty());
    const auto look = [&](const HpmModel& model, bool has_stand_ins) {
      const auto found = probe_gradient(model.classifier, sample);
      const auto needed = asks_for_gradients(model, threat) ? o_.protocol : "";
      for (const auto& line : require_gradient(model.classifier, found, needed, has_stand_ins)) note(line);
      return found.differentiable();
    };
    differentiable_ = look(model_, stand_ins);
    if (peers_.base) look({peers_.base, std::nullopt}, false);
    if (peers_.control) look({peers_.control, std::nullopt}, false);
  }

  /// One pass of the images as they are, before the attacks.
  void look_at_logits() {
    const auto look = [&](const std::string& part, const HpmModel& model) {
      for (const auto& line : look_before_attacks(model, images_, o_.compute.batch_size, log_.below(part)))
        note(part == "model" ? line : part + ": " + line);
    };
    look("model", model_);
    if (peers_.base) look("base", {peers_.base, std::nullopt});
    if (peers_.control) look("control", {peers_.control, std::nullopt});
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
    const auto attacked = std::count_if(radii.begin(), radii.end(), [](const auto& r) { return r.eps > 0; });
    auto passes = expected_passes(radii.front());
    if (!attacks_) passes = {1, 0};
    if (!differentiable_) passes.backward = 0;  // stand-ins alone have any
    const auto cost = cost_of(model_.classifier, images_.slice(0, std::min<int64_t>(images_.size(), 64)), passes,
                              images_.size(), std::max<int64_t>(attacked, 1));
    if (line_.dry_run) cost.print(line_);
    else line_.monitor().say(cost.text());
    return !line_.dry_run;
  }

  /// Base or control under the model's budget: the first radius, and what a smaller one broke. Its checks are the
  /// evaluation's too.
  std::optional<PeerResult> attack_peer(const std::string& name, const std::string& file, const Classifier& classifier,
                                        std::vector<ThreatModel> radii, Evaluation& evaluation) {
    if (!classifier || o_.protocol == "clean") return std::nullopt;
    const HpmModel model{classifier, std::nullopt};
    if (o_.transfer_only) {  // a surrogate alone: but one that sees other inputs than in training transfers nothing
      const auto clean = evaluate_clean({model}, images_, o_.compute.batch_size);
      evaluation.checks.push_back(peer_accuracy(name, evaluation.first().clean_correct, clean.first().clean_correct));
      return std::nullopt;
    }
    PeerResult peer{name, file, run_protocol(model, radii.front(), images_, o_.contexts, name)};
    const double first = radii.front().eps;
    std::erase_if(radii, [&](const auto& radius) { return radius.eps > first; });
    curve(model, radii, peer.evaluation, name + " ");
    if (first > 0) check(model, peer.evaluation, 0, {radii.front().norm, first}, std::nullopt, name);
    peer.evaluation.checks.push_back(
        peer_accuracy(name, evaluation.first().clean_correct, peer.evaluation.first().clean_correct));
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
    write_report({run.path()}, run.file("report.html"));
    if (line_.json) fmt::print("{}", results_json(input));
    else print(input, run);
    return input.evaluation.suspect() ? 3 : 0;
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

  Classifier load_peer(const std::string& name, const std::string& path) {
    if (path.empty()) return {};
    auto peer = hpm::load_peer({name, path, o_.model.card, o_.model.allow_torchscript}, model_.classifier);
    for (const auto& line : peer.notes) line_.monitor().say(path + ": " + line);
    for (const auto& line : peer.warnings) line_.monitor().warn(line);
    for (const auto& line : peer.findings) note(line);
    return peer.classifier;
  }

  /// Everything the verdicts depend on, contents in place of paths. A change of the batch size shows in the journal.
  Fingerprint fingerprint(const Tensor& index, const std::vector<ThreatModel>& radii) const {
    auto all = option_fingerprint(o_, line_.fields, radii);
    all.set("--device", model_.classifier.device().is_cuda() ? "cuda" : "cpu");
    all.set("--precision", model_.classifier.search_precision() == at::kFloat ? "float32" : "bfloat16");
    all.set("SHA-256 of the images and labels", sha256_of_images(data_, index));
    all.add_model("the model", model_.classifier);
    if (peers_.base) all.add_model("the base", peers_.base);
    if (peers_.control) all.add_model("the control", peers_.control);
    return all;
  }

  /// Conformance holds for one thread, and the official batch size unless another is given.
  void official_computing() {
    if (!line_.fields.given("threads")) o_.compute.threads = 1;
    if (!line_.fields.given("batch-size")) o_.compute.batch_size = 250;
  }

  ProtocolSubject subject(const HpmModel& model, const ImageSet& images, const std::string& part) {
    return subject(model, images, part, o_.contexts.front());
  }
  ProtocolSubject subject(const HpmModel& model, const ImageSet& images, const std::string& part,
                          const std::string& context) {
    return {model,
            make_context(model, context, images, o_.company, o_.company_seed, o_.compute.batch_size, log_.below(part)),
            o_.random};
  }

  Evaluation run_protocol(const HpmModel& model, const ThreatModel& threat, const ImageSet& images,
                          const std::vector<std::string>& contexts, const std::string& part) {
    auto& monitor = line_.monitor();
    const auto log = log_.below(part);
    if (o_.protocol == "clean" || threat.eps == 0) return clean_verdicts(model, images, contexts, part);
    if (o_.is_msa()) {
      auto options = o_.msa(contexts);
      options.through_stand_ins = model.classifier.network() == model_.classifier.network();
      options.differentiable = !options.through_stand_ins || differentiable_;
      if (part.find("eps ") != std::string::npos)
        options.sweep.clear(), options.collusion.colluders.clear();  // for the curve
      return msa(model, peers_, images, threat, options, monitor, log);
    }
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

  /// Every context's verdicts on the images as they are: the protocol clean, and any other at radius 0.
  Evaluation clean_verdicts(const HpmModel& model, const ImageSet& images, const std::vector<std::string>& contexts,
                            const std::string& part) {
    Evaluation all;
    const bool every = model.head && (o_.protocol == "clean" || o_.is_msa());
    for (const auto& name : every ? contexts : std::vector<std::string>{contexts.front()}) {
      auto one = evaluate_clean(subject(model, images, part, name), images, o_.compute.batch_size);
      all.contexts.push_back(std::move(one.contexts.front()));
      all.borderline = std::max(all.borderline, one.borderline);
      all.seconds += one.seconds;
    }
    return all;
  }

  /// False for a black box that Square alone attacked.
  static bool asked_for_gradients(const Evaluation& evaluation) {
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
            .conformance = o_.conformance && o_.protocol == "autoattack",
            .differentiable = differentiable_};
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
    const auto start = std::chrono::steady_clock::now();
    const auto target = subject(model, images_, part, o_.contexts[c]);
    const auto names = model.head ? checked_surrogates(evaluation.contexts.at(c)) : std::vector<std::string>{"ste"};
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
    options.gradients = asked_for_gradients(evaluation);
    options.differentiable = part != "model" || differentiable_;
    auto lines = run_checks(subject, images_, threat, evaluation, saved, options, line_.monitor(), log_.below(part));
    std::move(lines.begin(), lines.end(), std::back_inserter(evaluation.checks));
    evaluation.checks_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
      for (const auto& spec : sequence(threat).attacks) {
        const auto passes = passes_of(spec);
        total.forward += passes.forward, total.backward += passes.backward;
      }
    }
    const int64_t models = 1 + (peers_.base ? 1 : 0) + (peers_.control ? 1 : 0);
    total = {total.forward * models, total.backward * models};
    if (o_.protocol != "clean") add_checks(total);
    return total;
  }

  AttackSequence sequence(const ThreatModel& threat) const {
    const auto a = o_.autoattack();
    return autoattack_sequence(
        {a.version, threat.norm, model_.classifier.classes(), a.attacks, a.steps, a.restarts, a.targets, a.queries});
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
    const auto reasons = e.reasons();
    size_t next = 0;
    for (const auto& check : e.checks) {
      if (check.status != CheckOutcome::Status::failed) continue;
      fmt::print("SUSPECT  {}\n", reasons[next++]);
      if (const auto advice = advice_for(check.name); !advice.empty()) fmt::print("  what to do next: {}\n", advice);
    }
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
  std::vector<std::string> notes_;  // for the results: what was probably meant otherwise
  bool attacks_ = true;             // some radius is attacked
  bool differentiable_ = true;      // the model itself
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
