#include "hpm/evaluation/collusion.h"

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

const char* const kSurrogates[] = {"ste", "soft"};

/// A batch as it is, with its features and logits.
struct CleanBatch {
  Tensor rows;  // positions in the evaluation, [B] int64 (CPU)
  Images images;
  Tensor z, o;
  Tensor right;  // [B] bool (CPU): in the context joint
};

CleanBatch clean_batch(const MsaRun& run, const Tensor& rows) {
  CleanBatch batch{rows, run.images.select(rows), {}, {}, {}};
  const auto here = rows.to(run.clean.z.device());
  batch.z = run.clean.z.index_select(0, here), batch.o = run.clean.o.index_select(0, here);
  const auto logits = prediction_logits(*run.model.head, {ContextKind::joint}, batch.z, batch.o, batch.images.index);
  batch.right = logits.argmax(1).eq(batch.images.y).to(at::kCPU);
  return batch;
}

/// The images of attackers in `rows` [M] that break the victim, undefined where none were found; a fresh pass of the
/// composed batch decides.
Tensor breaks(const MsaRun& run, const CleanBatch& batch, const Tensor& rows, int64_t victim,
              const RandomStreams& streams) {
  auto images = batch.images.select(rows);
  images.y = batch.images.y[victim].expand({rows.numel()}).contiguous();
  for (const auto* name : kSurrogates) {
    VictimModel attacked(run.model, batch.z, batch.o, rows, victim, find_surrogate(name));
    const auto found =
        apgd(attacked, images, run.threat,
             {.steps = run.options.collusion.steps, .stream = fmt::format("collusion {}", name)}, streams);
    if (!found.broken.all().item<bool>()) continue;
    const auto composed = batch.images.x.index_copy(0, rows.to(found.images.device()), found.images);
    const auto out = run.model.run(composed);
    const auto logits =
        prediction_logits(*run.model.head, {ContextKind::joint}, out.features, out.logits, batch.images.index);
    if (logits[victim].argmax().ne(batch.images.y[victim]).item<bool>()) return found.images;
  }
  return {};
}

}  // namespace

VictimModel::VictimModel(HpmModel model, Tensor z, Tensor o, Tensor rows, int64_t victim, const Surrogate& surrogate)
    : model_(std::move(model)),
      z_(std::move(z)),
      o_(std::move(o)),
      rows_(rows.to(z_.device())),
      index_(at::arange(z_.size(0))),
      victim_(victim),
      surrogate_(surrogate) {
  require(surrogate_.logits != nullptr, "VictimModel: needs a surrogate with logits, but got {}", surrogate_.name);
}

Answer VictimModel::ask(const Query& query, const Loss* loss) {
  TORCH_INTERNAL_ASSERT(query.x.size(0) == rows_.size(0), "VictimModel: the query is all of the attacker's rows");
  const auto& head = *model_.head;
  const Context joint{ContextKind::joint};
  const auto everyone = [&](const Tensor& logits) { return logits[victim_].expand({query.x.size(0), -1}); };
  at::AutoGradMode mode(loss != nullptr);
  const auto x = loss ? query.x.detach().requires_grad_() : query.x;
  const auto out = model_.run(x);
  const auto z = z_.index_copy(0, rows_, out.features), o = o_.index_copy(0, rows_, out.logits);
  Answer answer;
  {
    torch::NoGradGuard guard;
    answer.target_logits = everyone(prediction_logits(head, joint, z.detach(), o.detach(), index_)).contiguous();
  }
  if (loss) differentiate(x, everyone(surrogate_.logits({head, joint, peers_, x, z, o, index_})), *loss, answer);
  return answer;
}

Passes collusion_passes(const CollusionOptions& options, int64_t company) {
  Passes total;
  const int64_t surrogates = std::size(kSurrogates);
  for (auto m : options.colluders)
    for (auto rows : {m, m + 1})
      if (rows > 0) {
        const auto each = options.victims * surrogates * rows;
        total.forward += each * (options.steps + 2) + options.victims * surrogates * company;
        total.backward += each * (options.steps + 1);
        if (rows > m) total.forward += options.victims;  // judged in the other contexts
      }
  return total;
}

