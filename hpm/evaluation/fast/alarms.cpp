#include "hpm/evaluation/fast/alarms.h"

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/pgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/checks/gradient_fidelity.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {
namespace {

AlarmResult alarm(std::string name, double value, double limit, std::string unit, std::string evidence) {
  return {std::move(name), value, limit, std::move(unit), value > limit, std::move(evidence)};
}

AlarmResult not_looked_at(std::string name, std::string why) {
  return {.name = std::move(name), .evidence = std::move(why)};
}

int64_t count_that_differ(const Tensor& a, const Tensor& b, double share) {
  return rows_that_differ(a, b, share).sum().item<int64_t>();
}

Tensor logits_of(AttackModel& model, const Images& images) {
  torch::NoGradGuard guard;
  return model.ask({images.x, images.index}, nullptr).target_logits;
}

constexpr int64_t kGradients = 64;                  // images of the alarms by gradient but PGD-10 against PGD-50
constexpr int64_t kMost = 60, kLeast = 12;          // of the sample that FAB-T and Square attack in full
constexpr int64_t kPartOfCore = 4;                  // it costs a quarter of the core at most
constexpr int64_t kFewSteps = 10, kManySteps = 50;  // of PGD

/// Images of PGD-10 against PGD-50. An eighth of them, so that looking costs less than attacking.
int64_t compared_by_steps(int64_t correct) { return std::min(correct, std::clamp<int64_t>(correct / 8, 24, 200)); }

/// How many of the images in `rows` PGD leaves; each chunk is a piece of work.
int64_t left_by_pgd(const LookedAt& at, int64_t steps, const Tensor& rows, Monitor& monitor, const WorkLog& log) {
  int64_t left = 0;
  const auto pieces = log.pieces(fmt::format("pgd-{}", steps), rows, at.batch_size);
  log.each(
      pieces,
      [&](size_t i) -> NamedTensors {
        const auto found = pgd(at.model, at.images.select(pieces[i].rows), at.threat, {.steps = steps},
                               RandomStreams(at.seed), monitor);
        return {{"left", found.broken.logical_not().sum().to(at::kCPU)}};
      },
      [&](size_t, const NamedTensors& done) { left += find_tensor(done, "left").item<int64_t>(); });
  return left;
}

}  // namespace

void fields(Fields& f, AlarmOptions& o) {
  f.add("sample", o.sample,
        "fast, msa fast: survivors that FAB-T and Square attack in full (none: what a quarter of the core pays for, 12 "
        "to 60, or 0; of msa a twentieth)",
        {.min = 0, .unit = "images"});
  f.add("no-escalate", o.no_escalate, "fast, msa fast: nothing follows an alarm; the result is suspect instead");
}

AlarmResult zero_gradient_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                                const RandomStreams& streams) {
  const std::string name = "zero gradients";
  if (images.size() == 0) return not_looked_at(name, "no image is classified correctly");
  auto at_start = images;
  at_start.x = apgd_start(images, threat, streams, {"alarm start"}).x;
  std::vector<std::string> each;
  double most = 0;
  for (const auto kind : {LossKind::ce, LossKind::dlr}) {
    if (kind == LossKind::dlr && model.classes() < 3) continue;
    const auto zero = percent(blind_rows(model, at_start, kind));
    most = std::max(most, zero);
    each.push_back(fmt::format("{:.1f} % in {}", zero, kind == LossKind::ce ? "the cross-entropy" : "DLR"));
  }
  return alarm(name, most, 5, "%",
               fmt::format("of {} images at a random start: {}", images.size(), fmt::join(each, ", ")));
}

AlarmResult still_loss_alarm(AttackModel& model, const Images& images, const ThreatModel& threat,
                             const RandomStreams& streams) {
  const std::string name = "loss that does not move";
  if (images.size() == 0) return not_looked_at(name, "no image is classified correctly");
  const auto still = still_rows(model, images, apgd_start(images, threat, streams, {"alarm start"}).x, threat);
  return alarm(name, percent(still), 10, "%",
               fmt::format("a step of eps / 4 up its gradient did not raise it for {} of {} images",
                           still.sum().item<int64_t>(), images.size()));
}

AlarmResult fidelity_alarm(AttackModel& model, const Images& images) {
  const std::string name = "gradient fidelity";
  if (images.size() == 0) return not_looked_at(name, "no image is classified correctly");
  const auto found = gradient_fidelity(model, images, 2. / 255);
  if (found.images == 0) return not_looked_at(name, "no image has a gradient");
  return alarm(name, 100. * static_cast<double>(found.wrong()) / static_cast<double>(found.images), 10, "%",
               fmt::format("of {} images a small step along the gradient does not do what it says for {}", found.images,
                           found.wrong()));
}

AlarmResult random_alarm(AttackModel& model, const Images& images) {
  if (images.size() == 0) return not_looked_at("random", "there are no images");
  const auto differ = count_that_differ(logits_of(model, images), logits_of(model, images), 1e-4);
  return alarm("random", static_cast<double>(differ), 0, "images",
               fmt::format("{} of {} images got other logits when they were asked again", differ, images.size()));
}

AlarmResult coupled_alarm(AttackModel& model, const Images& images) {
  if (images.size() < 2) return not_looked_at("coupled batch", "it needs two images");
  const auto half = images.select(at::arange((images.size() + 1) / 2));
  const auto together = logits_of(model, images).slice(0, 0, half.size());
  const auto differ = count_that_differ(together, logits_of(model, half), 1e-3);
  return alarm("coupled batch", static_cast<double>(differ), 0, "images",
               fmt::format("{} of {} images got other logits in a smaller batch", differ, half.size()));
}

