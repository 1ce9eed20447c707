#include "hpm/evaluation/msa/benign.h"

#include <algorithm>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/msa/msa_impl.h"

namespace hpm {

BenignModel::BenignModel(Defence& defence, size_t target, Surrogate surrogate, Output clean, Tensor malicious,
                         Tensor labels)
    : defence_(defence),
      target_(target),
      surrogate_(std::move(surrogate)),
      clean_(std::move(clean)),
      malicious_(malicious.to(clean_.logits.device())),
      labels_(std::move(labels)) {
  require(surrogate_.logits != nullptr, "BenignModel: needs a surrogate with logits, but got {}", surrogate_.name);
  require(defence_.row_wise_pass(), "BenignModel: needs a defence whose pass treats rows independently");
}

Answer BenignModel::ask(const Query& query, const Loss* loss) {
  at::AutoGradMode mode(loss != nullptr);
  const auto moved = query.x.index_select(0, malicious_).detach().requires_grad_(loss != nullptr);
  const auto out = defence_.run(moved);
  const Output batch{clean_.features.index_copy(0, malicious_, out.features),
                     clean_.logits.index_copy(0, malicious_, out.logits)};
  Answer answer;
  {
    torch::NoGradGuard guard;
    auto logits = defence_.predict({batch.features.detach(), batch.logits.detach()}, query.index, target_).clone();
    const auto right = at::one_hot(labels_.index_select(0, malicious_), logits.size(1)).to(logits.scalar_type());
    answer.target_logits = logits.index_copy_(0, malicious_, right);
  }
  if (!loss) return answer;
  const auto untouched = at::ones_like(query.index, query.x.options()).index_fill_(0, malicious_, 0);
  const auto losses = loss_values(surrogate_.logits({moved, batch.features, batch.logits, query.index}), *loss);
  Answer of_moved;
  differentiate_rows(moved, losses * untouched, of_moved);
  answer.loss = of_moved.loss;
  answer.gradient = at::zeros_like(query.x).index_copy(0, malicious_, of_moved.gradient);
  return answer;
}

std::vector<int64_t> malicious_numbers(const BenignOptions& options, const std::string& version, int64_t company) {
  if (!options.malicious.empty()) return options.malicious;
  const bool full = version == "standard" || version == "plus";
  return full && company > 1 ? std::vector<int64_t>{std::max<int64_t>(company / 4, 1)} : std::vector<int64_t>{};
}

void check_malicious(const BenignOptions& options, int64_t company) {
  for (auto m : options.malicious)
    require(m >= 1 && m < company, "msa: needs 1 to {} malicious images in batches of {}, but got {}", company - 1,
            company, m);
}

Passes benign_passes(const BenignOptions& options, const std::string& version, int64_t company, int64_t surrogates) {
  Passes total;
  for (auto m : malicious_numbers(options, version, company)) {
    // Of a batch: the clean pass, the attacker's rows at each step, and the fresh pass over what was found.
    const auto rows = surrogates * m;
    total.forward += (company * (1 + surrogates) + rows * (options.steps + 1) + company - 1) / company;
    total.backward += (rows * (options.steps + 1) + company - 1) / company;
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
        streams_(seed_of(run.options, "benign", run.target(target).name)) {
    for (auto& surrogate : run.defence.surrogates(target, {.quick = false}))
      if (surrogate.in_crowds && surrogate.unavailable.empty()) surrogates_.push_back(std::move(surrogate));
  }

  BenignOutcome operator()() {
    BenignOutcome outcome{malicious_, 0, 0, 0, at::zeros({run_.images.size()}, at::kBool)};
    const auto batches = run_.defence.batches();
    run_.monitor.begin(fmt::format("{}, {} malicious", run_.target(target_).name, malicious_),
                       static_cast<int64_t>(batches.size()), "batches");
    for (size_t b = 0; b < batches.size(); ++b) {
      if (batches[b].numel() > malicious_) attack(batches[b], b, outcome);  // the last batch may be too short
      run_.monitor.step(static_cast<int64_t>(b) + 1, fmt::format("right {} of {}", outcome.right, outcome.images));
    }
    run_.monitor.end();
    return outcome;
  }

 private:
  /// [B] bool (CPU): right in this version of the batch, by a fresh pass.
  Tensor right(const Tensor& x, const Images& batch) const {
    return predict_once(run_.defence, {x, batch.index}, target_).argmax(1).eq(batch.y).to(at::kCPU);
  }

  void attack(const Tensor& index, size_t number, BenignOutcome& outcome) {
    const auto rows = run_.observer.places(index);
    const auto order = streams_.permutation(index.numel(), {"malicious", static_cast<int64_t>(number)});
    const auto attackers = order.slice(0, 0, malicious_), untouched = order.slice(0, malicious_);
    const auto key = fmt::format("{}/benign/{}/{}", run_.target(target_).name, malicious_, number);
    const auto done = run_.log.once(key, rows, [&]() -> NamedTensors {
      const auto batch = run_.images.select(rows);
      return {{"clean", right(batch.x, batch)}, {"right", worst(batch, attackers, untouched)}};
    });
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
      BenignModel attacked(run_.defence, target_, surrogate, clean, attackers, batch.y);
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
  int64_t company = 0;
  for (const auto& batch : run.defence.batches()) company = std::max(company, batch.numel());
  std::vector<BenignOutcome> outcomes;
  if (!run.defence.row_wise_pass()) return outcomes;
  for (auto m : malicious_numbers(run.options.benign, run.options.version, company))
    outcomes.push_back(Invasion(run, target, m)());
  return outcomes;
}

}  // namespace hpm
