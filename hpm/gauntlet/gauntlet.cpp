#include "hpm/gauntlet/gauntlet.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/function_model.h"
#include "hpm/attacks/pgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/evaluation/checks/binarisation.h"
#include "hpm/evaluation/checks/checks.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/gauntlet/activations.h"
#include "hpm/gauntlet/batch_statistics.h"
#include "hpm/gauntlet/counter_perturbation.h"
#include "hpm/gauntlet/crossmax.h"
#include "hpm/gauntlet/honest.h"
#include "hpm/gauntlet/input_filters.h"
#include "hpm/gauntlet/prototypes.h"
#include "hpm/gauntlet/randomised.h"
#include "hpm/gauntlet/scores.h"
#include "hpm/models/operations.h"
#include "hpm/surrogates/smoothed.h"

namespace hpm {
namespace {

constexpr int64_t kSelfTested = 32;  // images with a planted point
constexpr int64_t kCompany = 8;      // images in the batches of a batch-dependent defence

const GauntletEntry& entry_of(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : gauntlet_table()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("gauntlet: needs one of {}, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

Surrogate twin_surrogate(const std::string& name, const std::string& summary, const PredictionFunction& twin,
                         SurrogateKind kind = SurrogateKind::white_box) {
  Surrogate surrogate{.name = name, .summary = summary, .kind = kind};
  surrogate.logits = [twin](const SurrogateInput& in) { return twin.logits(in.x); };
  surrogate.through_network = false;
  surrogate.own_passes = 1;
  return surrogate;
}

/// One defence in the gauntlet.
class Gauntlet {
 public:
  Gauntlet(const GauntletSetting& setting, const GauntletOptions& options, const GauntletEntry& entry, Monitor& monitor)
      : setting_(setting), options_(options), entry_(entry), monitor_(monitor) {
    if (entry.twins) twins_ = entry.twins(setting);
    if (entry.prediction) prediction_ = entry.prediction(setting);
  }

  GauntletRow operator()() {
    const auto start = std::chrono::steady_clock::now();
    const KeptGenerator kept;  // each defence draws from the seed, whichever ran before it
    torch::manual_seed(setting_.seed);
    GauntletRow row{.entry = &entry_};
    const auto defence = declared();
    const auto target = shown(*defence);
    row.context = defence->targets()[target].name;
    const auto result = msa(*defence, {setting_.images, setting_.threat}, msa_options(), {monitor_});
    const auto& outcome = result.contexts[target];
    row.clean = outcome.clean_correct, row.msa = outcome.robust;
    row.parts = parts_of(result, outcome);
    row.truth = adaptive(*defence, target, row.clean);
    naive(row);
    if (!entry_.defence && prediction_.coupling == Coupling::rows && !prediction_.random)
      row.truth = row.truth & row.careless & row.autoattack;
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return row;
  }

 private:
  /// The defence with what it is said to be, and the surrogates of someone who knows it.
  std::unique_ptr<Defence> declared() const {
    if (entry_.defence) return entry_.defence(setting_);
    FunctionDefenceOptions options{.contexts = {"solo"}, .company_size = kCompany, .seed = setting_.seed};
    options.surrogates.push_back(
        smoothed_surrogate(prediction_.logits, {.sigma = setting_.threat.eps / 2, .samples = 4}));
    options.surrogates.back().only_named = prediction_.coupling == Coupling::batch;
    if (!twins_.empty()) options.surrogates.push_back(twin_surrogate("bpda", "a differentiable twin", twins_.front()));
    options.surrogates.push_back(twin_surrogate("base", "the network without the defence",
                                                plain_prediction(setting_.base), SurrogateKind::transfer));
    return std::make_unique<FunctionDefence>(prediction_, setting_.images, options);
  }

  static size_t shown(const Defence& defence) { return attacked_targets(defence).front(); }

  MsaOptions msa_options() const {
    std::vector<std::string> names;
    if (!entry_.defence) {
      names = {prediction_.random ? "eot" : "self", "base", "query"};
      if (prediction_.coupling == Coupling::rows) names.emplace_back("smoothed");
      if (!twins_.empty()) names.emplace_back("bpda");
    }
    return {.version = "fast",
            .surrogates = names,
            .seed = setting_.seed,
            .batch_size = options_.batch_size,
            .settings = {.queries = std::min<int64_t>(options_.queries, 1000)},
            .alarms = {.sample = 0, .no_escalate = true},
            .full_matrix = true};
  }

  /// What would stand without each of the surrogates, and with it and the leading one alone.
  static std::vector<GauntletRow::Part> parts_of(const Evaluation& evaluation, const ContextOutcome& outcome) {
    std::map<std::string, Tensor> broken;
    for (const auto& attack : evaluation.attacks) {
      if (attack.context != outcome.context) continue;
      const auto [found, fresh] = broken.try_emplace(attack.surrogate, attack.matrix.eq(2));
      if (!fresh) found->second = found->second | attack.matrix.eq(2);
    }
    auto own = at::zeros_like(outcome.clean_correct);
    for (const auto& surrogate : outcome.surrogates)
      if (surrogate.leads && broken.count(surrogate.name)) own = broken.at(surrogate.name);
    std::vector<GauntletRow::Part> all;
    for (const auto& surrogate : outcome.surrogates) {
      if (!broken.count(surrogate.name)) continue;
      auto others = at::zeros_like(own);
      for (const auto& [name, flags] : broken)
        if (name != surrogate.name) others = others | flags;
      all.push_back({surrogate.name, outcome.clean_correct & others.logical_not(),
                     outcome.clean_correct & (own | broken.at(surrogate.name)).logical_not()});
    }
    return all;
  }

  /// [n] bool: right, and held against many starts through every twin.
  Tensor adaptive(Defence& defence, size_t target, const Tensor& clean) const {
    auto held = clean.clone();
    for (size_t i = 0; i < twins_.size(); ++i) {
      AttackedDefence attacked(defence, target, twin_surrogate("twin", "", twins_[i]));
      for (const char* name : {"apgd-ce", "relaxation"}) {
        AttackSpec spec{.name = name, .steps = options_.steps, .restarts = options_.restarts};
        if (spec.name == "relaxation") spec.steps = attack_entry(name).steps;
        const RandomStreams streams(setting_.seed + 1000 * (i + 1));
        const auto rows = held.nonzero().squeeze(1);
        for_chunks(setting_.images.subset(rows), options_.batch_size, [&](const Images& chunk, int64_t begin) {
          const SearchOperations faster;
          const auto found = attack_entry(name).run(attacked, chunk, setting_.threat, spec, streams, monitor_);
          const auto wrong = predict_once(defence, {found.images, chunk.index}, target).argmax(1).ne(chunk.y);
          held.index_fill_(0, rows.slice(0, begin, begin + chunk.size()).index({wrong & found.broken}), false);
        });
      }
    }
    return held;
  }

  /// What an evaluation finds that takes the defence for an ordinary network: a careless one, AutoAttack, and the
  /// checks of a Mixed Surrogate Attack on its own gradient.
  void naive(GauntletRow& row) const {
    std::unique_ptr<Defence> taken;
    if (entry_.defence) {
      taken = entry_.defence(setting_);
    } else {
      auto plain = prediction_;
      plain.coupling = Coupling::rows, plain.random = false;
      taken = std::make_unique<FunctionDefence>(plain, setting_.images);
    }
    const auto model = taken->attack_model(0);
    row.careless = careless(*model);
    row.autoattack = official(*taken);
    const auto evaluation = msa(*taken, {setting_.images, setting_.threat}, alone(*taken), {monitor_});
    CheckSubject subject{*model, false, [&](const Tensor& x, const Tensor& index) {
                           return predict_once(*taken, {x, index}, 0);
                         }};
    for (const auto& surrogate : taken->surrogates(0, {}))
      if (surrogate.leads) subject.exact = surrogate.exact, subject.name = surrogate.name;
    for (const auto& check : run_checks(subject, {setting_.images, setting_.threat}, evaluation,
                                        {.seed = setting_.seed, .batch_size = options_.batch_size}, {monitor_}))
      if (check.status == CheckOutcome::Status::failed) row.flagged.push_back(check);
    row.self_test = self_tested(*taken);
  }

  /// Whether the core of that evaluation finds adversarial images that are planted.
  SelfTestOutcome self_tested(Defence& taken) const {
    std::vector<PlantedAttack> attacks;
    for (const auto& step : msa_plan(taken, 0, setting_.threat.norm, alone(taken)))
      attacks.push_back({step.surrogate, step.attacks.front().name,
                         [spec = step.attacks.front(), this](AttackModel& model, const Images& images) {
                           const SearchOperations faster;
                           return attack_entry(spec.name).run(model, images, setting_.threat, spec,
                                                              RandomStreams(setting_.seed), monitor_);
                         }});
    const auto tested = setting_.images.slice(0, std::min<int64_t>(setting_.images.size(), kSelfTested));
    return test_binarisation(taken, 0, {tested, setting_.threat}, attacks,
                             {.seed = setting_.seed, .batch_size = options_.batch_size});
  }

  MsaOptions alone(const Defence& taken) const {
    auto options = msa_options();
    for (const auto& surrogate : taken.surrogates(0, {}))
      if (surrogate.leads) options.surrogates = {surrogate.name};
    return options;
  }

  /// PGD with 20 steps on the cross-entropy.
  Tensor careless(AttackModel& model) const {
    auto held = at::zeros({setting_.images.size()}, at::kBool);
    for_chunks(setting_.images, options_.batch_size, [&](const Images& chunk, int64_t begin) {
      const auto found = pgd(model, chunk, setting_.threat, {.steps = 20}, RandomStreams(setting_.seed));
      const auto wrong = model.ask({found.images, chunk.index}, nullptr).target_logits.argmax(1).ne(chunk.y);
      held.slice(0, begin, begin + chunk.size()).copy_(wrong.logical_not());
    });
    return held;
  }

  Tensor official(Defence& taken) const {
    AutoAttackOptions options{
        .version = prediction_.random ? "rand" : "standard", .seed = setting_.seed, .batch_size = options_.batch_size};
    if (options_.steps < 100) options.settings.steps = options_.steps;
    if (options_.queries < 5000) options.settings.queries = options_.queries;
    if (!prediction_.random)
      return autoattack(*taken.attack_model(0), setting_.images, setting_.threat, options).robust();
    FunctionModel random(prediction_.logits, prediction_.classes, true);
    return autoattack(random, setting_.images, setting_.threat, options).robust();
  }

  const GauntletSetting& setting_;
  const GauntletOptions& options_;
  const GauntletEntry& entry_;
  Monitor& monitor_;
  std::vector<PredictionFunction> twins_;
  PredictionFunction prediction_;
};

}  // namespace

const std::vector<GauntletEntry>& gauntlet_table() {
  using namespace gauntlet;
  static const std::vector<GauntletEntry> table = {
      scaled_logits(),    probabilities(),   hard_labels(),    bit_depth(),
      thermometer(),      block_rounding(),  resize_and_pad(), activation_pruning(),
      winners_take_all(), sparse_features(), crossmax(),       counter_perturbation(),
      batch_statistics(), adapting_means(),  hpm_alone(),      adversarially_trained(),
      least_squares(),    mean_ensemble(),   hpm_reference()};
  return table;
}

std::vector<GauntletRow> run_gauntlet(const GauntletSetting& setting, const GauntletOptions& options,
                                      Monitor& monitor) {
  std::vector<const GauntletEntry*> chosen;
  for (const auto& name : options.only) chosen.push_back(&entry_of(name));
  if (chosen.empty())
    for (const auto& entry : gauntlet_table()) chosen.push_back(&entry);
  require(setting.images.size() > 0, "gauntlet: needs at least one image");
  require(!setting.base.is_black_box(), "gauntlet: needs a network with its penultimate features as the base");
  std::vector<GauntletRow> rows;
  for (const auto* entry : chosen) {
    monitor.say("gauntlet: " + entry->name);
    rows.push_back(Gauntlet(setting, options, *entry, silent())());
  }
  return rows;
}

bool GauntletRow::msa_tells_the_truth() const { return percent(msa) <= percent(truth) + 1; }

bool GauntletRow::flagged_rightly() const {
  return std::any_of(flagged.begin(), flagged.end(), [&](const auto& check) {
    return std::find(entry->causes.begin(), entry->causes.end(), check.cause) != entry->causes.end();
  });
}

bool GauntletRow::passed() const {
  const bool missed = self_test && binarisation_check(*self_test).status == CheckOutcome::Status::failed;
  return entry->honest ? flagged.empty() && !missed && msa_tells_the_truth()
                       : msa_tells_the_truth() || flagged_rightly();
}

PredictionFunction plain_prediction(const Classifier& classifier) {
  return plain_prediction(classifier.classes(), [classifier](const Tensor& x) { return classifier.logits(x); });
}

PredictionFunction plain_prediction(int64_t classes, std::function<Tensor(const Tensor&)> logits) {
  return {.logits = std::move(logits), .classes = classes};
}

Tensor through(const Tensor& value, const Tensor& twin) { return value.detach() + twin - twin.detach(); }

}  // namespace hpm
