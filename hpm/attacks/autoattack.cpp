#include "hpm/attacks/autoattack.h"

#include <chrono>

#include "hpm/attacks/attack_pieces.h"
#include "hpm/attacks/conformance_streams.h"
#include "hpm/attacks/votes.h"
#include "hpm/core/device.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/models/operations.h"

namespace hpm {
namespace {

constexpr double kBorderline = 1e-4;     // of the logits' range
constexpr int64_t kBorderlineRows = 16;  // a row's logits have the same last bits in every batch of 16 rows and more
constexpr int64_t kVerdictDraws = 10;    // of a random model

at::Generator generator() { return at::globalContext().defaultGenerator(at::kCPU); }

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void check_range(const Tensor& x) {
  const double low = x.min().item<double>(), high = x.max().item<double>();
  require(low >= 0 && high <= 1, "autoattack: needs images in [0,1], but got values from {} to {}", low, high);
}

class Driver {
 public:
  Driver(AttackModel& model, const ImageSet& images, const ThreatModel& threat, const AutoAttackOptions& options,
         Monitor& monitor, const WorkLog& log)
      : model_(model), images_(images), threat_(threat), options_(options), monitor_(monitor), log_(log) {
    if (options.conformance) streams_ = std::make_unique<ConformanceStreams>(options.seed);
    else streams_ = std::make_unique<RandomStreams>(options.seed);
    chunk_ = model.coupling() == Coupling::batch ? std::max<int64_t>(images.size(), 1) : options.batch_size;
  }

  AutoAttackResult operator()(const AttackSequence& sequence) {
    std::optional<KeptGenerator> kept;  // a random model draws from the seed; the caller goes on as if nobody had drawn
    if (model_.random() || options_.conformance) kept.emplace(), torch::manual_seed(options_.seed);
    result_.notes = sequence.notes, result_.changed = sequence.changed;
    for (const auto& note : result_.notes) monitor_.warn(note);
    result_.adversarial = ImageStore(images_);
    close_calls_ = at::zeros({images_.size()}, at::kBool);
    verify_originals();
    for (auto spec : sequence.attacks) {
      spec.conformance = options_.conformance;
      spec.at_once = options_.batch_size;
      run(spec);
    }
    result_.borderline = close_calls_.sum().item<int64_t>();
    return std::move(result_);
  }

 private:
  struct SequenceVerdict {
    Tensor wrong, close, ever_wrong;  // [M] bool (CPU); the last: in any draw of a random model
    Tensor logits;                    // [M,K]: of the (last) pass
    Tensor prediction;                // [M] int64
  };

  void verify_originals() {
    const auto before = model_.passes();
    // The official code checks a model with passes over the first chunk, which draw a random model's noise.
    if (options_.conformance && model_.random())
      for (int i = 0; i < (options_.version == "rand" ? 2 : 7); ++i) {
        const auto first = images_.slice(0, std::min(chunk_, images_.size()));
        model_.ask({first.x, first.index}, nullptr);
      }
    robust_ = at::zeros({images_.size()}, at::kBool);
    result_.worst_draw = at::ones({images_.size()}, at::kBool);
    std::vector<Tensor> logits, predictions;
    for_chunks(images_, chunk_, [&](const Images& chunk, int64_t begin) {
      check_range(chunk.x);
      const auto rows = at::arange(begin, begin + chunk.size());
      const auto verdict = verify(chunk);
      robust_.index_copy_(0, rows, verdict.wrong.logical_not());
      close_calls_.index_copy_(0, rows, verdict.close);
      result_.worst_draw.index_copy_(0, rows, verdict.ever_wrong.logical_not());
      logits.push_back(verdict.logits), predictions.push_back(verdict.prediction.to(at::kCPU));
    });
    if (!logits.empty()) clean_logits_ = at::cat(logits), result_.clean_prediction = at::cat(predictions);
    result_.clean_correct = robust_.clone();
    result_.clean_passes = model_.passes() - before;
  }

  void run(const AttackSpec& spec) {
    const auto survivors = robust_.nonzero().squeeze(1);
    result_.attacks.push_back({spec, {}, {}, 0});
    const auto attack = ready(spec);
    attack_in_pieces({.task = spec.name,
                      .budget = attack.budget,
                      .pieces = pieces_of(spec, survivors),
                      .in_order = model_.random(),
                      .work = [&](const Tensor& rows, Monitor& progress) { return work(attack, rows, progress); },
                      .take =
                          [&](const Tensor& rows, const NamedTensors& done) {
                            take(rows, done);
                            if (options_.on_chunk) options_.on_chunk(spec, rows, find_tensor(done, "broken"));
                          },
                      .note = [&] { return fmt::format("{} left", robust_.sum().item<int64_t>()); }},
                     monitor_, log_);
    result_.attacks.back().robust = robust_.clone();
  }

