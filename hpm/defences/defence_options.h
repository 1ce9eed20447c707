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
  bool by_votes = false;  ///< a random model is judged by the votes of fixed draws (FunctionDefence), as msa does
  Coupling coupling = Coupling::rows;  ///< batch: an answer depends on the batch (FunctionDefence)
  bool by_class = false;               ///< the batches of such a model are made of images sorted by class
  uint64_t seed = 0;                   ///< of the draws that judge a random model, and of noise
  double smoothing = .01;              ///< standard deviation of the surrogate smoothed, input range
  bool differentiable = true;          ///< false: a black box; its own gradient is no surrogate

  // Of a model with an HPM head:
  std::vector<std::string> contexts = {"reference"};  ///< the targets, in the order reported
  std::vector<double> sweep = {};                     ///< further mixing weights that judge in every context
  int64_t company_size = 128;                         ///< images in a batch of solo and joint
  uint64_t company_seed = 0;                          ///< order of the images in those batches; 0: as they come
  int64_t batch_size = 256;                           ///< images a pass, when companies are made
  std::vector<HpmSurrogate> own_surrogates = {};      ///< further rows of HPM's table
};

/// The surrogates of a model without an HPM head beside its own gradient: the user's, smoothed, transfer, queries,
/// decisions.
std::vector<Surrogate> stand_ins(const Classifier& classifier, const DefenceOptions& options);

/// An HPM model in its contexts, a plain model, or a model that is random or depends on its batch. `images`: those to
/// be evaluated; the clean pass that companies are made from is kept in `log`.
std::unique_ptr<Defence> make_defence(const HpmModel& model, const ImageSet& images, const DefenceOptions& options,
                                      const WorkLog& log = {});

}  // namespace hpm
