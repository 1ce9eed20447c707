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
#include "hpm/evaluation/fast/fast.h"
#include "hpm/evaluation/msa/msa.h"
#include "hpm/evaluation/run/evaluate_impl.h"
#include "hpm/gauntlet/mutations.h"
#include "hpm/models/operations.h"
#include "hpm/surrogates/smoothed.h"

namespace hpm {
namespace {

constexpr int64_t kAimedAt = 4;      // wrong classes, of the relaxation attack through a twin
constexpr int64_t kSelfTested = 32;  // images with a planted point
constexpr int64_t kSampled = 12;     // survivors that the protocol fast attacks by FAB-T and Square
constexpr int64_t kCompany = 8;      // images in the batches of a batch-dependent defence, judged image by image
constexpr int64_t kWholeBatch = 25;  // and where a batch is judged as a whole

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

/// Names of GauntletOptions::guards that mutation_table() knows.
void require_guards(const GauntletOptions& options) {
  std::vector<std::string> known;  // some checks and alarms share a name
  for (const auto& mutation : mutation_table())
    if (std::find(known.begin(), known.end(), mutation.guard) == known.end()) known.push_back(mutation.guard);
  for (const auto& name : options.guards.value_or(std::vector<std::string>{})) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto nearest = nearest_name(name, known);
    fail_usage("gauntlet: there is no guard \"{}\"{}; the guards are {}", name,
               nearest.empty() ? "" : " (did you mean " + nearest + "?)", fmt::join(known, ", "));
  }
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
    row.own = leading(*defence, target), row.narrowed = options_.guards.has_value();
    mixed_surrogate_attack(*defence, target, row);
    row.truth = defence->targets()[target].coupling == Coupling::batch ? adaptive_batches(*defence, target, row.clean)
                                                                       : adaptive(*defence, target, row.clean);
    naive(row);
    if (!entry_.defence && prediction_.coupling == Coupling::rows && !prediction_.random)
      row.truth = row.truth & row.careless & row.autoattack & row.msa;
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return row;
  }

 private:
  /// The defence with what it is said to be, and the surrogates of someone who knows it.
  std::unique_ptr<Defence> declared() const {
    if (entry_.defence) return entry_.defence(setting_);
    FunctionDefenceOptions options{.contexts = {entry_.context},
                                   .company_size = entry_.context == "joint" ? kWholeBatch : kCompany,
                                   .seed = setting_.seed};
    options.surrogates.push_back(
        smoothed_surrogate(prediction_.logits, {.sigma = setting_.threat.eps / 2, .samples = 4}));
    options.surrogates.back().only_named = prediction_.coupling == Coupling::batch;
    if (!twins_.empty()) options.surrogates.push_back(twin_surrogate("bpda", "a differentiable twin", twins_.front()));
    options.surrogates.push_back(base_surrogate());
    return std::make_unique<FunctionDefence>(prediction_, setting_.images, options);
  }

  Surrogate base_surrogate() const {
    return twin_surrogate("base", "the network without the defence", plain_prediction(setting_.base),
                          SurrogateKind::transfer);
  }

  static size_t shown(const Defence& defence) { return attacked_targets(defence).front(); }

  /// The surrogate that is the defence's own gradient, or leads in its place.
  static std::string leading(const Defence& defence, size_t target) {
    const auto surrogate = leading_surrogate(defence, target);
    return surrogate ? surrogate->name : "";
  }

  /// The surrogates of someone who knows the defence: all that its table does not keep for those who name them, and
  /// the entry's own. Queries of a whole batch take too long.
  std::vector<std::string> known_surrogates(const Defence& defence) const {
    if (entry_.defence) return {};
    std::vector<std::string> names;
    for (const auto& surrogate : defence.surrogates(shown(defence), {.more = entry_.more, .quick = false}))
      if (entry_.context != "joint" || surrogate.kind != SurrogateKind::query) names.push_back(surrogate.name);
    return names;
  }

