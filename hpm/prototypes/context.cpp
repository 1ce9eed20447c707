#include "hpm/prototypes/context.h"

#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/core/stamp_impl.h"
#include "hpm/core/transfer.h"

namespace hpm {
namespace {

Tensor company_logits(const HpmHead& head, const Company& company, const Tensor& h, const Assigned& assigned,
                      const Tensor& index, const HeadOptions& options) {
  const auto rows = company.rows(index);
  return row_logits(head, h, assigned, &rows, options);
}

/// [draws,N,K], or [draws,L,N,K] for several lambdas
Tensor draw_logits(const HpmHead& head, const Context& context, const Tensor& h, const Assigned& assigned,
                   const Tensor& index, const HeadOptions& options) {
  TORCH_INTERNAL_ASSERT(!context.draws.empty(), "the context solo-eot needs companies to draw from");
  std::vector<Tensor> logits;
  for (const auto& company : context.draws)
    logits.push_back(company_logits(head, *company, h, assigned, index, options));
  return at::stack(logits);
}

}  // namespace

Company::Company(const HpmHead& head, const Tensor& index, const Tensor& z, const Tensor& o, int64_t size,
                 uint64_t seed)
    : size_(size) {
  torch::NoGradGuard guard;
  require(size >= 1, "Company: needs batches of at least 1 image, but got {}", size);
  const int64_t n = index.size(0);
  TORCH_INTERNAL_ASSERT(z.size(0) == n && o.size(0) == n, "Company: one row of z and o an image");
  const auto order = seed == 0 ? at::arange(n) : RandomStreams(seed).permutation(n, {"company"});
  const auto h = head.embed(z);
  const auto batch = at::empty({n}, at::kLong);
  const auto hard = hard_assignment(o);
  std::vector<Tensor> sums, counts;
  for (int64_t begin = 0; begin < n; begin += size) {
    const auto rows = order.slice(0, begin, std::min(begin + size, n));
    batches_.push_back(index.index_select(0, rows));
    batch.index_fill_(0, rows, static_cast<int64_t>(sums.size()));
    const auto here = uploaded(rows, z.device());
    const auto statistics = class_statistics(hard.index_select(0, here), h.index_select(0, here));
    sums.push_back(statistics.sums);
    counts.push_back(statistics.counts);
  }
  neighbours_ = make_neighbours(head, at::stack(sums), at::stack(counts), batch, o.argmax(1), h);
  position_ = at::full({n ? index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
  position_.index_copy_(0, index, at::arange(n));
}

struct Company::Asked {
  Stamp index;
  RowCompany rows;
};

RowCompany Company::rows(const Tensor& index) const {
  if (last_ && last_->index.holds(index)) return last_->rows;
  if (index.numel() > 0 && index.max().item<int64_t>() >= position_.size(0))
    fail("Company: image {} is not in the plan", index.max().item<int64_t>());
  const auto found = position_.index_select(0, index);
  if (found.lt(0).any().item<bool>()) fail("Company: an image of the query is not in the plan");
  const c10::InferenceMode ordinary(false);  // an inference tensor could not meet a gradient later
  torch::NoGradGuard guard;
  const auto rows = neighbours_.of(found);
  last_ = std::make_shared<Asked>(Asked{Stamp(index), rows});
  return rows;
}

std::vector<std::shared_ptr<const Company>> draw_companies(const HpmHead& head, const Tensor& index, const Tensor& z,
                                                           const Tensor& o, int64_t size, uint64_t seed,
                                                           int64_t count) {
  std::vector<std::shared_ptr<const Company>> draws;
  for (int64_t draw = 1; draw <= count; ++draw)
    draws.push_back(std::make_shared<Company>(head, index, z, o, size, seed + static_cast<uint64_t>(draw)));
  return draws;
}

Tensor context_logits(const HpmHead& head, const Context& context, const Tensor& h, const Assigned& assigned,
                      const Tensor& index, const HeadOptions& options) {
  switch (context.kind) {
    case ContextKind::reference: return reference_logits(head, h, options);
    case ContextKind::joint: return joint_logits(head, h, assigned, options);
    case ContextKind::alone: return row_logits(head, h, assigned, nullptr, options);
    case ContextKind::solo_eot: return draw_logits(head, context, h, assigned, index, options).mean(0);
    default:
      TORCH_INTERNAL_ASSERT(context.company, "the context solo needs a company");
      return company_logits(head, *context.company, h, assigned, index, options);
  }
}

Tensor prediction_logits(const HpmHead& head, const Context& context, const Tensor& z, const Tensor& o,
                         const Tensor& index, const HeadOptions& options) {
  return prediction_logits(head, context, head.embed(z), assign(o, Assignment::hard), index, options);
}

Tensor prediction_logits(const HpmHead& head, const Context& context, const Tensor& h, const Assigned& assigned,
                         const Tensor& index, const HeadOptions& options) {
  if (context.kind != ContextKind::solo_eot) return context_logits(head, context, h, assigned, index, options);
  const auto logits = draw_logits(head, context, h, assigned, index, options);
  return at::one_hot(logits.argmax(-1), logits.size(-1)).sum(0) + .5 * logits.mean(0).softmax(-1);
}

}  // namespace hpm
