#include "hpm/evaluation/run/evaluate.h"

#include <algorithm>

#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/distributed/shared_work.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/results/fingerprint.h"
#include "hpm/evaluation/results/image_file.h"
#include "hpm/evaluation/results/run_directory.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/evaluate_impl.h"
#include "hpm/evaluation/run/peers.h"
#include "hpm/io/journal.h"
#include "hpm/io/sha256.h"

namespace hpm {

std::unique_ptr<Defence> Subject::make(const ImageSet& images, const std::vector<std::string>& contexts,
                                       const WorkLog& log) const {
  if (maker) return maker(images, stand_ins());
  auto options = defence;
  options.contexts = contexts;
  options.differentiable = differentiable;
  return make_defence(model, images, options, log);
}

StandIns Subject::stand_ins() const {
  StandIns all{.surrogates = defence.more_surrogates};
  for (const auto& surrogate : all.surrogates) all.always.push_back(surrogate.name);
  for (auto& surrogate : peer_surrogates(defence.peers)) all.surrogates.push_back(std::move(surrogate));
  return all;
}

Subject subject_of(const EvaluationInput& input, const EvaluationOptions& options, bool differentiable) {
  Subject subject{input.model, options.for_defence(), "model", differentiable, input.defence, input.composed};
  subject.defence.peers = input.peers;
  subject.defence.more_surrogates = input.surrogates;
  subject.defence.own_surrogates = input.hpm_surrogates;
  return subject;
}

Evaluation run_protocol(Defence& defence, const AttackedImages& on, const EvaluationOptions& options,
                        const Work& work) {
  if (options.is("clean") || on.threat.eps == 0)
    return evaluate_clean(defence, on.images, options.compute.batch_size, work.log);
  if (options.is("msa")) return msa(defence, on, options.for_msa(), work);
  const auto& context = defence.targets().front().name;
  if (!context.empty() && context != to_string(ContextKind::reference))
    work.monitor.warn(
        fmt::format("one surrogate ({}) flatters a batch-dependent defence; --protocol msa is the honest judge in "
                    "context {}",
                    leading_name(defence), context));
  if (options.is("fast")) return evaluate_fast(defence, on, options.for_fast(), work);
  if (options.is("pgd"))
    return evaluate_pgd(defence, on, options.for_pgd(), {options.seed, options.compute.batch_size}, work);
  return evaluate_autoattack(defence, on, options.for_autoattack(), work);
}

namespace {

/// The evaluation of one model with its peers.
class ModelRun {
 public:
  ModelRun(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan,
           const RunDirectory& directory, Monitor& monitor)
      : input_(input),
        options_(options),
        plan_(plan),
        directory_(directory),
        monitor_(monitor),
        radii_(options.radii()),
        images_(image_set(input.data, input.index, input.model.classifier.device(), directory.path())) {
    if (options.is("fast") && options.time_limit)
      deadline_ = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                         std::chrono::duration<double>(*options.time_limit));
  }

  EvaluationOutcome operator()(const WorkLog& log) {
    log_ = log;
    const auto model = subject_of(input_, options_, plan_.differentiable);
    EvaluationOutcome outcome;
    if (options_.attacks_anything()) look_at_logits();
    const Work work{monitor_, log_.below(model.part), deadline_};
    const auto defence = model.make(images_, options_.evaluated_contexts(), work.log);
    if (options_.attacks_anything() && model.maker) look_at_logits(*defence, work.log);
    const AttackedImages on{images_, radii_.front()};
    const Examined examined{model, *defence, on, options_, work};
    auto& evaluation = outcome.evaluation = run_protocol(*defence, on, options_, work);
    if (!options_.attacks_anything())
      for (const auto& line :
           look_at_verdicts(input_.defence ? HpmModel{input_.model.classifier, std::nullopt} : input_.model, images_,
                            options_.compute.batch_size, work.log, evaluation))
        note(line);
    if (options_.attacks_anything()) evaluation.compositions = run_compositions(model, on, options_, work);
    outcome.curve = run_curve(examined, radii_, evaluation);
    evaluation.notes.insert(evaluation.notes.begin(), notes_.begin(), notes_.end());
    finish(examined, evaluation);
    outcome.base = evaluate_peer("base", input_.peers.base, evaluation);
    outcome.control = evaluate_peer("control", input_.peers.control, evaluation);
    input_.model.look_at_features();
    return outcome;
  }

 private:
  void note(const std::string& line) {
    monitor_.warn(line);
    notes_.push_back(line);
  }