  /// Pieces of equal size: none is left with so few rows that a pass is mostly overhead. A coupled batch stays whole:
  /// broken rows are part of the context of the others.
  std::vector<PieceOfWork> pieces_of(const AttackSpec& spec, const Tensor& survivors) const {
    const auto name = fmt::format("{} {}", result_.attacks.size(), spec.name);
    if (model_.coupling() == Coupling::batch && survivors.numel() > 0)
      return {{name + "/0", at::arange(images_.size())}};
    const auto most = options_.conformance ? chunk_ : log_.piece_size(survivors.numel(), chunk_);
    const auto n = survivors.numel(), chunks = (n + most - 1) / most;
    const auto size = options_.conformance || chunks == 0 ? chunk_ : (n + chunks - 1) / chunks;
    std::vector<PieceOfWork> all;
    for (int64_t begin = 0; begin < n; begin += size)
      all.push_back({fmt::format("{}/{}", name, begin), survivors.slice(0, begin, std::min(begin + size, n))});
    return all;
  }

  NamedTensors work(const ReadyAttack& attack, const Tensor& rows, Monitor& progress) {
    const auto start = std::chrono::steady_clock::now();
    const auto before = model_.passes();
    auto some = images_.select(rows);
    if (!options_.conformance && model_.coupling() == Coupling::rows)
      some.clean_logits = clean_logits_.index_select(0, rows.to(clean_logits_.device()));
    const auto found = attack.run(model_, some, threat_, *streams_, progress);
    const auto verdict = verify({found.images, some.y, some.index});
    const auto broken = verdict.wrong & robust_.index_select(0, rows);
    const auto hits = broken.nonzero().squeeze(1).to(some.x.device());
    NamedTensors done{{"broken", broken},
                      {"images", found.images.index_select(0, hits)},
                      {"close", verdict.close},
                      {"ever", verdict.ever_wrong}};
    write_cost(model_.passes() - before, since(start), done);
    if (model_.random())  // its later draws go on from here
      done.emplace_back("generator", generator().get_state());
    return done;
  }

  void take(const Tensor& rows, const NamedTensors& done) {
    const auto places = rows.index_select(0, find_tensor(done, "broken").nonzero().squeeze(1));
    const auto adversarial = find_tensor(done, "images").to(images_.y.device());
    check(adversarial, images_.select(places).x);
    robust_.index_fill_(0, places, false);
    result_.adversarial.put(places, adversarial);
    auto& outcome = result_.attacks.back();
    add_cost(done, outcome.passes, outcome.seconds);
    const auto close = find_tensor(done, "close").nonzero().squeeze(1);
    close_calls_.index_fill_(0, rows.index_select(0, close), true);
    const auto ever = find_tensor(done, "ever").nonzero().squeeze(1);
    result_.worst_draw.index_fill_(0, rows.index_select(0, ever), false);
    if (const auto state = find_tensor(done, "generator"); state.defined()) generator().set_state(state);
  }

  /// Whether predictions are wrong, from a fresh pass, and which of them are nearly ties and were decided again.
  SequenceVerdict verify(const Images& images) {
    if (model_.random() && !options_.conformance) return verify_draws(images);
    const auto ask = [&](const Images& rows) { return model_.ask({rows.x, rows.index}, nullptr).target_logits; };
    if (options_.conformance || model_.coupling() == Coupling::batch) {
      const auto logits = ask(images), prediction = logits.argmax(1);
      const auto wrong = prediction.ne(images.y).to(at::kCPU);
      return {wrong, at::zeros_like(wrong), wrong, logits, prediction};
    }
    const auto fresh = verify_rows(images, ask);
    return {fresh.wrong, fresh.close, fresh.wrong, fresh.logits, fresh.logits.argmax(1)};
  }

  /// A random model's verdict: the vote of ten draws, each from a seed of its own. Its answer is the class that more
  /// draws give than any other, and the largest mean logit decides a tie: the rule of FunctionDefence and solo-eot. An
  /// attack starts from the logits of one draw.
  SequenceVerdict verify_draws(const Images& images) {
    const auto votes = votes_of_draws(options_.seed, kVerdictDraws, [&](int64_t draw) {
      return model_.ask({images.x, images.index, draw}, nullptr).target_logits;
    });
    const auto prediction = votes.counts.argmax(1);
    const auto ever_wrong = votes.draws.argmax(-1).ne(images.y).any(0).to(at::kCPU);
    return {prediction.ne(images.y).to(at::kCPU), at::zeros({images.size()}, at::kBool), ever_wrong, votes.draws[-1],
            prediction};
  }

