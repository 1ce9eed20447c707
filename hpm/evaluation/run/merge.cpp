#include "hpm/evaluation/run/merge.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "hpm/core/error.h"
#include "hpm/evaluation/results/rounding_impl.h"
#include "hpm/evaluation/run/merge_impl.h"

namespace hpm {
namespace {

int64_t count_of(const Flags& flags) { return std::accumulate(flags.begin(), flags.end(), int64_t{0}); }
std::optional<double> share_of(const Flags& flags) {
  if (flags.empty()) return std::nullopt;
  return rounded(100. * static_cast<double>(count_of(flags)) / static_cast<double>(flags.size()));
}
std::optional<ConfidenceInterval> interval_of(const Flags& flags) {
  if (flags.empty()) return std::nullopt;
  return rounded(wilson(count_of(flags), static_cast<int64_t>(flags.size())));
}

template <class T>
void append(std::vector<T>& all, const std::vector<T>& more) {
  all.insert(all.end(), more.begin(), more.end());
}

/// A mean of figures that each shard has, by its images; none where one of them has none.
class Mean {
 public:
  void add(const std::optional<double>& value, int64_t images) {
    known_ = known_ && value;
    if (value) sum_ += *value * static_cast<double>(images), images_ += images;
  }
  std::optional<double> value() const {
    return known_ && images_ > 0 ? std::optional(rounded(sum_ / static_cast<double>(images_))) : std::nullopt;
  }

