#include "hpm/defences/observer.h"

#include <set>

#include "hpm/attacks/compaction.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

/// Of the rows [m] with the same place the first: an image may have several rows in a query.
Tensor first_of_each(const Tensor& rows, const Tensor& places) {
  std::vector<int64_t> kept;
  std::set<int64_t> seen;
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const auto row = rows[i].item<int64_t>();
    if (seen.insert(places[row].item<int64_t>()).second) kept.push_back(row);
  }
  return torch::tensor(kept, at::kLong);
}

}  // namespace

Observer::Observer(ImageSet images, const ThreatModel& threat, const Defence& defence, int64_t compaction)
    : originals_(std::move(images)),
      threat_(threat),
      period_(static_cast<size_t>(compaction_period(compaction, originals_.y))) {
  const int64_t n = originals_.size();
  position_ = at::full({n ? originals_.index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
  position_.index_copy_(0, originals_.index, at::arange(n));
  for (const auto& target : defence.targets()) {
    couplings_.push_back(target.coupling);
    images_.emplace_back(originals_);  // copies would share what they hold
  }
  broken_ = at::zeros({static_cast<int64_t>(couplings_.size()), n}, at::kBool);
  left_ = at::zeros({n}, at::kBool);
  found_by_.assign(couplings_.size(), std::vector<size_t>(static_cast<size_t>(n), 0));
}

/// [targets,N] bool; false for a target without logits.
Tensor Observer::wrong(const Query& query, const std::vector<Tensor>& logits) const {
  std::vector<Tensor> given, rows;
  for (size_t t = 0; t < logits.size(); ++t)
    if (logits[t].defined()) given.push_back(logits[t]), rows.push_back(torch::tensor(static_cast<int64_t>(t)));
  if (given.empty())
    return at::zeros({static_cast<int64_t>(logits.size()), query.x.size(0)}, query.x.options().dtype(at::kBool));
  const auto& any = given.front();
  const auto labels = originals_.y.index_select(0, uploaded(places(query.index), any.device()));
  const auto wrong = at::stack(given).argmax(-1).ne(labels);
  if (given.size() == logits.size()) return wrong;
  const auto all = at::zeros({static_cast<int64_t>(logits.size()), wrong.size(1)}, wrong.options());
  return all.index_copy(0, uploaded(at::stack(rows), any.device()), wrong);
}

void Observer::observe(const Query& query, const std::vector<Tensor>& logits) { observe(query, wrong(query, logits)); }

void Observer::observe(const Query& query, const Tensor& wrong) {
  if (period_ <= 1) return take({query, wrong});
  // A copy: some attacks go on writing into their images.
  pending_.push_back({{query.x.detach().clone(), query.index, query.draw}, wrong});
  if (pending_.size() >= period_) settle();
}

Tensor Observer::new_breaks(const Query& query, const std::vector<Tensor>& logits) {
  settle();
  return wrong(query, logits).to(at::kCPU) & broken_.index_select(1, places(query.index)).logical_not();
}

void Observer::begin_attack(const Finding& finder, std::optional<size_t> target) {
  settle();
  finders_.push_back(finder);
  attacked_ = target && couplings_[*target] == Coupling::rows ? target : std::nullopt;
  left_ = at::zeros({broken_.size(1)}, at::kBool);
}

Finding Observer::finding(size_t target, int64_t place) {
  settle();
  return finders_[found_by_[target][static_cast<size_t>(place)]];
}

void Observer::settle() {
  auto pending = std::exchange(pending_, {});
  if (pending.empty()) return;
  std::vector<Tensor> wrong;
  std::vector<int64_t> rows;
  for (const auto& noted : pending) wrong.push_back(noted.wrong), rows.push_back(noted.wrong.size(1));
  const auto read = at::cat(wrong, 1).cpu().split_with_sizes(rows, 1);  // one wait for all
  for (size_t i = 0; i < pending.size(); ++i) {
    pending[i].wrong = read[i];
    take(pending[i]);
  }
}

Tensor Observer::broken(size_t target) {
  settle();
  return broken_[static_cast<int64_t>(target)];
}

const ImageStore& Observer::images(size_t target) {
  settle();
  return images_[target];
}

void Observer::forget(size_t target, const Tensor& places) {
  settle();
  broken_[static_cast<int64_t>(target)].index_fill_(0, places, false);
  for (int64_t i = 0; i < places.numel(); ++i) found_by_[target][static_cast<size_t>(places[i].item<int64_t>())] = 0;
}

void Observer::take(const Noted& noted) {
  const auto& query = noted.query;
  const auto at_places = places(query.index);
  const auto present = left_.index_select(0, at_places).logical_not();
  const auto wrong = noted.wrong.to(at::kCPU) & present;
  const auto fresh = wrong & broken_.index_select(1, at_places).logical_not();
  if (attacked_) {
    const auto rows = wrong[static_cast<int64_t>(*attacked_)].nonzero().squeeze(1);
    if (rows.numel() > 0) left_.index_fill_(0, at_places.index_select(0, rows.index({inside(query, rows)})), true);
  }
  if (!fresh.any().item<bool>()) return;
  for (size_t t = 0; t < couplings_.size(); ++t) {
    auto rows = fresh[static_cast<int64_t>(t)].nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const bool whole = couplings_[t] == Coupling::batch;
    if (whole && !inside(query, at::arange(query.x.size(0))).all().item<bool>()) continue;
    if (!whole) rows = first_of_each(rows.index({inside(query, rows)}), at_places);
    record(t, at_places.index_select(0, rows), query.x.detach().index_select(0, uploaded(rows, query.x.device())));
  }
}

void Observer::record(size_t target, const Tensor& places, const Tensor& images) {
  images_[target].put(places, images);
  broken_[static_cast<int64_t>(target)].index_fill_(0, places, true);
  for (int64_t i = 0; i < places.numel(); ++i)
    found_by_[target][static_cast<size_t>(places[i].item<int64_t>())] = finders_.size() - 1;
}

Tensor Observer::inside(const Query& query, const Tensor& rows) const {
  const auto x = query.x.detach().index_select(0, uploaded(rows, query.x.device()));
  const auto originals = originals_.select(places(query.index.index_select(0, rows))).x;
  return hpm::inside(x, originals, threat_).to(at::kCPU);
}

}  // namespace hpm