  void check(const Tensor& adversarial, const Tensor& originals) {
    if (adversarial.size(0) == 0) return;
    const auto norm = norm_of_rows(adversarial - originals, threat_.norm).max().item<double>();
    if (threat_.eps > 0) result_.norm_excess = std::max(result_.norm_excess, norm / threat_.eps - 1);
    const double out = std::max(-adversarial.min().item<double>(), adversarial.max().item<double>() - 1);
    // The official code's APGD and Square for L1 end with a projection that rounding takes out of ball and box.
    const bool held = options_.conformance ? out <= 1e-5 && norm <= threat_.eps * (1 + 1e-3) + 1e-6
                                           : inside(adversarial, originals, threat_).all().item<bool>();
    if (!held)
      fail("autoattack: {} left the threat model: norm {} of {}, {} outside the box", result_.attacks.back().spec.name,
           norm, threat_.eps, std::max(out, 0.));
  }

  AttackModel& model_;
  const ImageSet& images_;
  const ThreatModel threat_;
  const AutoAttackOptions& options_;
  Monitor& monitor_;
  const WorkLog& log_;
  std::unique_ptr<RandomStreams> streams_;
  int64_t chunk_ = 0;
  Tensor robust_, close_calls_;  // [N] bool (CPU)
  Tensor clean_logits_;          // [N,K]
  AutoAttackResult result_;
};

double percent(const Tensor& flags) { return flags.numel() ? 100. * flags.to(at::kDouble).mean().item<double>() : 0; }

}  // namespace

void fields(Fields& f, AutoAttackOptions& o) {
  std::vector<std::string> names;
  for (const auto& entry : attack_table()) names.push_back(entry.name);
  f.add("attacks", o.attacks, "attacks of autoattack, version custom", {.suggestions = names});
  f.add("conformance", o.conformance, "autoattack: the official code's draws, batches and operations");
}

AttackSequence sequence_of(const AutoAttackOptions& options, Norm norm, int64_t classes) {
  return autoattack_sequence({options.version, norm, classes, options.attacks, options.settings});
}

double AutoAttackResult::clean_accuracy() const { return percent(clean_correct); }
double AutoAttackResult::robust_accuracy() const { return percent(robust()); }

FreshVerdict verify_rows(const Images& images, const std::function<Tensor(const Images&)>& ask,
                         const std::vector<Tensor>* parts) {
  const auto near_tie = [&](const Tensor& logits) {
    return (margin(logits, images.y).abs() < kBorderline * (logits.amax(1) - logits.amin(1))).to(at::kCPU);
  };
  const auto logits = ask(images);
  FreshVerdict verdict{logits.argmax(1).ne(images.y).to(at::kCPU), near_tie(logits), logits};
  if (parts)
    for (const auto& part : *parts) verdict.close |= near_tie(part);
  const auto close = verdict.close.nonzero().squeeze(1);
  for (int64_t i = 0; i < close.numel(); ++i) {
    const ScopedThreads one(1);
    const auto row = close.slice(0, i, i + 1);
    const auto copies = images.select(row.expand({kBorderlineRows}));
    const auto alone = ask(copies).slice(0, 0, 1);
    verdict.wrong.index_copy_(0, row, alone.argmax(1).ne(copies.y.slice(0, 0, 1)).to(at::kCPU));
    verdict.logits.index_copy_(0, row.to(alone.device()), alone);
  }
  return verdict;
}

void write_cost(const Passes& passes, double seconds, NamedTensors& done) {
  done.emplace_back("passes", torch::tensor({passes.forward, passes.backward}, at::kLong));
  done.emplace_back("seconds", torch::tensor({seconds}, at::kDouble));
}

void add_cost(const NamedTensors& done, Passes& passes, double& seconds) {
  const auto counts = find_tensor(done, "passes");
  passes.forward += counts[0].item<int64_t>(), passes.backward += counts[1].item<int64_t>();
  seconds += find_tensor(done, "seconds").item<double>();
}

AutoAttackResult autoattack(AttackModel& model, const ImageSet& images, const ThreatModel& threat,
                            const AutoAttackOptions& options, Monitor& monitor, const WorkLog& log) {
  return run_sequence(model, images, threat, sequence_of(options, threat.norm, model.classes()), options, monitor, log);
}

AutoAttackResult run_sequence(AttackModel& model, const ImageSet& images, const ThreatModel& threat,
                              const AttackSequence& sequence, const AutoAttackOptions& options, Monitor& monitor,
                              const WorkLog& log) {
  require(options.batch_size >= 1, "autoattack: batch_size needs to be at least 1, but is {}", options.batch_size);
  require(std::isfinite(threat.eps) && threat.eps >= 0, "autoattack: eps needs to be finite and >= 0, but is {}",
          threat.eps);
  const ReferenceOperations guard(options.conformance);
  return Driver(model, images, threat, options, monitor, log)(sequence);
}

}  // namespace hpm
