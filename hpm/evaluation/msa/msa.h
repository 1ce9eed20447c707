// defines: msa()
#pragma once
#include "hpm/evaluation/evaluation.h"
#include "hpm/evaluation/msa/plan.h"
#include "hpm/io/journal.h"

namespace hpm {

/// What a protocol attacks.
struct AttackedImages {
  const ImageSet& images;
  ThreatModel threat;
};

/// Where a protocol reports its progress and writes down its finished pieces of work.
struct Work {
  Monitor& monitor = silent();
  WorkLog log = {};
};

/// Runs the Mixed Surrogate Attack on every target of a defence; contexts of the result come in the order of the
/// targets, and the first is the one headlined. An image that any attack broke for a target stays broken there,
/// whichever target the attack was aimed at. Each chunk of an attack is a piece of work in the log. Throws UsageError
/// for no images, an image that is given twice, and options that cannot be.
Evaluation msa(Defence& defence, const AttackedImages& on, const MsaOptions& options, const Work& work = {});

}  // namespace hpm