  MsaOptions msa_options(std::vector<std::string> surrogates) const {
    return {.version = "fast",
            .surrogates = std::move(surrogates),
            .seed = setting_.seed,
            .batch_size = options_.batch_size,
            .settings = {.queries = std::min(options_.queries, entry_.queries)},
            .alarms = {.sample = 0, .no_escalate = true},
            .full_matrix = options_.mutations};
  }

  /// MSA by what is left of its surrogates. Its alarms are looked at in the naive evaluation, as anybody sees them.
  void mixed_surrogate_attack(Defence& defence, size_t target, GauntletRow& row) const {
    auto options = msa_options(known_surrogates(defence));
    const bool whole = !options_.guards;
    if (!whole) {
      std::vector<std::string> kept;
      for (const auto& step : msa_plan(defence, target, setting_.threat.norm, options))
        if (options_.keeps(step.surrogate.name)) kept.push_back(step.surrogate.name);
      options.surrogates = kept;
    }
    if (!whole && options.surrogates.empty()) {
      row.clean = row.msa = row.own_alone =
          evaluate_clean(defence, setting_.images, options_.batch_size).contexts[target].clean_correct;
      return;
    }
    const auto result = msa(defence, {setting_.images, setting_.threat}, options, {monitor_});
    const auto& outcome = result.contexts[target];
    row.clean = outcome.clean_correct, row.msa = outcome.robust;
    add_parts(result, outcome,
              defence.targets()[target].coupling == Coupling::batch ? defence.batches() : std::vector<Tensor>{}, row);
  }

  /// What stands of `clean` where these surrogates attack, each of which broke `broken`. Of images in fixed batches
  /// each batch counts as the one surrogate that broke most of it left it.
  Tensor standing(const Tensor& clean, const std::vector<Tensor>& broken, const std::vector<Tensor>& batches) const {
    auto all = at::zeros_like(clean);
    for (const auto& flags : broken) all = all | flags;
    for (const auto& numbers : batches) {
      const auto rows = at::isin(setting_.images.index, numbers);
      auto most = at::zeros_like(clean);
      for (const auto& flags : broken)
        if ((flags & rows).sum().item<int64_t>() > most.sum().item<int64_t>()) most = flags & rows;
      all = at::where(rows, most, all);
    }
    return clean & all.logical_not();
  }

  /// What would stand without each of the surrogates, and with it and the leading one alone.
  void add_parts(const Evaluation& evaluation, const ContextOutcome& outcome, const std::vector<Tensor>& batches,
                 GauntletRow& row) const {
    std::map<std::string, std::vector<Tensor>> broken;  // by each attack on a surrogate
    for (const auto& attack : evaluation.attacks)
      if (attack.context == outcome.context) broken[attack.surrogate].push_back(attack.matrix.eq(2));
    const auto own = broken[row.own];
    row.own_alone = standing(outcome.clean_correct, own, batches);
    for (const auto& surrogate : outcome.surrogates) {
      if (!options_.mutations || !broken.count(surrogate.name)) continue;
      std::vector<Tensor> others, both = own;
      for (const auto& [name, flags] : broken)
        if (name != surrogate.name) others.insert(others.end(), flags.begin(), flags.end());
      const auto& mine = broken.at(surrogate.name);
      both.insert(both.end(), mine.begin(), mine.end());
      row.parts.push_back({surrogate.name, standing(outcome.clean_correct, others, batches),
                           standing(outcome.clean_correct, both, batches)});
    }
  }