void check_colluders(const CollusionOptions& options, int64_t company) {
  for (auto m : options.colluders)
    require(m >= 0 && m < company, "msa: collusion needs 0 to {} neighbours in batches of {}, but got {}", company - 1,
            company, m);
}

namespace {

/// The rows of an attacker who controls `m` neighbours of a victim, drawn by the victim's number, with the victim or
/// not.
Tensor attackers(const RandomStreams& streams, const Tensor& index, int64_t victim, int64_t m, bool victim_too) {
  const auto order =
      streams.permutation(index.size(0) - 1, {"colluders", index[victim].item<int64_t>()}).slice(0, 0, m);
  const auto rows = order + order.ge(victim).to(at::kLong);
  return victim_too ? at::cat({torch::tensor({victim}, at::kLong), rows}) : rows;
}

/// What broke a victim in a crowd may break it in the other contexts: with no colluders, in solo.
void judge_victims(const MsaRun& run, Judge& judge, const Query& query, const std::string& source) {
  torch::NoGradGuard guard;
  judge.name_source(source);
  const auto out = run.model.run(query.x);
  judge.see(query, *run.model.head, out.features, out.logits, false);
}

CollusionOutcome with_colluders(const MsaRun& run, Judge& judge, int64_t m, bool victim_too) {
  const auto& options = run.options.collusion;
  const RandomStreams streams(seed_of(run.options, "ste"));
  CollusionOutcome outcome{m, victim_too, 0, 0, at::zeros({run.images.size()}, at::kBool)};
  run.monitor.begin(fmt::format("joint, {} colluders{}", m, victim_too ? " and the victim" : ""), options.victims,
                    "victims");
  for (const auto& index : run.company->batches()) {
    if (outcome.victims >= options.victims) break;
    if (index.numel() <= m) continue;  // the last batch may be too short for so many neighbours
    const auto batch = clean_batch(run, judge.places(index));
    const auto victims = batch.right.nonzero().squeeze(1).slice(0, 0, options.victims - outcome.victims);
    const auto key = fmt::format("joint/collusion/{}/{}/{}", m, victim_too, outcome.victims);
    const auto done = run.log.once(key, batch.rows.index_select(0, victims), [&]() -> NamedTensors {
      auto broken = at::zeros({victims.numel()}, at::kBool);
      std::vector<Tensor> images;
      for (int64_t v = 0; v < victims.numel(); ++v) {
        const auto victim = victims[v].item<int64_t>();
        const auto found = breaks(run, batch, attackers(streams, index, victim, m, victim_too), victim, streams);
        broken[v] = found.defined();
        if (found.defined() && victim_too) images.push_back(found.slice(0, 0, 1));
        run.monitor.step(outcome.victims + v + 1,
                         fmt::format("broke {}", outcome.broke + broken.sum().item<int64_t>()));
      }
      NamedTensors done{{"broken", broken}};
      if (!images.empty()) done.emplace_back("images", at::cat(images));
      return done;
    });
    outcome.victims += victims.numel();
    const auto broken = find_tensor(done, "broken");
    outcome.broke += broken.sum().item<int64_t>();
    const auto places = batch.rows.index_select(0, victims).index({broken});
    outcome.broken.index_fill_(0, places, true);
    if (const auto images = find_tensor(done, "images"); images.defined())
      judge_victims(run, judge, {images.to(run.images.y.device()), run.images.index.index_select(0, places)},
                    fmt::format("colluders {}/apgd-ce in joint", m));
  }
  run.monitor.end();
  return outcome;
}

}  // namespace

std::vector<CollusionOutcome> collusion(const MsaRun& run, Judge& judge) {
  std::vector<CollusionOutcome> outcomes;
  for (auto m : run.options.collusion.colluders) {
    outcomes.push_back(with_colluders(run, judge, m, true));
    if (m > 0) outcomes.push_back(with_colluders(run, judge, m, false));
  }
  return outcomes;
}

}  // namespace hpm
