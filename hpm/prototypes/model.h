// defines: HpmModel, load_model(), save_model(), folded()
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hpm/models/checkpoint.h"
#include "hpm/prototypes/context.h"

namespace hpm {

/// A classifier, with an HPM head where one is attached.
struct HpmModel {
  Classifier classifier;
  std::optional<HpmHead> head;

  /// One pass of the backbone. Throws Error that names the layer when features are NaN or infinite; on a GPU, where a
  /// check has to wait for the device, up to 64 passes later.
  Output run(const Tensor& x) const;
  /// The check of the passes that none has followed yet. Throws Error as run() does.
  void look_at_features() const;
  HpmModel clone() const;
  void to(at::Device device, at::ScalarType type = at::kFloat);
  /// "fc", "l2" (lambda = 1) or "hpm".
  std::string head_kind() const;
  std::vector<std::pair<std::string, Tensor>> state() const;  ///< the classifier's, then hpm.*

  /// Passes whose features were not checked yet.
  struct Unchecked {
    Tensor sum;  // of their features
    int64_t passes = 0;
  };
  std::shared_ptr<Unchecked> unchecked = std::make_shared<Unchecked>();
};

struct LoadedModel {
  HpmModel model;
  CheckpointFile file;
  std::vector<std::string> notes, warnings;
};

/// load_classifier, with the HPM state where the file holds one.
LoadedModel load_model(const std::string& path, const ModelCard& given = {},
                       const std::vector<int64_t>& data_shape = {}, bool allow_torchscript = false);

/// A container for weights.
enum class WeightsFormat { safetensors, state_dict };

/// Writes weights, HPM state and description to a file of weights, with its card beside it; for a model from
/// TorchScript the module too, as <stem>.torchscript.pt. `notes`: further metadata, which a state_dict has no place
/// for.
void save_model(const HpmModel& model, const std::string& path, const std::string& source,
                const std::map<std::string, std::string>& notes = {},
                WeightsFormat format = WeightsFormat::safetensors);

/// The reference context as an ordinary classifier: W' and b' in the FC layer of a copy.
Classifier folded(const HpmModel& model);

}  // namespace hpm