  /// [n] bool: right, and held against many starts through every twin.
  Tensor adaptive(Defence& defence, size_t target, const Tensor& clean) const {
    auto held = clean.clone();
    for (size_t i = 0; i < twins_.size(); ++i) {
      AttackedDefence attacked(defence, target, twin_surrogate("twin", "", twins_[i]));
      for (const char* name : {"apgd-ce", "relaxation"}) {
        AttackSpec spec{.name = name, .steps = options_.steps, .restarts = options_.restarts};
        if (spec.name == "relaxation") spec.steps = attack_entry(name).steps, spec.targets = kAimedAt;
        spec.at_once = options_.batch_size;
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

  /// The same where a fixed batch is one object: what stands of each in the worst one that was found.
  Tensor adaptive_batches(Defence& defence, size_t target, const Tensor& clean) const {
    auto held = clean.clone();
    for (size_t i = 0; i < twins_.size(); ++i) {
      AttackedDefence attacked(defence, target, twin_surrogate("twin", "", twins_[i]));
      const AttackSpec spec{.name = "apgd-ce", .steps = options_.steps, .restarts = options_.restarts};
      const RandomStreams streams(setting_.seed + 1000 * (i + 1));
      for (const auto& numbers : defence.batches()) {
        const auto rows = at::isin(setting_.images.index, numbers).nonzero().squeeze(1);
        const SearchOperations faster;
        const auto batch = setting_.images.select(rows);
        const auto found = attack_entry(spec.name).run(attacked, batch, setting_.threat, spec, streams, monitor_);
        const auto right = predict_once(defence, {found.images, batch.index}, target).argmax(1).eq(batch.y);
        if (right.sum().item<int64_t>() < held.index_select(0, rows).sum().item<int64_t>())
          held.index_copy_(0, rows, right & clean.index_select(0, rows));
      }
    }
    return held;
  }

  /// What an evaluation finds that takes the defence for an ordinary network: a careless one, AutoAttack, and a Mixed
  /// Surrogate Attack with nothing but its defaults, with its checks.
  void naive(GauntletRow& row) const {
    const auto taken = as_taken();
    const auto model = taken->attack_model(0);
    row.careless = careless(*model);
    row.autoattack = official(*taken);
    const auto evaluation = by_default(*taken, level());
    row.naive = evaluation.first().robust;
    if (!looks()) return;
    auto checks = evaluation.checks;
    if (has_guard(GuardKind::check, "transfer")) checks.push_back(transfer_check());
    row.self_test = self_tested(*taken);
    checks.push_back(binarisation_check(*row.self_test));
    for (auto& check : checks)
      if (check.status == CheckOutcome::Status::failed && options_.keeps(check.name))
        row.flagged.push_back(std::move(check));
    for (auto& name : alarms())
      if (options_.keeps(name)) row.alarms.push_back(std::move(name));
  }

  /// The defence as someone evaluates it who knows nothing of it; with further surrogates, if any.
  std::unique_ptr<Defence> as_taken(std::vector<Surrogate> surrogates = {}) const {
    if (entry_.defence) return entry_.defence(setting_);
    return std::make_unique<FunctionDefence>(as_ordinary(), setting_.images,
                                             FunctionDefenceOptions{.surrogates = std::move(surrogates)});
  }

  /// `hpm evaluate --protocol msa` with its defaults, and its checks.
  Evaluation by_default(Defence& taken, const std::string& level) const {
    EvaluationOptions options;
    options.seed = setting_.seed, options.compute.batch_size = options_.batch_size;
    options.checks.level = looks() ? level : "none";
    if (options_.steps < 100) options.settings.steps = options_.steps;
    const Subject subject{{setting_.base, std::nullopt}, {}, "model"};
    const AttackedImages on{setting_.images, setting_.threat};
    const Work work{monitor_};
    auto evaluation = run_protocol(taken, on, options, work);
    check_contexts({subject, taken, on, options, work}, std::nullopt, evaluation);
    return evaluation;
  }

  /// Whether any check or alarm is left of the evaluation.
  bool looks() const {
    return std::any_of(mutation_table().begin(), mutation_table().end(), [&](const auto& mutation) {
      return mutation.kind != GuardKind::surrogate && options_.keeps(mutation.guard);
    });
  }

  /// The guards that this row is the one for, and that are left; none where nobody asks what a guard is for.
  std::vector<std::string> guards(GuardKind kind) const {
    if (!options_.mutations && !options_.guards) return {};
    auto names = guards_of(entry_.name, kind);
    std::erase_if(names, [&](const auto& name) { return !options_.keeps(name); });
    return names;
  }
  bool has_guard(GuardKind kind, const std::string& guard) const {
    const auto names = guards(kind);
    return std::find(names.begin(), names.end(), guard) != names.end();
  }

  /// The level of the checks: full where this row is the one for a check of that level.
  std::string level() const {
    return has_guard(GuardKind::check, "convergence") || has_guard(GuardKind::check, "Square after white-box")
               ? "full"
               : "basic";
  }

  /// What the check says of someone who has the network without the defence, and knows nothing else of it.
  CheckOutcome transfer_check() const {
    const auto taken = as_taken({base_surrogate()});
    for (auto& check : by_default(*taken, "basic").checks)
      if (check.name == "transfer") return check;
    return {};
  }

  /// The alarms of the protocol fast that fired, of an honest row, or where this row is the one for an alarm.
  std::vector<std::string> alarms() const {
    if (guards(GuardKind::alarm).empty() && !entry_.honest) return {};
    const FastOptions options{
        .seed = setting_.seed, .batch_size = options_.batch_size, .alarms = {.sample = kSampled, .no_escalate = true}};
    const auto taken = as_taken({base_surrogate()});
    return evaluate_fast(*taken, {setting_.images, setting_.threat}, options, {monitor_}).fast->fired();
  }

  /// The prediction, as someone declares it who knows nothing of it.
  PredictionFunction as_ordinary() const {
    auto plain = prediction_;
    plain.coupling = Coupling::rows, plain.random = false;
    return plain;
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

  MsaOptions alone(const Defence& taken) const { return msa_options({leading(taken, 0)}); }

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

std::vector<const GauntletEntry*> chosen_entries(const GauntletOptions& options) {
  std::vector<const GauntletEntry*> chosen;
  for (const auto& name : options.only) chosen.push_back(&entry_of(name));
  if (chosen.empty())
    for (const auto& entry : gauntlet_table()) chosen.push_back(&entry);
  return chosen;
}

void require_possible(const GauntletSetting& setting, const GauntletOptions& options) {
  chosen_entries(options);
  require(setting.images.size() > 0, "gauntlet: needs at least one image");
  require(
      setting.threat.eps > 0,
      "gauntlet: needs a radius above 0, but got {}: within it nothing can be attacked, and nothing told of a defence",
      setting.threat.eps);
  require_guards(options);
  require(!setting.base.is_black_box(), "gauntlet: needs a network with its penultimate features as the base");
}

std::vector<GauntletRow> run_gauntlet(const GauntletSetting& setting, const GauntletOptions& options,
                                      Monitor& monitor) {
  require_possible(setting, options);
  std::vector<GauntletRow> rows;
  for (const auto* entry : chosen_entries(options)) {
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
  if (entry->honest) return flagged.empty() && alarms.empty() && msa_tells_the_truth();
  if (msa_tells_the_truth() || flagged_rightly()) return true;
  const double alone = percent(own_alone), left = percent(msa);
  return narrowed && (!alarms.empty() || (left < alone && alone - left >= (alone - percent(truth)) / 2));
}

bool GauntletOptions::keeps(const std::string& guard) const {
  return !guards || std::find(guards->begin(), guards->end(), guard) != guards->end();
}

PredictionFunction plain_prediction(const Classifier& classifier) {
  return plain_prediction(classifier.classes(), [classifier](const Tensor& x) { return classifier.logits(x); });
}

PredictionFunction plain_prediction(int64_t classes, std::function<Tensor(const Tensor&)> logits) {
  return {.logits = std::move(logits), .classes = classes};
}

Tensor through(const Tensor& value, const Tensor& twin) { return value.detach() + twin - twin.detach(); }

}  // namespace hpm
