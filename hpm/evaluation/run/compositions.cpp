#include <algorithm>
#include <set>

#include "hpm/core/error.h"
#include "hpm/evaluation/run/evaluate_impl.h"

namespace hpm {
namespace {

struct Composition {
  int64_t size;
  bool by_class;
};

/// The sizes asked for. A defence of the user's own has them where its maker takes a size, whatever contexts are asked
/// for.
std::vector<int64_t> sizes_of(const Subject& subject, EvaluationOptions options) {
  if (!subject.own) return options.composition_sizes();
  if (!subject.own_composed) return {};
  options.contexts = {"joint"};
  return options.composition_sizes();
}

/// Each size in both orders; batches of one, and one batch of all images, have but one.
std::vector<Composition> compositions_of(const Subject& subject, const EvaluationOptions& options, int64_t n) {
  std::set<int64_t> seen;
  std::vector<Composition> all;
  for (const auto asked : sizes_of(subject, options)) {
    const auto size = std::min(asked, n);
    if (!seen.insert(size).second) continue;
    all.push_back({size, false});
    if (size > 1 && size < n) all.push_back({size, true});
  }
  return all;
}

/// A batch of one is the context alone, whose images need no batches.
std::vector<std::string> contexts_of(const Composition& composition) {
  return {composition.size == 1 ? "alone" : "joint"};
}

std::unique_ptr<Defence> composed(const Subject& subject, const ImageSet& images, const Composition& composition,
                                  const WorkLog& log) {
  if (subject.own) return subject.own_composed(images, composition.size);
  auto narrowed = subject;
  narrowed.defence.company_size = composition.size, narrowed.defence.sweep.clear();
  narrowed.defence.by_class = false;
  if (composition.by_class) narrowed.defence.company_seed = 0;  // the images themselves are in that order
  return narrowed.make(images, contexts_of(composition), log);
}

/// The defence's own gradient alone, with the attacks of the version quick.
MsaOptions own_gradient(const Defence& defence, const EvaluationOptions& options) {
  auto msa = options.msa();
  msa.version = "quick", msa.surrogates.clear(), msa.joint_surrogates.clear();
  msa.full_matrix = false, msa.collusion = {}, msa.benign = {};
  for (const auto& surrogate : defence.surrogates(0, {.quick = false}))
    if (surrogate.leads) msa.surrogates = {surrogate.name};
  return msa;
}

}  // namespace

std::vector<CompositionOutcome> run_compositions(const Subject& subject, const AttackedImages& on,
                                                 const EvaluationOptions& options, const Work& work) {
  std::vector<CompositionOutcome> all;
  for (const auto& composition : compositions_of(subject, options, on.images.size())) {
    const auto& [size, by_class] = composition;
    const Work here{work.monitor, work.log.below(fmt::format("batches of {}{}", size, by_class ? " by class" : "")),
                    work.deadline};
    auto images = on.images;
    if (by_class) images = images.subset(std::get<1>(images.y.to(at::kCPU).sort(std::optional<bool>(true), 0, false)));
    const auto defence = composed(subject, images, composition, here.log);
    const auto found = msa(*defence, {images, on.threat}, own_gradient(*defence, options), here).first();
    all.push_back({size, by_class, percent(found.clean_correct), percent(found.robust)});
  }
  return all;
}

Passes composition_passes(const Subject& subject, const ImageSet& sample, Norm norm, const EvaluationOptions& options,
                          int64_t n) {
  Passes total;
  for (const auto& composition : compositions_of(subject, options, n)) {
    const auto defence = composed(subject, sample, composition, {});
    const auto passes = msa_passes(*defence, norm, own_gradient(*defence, options));
    total.forward += passes.forward, total.backward += passes.backward;
  }
  return total;
}

}  // namespace hpm
