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

/// The sizes asked for. An own defence is attacked in other batch sizes only if `composed` is set.
std::vector<int64_t> sizes_of(const Subject& subject, EvaluationOptions options) {
  if (!subject.maker) return options.composition_sizes();
  if (!subject.composed_maker) return {};
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
  if (subject.maker) return subject.composed_maker(images, subject.stand_ins(), composition.size);
  auto narrowed = subject;
  narrowed.defence.company_size = composition.size, narrowed.defence.sweep.clear();
  narrowed.defence.by_class = false;
  if (composition.by_class) narrowed.defence.company_seed = 0;  // the images themselves are in that order
  return narrowed.make(images, contexts_of(composition), log);
}

/// The leading surrogate; where it cannot attack (a black box), the first one that can.
std::vector<std::string> first_surrogate(const Defence& defence) {
  const auto all = defence.surrogates(0, {.quick = false});
  const auto runs = [](const auto& surrogate) { return surrogate.unavailable.empty(); };
  auto found = std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.leads && runs(s); });
  if (found == all.end()) found = std::find_if(all.begin(), all.end(), runs);
  return found == all.end() ? std::vector<std::string>() : std::vector<std::string>{found->name};
}

/// That surrogate alone, with the attacks of the version quick.
MsaOptions leading_alone(const Defence& defence, const EvaluationOptions& options) {
  auto msa = options.for_msa();
  msa.version = "quick", msa.surrogates = first_surrogate(defence), msa.joint_surrogates.clear();
  msa.full_matrix = false, msa.collusion = {}, msa.benign = {};
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
    const auto found = msa(*defence, {images, on.threat}, leading_alone(*defence, options), here).first();
    all.push_back({size, by_class, percent(found.clean_correct), percent(found.robust)});
  }
  return all;
}

Passes composition_passes(const Subject& subject, const ImageSet& sample, Norm norm, const EvaluationOptions& options,
                          int64_t n) {
  Passes total;
  for (const auto& composition : compositions_of(subject, options, n)) {
    const auto defence = composed(subject, sample, composition, {});
    total += msa_passes(*defence, norm, leading_alone(*defence, options));
  }
  return total;
}

}  // namespace hpm
