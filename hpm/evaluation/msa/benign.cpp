#include "hpm/evaluation/msa/benign.h"

#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/msa/msa_impl.h"

namespace hpm {

void fields(Fields& f, BenignOptions& o) {
  f.add(
      "malicious", o.malicious,
      "msa, joint: images of a batch that attack the untouched ones, all at once (numbers to try; 0: no study; none: a "
      "quarter of the batch under standard and plus)",
      {.min = 0, .max = 65535});
}

BenignModel::BenignModel(BatchPart part, Tensor labels) : BatchPartModel(std::move(part)), labels_(std::move(labels)) {}

Answer BenignModel::ask(const Query& query, const Loss* loss) {
  at::AutoGradMode mode(loss != nullptr);
  const auto moved = query.x.index_select(0, rows_).detach().requires_grad_(loss != nullptr);
  const auto pass = with(moved);
  const auto logits = predict(pass);
  const auto right = at::one_hot(labels_.index_select(0, rows_), logits.size(1)).to(logits.scalar_type());
  Answer answer;
  answer.target_logits = logits.index_copy(0, rows_, right);
  if (!loss) return answer;
  const auto untouched = at::ones_like(query.index, query.x.options()).index_fill_(0, rows_, 0);
  const auto losses = loss_values(stand_in(moved, pass), *loss);
  Answer of_moved;
  differentiate_rows(moved, losses * untouched, of_moved);
  answer.loss = of_moved.loss;
  answer.gradient = at::zeros_like(query.x).index_copy(0, rows_, of_moved.gradient);
  return answer;
}

std::vector<int64_t> asked_malicious(const BenignOptions& options) {
  auto asked = options.malicious;
  std::erase(asked, 0);
  return asked;
}

std::vector<int64_t> malicious_numbers(const BenignOptions& options, const std::string& version, int64_t company) {
  if (!options.malicious.empty()) return asked_malicious(options);
  const bool full = version == "standard" || version == "plus";
  return full && company > 1 ? std::vector<int64_t>{std::max<int64_t>(company / 4, 1)} : std::vector<int64_t>{};
}

void check_malicious(const BenignOptions& options, int64_t company) {
  for (auto m : asked_malicious(options))
    require(m >= 1 && m < company, "msa: needs 1 to {} malicious images in batches of {}, but got {}", company - 1,
            company, m);
}

Passes benign_passes(const BenignOptions& options, const std::string& version, int64_t company, int64_t surrogates) {
  Passes total;
  for (auto m : malicious_numbers(options, version, company)) {
    // Of a batch: the clean pass, the attacker's rows at each step, and the fresh pass over what was found.
    auto batch = budget_of(ApgdOptions{.steps = options.steps}).passes * (surrogates * m);
    batch.forward += company * (1 + surrogates);
    total += {(batch.forward + company - 1) / company, (batch.backward + company - 1) / company};
  }
  return total;
}

namespace {

/// The study of one number of malicious images.
class Invasion {
 public:
  Invasion(const MsaRun& run, size_t target, int64_t malicious)
      : run_(run),
        target_(target),
        malicious_(malicious),
        streams_(seed_of(run.options, "benign", run.target(target).name)),
        surrogates_(crowd_surrogates(run.defence, target)) {}

  BenignOutcome operator()() {
    BenignOutcome outcome{malicious_, 0, 0, 0, at::zeros({run_.images.size()}, at::kBool)};
    const auto batches = run_.defence.batches();
    run_.monitor.begin(fmt::format("{}, {} malicious", run_.target(target_).name, malicious_),
                       static_cast<int64_t>(batches.size()), "batches");
    std::vector<PieceOfWork> pieces;
    for (const auto& index : batches)
      if (index.numel() > malicious_)  // the last batch may be too short
        pieces.push_back({fmt::format("{}/benign/{}/{}", run_.target(target_).name, malicious_, pieces.size()),
                          run_.observer.places(index)});
    run_.log.each(
        pieces, [&](size_t b) { return attack(pieces[b].rows, b); },
        [&](size_t b, const NamedTensors& done) {
          take(pieces[b].rows, b, done, outcome);
          run_.monitor.step(static_cast<int64_t>(b) + 1, fmt::format("right {} of {}", outcome.right, outcome.images));
        });
    run_.monitor.end();
    return outcome;
  }

 private:
  /// [B] bool (CPU): right in this version of the batch, by a fresh pass.
  Tensor right(const Tensor& x, const Images& batch) const {
    return predict_once(run_.defence, {x, batch.index}, target_).argmax(1).eq(batch.y).to(at::kCPU);
  }

  /// The rows of a batch of B images, the attacker's first.
  Tensor shuffled(int64_t size, size_t number) const {
    return streams_.permutation(size, {"malicious", static_cast<int64_t>(number)});
  }

  NamedTensors attack(const Tensor& rows, size_t number) const {
    const auto batch = run_.images.select(rows);
    const auto order = shuffled(rows.numel(), number);
    return {{"clean", right(batch.x, batch)},
            {"right", worst(batch, order.slice(0, 0, malicious_), order.slice(0, malicious_))}};
  }

  void take(const Tensor& rows, size_t number, const NamedTensors& done, BenignOutcome& outcome) const {
    const auto untouched = shuffled(rows.numel(), number).slice(0, malicious_);
    const auto clean = find_tensor(done, "clean").index_select(0, untouched),
               now = find_tensor(done, "right").index_select(0, untouched);
    outcome.images += untouched.numel();
    outcome.clean_right += clean.sum().item<int64_t>(), outcome.right += now.sum().item<int64_t>();
    outcome.broken.index_fill_(0, rows.index_select(0, untouched).index({clean & now.logical_not()}), true);
  }

  /// [B] bool (CPU): right in the version with the fewest untouched images right, the clean batch included.
  Tensor worst(const Images& batch, const Tensor& attackers, const Tensor& untouched) const {
    Output clean;
    {
      torch::NoGradGuard guard;
      clean = run_.defence.run(batch.x);
    }
    const auto count = [&](const Tensor& flags) { return flags.index_select(0, untouched).sum().item<int64_t>(); };
    const auto to = attackers.to(batch.x.device());
    auto fewest = right(batch.x, batch);
    for (const auto& surrogate : surrogates_) {
      BenignModel attacked({run_.defence, target_, surrogate, {batch.x, batch.index}, clean, attackers}, batch.y);
      const auto random = apgd_start(batch, run_.threat, streams_, {"benign start"}).x;
      const ApgdStart start{batch.x.index_copy(0, to, random.index_select(0, to)), true};
      const auto found = apgd_run(attacked, batch, start, {}, run_.threat,
                                  {.steps = run_.options.benign.steps, .stream = "benign"}, run_.monitor);
      const auto now = right(batch.x.index_copy(0, to, found.adversarial.index_select(0, to)), batch);
      if (count(now) < count(fewest)) fewest = now;
    }
    return fewest;
  }

  const MsaRun& run_;
  size_t target_;
  int64_t malicious_;
  RandomStreams streams_;
  std::vector<Surrogate> surrogates_;
};

}  // namespace

std::vector<BenignOutcome> benign_victims(const MsaRun& run, size_t target) {
  std::vector<BenignOutcome> outcomes;
  if (crowd_surrogates(run.defence, target).empty()) return outcomes;  // msa() has refused where they were asked for
  const auto company = largest_batch(run.defence);
  for (auto m : malicious_numbers(run.options.benign, run.options.version, company))
    outcomes.push_back(Invasion(run, target, m)());
  return outcomes;
}

}  // namespace hpm
