#include "hpm/evaluation/checks/binarisation.h"

#include <algorithm>

#include "hpm/attacks/attack_runs.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"

namespace hpm {
namespace {

constexpr double kInner = .95;  // radius of the inner points, in units of eps
constexpr double kScale = 4;    // the logits' distance between the planted point and the mean of the inner ones
// Of the readout, in units of the values' mean variance. Features are many, and some of them move at the boundary
// alone, where no gradient shows them: a readout must not live on those. Logits are few and move together: what tells
// them apart are the small differences.
constexpr double kRidgeOfFeatures = 1, kRidgeOfLogits = .01;
constexpr int64_t kCandidates = 8;  // to be planted
constexpr double kResolved = 1e-5;  // of the largest value: smaller differences are rounding
constexpr double kMostMissed = 5;   // percent
constexpr double kEnough = .25;     // share of the images that must be testable

/// What a readout sees of a pass: values [N,D].
Tensor values_of(Defence& defence, size_t target, bool features, const Output& pass, const Tensor& index) {
  return features ? pass.features : defence.predict(pass, index, target);
}

/// A linear function of the values for each image, in place of the model's last layer: two logits, class 0 is the
/// image's own.
class Readouts {
 public:
  Readouts(const Tensor& index, Tensor weights, Tensor centres, Tensor thresholds)
      : weights_(std::move(weights)), centres_(std::move(centres)), thresholds_(std::move(thresholds)) {
    places_ = at::zeros({index.max().item<int64_t>() + 1}, at::kLong);
    places_.index_copy_(0, index, at::arange(index.numel()));
  }
  /// values [N,D] of versions of the images `index` [N] -> [N,2].
  Tensor operator()(const Tensor& values, const Tensor& index) const {
    const auto rows = places_.index_select(0, index);
    const auto of = [&](const Tensor& all) { return all.index_select(0, rows).to(values.options()); };
    const auto score = ((values - of(centres_)) * of(weights_)).sum(1) - of(thresholds_);
    return at::stack({-score / 2, score / 2}, 1);
  }

 private:
  Tensor places_, weights_, centres_, thresholds_;  // [largest number + 1], [n,D], [n,D], [n]
};

/// A target with its last layer replaced.
class BinarisedDefence : public Defence {
 public:
  BinarisedDefence(Defence& defence, size_t target, bool features, Readouts readouts)
      : defence_(defence), target_(target), features_(features), readouts_(std::move(readouts)) {}

  int64_t classes() const override { return 2; }
  const std::vector<DefenceTarget>& targets() const override { return targets_; }
  Output run(const Tensor& x) override { return defence_.run(x); }
  std::vector<Tensor> predict_all(const Output& pass, const Tensor& index, bool) override {
    return {predict(pass, index, 0)};
  }
  Tensor predict(const Output& pass, const Tensor& index, size_t) override {
    return readouts_(values_of(defence_, target_, features_, pass, index), index);
  }
  std::vector<Surrogate> surrogates(size_t, const SurrogateSelection&) const override { return {}; }
  int64_t starts(const SurrogateSelection&) const override { return 1; }
  bool random() const override { return defence_.random(); }
  bool differentiable() const override { return defence_.differentiable(); }
  bool exact_search() const override { return defence_.exact_search(); }
  bool search_tf32() const override { return defence_.search_tf32(); }
  int64_t passes_per_row(size_t) const override { return defence_.passes_per_row(target_); }
  Passes passes() const override { return defence_.passes(); }

  Surrogate binarised(Surrogate surrogate) const {
    if (surrogate.logits)
      surrogate.logits = [own = surrogate.logits, features = features_, readouts = readouts_](
                             const SurrogateInput& in) { return readouts(features ? in.z : own(in), in.index); };
    return surrogate;
  }

 private:
  Defence& defence_;
  size_t target_;
  bool features_;
  Readouts readouts_;
  std::vector<DefenceTarget> targets_{DefenceTarget{}};
};

/// Points of the threat model around images.
class Points {
 public:
  Points(const Images& images, const ThreatModel& threat, uint64_t seed)
      : images_(images), threat_(threat), streams_(seed ^ 0xb1a4ull) {}
  Tensor inner(int64_t i) const {
    return random_start(images_.x, noise("inner", i), {threat_.norm, kInner * threat_.eps});
  }
  /// On the boundary; in Linf a corner of the ball.
  Tensor boundary(const char* name, int64_t i) const {
    if (threat_.norm != Norm::linf) return random_start(images_.x, noise(name, i), threat_);
    return (images_.x + threat_.eps * noise(name, i).sign()).clamp(0, 1);
  }

