#include "hpm/attacks/autoattack.h"

#include <torch/torch.h>

#include <chrono>

#include "hpm/attacks/conformance_streams.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"

namespace hpm {
namespace {

constexpr double kBorderline = 1e-4;     // of the logits' range
constexpr int64_t kBorderlineRows = 16;  // a row's logits have the same last bits in every batch of 16 rows and more

class Driver {
 public:
  Driver(AttackModel& model, const Images& images, const ThreatModel& threat, const AutoAttackOptions& options,
         Monitor& monitor, const ChunkCallback& after_chunk)
      : model_(model),
        images_(images),
        threat_(threat),
        options_(options),
        monitor_(monitor),
        after_chunk_(after_chunk) {
    if (options.conformance) streams_ = std::make_unique<ConformanceStreams>(options.seed);
    else streams_ = std::make_unique<RandomStreams>(options.seed);
    chunk_ = model.coupling() == Coupling::batch ? std::max<int64_t>(images.size(), 1) : options.batch_size;
  }

  AutoAttackResult operator()() {
    auto sequence = autoattack_sequence({options_.version, threat_.norm, model_.classes(), options_.attacks,
                                         options_.steps, options_.restarts, options_.targets, options_.queries});
    result_.notes = std::move(sequence.notes);
    for (const auto& note : result_.notes) monitor_.warn(note);
    result_.adversarial = images_.x.clone();
    close_calls_ = at::zeros({images_.size()}, at::kBool);
    judge_clean();
    for (auto& spec : sequence.attacks) {
      spec.conformance = options_.conformance;
      run(spec);
    }
    result_.borderline = close_calls_.sum().item<int64_t>();
    return std::move(result_);
  }

 private:
  void judge_clean() {
    const auto before = model_.passes();
    // The official code checks a random model with two passes over the first chunk, which draw noise.
    if (options_.conformance && model_.random())
      for (int i = 0; i < 2; ++i) {
        const auto first = images_.select(at::arange(std::min(chunk_, images_.size())));
        model_.ask({first.x, first.index}, nullptr);
      }
    robust_ = at::zeros({images_.size()}, at::kBool);
    for (int64_t begin = 0; begin < images_.size(); begin += chunk_) {
      const auto rows = at::arange(begin, std::min(begin + chunk_, images_.size()));
      robust_.index_copy_(0, rows, judge(images_.select(rows), rows).logical_not());
    }
    result_.clean_correct = robust_.clone();
    result_.clean_passes = model_.passes() - before;
  }

  void run(const AttackSpec& spec) {
    const auto start = std::chrono::steady_clock::now();
    const auto before = model_.passes();
    const auto survivors = robust_.nonzero().squeeze(1);
    monitor_.begin(spec.name, survivors.numel(), "images");
    for (int64_t begin = 0; begin < survivors.numel(); begin += chunk_) {
      const auto rows = survivors.slice(0, begin, begin + chunk_);
      // A coupled batch stays whole: broken rows are part of the context of the others.
      attack(spec, model_.coupling() == Coupling::batch ? at::arange(images_.size()) : rows);
      monitor_.step(std::min(begin + chunk_, survivors.numel()), fmt::format("{} left", robust_.sum().item<int64_t>()));
    }
    monitor_.end();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    result_.attacks.push_back({spec, robust_.clone(), model_.passes() - before, seconds.count()});
  }

  void attack(const AttackSpec& spec, const Tensor& rows) {
    const auto some = images_.select(rows);
    const auto found = attack_entry(spec.name).run(model_, some, threat_, spec, *streams_, monitor_);
    const auto broken = judge({found.images, some.y, some.index}, rows) & robust_.index_select(0, rows);
    const auto hits = broken.nonzero().squeeze(1);
    const auto places = rows.index_select(0, hits);
    const auto device = images_.x.device();
    const auto adversarial = found.images.index_select(0, hits.to(device));
    check(adversarial, some.x.index_select(0, hits.to(device)));
    robust_.index_fill_(0, places, false);
    result_.adversarial.index_copy_(0, places.to(device), adversarial);
    if (after_chunk_)
      after_chunk_({result_.attacks.size(), spec.name, rows, broken,
                    at::where(per_row(broken.to(device), some.x), found.images, some.x)});
  }

