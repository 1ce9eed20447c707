#include "hpm/evaluation/fast/fast.h"

#include <algorithm>

#include "hpm/attacks/square.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks/gradient_fidelity.h"
#include "hpm/evaluation/fast/alarms.h"
#include "hpm/evaluation/staged_attack.h"

namespace hpm {
namespace {

constexpr int64_t kTransferSteps = 50;
constexpr int64_t kFaithful = 64;    // images whose gradient is compared with the function
constexpr int64_t kQueries = 200;    // "a few" of Square, on queried() survivors
constexpr int64_t kCoreTargets = 4;  // what they miss is near the boundary, where the tail tries all
constexpr int64_t kTail = 20;        // one in so many survivors gets the tail

AttackSpec core_spec() {
  const auto& entry = attack_entry("relaxation");
  return {.name = entry.name, .steps = entry.steps, .restarts = entry.restarts, .targets = kCoreTargets};
}

/// AutoAttack's own, with its settings for this norm.
std::vector<AttackSpec> autoattack_specs(Norm norm, int64_t classes) {
  return autoattack_sequence({.version = "standard", .norm = norm, .classes = classes}).attacks;
}

/// All wrong classes, up to nine.
AttackSpec tail_spec(Norm norm, int64_t classes) {
  auto spec = autoattack_spec("apgd-t", norm, classes);
  spec.targets = std::min<int64_t>(classes - 1, 9);
  return spec;
}

AttackSpec transfer_spec(Norm norm) {
  return {.name = "apgd-ce", .steps = kTransferSteps, .large_radius = norm == Norm::l1};
}

/// The twentieth of the survivors that came nearest to being broken, [m] places.
Tensor nearest_ones(const StagedAttack& staged) {
  const auto rows = staged.survivors();
  std::vector<std::pair<double, int64_t>> by_margin;  // and by the images' numbers, where margins are equal
  const auto& index = staged.on().images.index;
  std::map<int64_t, int64_t> place;
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const auto row = rows[i].item<int64_t>(), number = index[row].item<int64_t>();
    by_margin.emplace_back(staged.margin()[row].item<double>(), number);
    place[number] = row;
  }
  std::sort(by_margin.begin(), by_margin.end());
  std::vector<int64_t> nearest;
  for (size_t i = 0; i < (by_margin.size() + kTail - 1) / kTail; ++i) nearest.push_back(place[by_margin[i].second]);
  return torch::tensor(nearest, at::kLong);
}

Tensor first_of(const Tensor& rows, int64_t count) { return rows.slice(0, 0, std::min(count, rows.numel())); }

class Fast {
 public:
  Fast(Defence& defence, const AttackedImages& on, const FastOptions& options, const Work& work)
      : defence_(defence),
        norm_(on.threat.norm),
        options_(options),
        staged_(defence, on, {options.seed, options.batch_size}, work) {}

  Evaluation operator()() {
    staged_.begin();
    core_ = staged_.attack("core", in_batches(core_spec()), shuffled(staged_.clean_correct().nonzero().squeeze(1)));
    staged_.attack("tail", in_batches(tail_spec(norm_, defence_.classes())), nearest_ones(staged_));
    sample();
    look();
    if (!fast_.fired().empty() && !options_.alarms.no_escalate) escalate();
    bound();
    return finish();
  }

 private:
  ReadyAttack in_batches(AttackSpec spec) const {
    spec.at_once = options_.batch_size;
    return ready(spec);
  }

  /// An order that depends on the seed and the images' numbers alone.
  Tensor shuffled(const Tensor& rows) const { return in_random_order(rows, staged_.on().images.index, options_.seed); }

