// defines: WideResNetSpec, DeepMindSpec, make_wide_resnet(), make_deepmind_resnet(), recognise_wide_resnet()
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace hpm {

class Network;

/// Wide residual networks for CIFAR (Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146): 3x3 stem of 16 channels,
/// three stages of preactivation blocks, batch norm, global average pooling. Keys: conv1,
/// block<s>.layer.<b>.{bn1,conv1,bn2,conv2, convShortcut}, bn1, fc.
struct WideResNetSpec {
  int64_t depth = 28;       ///< 6n + 4
  int64_t width = 10;       ///< factor of 16, 32, 64 channels
  bool bias = true;         ///< of the last layer
  bool sub_block1 = false;  ///< TRADES' networks hold a copy of block1 that no pass reads
};
std::shared_ptr<Network> make_wide_resnet(const WideResNetSpec& spec, int64_t classes,
                                          const std::vector<int64_t>& input_shape);

/// DeepMind's variants (Gowal et al., arXiv:2010.03593). Paddings are those of TensorFlow's SAME: a convolution of
/// stride 2 pads only below and to the right. Most of their checkpoints have SiLU.
struct DeepMindSpec {
  bool wide = true;  ///< Wide ResNet (init_conv, layer.<s>.block.<b>), or PreActResNet-18 (conv_2d, layer_<s>.<b>)
  int64_t depth = 28, width = 10;   ///< of the wide one
  std::string activation = "silu";  ///< silu or relu
};
std::shared_ptr<Network> make_deepmind_resnet(const DeepMindSpec& spec, int64_t classes,
                                              const std::vector<int64_t>& input_shape);

/// By name: wrn<depth>_<width>[_nobias][_sub_block1], dm_wrn<depth>_<width>[_relu], dm_preact_resnet18[_relu]. Null for
/// another name.
std::shared_ptr<Network> make_wide_resnet(const std::string& name, int64_t classes,
                                          const std::vector<int64_t>& input_shape);

/// Shapes by key.
using KeyShapes = std::map<std::string, std::vector<int64_t>>;

/// The name that fits the keys of a checkpoint; empty if none does. Keys do not tell SiLU from ReLU; SiLU is assumed,
/// as most of DeepMind's checkpoints have it.
std::string recognise_wide_resnet(const KeyShapes& keys);

}  // namespace hpm
