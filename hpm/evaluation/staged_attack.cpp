#include "hpm/evaluation/staged_attack.h"

#include <algorithm>

#include "hpm/attacks/attack_pieces.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"

namespace hpm {

static constexpr int64_t kTimedPiece = 64;  // images

void TimedMonitor::step(int64_t done, const std::string& note) {
  outer_.step(done, note);
  if (up()) throw TimeIsUp("the time is up");
}

void TimedMonitor::tick() {
  outer_.tick();
  if (up()) throw TimeIsUp("the time is up");
}

StagedAttack::StagedAttack(Defence& defence, const AttackedImages& on, const Computing& computing, const Work& work)
    : defence_(defence),
      on_(on),
      computing_(computing),
      work_(work),
      timer_(work_.log),
      monitor_(work.monitor, work.deadline),
      model_(defence.attack_model(0)),
      streams_(computing.seed) {}

void StagedAttack::begin() {
  const auto n = on_.images.size();
  auto clean = clean_verdict(defence_, 0, on_.images, computing_.batch_size);
  context_ = std::move(clean.context);
  clean_logits_ = std::exchange(context_.clean_logits, {});
  context_.adversarial = ImageStore(on_.images);
  context_.broken_by.resize(static_cast<size_t>(n));
  margin_ = at::full({n}, std::numeric_limits<double>::infinity(), at::kDouble);
  borderline_ = clean.close;
}

StageResult StagedAttack::attack(const std::string& stage, const ReadyAttack& attack, const Tensor& rows,
                                 const std::optional<Surrogate>& stand_in) {
  require(model_->coupling() == Coupling::rows,
          "evaluate: {} attacks independent rows, and in the context joint a batch is one object; use --protocol msa",
          attack.name);
  std::optional<AttackedDefence> through;
  if (stand_in) through.emplace(defence_, 0, *stand_in);
  auto& model = through ? static_cast<AttackModel&>(*through) : *model_;
  const Finding finding{stand_in ? stand_in->name : leading_name(defence_),
                        stand_in ? stand_in->kind : SurrogateKind::white_box, attack.name, context_.context};
  AttackRecord record{attack.name, finding.surrogate, context_.context};
  const auto standing = rows.index({context_.robust.index_select(0, rows)});
  StageResult result{.name = stage, .attack = attack.name, .images = standing.numel()};
  const auto work = [&](const Tensor& some, Monitor& progress) {
    if (monitor_.up()) throw TimeIsUp("the time is up");
    return attack_rows(model, attack, some, progress);
  };
  try {
    attack_in_pieces(
        {.task = stage,
         .budget = attack.budget,
         .pieces = work_.log.pieces(stage, standing, piece_size()),
         .work = work,
         .take = [&](const Tensor& some, const NamedTensors& done) { take(some, done, finding, result, record); },
         .note = [&] { return fmt::format("{} left", context_.robust.sum().item<int64_t>()); }},
        monitor_, work_.log);
  } catch (const TimeIsUp&) {  // what was attacked before counts
    monitor_.end();
  }
  record.robust = context_.robust.clone();
  result.passes = record.passes.forward, result.backward_passes = record.passes.backward;
  result.seconds = record.seconds;
  out_.attacks.push_back(std::move(record));
  stages_.push_back(result);
  return result;
}

/// Under a time limit a piece is small: what it did so far is lost when the time is up.
int64_t StagedAttack::piece_size() const {
  return work_.deadline ? std::min(computing_.batch_size, kTimedPiece) : computing_.batch_size;
}

NamedTensors StagedAttack::attack_rows(AttackModel& model, const ReadyAttack& attack, const Tensor& rows,
                                       Monitor& progress) {
  const auto start = std::chrono::steady_clock::now();
  const auto before = model.passes();
  auto some = on_.images.select(rows);
  some.clean_logits = clean_logits_.index_select(0, rows.to(clean_logits_.device()));
  const auto found = attack.run(model, some, on_.threat, streams_, progress);
  const auto verdict = verify_model(model, {found.images, some.y, some.index});
  NamedTensors done{{"broken", verdict.wrong},
                    {"images", found.images.index_select(0, verdict.wrong.nonzero().squeeze(1).to(some.x.device()))},
                    {"close", verdict.close}};
  if (found.margin.defined()) done.emplace_back("margin", found.margin.to(at::kCPU, at::kDouble));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  write_cost(model.passes() - before, seconds.count(), done);
  return done;
}

void StagedAttack::take(const Tensor& rows, const NamedTensors& done, const Finding& finding, StageResult& stage,
                        AttackRecord& record) {
  const auto places = rows.index_select(0, find_tensor(done, "broken").nonzero().squeeze(1));
  const auto adversarial = find_tensor(done, "images").to(on_.images.y.device());
  if (places.numel() > 0 && !inside(adversarial, on_.images.select(places).x, on_.threat).all().item<bool>())
    fail("evaluate: {} left the threat model", finding.attack);
  context_.adversarial.put(places, adversarial);
  context_.robust.index_fill_(0, places, false);
  for (int64_t i = 0; i < places.numel(); ++i)
    context_.broken_by[static_cast<size_t>(places[i].item<int64_t>())] = finding;
  if (const auto margin = find_tensor(done, "margin"); margin.defined())
    margin_.index_copy_(0, rows, at::min(margin_.index_select(0, rows), margin));
  borderline_.index_fill_(0, rows.index_select(0, find_tensor(done, "close").nonzero().squeeze(1)), true);
  stage.attacked += rows.numel(), stage.broke += places.numel();
  add_cost(done, record.passes, record.seconds);
}

bool StagedAttack::cut_short() const {
  return std::any_of(stages_.begin(), stages_.end(), [](const auto& stage) { return stage.attacked < stage.images; });
}

Evaluation StagedAttack::finish() {
  out_.borderline = borderline_.sum().item<int64_t>();
  out_.contexts.push_back(std::move(context_));
  out_.seconds = timer_.seconds();
  return std::move(out_);
}

}  // namespace hpm