  /// Attacks of another kind on a random sample of what stands.
  void sample() {
    const auto standing = staged_.survivors();
    const auto order = shuffled(standing);
    const auto classes = defence_.classes();
    sample_ = first_of(order, sample_size(options_.alarms.sample, core_.attacked, sampled_passes(norm_, classes)));
    drawn_from_ = standing.numel();
    const auto some = first_of(order, std::max(sample_.numel(), queried(standing.numel())));
    for (const auto& surrogate : defence_.surrogates(0, {.quick = false}))
      if (surrogate.kind == SurrogateKind::transfer && surrogate.unavailable.empty())
        transfers_.push_back(
            staged_.attack("transfer from " + surrogate.name, in_batches(transfer_spec(norm_)), some, surrogate));
    const auto on_sample = [&](const char* name) {
      return staged_.attack(fmt::format("{} on a sample", name), in_batches(autoattack_spec(name, norm_, classes)),
                            sample_);
    };
    fab_ = on_sample("fab-t");
    square_ = on_sample("square");
  }

  /// The smallest margins that a few queries of Square come to on `rows`, in the core's unit.
  Tensor queried_margins(const Tensor& rows) {
    std::vector<Tensor> all{at::zeros({0}, at::kDouble)};
    const RandomStreams streams(options_.seed);
    const auto& log = staged_.work().log;
    const auto pieces = log.pieces("queries", rows, options_.batch_size);
    log.each(
        pieces,
        [&](size_t i) -> NamedTensors {
          const auto& here = pieces[i].rows;
          auto some = staged_.on().images.select(here);
          some.clean_logits = staged_.clean_logits().index_select(0, here.to(staged_.clean_logits().device()));
          const auto found = square_run(staged_.model(), some, staged_.on().threat,
                                        {.queries = kQueries, .stream = "fast queries"}, streams, 0, staged_.monitor());
          torch::NoGradGuard guard;
          const auto logits = staged_.model().ask({found.best, some.index}, nullptr).target_logits;
          const auto margins = margin(logits, some.y) / logit_spread(some.clean_logits);
          return {{"margin", margins.to(at::kCPU, at::kDouble)}};
        },
        [&](size_t, const NamedTensors& done) { all.push_back(find_tensor(done, "margin")); });
    return at::cat(all);
  }

  /// All alarms. What the time does not reach is not looked at.
  void look() {
    auto& alarms = fast_.alarms;
    for (const auto* sampled : {&fab_, &square_})
      alarms.push_back(beyond_alarm(sampled->attack + " beyond the core", sampled,
                                    sample_.numel() > 0 || drawn_from_ == 0 ? "" : why_no_sample()));
    for (const auto& transfer : transfers_) alarms.push_back(beyond_alarm(transfer.name, &transfer, ""));
    if (transfers_.empty()) alarms.push_back(beyond_alarm("transfer", nullptr, "no --base or --control is given"));
    if (staged_.survivors().numel() == 0 && !staged_.cut_short()) {
      alarms.push_back({.name = "further alarms", .evidence = "nothing survived, so no gradient hides anything"});
      return;
    }
    const auto correct = shuffled(staged_.clean_correct().nonzero().squeeze(1));
    const auto& on = staged_.on();
    try {
      if (staged_.monitor().up()) throw TimeIsUp("the time is up");
      if (stand_in().empty())
        alarms.push_back(fidelity_alarm(staged_.model(), on.images.select(first_of(correct, kFaithful))));
      const auto left = staged_.survivors();
      const auto some = first_of(shuffled(left), queried(left.numel()));
      alarms.push_back(nearer_alarm(staged_.margin().index_select(0, some), queried_margins(some), kQueries));
      for (auto& alarm : look_at_gradients({staged_.model(), on.images, on.threat, options_.seed, options_.batch_size},
                                           correct, staged_.clean_logits(), staged_.monitor(), staged_.work().log))
        alarms.push_back(std::move(alarm));
    } catch (const TimeIsUp&) {
      alarms.push_back({.name = "further alarms", .evidence = "the time was up before they were looked at"});
      out_of_time_ = true;
    }
    const bool has_contexts = !defence_.targets().front().name.empty();
    if (has_contexts || !stand_in().empty()) alarms.push_back(stand_in_alarm(stand_in()));
  }

  /// The leading surrogate where its gradient is not the prediction's own.
  std::string stand_in() const {
    const auto leading = leading_surrogate(defence_, 0);
    return leading && !leading->exact ? leading->name : "";
  }