  /// Whether the prediction is wrong, from a fresh pass: [M] bool (CPU).
  Tensor judge(const Images& images, const Tensor& rows) {
    const auto logits = model_.ask({images.x, images.index}, nullptr).target_logits;
    auto wrong = logits.argmax(1).ne(images.y).to(at::kCPU);
    if (options_.conformance || model_.random() || model_.coupling() == Coupling::batch) return wrong;
    const auto range = logits.amax(1) - logits.amin(1);
    const auto close = (margin(logits, images.y).abs() < kBorderline * range).to(at::kCPU).nonzero().squeeze(1);
    for (int64_t i = 0; i < close.numel(); ++i) {
      const auto row = close.slice(0, i, i + 1);
      wrong.index_copy_(0, row, judge_alone(images.select(row)));
    }
    close_calls_.index_fill_(0, rows.index_select(0, close), true);
    return wrong;
  }

  Tensor judge_alone(const Images& image) {
    const ScopedThreads one(1);
    const auto copies = image.select(at::zeros({kBorderlineRows}, at::kLong));
    const auto logits = model_.ask({copies.x, copies.index}, nullptr).target_logits.slice(0, 0, 1);
    return logits.argmax(1).ne(image.y).to(at::kCPU);
  }

  void check(const Tensor& adversarial, const Tensor& originals) {
    if (adversarial.size(0) == 0) return;
    const auto norm = norm_of_rows(adversarial - originals, threat_.norm).max().item<double>();
    if (threat_.eps > 0) result_.norm_excess = std::max(result_.norm_excess, norm / threat_.eps - 1);
    const double out = std::max(-adversarial.min().item<double>(), adversarial.max().item<double>() - 1);
    // APGD and Square for L1 end with a projection that is not followed by a clamp, as the official code's do.
    if (!(out <= 1e-5) || !(norm <= threat_.eps * (1 + 1e-3) + 1e-6))
      fail("autoattack: an attack left the threat model: norm {} of {}, {} outside the box", norm, threat_.eps, out);
  }

  AttackModel& model_;
  const Images& images_;
  const ThreatModel threat_;
  const AutoAttackOptions& options_;
  Monitor& monitor_;
  const ChunkCallback& after_chunk_;
  std::unique_ptr<RandomStreams> streams_;
  int64_t chunk_ = 0;
  Tensor robust_, close_calls_;  // [N] bool (CPU)
  AutoAttackResult result_;
};

void check_images(const Images& images) {
  require(images.x.dim() == 4 && images.y.dim() == 1 && images.y.size(0) == images.x.size(0) &&
              images.index.dim() == 1 && images.index.size(0) == images.x.size(0),
          "autoattack: needs images [N,C,H,W], labels [N] and numbers [N], but got [{}], [{}] and [{}]",
          fmt::join(images.x.sizes(), ","), fmt::join(images.y.sizes(), ","), fmt::join(images.index.sizes(), ","));
  if (images.size() == 0) return;
  const double low = images.x.min().item<double>(), high = images.x.max().item<double>();
  require(low >= 0 && high <= 1, "autoattack: needs images in [0,1], but got values from {} to {}", low, high);
}

double percent(const Tensor& flags) { return flags.numel() ? 100. * flags.to(at::kDouble).mean().item<double>() : 0; }

}  // namespace

void fields(Fields& f, AutoAttackOptions& o) {
  f.section("autoattack");
  f.add("version", o.version, "standard, plus, rand (random models) or custom",
        {.choices = {"standard", "plus", "rand", "custom"}});
  f.add("attacks", o.attacks, "of version custom: apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square");
  f.add("seed", o.seed, "of all random numbers");
  f.add("attack-batch", o.batch_size, "images per pass; changes verdicts only with conformance",
        {.min = 1, .max = 65536});
  f.add("conformance", o.conformance, "the official code's draws, batches and operations");
  f.add("steps", o.steps, "gradient steps of every attack (unset: the version's)", {.min = 1});
  f.add("restarts", o.restarts, "restarts of every attack (unset: the version's)", {.min = 1});
  f.add("targets", o.targets, "targets of the targeted attacks (unset: the version's)", {.min = 1});
  f.add("queries", o.queries, "queries of Square (unset: 5000)", {.min = 0});
}

double AutoAttackResult::clean_accuracy() const { return percent(clean_correct); }
double AutoAttackResult::robust_accuracy() const { return percent(robust()); }

AutoAttackResult autoattack(AttackModel& model, const Images& images, const ThreatModel& threat,
                            const AutoAttackOptions& options, Monitor& monitor, const ChunkCallback& after_chunk) {
  check_images(images);
  require(options.batch_size >= 1, "autoattack: batch_size needs to be at least 1, but is {}", options.batch_size);
  require(std::isfinite(threat.eps) && threat.eps >= 0, "autoattack: eps needs to be finite and >= 0, but is {}",
          threat.eps);
  return Driver(model, images, threat, options, monitor, after_chunk)();
}

}  // namespace hpm