 private:
  Tensor noise(const char* name, int64_t i) const { return start_noise(images_, threat_.norm, streams_, {name, i}); }
  const Images& images_;
  const ThreatModel& threat_;
  RandomStreams streams_;
};

/// The readout of one image: inner [P,D] and planted [D] double. Fisher's direction with a little ridge.
struct Learned {
  Tensor weight, centre;
  double threshold = 0;
  double apart = 0;  ///< of the planted point's distance from the mean, the share beyond the highest inner one
  bool solved() const { return apart > 1e-3; }
};

Learned learn(const Tensor& inner, const Tensor& planted, double relative_ridge, double closeness) {
  const auto mean = inner.mean(0);
  const auto apart = inner - mean, direction = planted - mean;
  const auto p = inner.size(0), d = inner.size(1);
  const double ridge = relative_ridge * apart.pow(2).mean().item<double>() + 1e-30;
  Tensor weight;
  if (d <= p) {
    const auto spread = apart.t().matmul(apart) / static_cast<double>(p);
    weight = std::get<0>(at::linalg_solve_ex(spread + ridge * at::eye(d, inner.options()), direction));
  } else {  // by Woodbury's identity, in the space of the points
    const auto gram = apart.matmul(apart.t()) + static_cast<double>(p) * ridge * at::eye(p, inner.options());
    const auto inside = std::get<0>(at::linalg_solve_ex(gram, apart.matmul(direction)));
    weight = (direction - apart.t().matmul(inside)) / ridge;
  }
  const auto scores = apart.matmul(weight);
  const double highest = scores.max().item<double>(), of_planted = direction.dot(weight).item<double>();
  Learned learned{weight, mean};
  // What hardly differs from rounding is no feature (a saturated softmax, a constant).
  const double resolved = kResolved * std::max(inner.abs().max().item<double>(), 1e-30);
  if (direction.abs().max().item<double>() < resolved || !(of_planted > highest) || !(of_planted > 0)) return learned;
  learned.apart = (of_planted - highest) / of_planted;
  learned.weight = weight * (kScale / of_planted);
  learned.threshold = kScale / of_planted * (highest + closeness * (of_planted - highest));
  return learned;
}

/// What a readout reads.
struct Readable {
  Defence& defence;
  size_t target;
  bool features;  // the penultimate ones; otherwise the logits
};

/// The readouts of all images, and which of the problems are solved and not solved by random points.
class Problems {
 public:
  Problems(const Readable& readable, const Images& images, const ThreatModel& threat,
           const BinarisationOptions& options)
      : defence_(readable.defence),
        target_(readable.target),
        features_(readable.features),
        images_(images),
        options_(options),
        points_(images, threat, options.seed) {}

  Readouts learn_all() {
    torch::NoGradGuard guard;
    std::vector<Tensor> inner{values(images_.x)};
    for (int64_t i = 1; i < options_.inner; ++i) inner.push_back(values(points_.inner(i)));
    const auto all = at::stack(inner, 1);  // [n,P,D]
    std::vector<Tensor> candidates;
    for (int64_t i = 0; i < kCandidates; ++i) candidates.push_back(values(points_.boundary("planted", i)));
    auto planted = candidates.front().clone();  // [n,D]
    std::vector<Tensor> weights, centres, thresholds, solved_flags;
    for (int64_t i = 0; i < images_.size(); ++i) {
      // Of several points the one that stands out most: random points are less like it.
      Learned learned;
      for (const auto& candidate : candidates) {
        auto other = learn(all[i].to(at::kDouble), candidate[i].to(at::kDouble),
                           features_ ? kRidgeOfFeatures : kRidgeOfLogits, options_.closeness);
        if (learned.weight.defined() && other.apart <= learned.apart) continue;
        learned = std::move(other);
        planted[i].copy_(candidate[i]);
      }
      weights.push_back(learned.weight), centres.push_back(learned.centre);
      thresholds.push_back(at::scalar_tensor(learned.threshold, at::kDouble));
      solved_flags.push_back(at::scalar_tensor(learned.solved(), at::kBool));
    }
    const Readouts readouts(images_.index, at::stack(weights), at::stack(centres), at::stack(thresholds));
    const auto one = [&](const Tensor& v) { return readouts(v, images_.index).argmax(1).eq(1).to(at::kCPU); };
    solved = at::stack(solved_flags) & one(planted.to(all.options())) & one(inner.front()).logical_not();
    random = at::zeros_like(solved);
    for (int64_t i = 0; i < options_.random; ++i) random = random | one(values(points_.boundary("random", i)));
    random = random & solved;
    return readouts;
  }

  Tensor solved, random;  ///< [n] bool (CPU)