 private:
  bool known_ = true;
  double sum_ = 0;
  int64_t images_ = 0;
};

/// The element of `all` that is called as `like`, or a copy of it without figures.
template <class T, class Same>
T& found(std::vector<T>& all, const T& like, Same same) {
  const auto place = std::find_if(all.begin(), all.end(), [&](const T& one) { return same(one, like); });
  if (place != all.end()) return *place;
  all.push_back(like);
  return all.back();
}

/// `get(shard)` is the peer's part of each; `robust`: of the merged model.
template <class Get>
std::optional<PairedModel> merged_peer(const Parts& parts, const Flags& robust, Get get) {
  if (!std::all_of(parts.begin(), parts.end(), [&](const auto* part) { return get(*part).has_value(); }))
    return std::nullopt;
  auto out = *get(*parts.front());
  out.robust.clear();
  Mean clean;
  for (const auto* part : parts) {
    append(out.robust, get(*part)->robust);
    clean.add(get(*part)->clean_accuracy, part->n);
  }
  if (out.robust.size() != robust.size()) return std::nullopt;
  int64_t wins = 0, losses = 0;
  for (size_t i = 0; i < robust.size(); ++i) wins += robust[i] > out.robust[i], losses += robust[i] < out.robust[i];
  const auto paired = compare_paired(wins, losses, static_cast<int64_t>(robust.size()));
  out.clean_accuracy = clean.value(), out.robust_accuracy = share_of(out.robust);
  out.wins = wins, out.losses = losses;
  out.difference = rounded(paired.difference), out.p = rounded(paired.p);
  out.difference_interval = rounded(paired.interval);
  out.smallest_detectable = rounded(paired.detectable);
  return out;
}

void add_surrogate(const SurrogateResult& more, int64_t images, int64_t before, SurrogateResult& all) {
  if (!all.attacked() && more.attacked()) all = more, all.complete = false, all.robust_accuracy.reset();
  else if (all.attacked() && more.attacked()) {
    Mean mean;
    mean.add(all.robust_accuracy, before), mean.add(more.robust_accuracy, images);
    all.robust_accuracy = mean.value();
    all.complete = all.complete && more.complete;
    all.broke += more.broke, all.of += more.of, all.first += more.first;
  }
}

/// Percentages of untouched images, so weighted by these.
void add_benign(const BenignResult& more, BenignResult& all) {
  const auto joined = [&](double so_far, double value) {
    const auto images = static_cast<double>(std::max<int64_t>(all.images + more.images, 1));
    return rounded((so_far * static_cast<double>(all.images) + value * static_cast<double>(more.images)) / images);
  };
  all.clean_accuracy = joined(all.clean_accuracy, more.clean_accuracy);
  all.accuracy = joined(all.accuracy, more.accuracy);
  all.images += more.images;
}

/// One context of all shards; `of(shard)` is that of a shard.
template <class Of>
ContextResult merged_context(const Parts& parts, Of of) {
  auto out = of(*parts.front());
  out.clean_correct.clear(), out.robust.clear(), out.broken_by.clear(), out.collusion.clear(), out.benign.clear(),
      out.surrogates.clear();
  Mean ste, any, draw;
  int64_t before = 0;
  for (const auto* part : parts) {
    const ContextResult& one = of(*part);
    append(out.clean_correct, one.clean_correct), append(out.robust, one.robust);
    ste.add(one.leading_accuracy, part->n), any.add(one.joint_any, part->n), draw.add(one.worst_draw, part->n);
    for (const auto& by : one.broken_by) {
      auto none = by;
      none.images = 0;
      found(out.broken_by, none, [](const auto& a, const auto& b) { return a.by == b.by; }).images += by.images;
    }
    for (const auto& crowd : one.collusion) {
      auto& all = found(out.collusion, {crowd.colluders, crowd.victim_too, 0, 0}, [](const auto& a, const auto& b) {
        return a.colluders == b.colluders && a.victim_too == b.victim_too;
      });
      all.victims += crowd.victims, all.broke += crowd.broke;
    }
    for (const auto& benign : one.benign)
      add_benign(benign, found(out.benign, {benign.malicious, 0, 0, 0},
                               [](const auto& a, const auto& b) { return a.malicious == b.malicious; }));
    for (const auto& surrogate : one.surrogates) {
      const bool known = std::any_of(out.surrogates.begin(), out.surrogates.end(),
                                     [&](const auto& s) { return s.name == surrogate.name; });
      if (!known) out.surrogates.push_back(surrogate);
      else
        add_surrogate(surrogate, part->n, before,
                      found(out.surrogates, surrogate, [](const auto& a, const auto& b) { return a.name == b.name; }));
    }
    before += part->n;
  }
  std::stable_sort(out.broken_by.begin(), out.broken_by.end(),
                   [](const auto& a, const auto& b) { return a.images > b.images; });
  const bool attacked = !out.robust.empty();
  out.interval = interval_of(attacked ? out.robust : out.clean_correct);
  out.clean_interval = interval_of(out.clean_correct);
  out.leading_accuracy = ste.value(), out.joint_any = any.value(), out.worst_draw = draw.value();
  if (!out.clean_correct.empty()) out.clean_accuracy = share_of(out.clean_correct);
  if (attacked) out.robust_accuracy = share_of(out.robust);
  if (out.leading_accuracy && out.robust_accuracy)
    out.obfuscation_gap = rounded(*out.leading_accuracy - *out.robust_accuracy);
  out.control = merged_peer(parts, out.robust, [&](const RunResults& part) { return of(part).control; });
  return out;
}

/// The attacks of all shards in the order of the shard that had most. Where one had no such attack (no alarm fired
/// there), its images stand as they did before.
std::vector<AttackPass> merged_attacks(const Parts& parts) {
  const auto longest = *std::max_element(
      parts.begin(), parts.end(), [](const auto* a, const auto* b) { return a->attacks.size() < b->attacks.size(); });
  const auto same = [](const AttackPass& a, const AttackPass& b) {
    return a.name == b.name && a.surrogate == b.surrogate && a.context == b.context;
  };
  std::vector<AttackPass> all = longest->attacks;
  for (auto& attack : all)
    attack.robust.clear(), attack.forward_passes = attack.backward_passes = 0, attack.seconds = 0;
  for (const auto* part : parts) {
    size_t next = 0;
    std::map<std::string, Flags> standing;
    for (auto& attack : all) {
      auto place = next;
      while (place < part->attacks.size() && !same(part->attacks[place], attack)) ++place;
      if (place < part->attacks.size()) {
        const auto& own = part->attacks[place];
        attack.forward_passes += own.forward_passes, attack.backward_passes += own.backward_passes;
        attack.seconds = rounded(attack.seconds + own.seconds);
        standing[attack.context] = own.robust;
        next = place + 1;
      }
      append(attack.robust, standing[attack.context]);
    }
  }
  for (auto& attack : all) attack.robust_accuracy = share_of(attack.robust);
  return all;
}

void merge_fast(const Parts& parts, RunResults& out) {
  out.stages.clear(), out.alarms.clear(), out.bound.reset();
  double lost = 0;
  bool bounded = false, fast = false;
  for (const auto* part : parts) {
    for (const auto& stage : part->stages) {
      auto& all = found(out.stages, StageResult{stage.name, stage.attack},
                        [](const auto& a, const auto& b) { return a.name == b.name; });
      all.images += stage.images, all.attacked += stage.attacked, all.broke += stage.broke;
      all.passes += stage.passes, all.backward_passes += stage.backward_passes;
      all.seconds = rounded(all.seconds + stage.seconds);
    }
    for (const auto& alarm : part->alarms) {
      auto& all = found(out.alarms, alarm, [](const auto& a, const auto& b) { return a.name == b.name; });
      if (alarm.fired > all.fired || (alarm.fired == all.fired && alarm.value > all.value)) all = alarm;
    }
    if (part->escalated) fast = true, out.escalated = out.escalated.value_or(false) || *part->escalated;
    if (part != parts.front() && part->autoattack_passes)
      out.autoattack_passes = out.autoattack_passes.value_or(0) + *part->autoattack_passes;
    if (!part->bound) continue;
    bounded = true;
    lost +=
        (part->first.robust_accuracy.value_or(0) - part->bound->robust_accuracy) / 100 * static_cast<double>(part->n);
    if (!out.bound) out.bound = BoundResult{.stage = part->bound->stage};
    out.bound->sampled += part->bound->sampled, out.bound->broke += part->bound->broke,
        out.bound->of += part->bound->of;
  }
  if (bounded) {
    const auto of = static_cast<double>(std::max<int64_t>(out.bound->of, 1));
    out.bound->share = rounded(std::min(100., 100 * lost / of));
    out.bound->robust_accuracy =
        rounded(std::max(0., out.first.robust_accuracy.value_or(0) - 100 * lost / static_cast<double>(out.n)));
    out.notes.emplace_back("merged: the bound joins those of the shards, each at 95 % for its own images");
  }
  if (fast && bounded && out.escalated.value_or(false))
    out.notes.emplace_back("merged: an alarm fired in some shards alone, and AutoAttack attacked their images alone");
}

/// The worst of each check; those that ran in no shard stay so.
std::vector<CheckResult> merged_checks(const Parts& parts) {
  std::vector<CheckResult> all;
  std::vector<int> failures;
  for (const auto* part : parts)
    for (const auto& check : part->checks) {
      const auto before = all.size();
      auto& worst =
          found(all, check, [](const auto& a, const auto& b) { return a.name == b.name && a.context == b.context; });
      if (all.size() > before) failures.push_back(0);
      failures[static_cast<size_t>(&worst - all.data())] += check.status == "failed";
      const auto severity = check_severity(check.status), before_it = check_severity(worst.status);
      if (severity > before_it || (severity == before_it && check.value > worst.value)) worst = check;
    }
  for (size_t i = 0; i < all.size(); ++i)
    if (!all[i].detail.empty())
      all[i].detail = failures[i] > 0
                          ? fmt::format("in {} of {} shards, e.g. {}", failures[i], parts.size(), all[i].detail)
                          : "the worst shard: " + all[i].detail;
  return all;
}

/// Every shard by the number of its first image.
std::vector<size_t> order_of(const std::vector<Shard>& shards) {
  std::vector<size_t> order(shards.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto first_of = [&](size_t s) {
    const auto all = shards[s].indices();
    return all.empty() ? int64_t{-1} : all.front();
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return first_of(a) < first_of(b); });
  return order;
}

void add_lines(const std::vector<std::string>& more, std::vector<std::string>& all) {
  for (const auto& line : more)
    if (std::find(all.begin(), all.end(), line) == all.end()) all.push_back(line);
}

/// What all shards have in common; nothing yet of what they add.
RunResults common(const RunResults& one) {
  auto out = one;
  out.labels.clear(), out.predictions = {}, out.indices.clear(), out.reasons.clear(), out.notes.clear();
  out.gallery.clear();
  out.n = 0, out.seconds = 0, out.checks_seconds = 0, out.borderline = 0, out.suspect = false;
  return out;
}

void add_part(const RunResults& part, size_t gallery, RunResults& out) {
  append(out.labels, part.labels);
  append(out.predictions.clean, part.predictions.clean);
  append(out.predictions.adversarial, part.predictions.adversarial);
  out.n += part.n, out.borderline += part.borderline;
  out.seconds = rounded(*out.seconds + part.seconds.value_or(0));
  out.checks_seconds = rounded(*out.checks_seconds + part.checks_seconds.value_or(0));
  out.suspect = out.suspect || part.suspect;
  out.started = std::min(out.started, part.started);
  add_lines(part.reasons, out.reasons), add_lines(part.notes, out.notes);
  for (size_t g = 0; g < std::min(part.gallery.size(), gallery); ++g) out.gallery.push_back(part.gallery[g]);
}

/// Numbers that are not one after the other are listed.
void set_indices(const std::vector<int64_t>& indices, RunResults& out) {
  out.first_index = indices.empty() ? 0 : indices.front();
  for (size_t i = 0; i < indices.size(); ++i)
    if (indices[i] != out.first_index + static_cast<int64_t>(i)) {
      out.indices = indices;
      return;
    }
}

void merge_contexts(const Parts& parts, RunResults& out) {
  out.first = merged_context(parts, [](const RunResults& r) -> const ContextResult& { return r.first; });
  for (size_t c = 0; c < out.contexts.size(); ++c)
    out.contexts[c] = merged_context(parts, [c](const RunResults& r) -> const ContextResult& { return r.contexts[c]; });
  if (out.contexts.empty()) return;
  const auto& context = out.contexts.front();  // the flags of the first context stand there
  out.first.clean_accuracy = context.clean_accuracy, out.first.robust_accuracy = context.robust_accuracy;
  out.first.interval = context.interval, out.first.clean_interval = context.clean_interval;
  if (context.control) out.first.control = context.control;
}

/// Figures of which the shards' own are known alone: the means of `figures(shard)[i].*member` by images. Every shard
/// has as many, because all have the same settings.
template <class T>
void merge_means(const Parts& parts, std::vector<T>& all, std::vector<T> RunResults::*figures,
                 std::initializer_list<double T::*> members) {
  for (size_t i = 0; i < all.size(); ++i)
    for (const auto member : members) {
      Mean mean;
      for (const auto* part : parts) {
        const auto& own = part->*figures;
        mean.add(i < own.size() ? std::optional(own[i].*member) : std::nullopt, part->n);
      }
      all[i].*member = mean.value().value_or(0);
    }
}

void merge_self_test(const Parts& parts, RunResults& out) {
  if (!out.self_test) return;
  out.self_test->images = out.self_test->tested = out.self_test->found = 0;
  for (const auto* part : parts)
    if (part->self_test)
      out.self_test->images += part->self_test->images, out.self_test->tested += part->self_test->tested,
          out.self_test->found += part->self_test->found;
  out.self_test->share.reset();
  if (out.self_test->tested > 0)
    out.self_test->share =
        rounded(100. * static_cast<double>(out.self_test->found) / static_cast<double>(out.self_test->tested));
}

void merge_figures(const Parts& parts, const Flags& robust, RunResults& out) {
  merge_means(parts, out.curve, &RunResults::curve, {&CurvePoint::robust_accuracy});
  for (auto& point : out.curve) point.standard_error = rounded(standard_error(point.robust_accuracy, out.n));
  merge_means(parts, out.sweep, &RunResults::sweep, {&SweepPoint::clean_accuracy, &SweepPoint::robust_accuracy});
  merge_means(parts, out.compositions, &RunResults::compositions,
              {&CompositionResult::clean_accuracy, &CompositionResult::robust_accuracy});
  merge_self_test(parts, out);
  out.base = merged_peer(parts, robust, [](const RunResults& r) { return r.base; });
  if (!out.quantised) return;
  out.quantised->robust.clear();
  for (const auto* part : parts)
    if (part->quantised) append(out.quantised->robust, part->quantised->robust);
  out.quantised->robust_accuracy = share_of(out.quantised->robust).value_or(0);
}

}  // namespace

MergedRun merge_shards(const std::vector<Shard>& shards) {
  require(shards.size() >= 2, "needs at least two runs, but got {}", shards.size());
  require_same_settings(shards);
  require_no_overlap(shards);
  MergedRun merged{.results = {}, .order = order_of(shards), .warnings = {}};
  Parts parts;
  std::vector<int64_t> indices;
  std::set<std::string> commits;
  for (const auto s : merged.order) {
    parts.push_back(&shards[s].results);
    append(indices, shards[s].indices());
    commits.insert(shards[s].results.commit);
  }
  auto& out = merged.results = common(*parts.front());
  for (const auto* part : parts) add_part(*part, std::max<size_t>(kMergedGallery / parts.size(), 1), out);
  set_indices(indices, out);
  merge_contexts(parts, out);
  const auto& headline = out.contexts.empty() ? out.first : out.contexts.front();
  const auto figure = share_of(headline.robust.empty() ? headline.clean_correct : headline.robust).value_or(0);
  out.standard_error = rounded(standard_error(figure, out.n));
  out.attacks = merged_attacks(parts);
  merge_fast(parts, out);
  merge_figures(parts, headline.robust, out);
  out.checks = merged_checks(parts);
  merged.warnings = gap_warnings(out, parts);
  for (auto& line : company_warnings(parts)) merged.warnings.push_back(std::move(line));
  if (commits.size() > 1)
    merged.warnings.push_back(fmt::format("shards are of other programs: commits {}", fmt::join(commits, ", ")));
  out.notes.insert(out.notes.begin(), fmt::format("merged from {} shards", parts.size()));
  add_lines(merged.warnings, out.notes);
  return merged;
}

}  // namespace hpm