  /// One pass of the images as they are, before the attacks: NaN is an error, a probable mistake a note.
  void look_at_logits() {
    const auto look = [&](const std::string& part, const HpmModel& model) {
      if (!model.classifier) return;
      for (const auto& line : look_before_attacks(model, images_, options_.compute.batch_size, log_.below(part)))
        note(part == "model" ? line : part + ": " + line);
    };
    if (!input_.defence) look("model", input_.model);
    look("base", {input_.peers.base, std::nullopt});
    look("control", {input_.peers.control, std::nullopt});
  }

  /// The same of a defence that stands in the model's place, by its own prediction.
  void look_at_logits(Defence& defence, const WorkLog& log) {
    const auto kept = log.once("clean logits", images_.index, [&]() -> NamedTensors {
      const KeptGenerator generator;
      return {{"logits", predict_logits(defence, 0, images_, options_.compute.batch_size)}};
    });
    const auto logits = find_tensor(kept, "logits").to(images_.y.device());
    for (const auto& line : look_before_attacks(logits, images_, input_.model.classifier.info().file)) note(line);
  }

  /// Predictions on the adversarial images, what is kept of them, and the checks.
  void finish(const Examined& examined, Evaluation& evaluation) {
    auto& defence = examined.defence;
    if (!evaluation.first().adversarial.defined()) return;
    const auto adversarial = evaluation.first().adversarial.set();
    const auto batch_size = options_.compute.batch_size;
    const auto logits = predict_logits(defence, 0, adversarial, batch_size);
    evaluation.adversarial_prediction = logits.argmax(1).to(at::kCPU);
    evaluation.not_finite = logits.isfinite().logical_not().sum().item<int64_t>();
    std::optional<ImageSet> saved;
    if (options_.save_adversarial && !directory_.is_joined()) {
      const auto file = directory_.file("adversarial.safetensors");
      write_image_file(file, adversarial, batch_size);
      saved = read_image_file(file, images_);
    }
    if (options_.quantise) {
      const auto rounded = adversarial.with_pixels([&](const Tensor& places) {
        return quantised(adversarial.select(places).x, images_.select(places).x, radii_.front());
      });
      evaluation.quantised_robust =
          predict_logits(defence, 0, rounded, batch_size).argmax(1).eq(images_.y).to(at::kCPU);
      if (!directory_.is_joined())
        write_image_file(directory_.file("adversarial-8bit.safetensors"), rounded, batch_size, true);
    }
    check_contexts(examined, saved, evaluation);
    self_test(examined, evaluation);
  }

  /// Base or control under the model's budget: the first radius, and what a smaller one broke. Its checks are the
  /// evaluation's too.
  std::optional<PeerResult> evaluate_peer(const std::string& name, const Classifier& classifier,
                                          Evaluation& evaluation) {
    if (!classifier || options_.is("clean")) return std::nullopt;
    const Subject peer{{classifier, std::nullopt}, options_.for_defence(), name, true};
    const Work work{monitor_, log_.below(name), deadline_};
    const auto defence = peer.make(images_, options_.evaluated_contexts(), work.log);
    const auto accuracy = [&](const Evaluation& of_peer) {
      return peer_accuracy(name, evaluation.first().clean_correct, of_peer.first().clean_correct);
    };
    if (options_.transfer_only) {
      // The peer is only a surrogate here. Its clean accuracy is still checked, because a wrongly normalised peer gives
      // no transfer.
      evaluation.checks.push_back(accuracy(evaluate_clean(*defence, images_, options_.compute.batch_size, work.log)));
      return std::nullopt;
    }
    const AttackedImages on{images_, radii_.front()};
    const Examined examined{peer, *defence, on, options_, work};
    PeerResult result{name, classifier.info().file, run_protocol(*defence, on, options_, work)};
    auto smaller = radii_;
    std::erase_if(smaller, [first = radii_.front().eps](const auto& radius) { return radius.eps > first; });
    run_curve(examined, smaller, result.evaluation);
    if (radii_.front().eps > 0) check_contexts(examined, std::nullopt, result.evaluation);
    result.evaluation.checks.push_back(accuracy(result.evaluation));
    for (auto& check : result.evaluation.checks) {
      check.context = name;
      evaluation.checks.push_back(check);
    }
    return result;
  }

