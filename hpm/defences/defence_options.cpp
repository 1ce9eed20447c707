#include "hpm/defences/defence_options.h"

#include <algorithm>

#include "hpm/defences/function_defence.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/surrogates/smoothed.h"

namespace hpm {
namespace {

/// A model whose answer depends on its batch, or is random.
std::unique_ptr<Defence> function_defence(const Classifier& classifier, const ImageSet& images,
                                          const DefenceOptions& options) {
  PredictionFunction function{.logits = [classifier](const Tensor& x) { return classifier.logits(x); },
                              .classes = classifier.classes(),
                              .coupling = options.coupling,
                              .random = options.random,
                              .differentiable = options.differentiable};
  FunctionDefenceOptions settings{.surrogates = stand_ins(classifier, options)};
  for (const auto& surrogate : options.more_surrogates) settings.always.push_back(surrogate.name);
  if (options.contexts != DefenceOptions{}.contexts) settings.contexts = options.contexts;
  settings.company_size = options.company_size, settings.company_seed = options.company_seed;
  settings.by_class = options.by_class, settings.seed = options.seed;
  return std::make_unique<FunctionDefence>(std::move(function), images, std::move(settings));
}

}  // namespace

std::vector<Surrogate> stand_ins(const Classifier& classifier, const DefenceOptions& options) {
  auto all = options.more_surrogates;
  if (options.differentiable) {
    all.push_back(smoothed_surrogate([classifier](const Tensor& x) { return classifier.logits(x); },
                                     {.sigma = options.smoothing, .seed = options.seed}));
    // A random model is often not smooth either: padding and cropping move the image by whole pixels.
    all.back().only_named = !options.random || options.coupling == Coupling::batch;
  }
  for (auto& surrogate : peer_surrogates(options.peers)) all.push_back(std::move(surrogate));
  all.push_back(query_surrogate());
  all.push_back(decision_surrogate());
  return all;
}

std::unique_ptr<Defence> make_defence(const HpmModel& model, const ImageSet& images, const DefenceOptions& options,
                                      const WorkLog& log) {
  if (model.head) return std::make_unique<HpmDefence>(model, images, options, log);
  if (options.coupling == Coupling::batch || (options.random && options.by_votes))
    return function_defence(model.classifier, images, options);
  return std::make_unique<PlainDefence>(model.classifier, options);
}

}  // namespace hpm
