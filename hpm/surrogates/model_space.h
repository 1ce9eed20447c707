// defines: model_space_surrogates(), is_model_space_name()
#pragma once
#include <vector>

#include "hpm/surrogates/surrogate.h"

namespace hpm {

/// The greedy model space attack (GMSA; Chen et al., "Towards Evaluating the Robustness of Neural Networks Learned by
/// Transduction", ICLR 2022, arXiv:2110.14735). A defence that adapts to its batch runs from an attack: what breaks the
/// model of this moment no longer breaks the next one. GMSA keeps all models that the defence adapted to so far, and
/// attacks them together: `gmsa-avg` climbs their mean loss, `gmsa-min` the smallest one.
///
/// Here the model of round i is the answer of an image among the batch mates of round i. An image that changes alone
/// changes what its defence adapts to hardly at all, so this is the adapted model, held fixed. Rows are moved in
/// kModelSpaceGroups groups, each among the fixed rows of all other groups: exact up to as many images a batch, and for
/// larger batches seven of eight mates are those of round i.
constexpr int64_t kModelSpaceGroups = 8;

/// Both forms, from the defence's own gradient `own`, whose logits are made from the whole batch's pass (features and
/// logits of each row, independent of the other rows). Where `whole_batch` is false they are unavailable: a target of
/// independent rows adapts to nothing.
std::vector<Surrogate> model_space_surrogates(const Surrogate& own, bool whole_batch);
/// Whether one of them is called so.
bool is_model_space_name(const std::string& name);

}  // namespace hpm
