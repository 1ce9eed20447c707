// defines: msa()
#pragma once
#include "hpm/evaluation/msa/plan.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {

/// Runs the Mixed Surrogate Attack on every target of a defence; contexts of the result come in the order of the
/// targets, and the first is the one headlined. An image that any attack broke for a target stays broken there,
/// whichever target the attack was aimed at. Each chunk of an attack is a piece of work in the log. Throws UsageError
/// for no images, an image that is given twice, and options that cannot be.
Evaluation msa(Defence& defence, const AttackedImages& on, const MsaOptions& options, const Work& work = {});

}  // namespace hpm
