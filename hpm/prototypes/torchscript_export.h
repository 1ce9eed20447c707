// defines: export_torchscript()
#pragma once
#include <string>

#include "hpm/prototypes/model.h"

namespace hpm {

/// Writes the model, normalisation and head included, as one TorchScript module with its card: images [N,C,H,W] in
/// [0,1] -> logits [N,K], of the FC layer where there is no head, otherwise of the context (reference or alone: the two
/// that do not depend on the batch). Batch norm is in evaluation mode. Its state_dict has the model's keys under
/// "network." and the head's tensors under "hpm.".
///
/// The module's logits are compared with the model's for batches of 1 and 3 before anything is written: Error where
/// they differ. Throws UsageError for another context.
void export_torchscript(const HpmModel& model, ContextKind context, const std::string& path, const std::string& source);

}  // namespace hpm
