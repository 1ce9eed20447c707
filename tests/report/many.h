// Many made-up runs, as evaluations of as many models by one protocol would leave them.
#pragma once
#include <string>
#include <vector>

#include "hpm/evaluation/results/run_results.h"
#include "report/sample.h"

namespace hpm::test {

/// Model `i` on the first n images of CIFAR-10 under AutoAttack; every figure follows from its flags.
RunResults many_results(size_t i, int64_t n);

/// `count` of them, with configuration and environment, without galleries.
std::vector<RunFiles> many_runs(size_t count, int64_t n);

/// Writes them as run directories into `folder`; gives their paths.
std::vector<std::string> write_runs(const std::vector<RunFiles>& runs, const std::string& folder);

}  // namespace hpm::test
