#include "hpm/evaluation/msa/collusion.h"

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/evaluation/msa/msa_impl.h"

namespace hpm {

void fields(Fields& f, CollusionOptions& o) {
  f.add("colluders", o.colluders,
        "msa, joint: neighbours that an attacker controls, with the victim's image and without (numbers to try)",
        {.min = 0, .max = 65535});
  f.add("victims", o.victims, "victims of the colluders", {.min = 1, .unit = "images"});
}

VictimModel::VictimModel(BatchPart part, int64_t victim) : BatchPartModel(std::move(part)), victim_(victim) {}

Answer VictimModel::ask(const Query& query, const Loss* loss) {
  TORCH_INTERNAL_ASSERT(query.x.size(0) == rows_.size(0), "VictimModel: the query is all of the attacker's rows");
  const auto everyone = [&](const Tensor& logits) { return logits[victim_].expand({query.x.size(0), -1}); };
  at::AutoGradMode mode(loss != nullptr);
  const auto x = loss ? query.x.detach().requires_grad_() : query.x;
  const auto pass = with(x);
  Answer answer;
  answer.target_logits = everyone(predict(pass)).contiguous();
  if (loss) differentiate(x, everyone(stand_in(x, pass)), *loss, answer);
  return answer;
}

Passes collusion_passes(const CollusionOptions& options, int64_t company, int64_t surrogates) {
  Passes total;
  for (auto m : options.colluders)
    for (auto rows : {m, m + 1})
      if (rows > 0) {
        const auto attacks = options.victims * surrogates;
        total += (budget_of(ApgdOptions{.steps = options.steps}).passes + Passes{1, 0}) * (attacks * rows);
        total.forward += attacks * company;              // the fresh pass over what was found
        if (rows > m) total.forward += options.victims;  // judged for the other targets
      }
  return total;
}

void check_colluders(const CollusionOptions& options, int64_t company) {
  for (auto m : options.colluders)
    require(m >= 0 && m < company, "msa: collusion needs 0 to {} neighbours in batches of {}, but got {}", company - 1,
            company, m);
}

namespace {

/// A batch as it is, with its pass.
struct CleanBatch {
  Tensor rows;  // positions in the evaluation, [B] int64 (CPU)
  Images images;
  Output pass;
  Tensor right;  // [B] bool (CPU)
};

/// The study of one number of colluders, with the victim's image or without.
class Crowd {
 public:
  Crowd(const MsaRun& run, size_t target, int64_t colluders, bool victim_too)
      : run_(run),
        target_(target),
        colluders_(colluders),
        victim_too_(victim_too),
        options_(run.options.collusion),
        streams_(seed_of(run.options, "colluders", run.target(target).name)),
        surrogates_(crowd_surrogates(run.defence, target)) {}

  CollusionOutcome operator()() {
    CollusionOutcome outcome{colluders_, victim_too_, 0, 0, at::zeros({run_.images.size()}, at::kBool)};
    run_.monitor.begin(
        fmt::format("{}, {} colluders{}", run_.target(target_).name, colluders_, victim_too_ ? " and the victim" : ""),
        options_.victims, "victims");
    for (const auto& index : run_.defence.batches()) {
      if (outcome.victims >= options_.victims) break;
      if (index.numel() > colluders_) attack(index, outcome);  // the last batch may be too short
    }
    run_.monitor.end();
    return outcome;
  }

 private:
  CleanBatch clean_batch(const Tensor& index) const {
    torch::NoGradGuard guard;
    CleanBatch batch{run_.observer.places(index), {}, {}, {}};
    batch.images = run_.images.select(batch.rows);
    batch.pass = run_.defence.run(batch.images.x);
    batch.right = run_.defence.predict(batch.pass, index, target_).argmax(1).eq(batch.images.y).to(at::kCPU);
    return batch;
  }

