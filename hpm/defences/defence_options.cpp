#include "hpm/defences/defence_options.h"

#include "hpm/defences/hpm_defence.h"
#include "hpm/defences/plain_defence.h"

namespace hpm {

std::unique_ptr<Defence> make_defence(const HpmModel& model, const ImageSet& images, const DefenceOptions& options,
                                      const WorkLog& log) {
  if (model.head) return std::make_unique<HpmDefence>(model, images, options, log);
  return std::make_unique<PlainDefence>(model.classifier, options);
}

}  // namespace hpm
