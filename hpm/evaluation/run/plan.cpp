#include <algorithm>

#include "hpm/attacks/quantise.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/evaluate_impl.h"
#include "hpm/models/torchscript.h"

namespace hpm {
namespace {

constexpr int64_t kProbed = 16;  // images whose gradient is looked at

std::vector<AttackSpec> attacks_on(Defence& defence, const ThreatModel& threat, const EvaluationOptions& options) {
  std::vector<AttackSpec> all;
  if (options.is("autoattack")) all = sequence_of(options.for_autoattack(), threat.norm, defence.classes()).attacks;
  if (options.is("fast"))
    for (const char* name : {"relaxation", "apgd-t"}) all.push_back({.name = name});
  if (options.is("msa"))
    for (auto t : attacked_targets(defence))
      for (const auto& step : msa_plan(defence, t, threat.norm, options.for_msa()))
        if (step.runs()) all.insert(all.end(), step.attacks.begin(), step.attacks.end());
  return all;
}

/// Whether images that were made for another network are tried.
bool has_peers(const Defence& defence) {
  const auto all = defence.surrogates(0, {.quick = false});
  return std::any_of(all.begin(), all.end(), [](const auto& surrogate) {
    return surrogate.kind == SurrogateKind::transfer && surrogate.unavailable.empty();
  });
}

FastCost fast_cost_of(Defence& defence, Norm norm, const EvaluationOptions& options, int64_t images) {
  return fast_cost(options.for_fast(), norm, defence.classes(), images, has_peers(defence));
}

/// Image passes of the protocol on one defence, for an image that survives everything, at most.
Passes protocol_passes(Defence& defence, const ThreatModel& threat, const EvaluationOptions& options, int64_t images) {
  if (options.is("msa")) return msa_passes(defence, threat.norm, options.for_msa());
  if (options.is("fast")) return fast_cost_of(defence, threat.norm, options, images).most;
  Passes total{1, 0};
  if (options.is("pgd")) {
    total = Passes{2, 0} + budget_of(options.for_pgd()).passes;
  }
  for (const auto& spec : attacks_on(defence, threat, options)) total += passes_of(spec);
  return total;
}

/// Of all images together, spread over `n` of them.
void add_spread(const Passes& passes, int64_t n, Passes& total) {
  total.forward += (passes.forward + n - 1) / n, total.backward += (passes.backward + n - 1) / n;
}

/// The checks of a defence, and its study of colluders.
void add_checks(Defence& defence, const EvaluationOptions& options, int64_t n, Passes& total) {
  for (auto t : attacked_targets(defence)) {
    const auto all = defence.surrogates(t, {.quick = false});
    const auto count = [&](auto chosen) { return static_cast<int64_t>(std::count_if(all.begin(), all.end(), chosen)); };
    const auto views = options.is("msa") ? std::max<int64_t>(count([](const auto& s) { return s.checked; }), 1) : 1;
    add_spread(check_passes(options.for_checks(), n, views), n, total);
    if (defence.targets()[t].coupling == Coupling::batch && options.is("msa")) {
      const auto company = std::min(options.company, n);
      const auto crowd = static_cast<int64_t>(crowd_surrogates(defence, t).size());
      const auto msa = options.for_msa();
      add_spread(collusion_passes(msa.collusion, company, crowd), n, total);
      const bool may_escalate = msa.version == "fast" && !msa.alarms.no_escalate;
      total += benign_passes(msa.benign, may_escalate ? "standard" : msa.version, company, crowd);
    }
  }
  add_spread(self_test_passes(defence, options.radii().front().norm, options, n), n, total);
}

/// Whether logits [N,K] differ by more than rounding.
bool differ(const Tensor& a, const Tensor& b) { return rows_that_differ(a, b, 1e-3).any().item<bool>(); }

/// Looks whether a model without a head is what its options say: deterministic, and independent of its batch.
void probe_answers(const EvaluationInput& input, const EvaluationOptions& options, const Images& sample,
                   EvaluationPlan& plan) {
  if (input.model.head || input.defence || sample.size() < 2) return;
  const KeptGenerator kept;
  torch::NoGradGuard guard;
  const auto& classifier = input.model.classifier;
  const auto once = classifier.logits(sample.x);
  const bool random = differ(once, classifier.logits(sample.x));
  if (random && !options.random)
    plan.notes.push_back(fmt::format(
        "{} gives other logits when the same images are asked again: it draws random numbers, and attacks on one draw "
        "tell little of the next; give --random (with --protocol msa, or autoattack --version rand)",
        classifier.info().file));
  const auto seeded = [&] { return torch::manual_seed(0), classifier.logits(sample.x); };
  if (random && options.random && differ(seeded(), seeded()))
    plan.notes.push_back(fmt::format(
        "{} does not draw from PyTorch's default generator alone (torch.manual_seed): the ten draws that judge it are "
        "other ones each time, and its verdicts do not repeat",
        classifier.info().file));
  if (!random && options.random)
    plan.notes.push_back(
        fmt::format("{} gives the same logits when asked again: --random costs many times the passes and changes "
                    "nothing",
                    classifier.info().file));
  if (random) return;
  const bool coupled = differ(once.slice(0, 0, 1), classifier.logits(sample.x.slice(0, 0, 1)));
  if (coupled && !options.coupled())
    plan.notes.push_back(fmt::format(
        "{} gives an image other logits in another batch: attacks on single images do not measure it; give --protocol "
        "msa --coupling batch",
        classifier.info().file));
  if (!coupled && options.coupled())
    plan.notes.push_back(
        fmt::format("{} gives an image the same logits in every batch: --coupling batch costs more and changes nothing",
                    classifier.info().file));
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

/// One gradient of a user's surrogate. What cannot be attacked is told before something else was attacked for hours.
void ask_for_gradient(Defence& defence, const Surrogate& surrogate, const Images& sample) {
  AttackedDefence attacked(defence, 0, surrogate);
  const auto classes = defence.classes();
  if (surrogate.logits) {
    const auto logits = attacked.surrogate_logits({sample.x, sample.index});
    require(logits.dim() == 2 && logits.size(0) == sample.size() && logits.size(1) == classes,
            "surrogate {}: needs to give logits [{},{}] for {} images, but gives [{}]", surrogate.name, sample.size(),
            classes, sample.size(), fmt::join(logits.sizes(), ","));
  }
  const Loss loss{surrogate.objective ? LossKind::own : LossKind::ce, sample.y, (sample.y + 1).remainder(classes)};
  try {
    attacked.ask({sample.x, sample.index}, &loss);
  } catch (const c10::Error& error) {
    fail("surrogate {}: it cannot be differentiated: {}; a stand-in must have a gradient in the images", surrogate.name,
         first_line(error.what_without_backtrace()));
  }
}

/// The surrogate as the defence has it. Throws UsageError where it has none, or another one of that name.
Surrogate surrogate_of(const Defence& defence, const std::string& name, const std::string& summary) {
  std::vector<Surrogate> all;
  try {
    all = defence.surrogates(0, {.names = {name}});
  } catch (const UsageError&) {  // no such name
  }
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const auto& surrogate) { return surrogate.name == name; });
  require(found != all.end(),
          "surrogate {}: the defence that EvaluationInput::defence made does not have it; hand on what that is given "
          "(StandIns), or leave the surrogate out",
          name);
  require(found->summary == summary, "surrogate {}: the name is that of another one ({}); give it a name of its own",
          name, found->summary);
  return *found;
}

/// Asks every surrogate of the user's own once.
void probe_surrogates(const EvaluationInput& input, const EvaluationOptions& options, const ImageSet& images,
                      const EvaluationPlan& plan) {
  std::vector<std::pair<std::string, std::string>> all;  // name and summary
  for (const auto& surrogate : input.surrogates) all.emplace_back(surrogate.name, surrogate.summary);
  for (const auto& row : input.hpm_surrogates) all.emplace_back(row.name, row.summary);
  if (all.empty()) return;
  const KeptGenerator kept;
  const auto two = images.slice(0, std::min<int64_t>(images.size(), 2));
  const auto defence =
      subject_of(input, options, plan.differentiable).make(two, {options.evaluated_contexts().front()}, {});
  for (const auto& [name, summary] : all) {
    const auto surrogate = surrogate_of(*defence, name, summary);
    const bool differentiated = surrogate.logits || surrogate.objective;
    if (differentiated && surrogate.unavailable.empty() && !surrogate.adapt) ask_for_gradient(*defence, surrogate, two);
  }
}

/// What a defence of the user's own says of its gradient, and whether that is so. Throws UsageError where it is not.
GradientProbe probe_defence(Defence& defence, const ImageSet& images) {
  const auto leading = leading_surrogate(defence, 0);
  if (!defence.differentiable()) return {GradientProbe::Kind::absent, "so says the defence", images.size()};
  if (!leading || !leading->unavailable.empty()) return {.images = images.size()};
  const bool whole = defence.targets().front().coupling == Coupling::batch;
  const auto sample =
      whole ? images.select(batch_places(defence, images).front()) : images.select(at::arange(images.size()));
  AttackedDefence attacked(defence, 0, *leading);
  const std::vector kinds =
      leading->objective ? std::vector{LossKind::own} : std::vector{LossKind::ce, LossKind::difference};
  try {
    for (const auto kind : kinds) {
      const Loss loss{kind, sample.y, (sample.y + 1).remainder(defence.classes())};
      const auto gradient = attacked.ask({sample.x, sample.index}, &loss).gradient;
      if (gradient.ne(0).any().item<bool>()) return {.images = sample.size()};
    }
    return {GradientProbe::Kind::zero, {}, sample.size()};
  } catch (const c10::Error& error) {
    fail_usage(
        "the defence says that it is differentiable, but its gradient fails: {}; say that it is not "
        "(PredictionFunction::differentiable), and give it stand-ins",
        first_line(error.what_without_backtrace()));
  }
}

/// Looks once whether the models have gradients, and refuses attacks that need one where there is none.
void probe(const EvaluationInput& input, const EvaluationOptions& options, const ImageSet& images,
           EvaluationPlan& plan) {
  const auto sample = images.slice(0, std::min<int64_t>(images.size(), kProbed));
  const auto threat = options.radii().front();
  const KeptGenerator kept;
  const auto look = [&](const Subject& subject, bool stand_ins) {
    const auto& classifier = subject.model.classifier;
    const auto defence = subject.make(sample, {options.contexts.front()}, {});
    const auto found = subject.maker ? probe_defence(*defence, sample) : probe_gradient(classifier, sample);
    const bool asks = options.is("pgd") || attacks_ask_for_gradients(attacks_on(*defence, threat, options));
    for (const auto& line : require_gradient(classifier, found, asks ? options.protocol : "", stand_ins))
      plan.notes.push_back(line);
    return found.differentiable();
  };
  const auto& named = options.msa.surrogates;
  const auto attacks = [&](const Classifier& peer, const char* name) {
    return peer && (named.empty() || std::find(named.begin(), named.end(), name) != named.end());
  };
  const bool peers = attacks(input.peers.base, "base") || attacks(input.peers.control, "control");
  // A defence without a gradient attacks through what it has beside it, or has nothing to attack with.
  const bool stand_ins =
      options.is("msa") && (input.defence || (!input.model.head && (peers || !input.surrogates.empty())));
  plan.differentiable = look(subject_of(input, options, true), stand_ins);
  for (const auto* peer : {&input.peers.base, &input.peers.control})
    if (*peer) look({{*peer, std::nullopt}, options.for_defence(), "", true}, false);
}

/// What a reader of the results must know of the files that the model and its stand-ins came from.
std::vector<std::string> file_notes(const EvaluationInput& input) {
  std::vector<std::string> all;
  if (!input.defence) all.push_back(training_mode_note(input.model.classifier));
  for (const auto* peer : {&input.peers.base, &input.peers.control}) all.push_back(training_mode_note(*peer));
  for (const auto& surrogate : input.surrogates) all.push_back(surrogate.note);
  std::erase(all, "");
  return all;
}

/// A defence of the user's own has contexts and batches of its own.
std::vector<UnusedOption> unused_options(const EvaluationInput& input, const EvaluationOptions& options) {
  const bool peers = input.peers.base || input.peers.control;
  const bool own = input.defence != nullptr;
  require(input.hpm_surrogates.empty() || (input.model.head && !own),
          "EvaluationInput::hpm_surrogates: rows of HPM's table need a model with an HPM head; give `surrogates`");
  require(options.is("msa") || options.is("clean") || (input.surrogates.empty() && input.hpm_surrogates.empty()),
          "EvaluationInput::surrogates: only --protocol msa attacks through a stand-in; {} differentiates the model "
          "itself",
          options.protocol);
  auto all = check_options(options, {input.model.head && !own, own, peers});
  if (own)
    std::erase_if(all, [](const auto& option) { return option.name == "company" || option.name == "company-sizes"; });
  return all;
}

}  // namespace