  /// With the seed and the draws of AutoAttack's own run: what it would break is broken.
  void escalate() {
    fast_.escalated = true;
    for (const auto& spec : autoattack_specs(norm_, defence_.classes()))
      staged_.attack("AutoAttack " + spec.name, in_batches(spec), staged_.survivors());
  }

  /// Of the first stage that attacked a sample alone: the core where the time was up, else FAB-T and Square.
  void bound() {
    const auto standing = staged_.survivors().numel(), n = staged_.on().images.size();
    BoundResult b;
    if (core_.attacked < core_.images) b = {"The core", core_.attacked, core_.broke, core_.images};
    else if (!fast_.escalated && square_.attacked == square_.images)
      b = {"FAB-T and Square", sample_.numel(), broken_in_sample(), drawn_from_};
    else return;
    if (b.of == 0 || b.sampled == 0) return;
    b.share = b.sampled == b.of ? 100. * static_cast<double>(b.broke) / static_cast<double>(b.of)
                                : binomial_upper(b.broke, b.sampled);
    const double lost = static_cast<double>(b.of - b.sampled) * b.share / 100;
    b.robust_accuracy = 100 * std::max(0., static_cast<double>(standing) - lost) / static_cast<double>(n);
    fast_.bound = b;
  }

  /// By the attacks on the sample: what transferred to it would transfer to the others too.
  int64_t broken_in_sample() { return at::isin(sample_, staged_.survivors()).logical_not().sum().item<int64_t>(); }

  std::string why_no_sample() const {
    if (options_.alarms.sample == 0) return "--sample 0";
    return fmt::format("FAB-T and Square on 12 survivors would cost {:.1f} times the core (--sample 12)",
                       12. * static_cast<double>(sampled_passes(norm_, defence_.classes())) /
                           std::max(1., static_cast<double>(core_passes(core_.attacked))));
  }

  Evaluation finish() {
    const auto left = staged_.survivors().numel(), correct = staged_.clean_correct().sum().item<int64_t>();
    const auto sequence = autoattack_sequence({.version = "standard", .norm = norm_, .classes = defence_.classes()});
    // Broken images leave it within its first attack. What was not attacked says nothing.
    if (!staged_.cut_short())
      fast_.autoattack_passes =
          left * passes_of(sequence).forward + (correct - left) * passes_of(sequence.attacks.front()).forward;
    fast_.stages = staged_.stages();
    auto out = staged_.finish();
    out.checks.push_back(alarms_check(fast_));
    if (staged_.work().deadline) {
      auto check = time_check(fast_.stages);
      if (out_of_time_ && check.status == CheckOutcome::Status::passed)
        check.status = CheckOutcome::Status::failed, check.value = 1,
        check.detail = "the time was up within the alarms";
      out.checks.push_back(std::move(check));
    }
    for (auto& check : out.checks) check.context = out.first().context;
    out.fast = std::move(fast_);
    return out;
  }

  Defence& defence_;
  Norm norm_;
  FastOptions options_;
  StagedAttack staged_;
  StageResult core_, fab_, square_;
  std::vector<StageResult> transfers_;
  FastOutcome fast_;
  Tensor sample_;           // [m] places of the survivors that FAB-T and Square attack in full
  int64_t drawn_from_ = 0;  // survivors when it was drawn
  bool out_of_time_ = false;
};

/// A random model: its draws are averaged (AutoAttack's version rand), and nothing else would be believed.
Evaluation evaluate_random(Defence& defence, const AttackedImages& on, const FastOptions& options, const Work& work) {
  require(!options.alarms.no_escalate,
          "fast: a random model always escalates, to AutoAttack's version rand; leave --no-escalate out");
  auto out = evaluate_autoattack(defence, on,
                                 {.version = "rand", .seed = options.seed, .batch_size = options.batch_size}, work);
  FastOutcome fast;
  fast.escalated = true;
  fast.alarms = {
      {.name = "random", .value = 1., .limit = 0., .fired = true, .evidence = "the model is declared random"}};
  auto before = out.first().clean_correct.sum().item<int64_t>();
  for (const auto& a : out.attacks) {
    const auto left = a.robust.sum().item<int64_t>();
    fast.stages.push_back({"AutoAttack rand " + a.name, a.name, before, before, before - left, a.passes.forward,
                           a.passes.backward, a.seconds});
    before = left;
  }
  out.checks.push_back(alarms_check(fast));
  out.fast = std::move(fast);
  return out;
}

}  // namespace

