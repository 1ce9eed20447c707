// A random start of an attack: on the sphere of radius 8/255 around two grey images, reproducible from (seed, image).
#include <ATen/ATen.h>

#include <cstdio>

#include "hpm/core/norms.h"
#include "hpm/core/random.h"

int main() {
  const hpm::ThreatModel threat{.norm = hpm::Norm::linf, .eps = 8.0 / 255};
  const hpm::RandomStreams streams(/*seed=*/0);

  const at::Tensor index = at::arange(2, at::kLong);
  const at::Tensor images = at::full({2, 3, 32, 32}, 0.5);
  const at::Tensor noise = 2 * streams.uniform(index, {.name = "example start"}, {3, 32, 32}) - 1;
  const at::Tensor start = hpm::random_start(images, noise, threat);

  const at::Tensor norms = hpm::norm_of_rows(start - images, threat.norm);
  for (int64_t i = 0; i < norms.numel(); ++i)
    std::printf("image %lld: %s norm %.4f\n", static_cast<long long>(i), hpm::to_string(threat.norm).c_str(),
                norms[i].item<double>());
}