EvaluationPlan plan_evaluation(const EvaluationInput& input, const EvaluationOptions& options) {
  require_images(input.index, "plan_evaluation");
  EvaluationPlan plan;
  plan.unused = unused_options(input, options);
  const auto radii = options.radii();
  plan.notes = file_notes(input);
  for (const auto& line : threat_warnings(radii)) plan.notes.push_back(line);
  for (const auto& line : setting_notes(options)) plan.notes.push_back(line);
  const auto images = image_set(input.data, input.index, input.model.classifier.device());
  if (options.is("msa") && options.has_context("joint"))
    check_colluders(options.for_msa().collusion, std::min(options.company, images.size())),
        check_malicious(options.for_msa().benign, std::min(options.company, images.size()));
  if (options.quantise)  // refuses images that are not 8-bit before the work
    for_chunks(images, options.compute.batch_size,
               [&](const Images& chunk, int64_t) { quantised(chunk.x, chunk.x, radii.front()); });
  plan.radii = std::max<int64_t>(
      std::count_if(radii.begin(), radii.end(), [](const auto& radius) { return radius.eps > 0; }), 1);
  plan.passes = {1, 0};
  if (!options.attacks_anything()) return plan;
  probe(input, options, images, plan);
  const auto few = images.slice(0, std::min<int64_t>(images.size(), kProbed));
  probe_answers(input, options, few, plan);
  probe_surrogates(input, options, images, plan);
  // The plan of a few images is that of all: only contexts and surrogates count.
  const auto sample = images.subset(at::arange(std::min<int64_t>(images.size(), kProbed)));
  const auto add = [&](const Subject& subject) {
    const auto defence = subject.make(sample, options.evaluated_contexts(), {});
    plan.passes += protocol_passes(*defence, radii.front(), options, images.size());
    if (options.is("fast"))
      plan.usual =
          plan.usual.value_or(Passes{}) + fast_cost_of(*defence, radii.front().norm, options, images.size()).usual;
    add_checks(*defence, options, images.size(), plan.passes);
  };
  plan.passes = {0, 0};
  const auto model = subject_of(input, options, plan.differentiable);
  add(model);
  plan.passes += composition_passes(model, sample, radii.front().norm, options, images.size());
  for (const auto* peer : {&input.peers.base, &input.peers.control})
    if (*peer && !options.transfer_only) add({{*peer, std::nullopt}, options.for_defence(), "", true});
  if (!plan.differentiable) plan.passes.backward = 0;  // stand-ins alone have any
  return plan;
}

}  // namespace hpm
