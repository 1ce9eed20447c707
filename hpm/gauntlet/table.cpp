#include "hpm/gauntlet/activations.h"
#include "hpm/gauntlet/batch_statistics.h"
#include "hpm/gauntlet/counter_perturbation.h"
#include "hpm/gauntlet/crossmax.h"
#include "hpm/gauntlet/custom_backward.h"
#include "hpm/gauntlet/honest.h"
#include "hpm/gauntlet/input_filters.h"
#include "hpm/gauntlet/prototypes.h"
#include "hpm/gauntlet/randomised.h"
#include "hpm/gauntlet/scores.h"
#include "hpm/gauntlet/two_models.h"

namespace hpm {

const std::vector<GauntletEntry>& gauntlet_table() {
  using namespace gauntlet;
  static const std::vector<GauntletEntry> table = {scaled_logits(),
                                                   probabilities(),
                                                   hard_labels(),
                                                   bit_depth(),
                                                   thermometer(),
                                                   block_rounding(),
                                                   resize_and_pad(),
                                                   activation_pruning(),
                                                   label_only(),
                                                   winners_take_all(),
                                                   sparse_features(),
                                                   custom_backward(),
                                                   crossmax(),
                                                   counter_perturbation(),
                                                   batch_statistics(),
                                                   adapting_means(),
                                                   surer_of_two(),
                                                   hpm_alone(),
                                                   adversarially_trained(),
                                                   least_squares(),
                                                   mean_ensemble(),
                                                   hpm_reference()};
  return table;
}

}  // namespace hpm
