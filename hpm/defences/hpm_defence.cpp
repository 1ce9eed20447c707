#include "hpm/defences/hpm_defence.h"

#include <algorithm>
#include <set>

#include "hpm/attacks/kept_pass.h"
#include "hpm/core/error.h"
#include "hpm/surrogates/model_space.h"

namespace hpm {
namespace {

std::vector<ContextKind> parsed(const std::vector<std::string>& names) {
  std::vector<ContextKind> kinds;
  for (const auto& name : names) kinds.push_back(parse_context(name));
  require(!kinds.empty(), "msa: needs at least one context");
  require(std::set<ContextKind>(kinds.begin(), kinds.end()).size() == kinds.size(), "msa: a context is named twice: {}",
          fmt::join(names, ","));
  return kinds;
}

bool holds(const std::vector<ContextKind>& kinds, ContextKind kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

Coupling coupling_of(ContextKind kind) { return kind == ContextKind::joint ? Coupling::batch : Coupling::rows; }

}  // namespace

Output clean_pass(const HpmModel& model, const ImageSet& images, int64_t batch_size, const WorkLog& log) {
  const auto kept =
      kept_pass(log, "clean", images, consecutive_batches(images.size(), batch_size), [&](const Images& batch) {
        torch::NoGradGuard guard;
        const auto out = model.run(batch.x);
        return NamedTensors{{"z", out.features}, {"o", out.logits}};
      });
  const auto device = images.y.device();
  return {find_tensor(kept, "z").to(device), find_tensor(kept, "o").to(device)};
}

HpmDefence::HpmDefence(HpmModel model, const ImageSet& images, DefenceOptions options, const WorkLog& log)
    : model_(std::move(model)), options_(std::move(options)) {
  require(model_.head.has_value(), "HpmDefence: the model has no HPM head");
  require(images.size() > 0, "msa: needs at least one image");
  const auto asked = parsed(options_.contexts);
  make_companies(images, log);
  const double own = model_.head->lambda;
  for (size_t c = 0; c < asked.size(); ++c) {
    DefenceTarget target{.name = to_string(asked[c]), .lambda = own};
    if (own == 1) {  // the l2 classifier in every context; none is coupled
      if (c > 0) target.same_as = 0;
      add_target(target, {asked[c] == ContextKind::joint ? ContextKind::reference : asked[c], company_, draws_}, own);
    } else {
      target.coupling = coupling_of(asked[c]);
      target.has_company = asked[c] != ContextKind::reference && asked[c] != ContextKind::alone;
      add_target(target, {asked[c], company_, draws_}, own);
    }
  }
  for (size_t c = 0; c < asked.size(); ++c)
    for (auto lambda : options_.sweep) {
      // With lambda = 1 in the head no batch is attacked as a whole, so none can be judged by another lambda.
      if (lambda == own || (own == 1 && asked[c] == ContextKind::joint)) continue;
      add_target({to_string(asked[c]), coupling_of(asked[c]), {}, targets_[c].same_as.value_or(c), lambda},
                 {asked[c], company_, draws_}, lambda);
    }
  for (size_t c = 0; c < asked.size(); ++c)
    if (asked[c] == ContextKind::solo_eot)
      for (const auto& draw : draws_)
        add_target({to_string(asked[c]), Coupling::rows, {}, targets_[c].same_as.value_or(c), own, true},
                   {ContextKind::solo, draw}, own);
  group_targets();
}

void HpmDefence::make_companies(const ImageSet& images, const WorkLog& log) {
  const auto asked = parsed(options_.contexts);
  index_ = images.index;
  const auto clean = clean_pass(model_, images, options_.batch_size, log);
  clean_z_ = clean.features, clean_o_ = clean.logits;
  const auto& head = *model_.head;
  if (holds(asked, ContextKind::solo) || holds(asked, ContextKind::joint))
    company_ =
        std::make_shared<const Company>(head, index_, clean_z_, clean_o_, options_.company_size, options_.company_seed);
  if (holds(asked, ContextKind::solo_eot))
    draws_ = draw_companies(head, index_, clean_z_, clean_o_, options_.company_size, options_.company_seed);
}

void HpmDefence::add_target(DefenceTarget target, Context context, double lambda) {
  targets_.push_back(std::move(target));
  judged_.push_back({std::move(context), lambda});
}

void HpmDefence::group_targets() {
  const auto same = [&](size_t a, size_t b) {
    const auto &one = judged_[a].context, &other = judged_[b].context;
    return one.kind == other.kind && one.company == other.company && one.draws == other.draws;
  };
  for (size_t t = 0; t < targets_.size(); ++t) {
    const auto group = std::find_if(groups_.begin(), groups_.end(), [&](const auto& g) { return same(g.front(), t); });
    if (group == groups_.end()) groups_.push_back({t});
    else group->push_back(t);
  }
  // The region surrogate measures margins in standard deviations of the clean logits.
  torch::NoGradGuard guard;
  const double scale_o = clean_o_.std().item<double>();
  for (size_t t = 0; t < targets_.size(); ++t) {
    scales_.push_back({scale_o, 1});
    if (targets_[t].beside || targets_[t].same_as) continue;
    std::vector<Tensor> logits;
    for (int64_t begin = 0; begin < index_.size(0); begin += options_.batch_size) {
      const auto rows = [&](const Tensor& x) { return x.slice(0, begin, begin + options_.batch_size); };
      logits.push_back(context_logits(*model_.head, judged_[t].context, model_.head->embed(rows(clean_z_)),
                                      assign(rows(clean_o_), Assignment::hard), rows(index_),
                                      {.lambda = judged_[t].lambda}));
    }
    scales_.back().l = at::cat(logits).std().item<double>();
  }
}

std::vector<Tensor> HpmDefence::predict_all(const Output& pass, const Tensor& index, bool whole_batch) {
  const auto& head = *model_.head;
  const auto h = head.embed(pass.features);
  const auto assigned = assign(pass.logits, Assignment::hard);
  std::vector<Tensor> logits(targets_.size());
  for (const auto& group : groups_) {
    const auto& context = judged_[group.front()].context;
    if (context.kind == ContextKind::joint && !whole_batch) continue;
    if (group.size() == 1) {
      logits[group.front()] =
          prediction_logits(head, context, h, assigned, index, {.lambda = judged_[group.front()].lambda});
      continue;
    }
    HeadOptions options;
    for (auto t : group) options.lambdas.push_back(judged_[t].lambda);
    const auto all = prediction_logits(head, context, h, assigned, index, options).unbind(0);
    for (size_t l = 0; l < group.size(); ++l) logits[group[l]] = all[l];
  }
  return logits;
}

Tensor HpmDefence::predict(const Output& pass, const Tensor& index, size_t target) {
  const auto& [context, lambda] = judged_.at(target);
  return prediction_logits(*model_.head, context, pass.features, pass.logits, index, {.lambda = lambda});
}

HpmHead HpmDefence::head_of(size_t target) const {
  auto head = *model_.head;
  head.lambda = judged_.at(target).lambda;
  return head;
}

std::vector<Surrogate> HpmDefence::surrogates(size_t target, const SurrogateSelection& selection) const {
  const auto head = head_of(target);
  std::vector<Surrogate> all;
  for (const auto* rows : {&hpm_surrogates(), &options_.own_surrogates})
    for (const auto& row : *rows) all.push_back(bound(row, head, judged_[target].context, scales_[target]));
  const auto leading = bound(leading_hpm_surrogate(), head, judged_[target].context, scales_[target]);
  for (auto& surrogate : model_space_surrogates(leading, targets_[target].coupling == Coupling::batch))
    all.push_back(std::move(surrogate));
  all.insert(all.end(), options_.more_surrogates.begin(), options_.more_surrogates.end());
  for (auto& surrogate : peer_surrogates(options_.peers)) all.push_back(std::move(surrogate));
  all.push_back(query_surrogate());
  auto asked = selection;  // the user's own come beside those that are named
  for (const auto& row : options_.own_surrogates) asked.more.push_back(row.name);
  for (const auto& surrogate : options_.more_surrogates) asked.more.push_back(surrogate.name);
  return selected(all, asked);
}

int64_t HpmDefence::starts(const SurrogateSelection& selection) const {
  return white_box_count(surrogates(0, selection));
}

std::vector<Tensor> HpmDefence::batches() const { return company_ ? company_->batches() : std::vector<Tensor>(); }

}  // namespace hpm
