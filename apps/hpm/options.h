// defines: ModelOptions, DataOptions, ThreatOptions, the pieces that several verbs share
#pragma once
#include "command_line.h"
#include "hpm/attacks/attack_model.h"
#include "hpm/core/device.h"
#include "hpm/core/norms.h"
#include "hpm/data/dataset.h"
#include "hpm/evaluation/results/run_directory.h"
#include "hpm/prototypes/model.h"

namespace hpm::app {

struct ModelOptions {
  std::string model;
  ModelCard card;
  bool allow_torchscript = false;
};
void fields(Fields& f, ModelOptions& o);

/// Loads the model with its notes on stderr. A TorchScript file needs --allow-torchscript, or sha256 in its card.
/// `purpose`: what its normalisation must be known for, the end of a sentence; where it is empty, a model without one
/// is warned of and sees the images as they are.
HpmModel load(const ModelOptions& options, const std::string& path, const std::vector<int64_t>& data_shape,
              Monitor& monitor, const std::string& purpose = {});

struct DataOptions {
  std::string data = "cifar10", root, split = "test";
  int64_t count = 0, first = 0;  ///< count 0: all from `first` on
  std::string indices;           ///< a file of image numbers
  ImageOptions images;           ///< of image folders
};
void fields(Fields& f, DataOptions& o, const std::string& split);
/// Puts on stderr what the loading of a data set noted, and what its reading will note.
void say_notes(Dataset& data, Monitor& monitor);
/// Loads the data set, with its notes and a warning for each option that has no effect on it.
Dataset load(const DataOptions& options, CommandLine& line);

/// The numbers of the images asked for, int64. Throws UsageError for a range beyond the data set.
Tensor image_numbers(const DataOptions& options, const Dataset& data);
Images images_of(const Dataset& data, const Tensor& index);
void require_classes(const HpmModel& model, const Dataset& data);

struct ThreatOptions {
  std::string norm = "Linf", eps = "8/255";
};
void fields(Fields& f, ThreatOptions& o, bool list);
/// One threat model for each radius of the list.
std::vector<ThreatModel> threats(const ThreatOptions& options);

/// --out or the default, with the configuration and environment written. Where a launcher has started its job again,
/// and the folder holds a run that the job may have begun, --resume is implied and said.
/// What the line's monitor is told from now on stands in the folder's progress.json too.
RunDirectory open_run(CommandLine& line, const std::string& verb, const ComputeOptions& compute, uint64_t seed);

/// The folder of the run that this process has opened or joined; empty before.
const std::string& run_in_progress();
void set_run_in_progress(const std::string& folder);

/// Text columns, the first left-aligned, the others right.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace hpm::app
