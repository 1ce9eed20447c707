// The inner loops of the attacks and the head, each beside the tensor operations that it replaces. One row is one CIFAR
// image. Build with -D HPM_BUILD_BENCHMARKS=ON; run build/<preset>/benchmarks/hpm_kernels --benchmark_repetitions=5.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <torch/types.h>

#include "hpm/attacks/cpu_kernels_impl.h"
#include "hpm/attacks/hyperplane.h"
#include "hpm/core/device.h"
#include "hpm/models/registry.h"
#include "hpm/prototypes/context.h"

namespace hpm {
namespace {

constexpr int64_t kRows = 250, kDims = 3072;

struct Rows {
  Tensor x = at::rand({kRows, kDims}), x0 = at::rand({kRows, kDims}), w = at::randn({kRows, kDims}),
         gradient = at::randn({kRows, kDims});
  Tensor b = (w * (x + .1 * (x0 - x))).sum(1), step = at::full({kRows, 1}, .01);
};

void per_row_rate(benchmark::State& state) { state.SetItemsProcessed(state.iterations() * kRows); }

Norm norm_of(const benchmark::State& state) { return static_cast<Norm>(state.range(0)); }

void BM_FabStep(benchmark::State& state) {
  const Rows r;
  for (auto _ : state)
    benchmark::DoNotOptimize(boundary_step(r.x, r.x0, r.w, r.b, norm_of(state), {1.05, .1, state.range(1) == 1}));
  per_row_rate(state);
}
BENCHMARK(BM_FabStep)->ArgNames({"norm", "sorted"})->ArgsProduct({{0, 1, 2}, {0, 1}})->Unit(benchmark::kMicrosecond);

void BM_ApgdStepKernel(benchmark::State& state) {
  const Rows r;
  for (auto _ : state) benchmark::DoNotOptimize(linf_momentum_step(r.x0, r.x, r.x, r.gradient, r.step, .75, 8. / 255));
  per_row_rate(state);
}
BENCHMARK(BM_ApgdStepKernel)->Unit(benchmark::kMicrosecond);

void BM_ApgdStepOperations(benchmark::State& state) {
  const Rows r;
  const ThreatModel threat{Norm::linf, 8. / 255};
  for (auto _ : state) {
    const auto z = project(r.x + r.step * r.gradient.sign(), r.x0, threat);
    benchmark::DoNotOptimize(project(r.x + (z - r.x) * .75 + (r.x - r.x) * .25, r.x0, threat));
  }
  per_row_rate(state);
}
BENCHMARK(BM_ApgdStepOperations)->Unit(benchmark::kMicrosecond);

void BM_L1BallInBoxKernel(benchmark::State& state) {
  const Rows r;
  for (auto _ : state) benchmark::DoNotOptimize(l1_ball_in_box(r.x, r.gradient, 12));
  per_row_rate(state);
}
BENCHMARK(BM_L1BallInBoxKernel)->Unit(benchmark::kMicrosecond);

void BM_L1BallInBoxSorted(benchmark::State& state) {
  const Rows r;
  for (auto _ : state) benchmark::DoNotOptimize(project_l1_box(r.x, r.gradient, 12));
  per_row_rate(state);
}
BENCHMARK(BM_L1BallInBoxSorted)->Unit(benchmark::kMicrosecond);

/// The head, at ImageNet's size (K = 1000 classes, D = 2048 features) and at a small network's for CIFAR-10, in batches
/// of 64; without a metric, or with a learned one of K - 1 rows. The label has the memory of what it keeps.
void BM_Head(benchmark::State& state) {
  const int64_t n = 64, k = state.range(2), d = k == 10 ? 100 : 2048;
  HpmHead head{.means = at::randn({k, d}),
               .calibration_sums = at::randn({k, d}),
               .calibration_counts = at::ones({k}),
               .log_tau = at::zeros({})};
  if (state.range(1)) head.kind = MetricKind::learned, head.metric = at::randn({k - 1, d}) / 45;
  const auto z = at::randn({n, d}), o = at::randn({n, k});
  const auto index = at::arange(n);
  Context context{static_cast<ContextKind>(state.range(0))};
  if (context.kind == ContextKind::solo) context.company = std::make_shared<Company>(head, index, z, o, n, 0);
  torch::NoGradGuard guard;
  for (auto _ : state) benchmark::DoNotOptimize(prediction_logits(head, context, z, o, index));
  state.SetItemsProcessed(state.iterations() * n);
  double bytes = 0;
  for (const auto& [name, tensor] : head.state()) bytes += static_cast<double>(tensor.nbytes());
  if (context.company) {
    const auto& rows = context.company->rows(index);
    for (const auto& tensor : {rows.sums, rows.own_features, rows.columns, rows.counts, rows.uu, rows.us})
      bytes += static_cast<double>(tensor.nbytes());
  }
  state.SetLabel(fmt::format("{}, {:.0f} MB", to_string(context.kind), bytes / 1e6));
}
BENCHMARK(BM_Head)
    ->ArgNames({"context", "metric", "K"})
    ->ArgsProduct({{static_cast<int>(ContextKind::reference), static_cast<int>(ContextKind::alone),
                    static_cast<int>(ContextKind::solo), static_cast<int>(ContextKind::joint)},
                   {0, 1},
                   {10, 1000}})
    ->Unit(benchmark::kMicrosecond);

/// What the head is compared with: ResNet-50 on 224x224, its forward pass.
void BM_ResNet50Forward(benchmark::State& state) {
  const auto model = make_classifier("torchvision_resnet50", 1000, {3, 224, 224}, {}, 1);
  const auto x = at::rand({8, 3, 224, 224});
  torch::NoGradGuard guard;
  for (auto _ : state) benchmark::DoNotOptimize(model.run(x));
  state.SetItemsProcessed(state.iterations() * 8);
}
BENCHMARK(BM_ResNet50Forward)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hpm

int main(int argc, char** argv) {
  hpm::configure_threads(1);
  at::manual_seed(0);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
