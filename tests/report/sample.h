// A made-up but consistent set of runs: what evaluation would write for a base model, its control, l2 and HPM.
#pragma once
#include <string>
#include <vector>

#include "hpm/report/report_impl.h"

namespace hpm::test {

/// A run of role "base", "control", "l2" or "hpm" on the same `n` images; every figure follows from its flags. HPM's
/// images fall `hpm_shift` points (in percent of the images) less often than the control's.
RunFiles sample_run(const std::string& role, int64_t n = 500, double hpm_shift = 0);

/// base, control, l2 and HPM.
std::vector<RunFiles> sample_runs(int64_t n = 500, double hpm_shift = 0);

/// A run of hpm analyze: three heads on 100 images; every figure made up.
RunFiles sample_study();

/// Writes a run as a run directory, gallery.safetensors included.
void write_sample(const RunFiles& run, const std::string& directory);

}  // namespace hpm::test