AlarmResult probabilities_alarm(const Tensor& clean_logits) {
  if (clean_logits.size(0) == 0) return not_looked_at("probabilities", "there are no images");
  const bool seen = are_probabilities(clean_logits);
  return alarm("probabilities", seen, 0, "",
               seen ? "all rows of logits are non-negative and sum to 1: the softmax hides gradients"
                    : "the logits do not look like probabilities");
}

AlarmResult steps_alarm(int64_t left_by_10, int64_t left_by_50, int64_t images) {
  const std::string name = "PGD-10 against PGD-50";
  if (images == 0) return not_looked_at(name, "no image is classified correctly");
  // Honest models come up to 3 points where they lose most of their images; two images more are chance.
  const double points = 100. / static_cast<double>(images), limit = 3 + 2 * points;
  return alarm(name, static_cast<double>(left_by_10 - left_by_50) * points, limit, "points",
               fmt::format("of {} images 10 steps left {}, 50 steps {}", images, left_by_10, left_by_50));
}

AlarmResult nearer_alarm(const Tensor& core, const Tensor& queried, int64_t queries) {
  const std::string name = "Square comes nearer";
  if (core.numel() == 0) return not_looked_at(name, "nothing survived");
  const auto nearer = queried.lt(core);
  // Of few survivors, one is more than 5 %: by chance.
  return alarm(name, percent(nearer), std::max(5., 100. / static_cast<double>(core.numel())), "%",
               fmt::format("{} queries came nearer than the core for {} of {} survivors", queries,
                           nearer.sum().item<int64_t>(), core.numel()));
}

AlarmResult stand_in_alarm(const std::string& surrogate) {
  return alarm("stand-in gradient", !surrogate.empty(), 0, "",
               surrogate.empty() ? "the gradient is the prediction's own"
                                 : fmt::format("the gradient is that of the surrogate {}, not the prediction's own; "
                                               "--protocol msa attacks through several",
                                               surrogate));
}

AlarmResult beyond_alarm(const std::string& name, const StageResult* stage, const std::string& missing) {
  if (!missing.empty() || !stage) return not_looked_at(name, missing);
  if (stage->attacked == 0 && stage->images > 0) return not_looked_at(name, "the time was up");
  return alarm(name, static_cast<double>(stage->broke), 0, "images",
               fmt::format("{} broke {} of {} survivors", stage->attack, stage->broke, stage->attacked));
}

Tensor in_random_order(const Tensor& rows, const Tensor& index, uint64_t seed) {
  const auto numbers = index.index_select(0, rows);
  const auto by_number = numbers.argsort();
  const auto draws = RandomStreams(seed).uniform(numbers.index_select(0, by_number), {"fast order"}, {1}).squeeze(1);
  return rows.index_select(0, by_number.index_select(0, std::get<1>(draws.sort(true, 0, false))));
}

int64_t core_passes(int64_t images) { return 100 * images; }

int64_t sample_size(const std::optional<int64_t>& given, int64_t attacked, int64_t passes_of_one) {
  if (given) return *given;
  const auto affordable = core_passes(attacked) / kPartOfCore / passes_of_one;
  return affordable < kLeast ? 0 : std::min(affordable, kMost);
}

int64_t twentieth(int64_t survivors) {
  return std::min(survivors, std::clamp<int64_t>((survivors + 19) / 20, kLeast, kMost));
}
int64_t queried(int64_t survivors) { return std::min(survivors, std::clamp<int64_t>(survivors / 10, kLeast, kMost)); }

AttackSpec autoattack_spec(const std::string& name, Norm norm, int64_t classes) {
  for (const auto& spec : autoattack_sequence({.version = "standard", .norm = norm, .classes = classes}).attacks)
    if (spec.name == name) return spec;
  fail("fast: AutoAttack has no {}", name);
}

int64_t sampled_passes(Norm norm, int64_t classes) {
  return passes_of(autoattack_spec("fab-t", norm, classes)).forward +
         passes_of(autoattack_spec("square", norm, classes)).forward;
}

std::vector<AlarmResult> look_at_gradients(const LookedAt& at, const Tensor& correct, const Tensor& clean_logits,
                                           Monitor& monitor, const WorkLog& log) {
  const auto first = [&](int64_t count) { return correct.slice(0, 0, std::min(count, correct.numel())); };
  const auto some = at.images.select(first(kGradients));
  const RandomStreams streams(at.seed);
  std::vector<AlarmResult> all{probabilities_alarm(clean_logits), random_alarm(at.model, some),
                               coupled_alarm(at.model, some), zero_gradient_alarm(at.model, some, at.threat, streams),
                               still_loss_alarm(at.model, some, at.threat, streams)};
  const auto rows = first(compared_by_steps(correct.numel()));
  const auto by_10 = left_by_pgd(at, kFewSteps, rows, monitor, log),
             by_50 = left_by_pgd(at, kManySteps, rows, monitor, log);
  all.push_back(steps_alarm(by_10, by_50, rows.numel()));
  return all;
}

Passes gradient_alarm_passes(int64_t n) {
  // Random, coupled batch, zero gradients, loss that does not move: ten passes at most, three with a gradient.
  auto total = Passes{10, 3} * std::min(kGradients, n);
  for (const int64_t steps : {kFewSteps, kManySteps})  // and the pass over the originals, and the verdict
    total += (budget_of(PgdOptions{.steps = steps}).passes + Passes{2, 0}) * compared_by_steps(n);
  return total;
}

}  // namespace hpm
