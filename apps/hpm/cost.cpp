#include "cost.h"

#include "hpm/core/json_impl.h"
#include "hpm/models/operations.h"

namespace hpm::app {

std::string Cost::text() const {
  const auto shared = workers > 1 ? fmt::format(", shared by {} workers", workers) : "";
  const auto each = [&](double all) { return std::ceil(all / static_cast<double>(workers)); };
  const auto typical = usual ? fmt::format("usually some {} forward passes for an image that survives ({:.0f} s); ",
                                           usual->forward, each(usual_seconds))
                             : "";
  return typical +
         fmt::format(
             "at most {} forward and {} backward passes an image, {} images, {} radii: some {:.0f} s of passes on this "
             "machine{} if every image survived",
             passes.forward, passes.backward, images, radii, each(seconds), shared);
}

void Cost::print(const CommandLine& line) const {
  if (!line.json) return fmt::print("{}\n", text());
  nlohmann::ordered_json json{{"forward_passes_per_image", passes.forward},
                              {"backward_passes_per_image", passes.backward},
                              {"images", images},
                              {"radii", radii},
                              {"seconds_at_most", std::ceil(seconds / static_cast<double>(workers))}};
  if (workers > 1) json["workers"] = workers;
  if (usual)
    json["usual_forward_passes_per_image"] = usual->forward,
    json["usual_seconds"] = std::ceil(usual_seconds / static_cast<double>(workers));
  fmt::print("{}\n", json_text(json));
}

Cost cost_of(const Classifier& classifier, const Images& sample, const Passes& passes, int64_t images, int64_t radii,
             const std::optional<Passes>& usual) {
  const SearchOperations faster;
  ClassifierModel timed(classifier);
  const Loss loss{LossKind::ce, sample.y, {}};
  const auto per_image = [&](const Loss* with) {
    std::vector<double> seconds;
    for (int i = 0; i < 6; ++i) {
      const auto start = std::chrono::steady_clock::now();
      timed.ask({sample.x, sample.index}, with);
      if (i > 0) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::nth_element(seconds.begin(), seconds.begin() + 2, seconds.end());
    return seconds[2] / static_cast<double>(sample.size());
  };
  const double forward = per_image(nullptr), both = passes.backward > 0 ? per_image(&loss) : 0;
  const auto seconds = [&](const Passes& p) {
    return static_cast<double>(images * radii) *
           (both * static_cast<double>(p.backward) +
            forward * static_cast<double>(std::max<int64_t>(p.forward - p.backward, 0)));
  };
  return {passes, images, radii, seconds(passes), usual, usual ? seconds(*usual) : 0};
}

}  // namespace hpm::app
