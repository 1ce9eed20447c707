// defines: begin_run(), join_run(), part()
#pragma once
#include "hpm/distributed/crew.h"
#include "hpm/evaluation/results/fingerprint.h"
#include "hpm/evaluation/results/run_directory.h"
#include "hpm/evaluation/run/options.h"

namespace hpm {

/// The first worker: how many workers the pieces are cut for, which is how many the run was begun with. Tells the
/// others.
int64_t begin_run(const Fingerprint& settings, const RunDirectory& run, bool resume, Crew* crew);

/// Any other worker: the same. Throws Error where it would not do the same work as the first one.
int64_t join_run(const Fingerprint& settings, Crew& crew);

/// The end. The first worker holds the store, and stays until the others have read the last piece.
void part(Crew& crew, Monitor& monitor);

}  // namespace hpm