 private:
  Tensor values(const Tensor& x) {
    std::vector<Tensor> all;
    for (int64_t begin = 0; begin < x.size(0); begin += options_.batch_size) {
      const auto rows = [&](const Tensor& t) { return t.slice(0, begin, begin + options_.batch_size); };
      all.push_back(values_of(defence_, target_, features_, defence_.run(rows(x)), rows(images_.index)));
    }
    return at::cat(all).to(at::kCPU);
  }

  Defence& defence_;
  size_t target_;
  bool features_;
  const Images& images_;
  const BinarisationOptions& options_;
  Points points_;
};

/// Whether the readout can stand on the penultimate features: an ordinary network, attacked by its own gradient alone.
bool reads_features(Defence& defence, size_t target, const Images& images, const std::vector<PlantedAttack>& attacks) {
  const bool own = std::all_of(attacks.begin(), attacks.end(), [](const auto& attack) {
    return attack.surrogate.exact && attack.surrogate.through_network;
  });
  if (!own || !defence.targets()[target].name.empty()) return false;
  torch::NoGradGuard guard;
  const auto z = defence.run(images.x.slice(0, 0, 1)).features;
  return z.defined() && z.dim() == 2;
}

}  // namespace

std::string in_words(const std::vector<PlantedAttack>& attacks) {
  std::string all;
  for (const auto& attack : attacks) {
    if (!all.empty()) all += ", ";
    all += attacks.size() > 1 ? attack.words + " on " + attack.surrogate.name : attack.words;
  }
  return all;
}

SelfTestOutcome test_binarisation(Defence& defence, size_t target, const AttackedImages& on,
                                  const std::vector<PlantedAttack>& attacks, const BinarisationOptions& options) {
  const auto images = on.images.slice(0, on.images.size());
  require(images.size() > 0 && !attacks.empty(), "binarisation: needs images and an attack");
  require(defence.targets().at(target).coupling == Coupling::rows, "binarisation: needs a target of single images");
  require(options.inner >= 2, "binarisation: needs at least 2 inner points, but got {}", options.inner);
  const bool features = reads_features(defence, target, images, attacks);
  SelfTestOutcome out{defence.targets()[target].name, in_words(attacks), features};
  out.images = images.size(), out.votes = defence.random();
  Problems problems({defence, target, features}, images, on.threat, options);
  BinarisedDefence binarised(defence, target, features, problems.learn_all());
  out.solved = problems.solved.sum().item<int64_t>(), out.random = problems.random.sum().item<int64_t>();
  auto left = (problems.solved & problems.random.logical_not()).nonzero().squeeze(1);
  for (const auto& attack : attacks) {
    if (left.numel() == 0) break;
    auto here = images.select(left);
    here.y = at::zeros_like(here.y), here.clean_logits = Tensor();
    AttackedDefence attacked(binarised, 0, binarised.binarised(attack.surrogate));
    const auto found = attack.run(attacked, here);
    const auto wrong = predict_once(binarised, {found.images, here.index}, 0).argmax(1).ne(here.y).to(at::kCPU);
    left = left.index({(wrong & found.broken.to(at::kCPU)).logical_not()});
  }
  out.found = out.tested() - left.numel();
  return out;
}

CheckOutcome binarisation_check(const SelfTestOutcome& o) {
  CheckOutcome check{.name = "binarisation self-test", .unit = "% missed"};
  check.context = o.context;
  const char* where = o.on_features ? "features" : "logits";
  if (static_cast<double>(o.tested()) < std::max(1., kEnough * static_cast<double>(o.images))) {
    check.detail = fmt::format(
        "a point could be planted for {} of {} images alone, by a readout of the {} (they hardly change within the "
        "ball, or random points look like it for {})",
        o.tested(), o.images, where, o.random);
    return check;
  }
  const auto missed = o.tested() - o.found;
  check.value = 100. * static_cast<double>(missed) / static_cast<double>(o.tested()), check.limit = kMostMissed;
  check.status = o.votes                       ? CheckOutcome::Status::reported
                 : *check.value > *check.limit ? CheckOutcome::Status::failed
                                               : CheckOutcome::Status::passed;
  check.detail =
      fmt::format("{} found what was planted for {} of {} images ({:.1f} %), by a readout of the {}{}", o.attack,
                  o.found, o.tested(), 100 - *check.value, where, o.votes ? "; the model is random" : "");
  if (check.status == CheckOutcome::Status::failed) check.cause = Cause::masked;
  return check;
}

int64_t binarisation_passes(const BinarisationOptions& options) {
  return options.inner + kCandidates + options.random + 2;
}

}  // namespace hpm
