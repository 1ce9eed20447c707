// defines: Classifier, ClassifierInfo, Normalisation, Output, Passes
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hpm {

using at::Tensor;
class Network;

/// Per-channel mean and standard deviation of the input, in units of [0,1]; one value stands for every channel. Both
/// empty: not known, and none is applied. Mean 0 and std 1 say that there is none.
struct Normalisation {
  std::vector<double> mean, std;
  bool identity() const { return mean.empty() && std.empty(); }
};

/// What one pass gives: penultimate features z [N,D] (undefined for a black box) and FC logits o [N,K].
struct Output {
  Tensor features, logits;
};

/// Image passes that the network saw: one image forward is 1, whatever the batch.
struct Passes {
  int64_t forward = 0;
  int64_t backward = 0;
};
inline Passes operator+(const Passes& a, const Passes& b) { return {a.forward + b.forward, a.backward + b.backward}; }
inline Passes operator-(const Passes& a, const Passes& b) { return {a.forward - b.forward, a.backward - b.backward}; }
inline Passes operator*(const Passes& a, int64_t times) { return {a.forward * times, a.backward * times}; }
inline Passes& operator+=(Passes& a, const Passes& b) { return a = a + b; }

/// What is known about a classifier beside its weights.
struct ClassifierInfo {
  std::string architecture;            ///< a name of the registry, or a LAYERS string
  int64_t classes = 0;                 ///< K
  std::vector<int64_t> input_shape;    ///< {C,H,W}
  Normalisation normalisation;         ///< applied to the input before the network
  std::string file = {}, sha256 = {};  ///< where it came from; empty for a network made in memory
};

/// A network with its input normalisation, cut at the penultimate features: images in [0,1] -> z -> FC logits. It is a
/// handle: copies share the weights, clone() copies them. It is in evaluation mode, and its parameters have no
/// gradients, until told otherwise.
///
/// It counts the image passes through the network: forward ones, and backward ones by a hook on the input's gradient.
class Classifier {
 public:
  Classifier() = default;
  Classifier(std::shared_ptr<Network> network, ClassifierInfo info);

  /// x [N,C,H,W] float in [0,1] -> features and FC logits of one pass. Throws Error for another shape. NaN and infinite
  /// values pass through; HpmModel::run() refuses them in features.
  Output run(const Tensor& x) const;
  Tensor logits(const Tensor& x) const { return run(x).logits; }      ///< [N,C,H,W] -> [N,K]
  Tensor features(const Tensor& x) const { return run(x).features; }  ///< [N,C,H,W] -> [N,D]
  /// The FC layer alone: z [N,D] -> o [N,K].
  Tensor head(const Tensor& z) const;
  Tensor weight() const;          ///< W [K,D] of the FC layer
  Tensor bias() const;            ///< b [K]; zeros where the layer has none
  std::string head_name() const;  ///< the FC layer's key prefix, e.g. "linear2" or "7"

  const ClassifierInfo& info() const { return info_; }
  ClassifierInfo& info() { return info_; }
  int64_t classes() const { return info_.classes; }
  int64_t feature_size() const;  ///< D
  bool is_black_box() const;     ///< no penultimate features: attacks only, no HPM

  std::vector<std::pair<std::string, Tensor>> state() const;  ///< parameters and buffers under their checkpoint keys
  std::vector<Tensor> parameters() const;                     ///< each once, also where two layers share it
  int64_t parameter_count() const;
  Classifier clone() const;  ///< a deep copy with its own pass counter
  void to(at::Device device, at::ScalarType type = at::kFloat);
  at::Device device() const;
  at::ScalarType scalar_type() const;
  void set_training(bool training);            ///< batch norm: batch statistics or running ones
  void set_requires_grad(bool requires_grad);  ///< of all parameters
  /// float32 or bfloat16 (autocast) for an attack's search, that is for passes with an input gradient. Passes without
  /// one decide verdicts, and always have the precision of the weights. The outputs have the weights' type in both
  /// cases.
  void set_search_precision(at::ScalarType type) { search_precision_ = type; }
  at::ScalarType search_precision() const { return search_precision_; }
  /// On a GPU: TF32 in the products and convolutions of a search, and nowhere else.
  void set_search_tf32(bool allowed) { search_tf32_ = allowed; }
  bool search_tf32() const { return search_tf32_; }
  /// "float32", "tf32" or "bfloat16".
  std::string search_precision_name() const {
    return search_precision_ == at::kBFloat16 ? "bfloat16" : search_tf32_ ? "tf32" : "float32";
  }
  /// A search computes as verdicts do.
  bool exact_search() const { return search_precision_ == at::kFloat && !search_tf32_; }

  Passes passes() const { return *passes_; }
  void reset_passes() { *passes_ = {}; }

  std::shared_ptr<Network> network() const { return network_; }
  explicit operator bool() const { return network_ != nullptr; }

 private:
  std::shared_ptr<Network> network_;
  ClassifierInfo info_;
  Tensor mean_, std_;  // [1,C,1,1], undefined for identity
  std::shared_ptr<Passes> passes_;
  at::ScalarType search_precision_ = at::kFloat;
  bool search_tf32_ = false;
};

}  // namespace hpm
