#include "hpm/models/card.h"

#include <filesystem>

#include "hpm/core/text.h"
#include "hpm/io/file.h"

namespace hpm {

void fields(Fields& f, ModelCard& c) {
  f.section("model");
  f.add("arch", c.arch, "architecture: a name, a LAYERS string, or auto");
  f.add("classes", c.classes, "number of classes (0: as the last layer has)", {.min = 0, .max = 1000000});
  f.add("mean", c.mean, "input mean per channel (none: identity)", {.unit = "input range"});
  f.add("std", c.std, "input standard deviation per channel", {.unit = "input range"});
  f.add("input-shape", c.input, "input shape C,H,W (none: as the data has)", {.min = 1, .max = 1000000});
  f.add("source", c.source, "where the weights come from");
  f.add("activation", c.activation, "where weights cannot tell: DeepMind's variants (none: silu)",
        {.choices = {"", "relu", "silu"}});
  f.add("key", c.key, "which weights of a file that holds several: a key or prefix, outer.inner where nested");
  f.add("sha256", c.sha256, "SHA-256 the checkpoint must have (none: not checked)");
}

ModelCard completed(ModelCard card, const ModelCard& other) {
  if (card.arch == "auto") card.arch = other.arch;
  if (card.classes == 0) card.classes = other.classes;
  if (card.mean.empty() && card.std.empty()) card.mean = other.mean, card.std = other.std;
  if (card.input.empty()) card.input = other.input;
  if (card.source.empty()) card.source = other.source;
  if (card.sha256.empty()) card.sha256 = other.sha256;
  if (card.activation.empty()) card.activation = other.activation;
  if (card.key.empty()) card.key = other.key;
  return card;
}

std::string card_path(const std::string& checkpoint) { return checkpoint + ".toml"; }

std::optional<ModelCard> read_card(const std::string& checkpoint) {
  if (!std::filesystem::exists(card_path(checkpoint))) return std::nullopt;
  return read_card_file(card_path(checkpoint));
}

ModelCard read_card_file(const std::string& path) {
  ModelCard card;
  Fields known;
  fields(known, card);
  known.read_toml(path);
  return card;
}

ModelCard card_of_metadata(const std::map<std::string, std::string>& metadata, const std::string& path) {
  ModelCard card;
  Fields known;
  fields(known, card);
  for (const auto& [key, text] : metadata)
    if (key.starts_with("model.")) known.set(key, text, Origin::file, path + ": metadata " + printable(key));
  return card;
}

void write_card(const std::string& checkpoint, const ModelCard& card) {
  if (!becomes_a_file(checkpoint)) return;
  auto copy = card;
  Fields known;
  fields(known, copy);
  write_file_atomically(card_path(checkpoint), known.toml());
}

}  // namespace hpm
