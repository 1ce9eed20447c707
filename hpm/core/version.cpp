#include "hpm/core/version.h"

#include <torch/version.h>

#include "hpm_version.h"

namespace hpm {

const Build& this_build() {
  static const Build build{HPM_VERSION, HPM_COMMIT, HPM_DATE, HPM_COMPILER, HPM_FLAGS, TORCH_VERSION};
  return build;
}

}  // namespace hpm