  const EvaluationInput& input_;
  const EvaluationOptions& options_;
  const EvaluationPlan& plan_;
  const RunDirectory& directory_;
  Monitor& monitor_;
  std::vector<ThreatModel> radii_;
  ImageSet images_;
  WorkLog log_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  std::vector<std::string> notes_;
};

/// The head's tensors as they are now: whoever made the model may have changed them after loading.
std::string sha256_of_head(const HpmHead& head) {
  Sha256 hash;
  for (const auto& [name, tensor] : head.state()) {
    const auto values = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
    hash.update(std::as_bytes(std::span(name)));
    hash.update({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
  return hash.hex();
}

/// Everything that the verdicts depend on: the options but those of computing, and contents in place of paths. A change
/// of the batch size shows in the journal itself.
Fingerprint fingerprint(const EvaluationInput& input, const EvaluationOptions& options) {
  Fingerprint all;
  Fields declared;
  auto values = options;
  fields(declared, values);
  all.add_options(declared, {"compute", "role", "eps", "version", "base", "control", "surrogate", "bpda", "budget"});
  std::vector<double> eps;
  for (const auto& radius : options.radii()) eps.push_back(radius.eps);
  all.set("--eps", fmt::format("{}", fmt::join(eps, ",")));
  all.set("--version", options.effective_version());
  const auto& classifier = input.model.classifier;
  all.set("--device", classifier.device().is_cuda() ? "cuda" : "cpu");
  all.set("--precision", classifier.search_precision_name());
  all.set("SHA-256 of the images and labels", sha256_of_images(input.data, input.index));
  all.add_model("the model", classifier);
  if (input.model.head) all.set("SHA-256 of the head", sha256_of_head(*input.model.head));
  if (input.defence) all.set("the defence", input.defence_identity);
  if (input.peers.base) all.add_model("the base", input.peers.base);
  if (input.peers.control) all.add_model("the control", input.peers.control);
  for (const auto& s : input.surrogates)
    all.set("surrogate " + s.name, s.identity.empty() ? s.summary : s.summary + ", " + s.identity);
  for (const auto& surrogate : input.hpm_surrogates) all.set("surrogate " + surrogate.name, surrogate.summary);
  return all;
}

}  // namespace

EvaluationOutcome evaluate(const EvaluationInput& input, const EvaluationOptions& options, const EvaluationPlan& plan,
                           const RunPlace& place, Monitor& monitor) {
  require_images(input.index, "evaluate");
  const auto& run = place.run;
  if (place.crew && place.crew->size() > 1) require_shareable(options);
  const auto settings = fingerprint(input, options);
  SharedRun shared(settings, {run, place.resume, place.crew, options.compute.batch_size}, monitor);
  auto outcome = ModelRun(input, options, plan, run, monitor)(shared.log());
  shared.end();
  auto& notes = outcome.evaluation.notes;
  notes.insert(notes.begin(), plan.notes.begin(), plan.notes.end());
  notes.insert(notes.begin(), input.notes.begin(), input.notes.end());
  if (!shared.other_build().empty()) notes.push_back(shared.other_build());
  if (place.resume && input.defence && input.defence_identity.empty()) {
    notes.emplace_back(
        "the run went on with a defence that has no identity (EvaluationInput::defence_identity): whether it is the "
        "one that the run was begun with cannot be told");
    monitor.warn(notes.back());
  }
  return outcome;
}

std::string write_results(const EvaluationInput& input, const EvaluationOptions& options,
                          const EvaluationOutcome& outcome, const RunDirectory& run, const std::string& config) {
  require_images(input.index, "write_results");
  const auto radii = options.radii();
  const auto images = image_set(input.data, input.index, input.model.classifier.device(), run.path());
  std::vector<std::string> own;
  for (const auto& surrogate : input.surrogates) own.push_back(surrogate.name);
  for (const auto& surrogate : input.hpm_surrogates) own.push_back(surrogate.name);
  const auto role = !options.role.empty() ? options.role : input.model.head ? input.model.head_kind() : "";
  ResultsInput results{input.model,        input.data, images,           radii.front(),
                       outcome.evaluation, role,       options.protocol, options.effective_version()};
  results.budget = options.budget(own, input.model.classifier.search_precision_name());
  results.first_index = input.index[0].item<int64_t>();
  results.indices_given =
      !at::equal(input.index, at::arange(results.first_index, results.first_index + input.index.numel()));
  results.company_size = options.company, results.company_seed = options.company_seed, results.seed = options.seed;
  results.config = config;
  results.started = run.environment("started");
  results.base = outcome.base, results.control = outcome.control, results.curve = outcome.curve;
  return write_run(run, results);
}

}  // namespace hpm
