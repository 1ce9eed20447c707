// defines: ModelCard, completed(), read_card(), read_card_file(), card_of_metadata(), write_card(), card_path()
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hpm/core/fields.h"

namespace hpm {

/// What weights alone do not tell. Written beside a checkpoint as FILE.toml, and given on the command line.
struct ModelCard {
  std::string arch = "auto";      ///< a name of the registry, a LAYERS string, or auto: recognised from keys and shapes
  int64_t classes = 0;            ///< 0: as many as the last layer has outputs
  std::vector<double> mean, std;  ///< of the input, per channel; empty: identity
  std::vector<double> input;      ///< C,H,W; empty: as the data set has, or assumed from the first layer
  std::string source;             ///< where the weights come from; for people
  std::string sha256;             ///< of the checkpoint; empty: not checked
  std::string activation;         ///< relu or silu, where keys cannot tell; empty: as the architecture has it
  std::string key;  ///< which weights of a file that holds several: "state_dict_ema", "outer.inner"; empty: the usual
};
void fields(Fields& f, ModelCard& c);

/// The card with what it leaves open taken from `other`. Mean and std come from one of the two together.
ModelCard completed(ModelCard card, const ModelCard& other);

/// FILE.toml.
std::string card_path(const std::string& checkpoint);
/// The card beside a checkpoint, if there is one.
std::optional<ModelCard> read_card(const std::string& checkpoint);
/// Reads a card. Unknown keys and impossible values are errors with file and line.
ModelCard read_card_file(const std::string& path);
/// What the metadata of a checkpoint say under "model.arch" and so on; other keys are left alone. The same errors, with
/// the checkpoint's `path`.
ModelCard card_of_metadata(const std::map<std::string, std::string>& metadata, const std::string& path);
/// None is written beside a device or a FIFO.
void write_card(const std::string& checkpoint, const ModelCard& card);

}  // namespace hpm