Evaluation evaluate_fast(Defence& defence, const AttackedImages& on, const FastOptions& options, const Work& work) {
  require(on.images.size() > 0, "fast: needs at least one image");
  require(on.threat.eps > 0, "fast: needs a radius above 0; within 0 nothing can be attacked (--protocol clean)");
  require(options.alarms.sample.value_or(0) >= 0, "fast: needs a sample of 0 survivors or more, but got {}",
          *options.alarms.sample);
  require(
      defence.targets().front().coupling == Coupling::rows,
      "fast: in the context joint a batch is one object, which alarms on single images do not judge; use --protocol "
      "msa --version fast");
  if (defence.random()) return evaluate_random(defence, on, options, work);
  return Fast(defence, on, options, work)();
}

CheckOutcome alarms_check(const FastOutcome& fast) {
  const auto fired = fast.fired();
  const auto status = fired.empty()    ? CheckOutcome::Status::passed
                      : fast.escalated ? CheckOutcome::Status::reported
                                       : CheckOutcome::Status::failed;
  std::string detail = "none fired";
  if (!fired.empty()) {
    std::vector<std::string> seen;
    for (const auto& alarm : fast.alarms)
      if (alarm.fired) seen.push_back(fmt::format("{} ({})", alarm.name, alarm.evidence));
    detail = fmt::format("{}{}", fmt::join(seen, "; "),
                         fast.escalated ? "; AutoAttack attacked what stood" : "; nothing followed (--no-escalate)");
  }
  return {"alarms", status, static_cast<double>(fired.size()), 0., "alarms", detail};
}

CheckOutcome time_check(const std::vector<StageResult>& stages) {
  using Status = CheckOutcome::Status;
  for (const auto& s : stages)
    if (s.attacked < s.images)
      return {"time limit",
              Status::failed,
              1.,
              0.,
              "",
              fmt::format("the time was up within {}: {} of {} images were attacked", s.name, s.attacked, s.images)};
  return {"time limit", Status::passed, 0., 0., "", "everything was done in time"};
}

FastCost fast_cost(const FastOptions& options, Norm norm, int64_t classes, int64_t n, bool transfer) {
  Passes usual{2, 0};
  const auto add = [&](Passes passes, int64_t images) {
    usual.forward += (passes.forward * images + n - 1) / n, usual.backward += (passes.backward * images + n - 1) / n;
  };
  const auto core = attack_entry("relaxation").budget(core_spec());
  const auto sample =
      std::min(sample_size(options.alarms.sample, n * core.passes.forward, sampled_passes(norm, classes)), n);
  add(passes_of(tail_spec(norm, classes)), (n + kTail - 1) / kTail);
  for (const auto* name : {"fab-t", "square"}) add(passes_of(autoattack_spec(name, norm, classes)), sample);
  if (transfer) add(passes_of(transfer_spec(norm)), 2 * std::max(sample, queried(n)));
  add(gradient_alarm_passes(n), 1);
  add({kQueries + 2, 0}, queried(n));
  add(gradient_fidelity_passes(), std::min(kFaithful, n));
  auto most = usual;
  usual.forward += core.ticks + 2, usual.backward += core.ticks;  // targets are given up in their first cycle
  most.forward += core.passes.forward + 2, most.backward += core.passes.backward;
  if (!options.alarms.no_escalate)
    for (const auto& spec : autoattack_specs(norm, classes)) {
      const auto passes = passes_of(spec);
      most.forward += passes.forward, most.backward += passes.backward;
    }
  return {usual, most};
}

}  // namespace hpm
