// defines: TorchScriptOptions, load_torchscript(), save_torchscript(), is_torchscript(), training_mode_note(),
// torchscript_program(), require_features()
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hpm/models/classifier.h"

namespace hpm {

/// A TorchScript archive is a program, and loading runs it. So the caller must say that this file is trusted.
struct TorchScriptOptions {
  bool allow = false;                              ///< load whatever the file holds
  std::string sha256 = {};                         ///< or: load only a file with this digest (64 hexadecimal digits)
  std::vector<int64_t> input_shape = {3, 32, 32};  ///< {C,H,W}
  Normalisation normalisation = {};                ///< applied before the module; often the module has its own
};

/// A module saved by torch.jit.save. Its parameters have no gradients. It stays in evaluation mode whatever is asked of
/// it later: its batch norm keeps the running statistics. Its forward maps images [N,C,H,W] to logits [N,K], or to a
/// pair (features [N,D], logits [N,K]), as scripts/export_torchscript.py writes it.
///
/// If a linear layer of the module maps the features to the logits, the classifier has it as its head: HPM can be
/// attached, and the parameters can be trained. The layer is found by trying those of shape [K,D] on two images.
/// Without such a layer the classifier is a black box: attacks only.
///
/// Turns LibTorch's profiling executor off for the process, because it specialises code during its first calls, which
/// changes last bits. Throws UsageError unless the file is allowed, and Error for a file with another digest or a
/// module of another form.
Classifier load_torchscript(const std::string& path, const TorchScriptOptions& options);

/// Writes the module of such a classifier, with the weights it has now, and its card with the SHA-256.
void save_torchscript(const Classifier& classifier, const std::string& path, const std::string& source);

bool is_torchscript(const Classifier& classifier);

/// What a reader of results must know of a module that was saved in training mode, where code of it asks for that mode
/// (batch norm, dropout): it is evaluated in evaluation mode. "" for every other classifier.
std::string training_mode_note(const Classifier& classifier);

/// The TorchScript file whose weights `checkpoint` holds: for the architecture "torchscript:NAME" the file NAME beside
/// it, for others "". Throws UsageError for a NAME that leads elsewhere.
std::string torchscript_program(const std::string& architecture, const std::string& checkpoint);

/// Throws UsageError for a black box, with the command that exports a module with its features. `caller` is who needs
/// them.
void require_features(const Classifier& classifier, std::string_view caller);

}  // namespace hpm