  /// The victims of one batch, as a piece of work.
  void attack(const Tensor& index, CollusionOutcome& outcome) {
    const auto batch = clean_batch(index);
    const auto victims = batch.right.nonzero().squeeze(1).slice(0, 0, options_.victims - outcome.victims);
    const auto key =
        fmt::format("{}/collusion/{}/{}/{}", run_.target(target_).name, colluders_, victim_too_, outcome.victims);
    const auto done = run_.log.once(key, batch.rows.index_select(0, victims), [&]() -> NamedTensors {
      auto broken = at::zeros({victims.numel()}, at::kBool);
      std::vector<Tensor> images;
      for (int64_t v = 0; v < victims.numel(); ++v) {
        const auto found = broken_rows(batch, index, victims[v].item<int64_t>());
        broken[v] = found.defined();
        if (found.defined() && victim_too_) images.push_back(found.slice(0, 0, 1));
        run_.monitor.step(outcome.victims + v + 1,
                          fmt::format("broke {}", outcome.broke + broken.sum().item<int64_t>()));
      }
      NamedTensors piece{{"broken", broken}};
      if (!images.empty()) piece.emplace_back("images", at::cat(images));
      return piece;
    });
    outcome.victims += victims.numel();
    const auto broken = find_tensor(done, "broken");
    outcome.broke += broken.sum().item<int64_t>();
    const auto places = batch.rows.index_select(0, victims).index({broken});
    outcome.broken.index_fill_(0, places, true);
    if (const auto images = find_tensor(done, "images"); images.defined())
      observe_victims({images.to(run_.images.y.device()), run_.images.index.index_select(0, places)});
  }

  /// The rows of an attacker who controls neighbours of a victim, drawn by the victim's number; the victim comes first.
  Tensor attackers(const Tensor& index, int64_t victim) const {
    const auto order =
        streams_.permutation(index.size(0) - 1, {"colluders", index[victim].item<int64_t>()}).slice(0, 0, colluders_);
    const auto rows = order + order.ge(victim).to(at::kLong);
    return victim_too_ ? at::cat({torch::tensor({victim}, at::kLong), rows}) : rows;
  }

  /// The attackers' images that break the victim; undefined where none were found. A fresh pass of the composed batch
  /// decides.
  Tensor broken_rows(const CleanBatch& batch, const Tensor& index, int64_t victim) {
    const auto rows = attackers(index, victim);
    auto images = batch.images.select(rows);
    images.y = batch.images.y[victim].expand({rows.numel()}).contiguous();
    for (const auto& surrogate : surrogates_) {
      VictimModel attacked({run_.defence, target_, surrogate, {batch.images.x, index}, batch.pass, rows}, victim);
      const auto found =
          apgd(attacked, images, run_.threat,
               {.steps = options_.steps, .stream = fmt::format("collusion {}", surrogate.name)}, streams_);
      if (!found.broken.all().item<bool>()) continue;
      const auto composed = batch.images.x.index_copy(0, rows.to(found.images.device()), found.images);
      const auto logits = predict_once(run_.defence, {composed, index}, target_);
      if (logits[victim].argmax().ne(batch.images.y[victim]).item<bool>()) return found.images;
    }
    return {};
  }

  /// What broke a victim in a crowd may break it for the other targets: with no colluders, in solo.
  void observe_victims(const Query& query) {
    torch::NoGradGuard guard;
    run_.observer.begin_attack({.attack = "apgd-ce", .target = run_.target(target_).name, .colluders = colluders_});
    run_.observer.observe(query, run_.defence.predict_all(run_.defence.run(query.x), query.index, false));
  }

  const MsaRun& run_;
  size_t target_;
  int64_t colluders_;
  bool victim_too_;
  const CollusionOptions& options_;
  RandomStreams streams_;
  std::vector<Surrogate> surrogates_;
};

}  // namespace

std::vector<CollusionOutcome> collusion(const MsaRun& run, size_t target) {
  std::vector<CollusionOutcome> outcomes;
  if (crowd_surrogates(run.defence, target).empty()) return outcomes;  // msa() has refused where they were asked for
  for (auto m : run.options.collusion.colluders) {
    outcomes.push_back(Crowd(run, target, m, true)());
    if (m > 0) outcomes.push_back(Crowd(run, target, m, false)());
  }
  return outcomes;
}

}  // namespace hpm
