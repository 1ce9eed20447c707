// defines: DefenceOptions, make_defence()
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "hpm/attacks/images.h"
#include "hpm/defences/defence.h"
#include "hpm/io/journal.h"
#include "hpm/prototypes/model.h"
#include "hpm/surrogates/hpm_surrogates.h"

namespace hpm {

/// How a model is seen as a defence.
struct DefenceOptions {
  Peers peers = {};                             ///< the surrogates base and control
  std::vector<Surrogate> more_surrogates = {};  ///< the user's own, beside the built-in ones
  bool random = false;                          ///< the model draws random numbers
  bool differentiable = true;                   ///< false: a black box; its own gradient is no surrogate

  // Of a model with an HPM head:
  std::vector<std::string> contexts = {"reference"};  ///< the targets, in the order reported
  std::vector<double> sweep = {};                     ///< further mixing weights that judge in every context
  int64_t company_size = 128;                         ///< images in a batch of solo and joint
  uint64_t company_seed = 0;                          ///< order of the images in those batches; 0: as they come
  int64_t batch_size = 256;                           ///< images a pass, when companies are made
  std::vector<HpmSurrogate> own_surrogates = {};      ///< further rows of HPM's table
};

/// An HPM model in its contexts, or a plain model. `images`: those to be evaluated; the clean pass that companies are
/// made from is kept in `log`.
std::unique_ptr<Defence> make_defence(const HpmModel& model, const ImageSet& images, const DefenceOptions& options,
                                      const WorkLog& log = {});

}  // namespace hpm
