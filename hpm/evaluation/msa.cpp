#include "hpm/evaluation/msa.h"

#include <set>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/evaluation/msa_impl.h"
#include "hpm/models/operations.h"

namespace hpm {
namespace {

// ste, then in the order of what each broke of what was left (measured: docs/results.md). The other versions' further
// surrogates follow.
const std::vector<std::string> kQuick{"ste", "fc", "hard", "stable", "soft", "region", "base", "control"};

bool transfers(const std::string& surrogate) { return surrogate == "base" || surrogate == "control"; }
bool queries(const std::string& surrogate) { return surrogate == "query"; }

std::vector<std::string> surrogates_of(const MsaOptions& options) {
  auto all = !options.surrogates.empty() ? options.surrogates : kQuick;
  const auto add = [&](const std::string& name) {
    if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
  };
  if (options.surrogates.empty() && options.version != "quick")
    for (const auto& surrogate : surrogates()) add(surrogate.name);
  for (const auto& name : options.more_surrogates) add(name);
  require(std::set<std::string>(all.begin(), all.end()).size() == all.size(), "msa: a surrogate is named twice: {}",
          fmt::join(all, ","));
  // What comes last is counted as found beyond the white-box surrogates.
  const auto order = [](const std::string& name) { return queries(name) ? 2 : transfers(name) ? 1 : 0; };
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
  return all;
}

/// How many white-box surrogates give logits: so many starts of each attack an HPM model gets in every context at least
/// ("region", an objective of its own, comes on top).
int64_t starts_of(const MsaOptions& options) {
  const auto all = surrogates_of(options);
  return std::count_if(all.begin(), all.end(), [](const auto& name) {
    return !transfers(name) && !queries(name) && find_surrogate(name).logits != nullptr;
  });
}

std::vector<AttackSpec> attacks_of(const MsaOptions& options, Norm norm, int64_t classes, const std::string& surrogate,
                                   int64_t restarts) {
  const int64_t others = classes - 1;
  if (options.version == "quick") {
    if (surrogate == "region") return {{.name = "apgd-own", .steps = 50, .targets = 3}};
    if (queries(surrogate)) return {{.name = "square", .queries = 1000}};
    if (transfers(surrogate)) return {{.name = "apgd-ce", .steps = 50, .large_radius = norm == Norm::l1}};
    std::vector<AttackSpec> all{
        {.name = "apgd-ce", .steps = 50, .restarts = restarts},
        {.name = "apgd-dlr", .steps = 50, .restarts = restarts},
        {.name = "apgd-t", .steps = 50, .restarts = restarts, .targets = std::min<int64_t>(3, others)}};
    if (norm == Norm::l1)
      for (auto& spec : all) spec.large_radius = true;
    return all;
  }
  const int64_t factor = options.version == "plus" ? 5 : 1;
  if (surrogate == "region")
    return {{.name = "apgd-own", .steps = 100, .restarts = factor, .targets = std::min<int64_t>(4, classes)}};
  auto sequence = autoattack_sequence({.version = "standard", .norm = norm, .classes = classes}).attacks;
  if (queries(surrogate)) return {sequence.back()};
  sequence.pop_back();  // Square is the query surrogate's: no other surrogate changes what it sees
  for (auto& spec : sequence) spec.restarts *= spec.name == "fab-t" ? 1 : factor * restarts;
  return sequence;
}

Evaluation attack_plain(const HpmModel& model, const ImageSet& images, const ThreatModel& threat,
                        const MsaOptions& options, Monitor& monitor, const WorkLog& log) {
  ClassifierModel attacked(model.classifier);
  AttackSequence sequence;
  for (const auto& step : msa_plan(options, threat.norm, model.classifier.classes(), false))
    sequence.attacks.insert(sequence.attacks.end(), step.attacks.begin(), step.attacks.end());
  return evaluation_of(run_sequence(attacked, images, threat, sequence,
                                    {.seed = seed_of(options, "fc"), .batch_size = options.batch_size}, monitor, log),
                       "", "");
}

}  // namespace

uint64_t seed_of(const MsaOptions& options, const std::string& surrogate, ContextKind context) {
  uint64_t ordinal = 0;
  for (const auto& known : surrogates()) {
    ++ordinal;
    if (known.name == surrogate) break;
  }
  return options.seed + (ordinal << 32) + (static_cast<uint64_t>(context) << 48);
}

std::vector<std::string> msa_contexts(const MsaOptions& options) {
  auto all = options.contexts;
  const auto has = [&](const char* name) { return std::find(all.begin(), all.end(), name) != all.end(); };
  if (options.version == "plus" && has("solo") && !has("solo-eot")) all.push_back("solo-eot");
  return all;
}

std::vector<MsaStep> msa_plan(const MsaOptions& options, Norm norm, int64_t classes, bool has_head) {
  require(options.version == "quick" || options.version == "standard" || options.version == "plus",
          "msa: version needs to be quick, standard or plus, but got \"{}\"", options.version);
  require(options.restarts >= 1, "msa: needs at least 1 times the version's starts, but got {}", options.restarts);
  std::vector<MsaStep> plan;
  if (!has_head) {
    const auto starts = starts_of(options);
    const auto all = surrogates_of(options);
    const bool asked = std::any_of(all.begin(), all.end(), queries);
    if (starts > 0 || !asked)
      plan.push_back({"fc", attacks_of(options, norm, classes, "fc", std::max<int64_t>(starts, 1))});
    if (asked) plan.push_back({"query", attacks_of(options, norm, classes, "query", 1)});
  } else {
    for (const auto& name : surrogates_of(options))
      plan.push_back({find_surrogate(name).name, attacks_of(options, norm, classes, name, 1)});
  }
  for (auto& step : plan)
    for (auto& spec : step.attacks) {
      if (spec.name != "fab-t" && spec.name != "square") spec.restarts *= options.restarts;
      spec.steps = options.steps.value_or(spec.steps);
      spec.queries = options.queries.value_or(spec.queries);
    }
  return plan;
}

namespace {

/// Where surrogates were left out, or are the same in a context, those that run start more often: of each attack no
/// fewer starts than a plain model gets. `exact`: the one with the prediction's own gradient in this context, if it
/// has one; then all these starts are its own, as a plain model's are.
void give_as_many_starts_as(const std::vector<MsaStep>& plain, const std::string& exact,
                            std::vector<PlannedStep>& steps) {
  const bool has_exact =
      std::any_of(steps.begin(), steps.end(), [&](const auto& s) { return s.runs() && s.surrogate == exact; });
  for (const auto& wanted : plain.front().attacks) {
    int64_t starts = 0;
    std::vector<AttackSpec*> running;
    for (auto& step : steps)
      for (auto& spec : step.attacks)
        if (step.runs() && !transfers(step.surrogate) && spec.name == wanted.name &&
            (!has_exact || step.surrogate == exact))
          starts += spec.restarts, running.push_back(&spec);
    for (size_t i = 0; !running.empty() && starts < wanted.restarts; ++i, ++starts)
      ++running[i % running.size()]->restarts;
  }
}

/// The first of those whose gradient in this context is the prediction's own, where that is an ordinary function of
/// the image; "" where it is not.
std::string exact_surrogate(const std::vector<PlannedStep>& steps, const HpmHead& head, ContextKind context) {
  for (const auto& step : steps)
    if (step.runs() && (step.surrogate == "ste" || coincides_with(step.surrogate, head, context) == "ste"))
      return context == ContextKind::reference || head.lambda == 1 ? step.surrogate : "";
  return "";
}

}  // namespace

std::vector<PlannedStep> planned_steps(const MsaOptions& given, Norm norm, const HpmHead& head, const Peers& peers,
                                       ContextKind context) {
  auto options = given;
  if (context == ContextKind::joint && !given.joint_surrogates.empty()) options.surrogates = given.joint_surrogates;
  std::vector<PlannedStep> steps;
  std::map<std::string, size_t> first;  // of the surrogates that give the same logits, by the name of their class
  bool any = false;
  for (auto& step : msa_plan(options, norm, head.classes(), true)) {
    PlannedStep planned{step.surrogate, std::move(step.attacks), "", unavailable(step.surrogate, context, peers)};
    const auto twin = coincides_with(step.surrogate, head, context);
    const auto [found, is_first] = first.try_emplace(twin.empty() ? step.surrogate : twin, steps.size());
    if (planned.unavailable.empty() && !is_first) {
      auto& running = steps[found->second];
      planned.same_as = running.surrogate;
      for (auto& spec : running.attacks) {
        if (spec.name == "fab-t") continue;  // one start, as a plain model gets
        const auto own = std::find_if(planned.attacks.begin(), planned.attacks.end(),
                                      [&](const auto& twin) { return twin.name == spec.name; });
        spec.restarts += (own != planned.attacks.end() ? *own : planned.attacks.front()).restarts;  // region has others
      }
    }
    any |= planned.runs();
    steps.push_back(std::move(planned));
  }
  give_as_many_starts_as(msa_plan(given, norm, head.classes(), false), exact_surrogate(steps, head, context), steps);
  require(any,
          "msa: none of the surrogates {} can attack the context {} here; name others, or give --base or --control",
          fmt::join(surrogates_of(options), ","), to_string(context));
  return steps;
}

AttackResult run_attack(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor) {
  const SearchOperations faster;
  return attack_entry(spec.name).run(model, images, threat, spec, streams, monitor);
}

NamedTensors judged_attack(Judge& judge, const AttackModel& attacked, const std::function<NamedTensors()>& attack) {
  const auto start = std::chrono::steady_clock::now();
  const auto passes = attacked.passes();
  std::vector<Tensor> before;
  for (size_t t = 0; t < judge.targets().size(); ++t) before.push_back(judge.broken(t).clone());
  auto done = attack();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_cost(attacked.passes() - passes, seconds.count(), done);
  for (size_t t = 0; t < before.size(); ++t) {
    const auto places = (judge.broken(t) & before[t].logical_not()).nonzero().squeeze(1);
    if (places.numel() == 0) continue;
    done.emplace_back(fmt::format("places {}", t), places);
    done.emplace_back(fmt::format("broken by {}", t), judge.images(t).select(places));
  }
  return done;
}

void take_over(const NamedTensors& done, Judge& judge, AttackRecord& record) {
  add_cost(done, record.passes, record.seconds);
  for (size_t t = 0; t < judge.targets().size(); ++t)
    if (const auto places = find_tensor(done, fmt::format("places {}", t)); places.defined())
      judge.restore(t, places, find_tensor(done, fmt::format("broken by {}", t)));
}

Clean clean_pass(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log) {
  const auto kept = log.once("clean", images.index, [&]() -> NamedTensors {
    torch::NoGradGuard guard;
    std::vector<Tensor> z, o;
    for_chunks(images, batch_size, [&](const Images& chunk, int64_t) {
      auto out = model.run(chunk.x);
      z.push_back(out.features), o.push_back(out.logits);
    });
    return {{"z", at::cat(z)}, {"o", at::cat(o)}};
  });
  const auto device = images.y.device();
  return {find_tensor(kept, "z").to(device), find_tensor(kept, "o").to(device)};
}

Passes estimate_passes(const HpmModel& model, const Peers& peers, const ThreatModel& threat, const MsaOptions& options,
                       bool peers_attacked) {
  Passes total{1, 0};  // the clean pass
  const int64_t others = model.classifier.classes() - 1;
  // `ranking`: the surrogate's may add targets, to a row at most those that are left, to a joint batch as many again;
  // it takes a pass. A transfer surrogate's network is asked beside the model's own.
  enum class Ranking { none, row, batch };
  const auto add = [&](const std::vector<AttackSpec>& attacks, Ranking ranking, bool transfer) {
    for (auto spec : attacks) {
      const auto left = std::max<int64_t>(others - spec.targets, 0);
      if (ranking != Ranking::none && (spec.name == "apgd-t" || spec.name == "fab-t")) {
        spec.targets += ranking == Ranking::row ? std::min(spec.targets, left) : left ? spec.targets : 0;
        ++total.forward;
      }
      const auto passes = passes_of(spec);
      total.forward += passes.forward + (transfer ? passes.backward : 0), total.backward += passes.backward;
    }
  };
  const auto add_plain = [&] {
    for (const auto& step : msa_plan(options, threat.norm, model.classifier.classes(), false))
      add(step.attacks, Ranking::none, false);
    ++total.forward;  // the clean verdict
  };
  if (!model.head) add_plain();
  for (const auto* peer : {&peers.base, &peers.control})
    if (*peer && peers_attacked) add_plain();
  if (!model.head) return total;
  const auto contexts = msa_contexts(options);
  const auto judged = static_cast<int64_t>(contexts.size() * (1 + options.sweep.size()));
  for (const auto& name : contexts) {
    const auto kind = parse_context(name);
    const bool joint = kind == ContextKind::joint;
    for (const auto& step : planned_steps(options, threat.norm, *model.head, peers, kind))
      if (step.runs()) add(step.attacks, joint ? Ranking::batch : Ranking::row, transfers(step.surrogate));
    total.forward += 1 + static_cast<int64_t>(options.sweep.size());  // clean verdicts
    if (kind == ContextKind::solo_eot) total.forward += kCompanyDraws;
    if (joint) total.forward += 2 * (judged + 2);  // compositions
  }
  return total;
}

namespace {

/// The contexts to attack: with lambda = 1 nothing is dynamic, every context is the l2 classifier, and one run stands
/// for all.
std::vector<ContextKind> attacked_contexts(const std::vector<ContextKind>& asked, double lambda) {
  if (lambda < 1) return asked;
  return {asked.front() == ContextKind::joint ? ContextKind::reference : asked.front()};
}

std::vector<ContextKind> asked_contexts(const MsaOptions& options) {
  std::vector<ContextKind> asked;
  for (const auto& name : options.contexts) asked.push_back(parse_context(name));
  require(std::set<ContextKind>(asked.begin(), asked.end()).size() == asked.size(), "msa: a context is named twice: {}",
          fmt::join(options.contexts, ","));
  return asked;
}

/// Everyone who judges an iterate.
struct JudgedTargets {
  std::vector<JudgedTarget> all;           ///< the attacked contexts come first
  std::vector<std::vector<size_t>> swept;  ///< for each of those: the places of the sweep's lambdas
};

/// `kinds`: the contexts to attack.
JudgedTargets judged_targets(const MsaRun& run, const std::vector<ContextKind>& asked,
                             const std::vector<ContextKind>& kinds) {
  JudgedTargets out{{}, std::vector<std::vector<size_t>>(kinds.size())};
  for (auto kind : kinds) out.all.push_back({{kind, run.company, run.draws}, std::nullopt});
  for (auto kind : asked) {
    const auto attacked = std::find(kinds.begin(), kinds.end(), kind);
    if (attacked == kinds.end() && kind == ContextKind::joint) continue;
    auto& places = out.swept[attacked == kinds.end() ? 0 : static_cast<size_t>(attacked - kinds.begin())];
    for (auto lambda : run.options.sweep) {
      if (lambda == run.model.head->lambda) continue;
      places.push_back(out.all.size());
      out.all.push_back({{kind, run.company, run.draws}, lambda});
    }
  }
  for (const auto& draw : run.draws) out.all.push_back({{ContextKind::solo, draw}, std::nullopt});
  return out;
}

/// The outcome of a context as that of another one which is the same classifier.
ContextOutcome under_another_name(ContextOutcome outcome, const std::string& name) {
  for (auto& surrogate : outcome.surrogates)
    if (surrogate.unavailable.empty())
      surrogate = {.name = surrogate.name, .same_as = surrogate.name + " in " + outcome.context};
  outcome.context = name;
  return outcome;
}

/// Attacks the row-wise contexts, then joint, and gives them in the order asked.
void run_contexts(const MsaRun& run, Evaluation& out) {
  const auto asked = asked_contexts(run.options);
  auto kinds = attacked_contexts(asked, run.model.head->lambda);
  if (run.model.head->lambda == 1 && !run.options.collusion.colluders.empty())
    run.monitor.warn("colluders: with lambda = 1 no prediction depends on a neighbour; nothing is studied");
  std::stable_partition(kinds.begin(), kinds.end(), [](auto kind) { return kind != ContextKind::joint; });
  const auto targets = judged_targets(run, asked, kinds);
  Judge judge(run.images, run.threat, targets.all);
  std::vector<std::unique_ptr<ContextAttack>> attacks;
  for (size_t c = 0; c < kinds.size(); ++c)
    attacks.push_back(
        (kinds[c] == ContextKind::joint ? joint_under_attack : rows_under_attack)(run, judge, c, targets.swept[c]));
  for (const auto& context : attacks) context->attack();
  std::vector<ContextRun> runs;
  // With lambda = 1 the context attacked may be none of those asked for: then it is the first of these.
  const auto renamed = [&](const std::string& name) {
    const auto kind = parse_context(name);
    return std::find(asked.begin(), asked.end(), kind) != asked.end() ? name : to_string(asked.front());
  };
  for (auto& record : run.out.attacks) record.context = renamed(record.context);
  for (const auto& context : attacks) {
    runs.push_back(context->finish());
    auto& sweep = runs.back().sweep;
    runs.back().outcome.context = renamed(runs.back().outcome.context);
    for (auto& s : sweep) s.context = renamed(s.context);
    std::move(sweep.begin(), sweep.end(), std::back_inserter(out.sweep));
  }
  for (auto kind : asked) {
    const auto found =
        std::find_if(runs.begin(), runs.end(), [&](const auto& r) { return r.outcome.context == to_string(kind); });
    const auto& context = found != runs.end() ? *found : runs.front();
    out.contexts.push_back(found != runs.end() ? context.outcome
                                               : under_another_name(context.outcome, to_string(kind)));
  }
}

}  // namespace

Evaluation msa(const HpmModel& model, const Peers& peers, const ImageSet& images, const ThreatModel& threat,
               const MsaOptions& given, Monitor& monitor, const WorkLog& log) {
  auto options = given;
  options.contexts = msa_contexts(given);
  require(images.size() > 0, "msa: needs at least one image");
  require(std::get<0>(at::_unique(images.index)).numel() == images.size(),
          "msa: an image is given twice; each needs a number of its own");
  check_colluders(options.collusion, std::min(options.company_size, images.size()));
  const auto start = std::chrono::steady_clock::now();
  Evaluation out;
  if (!model.head) {
    out = attack_plain(model, images, threat, options, monitor, log);
  } else {
    require(!options.contexts.empty(), "msa: needs at least one context");
    for (const auto& name : options.contexts)
      planned_steps(options, threat.norm, *model.head, peers, parse_context(name));
    const auto clean = clean_pass(model, images, options.batch_size, log);
    const auto asked = [&](ContextKind kind) {
      return std::find(options.contexts.begin(), options.contexts.end(), to_string(kind)) != options.contexts.end();
    };
    std::shared_ptr<const Company> company;
    if (asked(ContextKind::solo) || asked(ContextKind::joint))
      company = std::make_shared<const Company>(*model.head, images.index, clean.z, clean.o, options.company_size,
                                                options.company_seed);
    const auto borderline = at::zeros({images.size()}, at::kBool);
    std::vector<std::shared_ptr<const Company>> draws;
    if (asked(ContextKind::solo_eot))
      draws = draw_companies(*model.head, images.index, clean.z, clean.o, options.company_size, options.company_seed);
    run_contexts({model, peers, images, threat, options, clean, company, draws, monitor, log, out, borderline,
                  clean.o.std().item<double>()},
                 out);
    out.borderline = borderline.sum().item<int64_t>();
  }
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace hpm
