// defines: make_resnet(), recognise_resnet(), make_plain_resnet(), their specs
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace hpm {

class Network;

/// The shortcut past a block whose output has another shape than its input (He et al., section 4.2).
enum class Shortcut {
  padding,     ///< A: every second pixel, missing channels zero
  projection,  ///< B: 1x1 convolution and batch norm
};

enum class Block {
  basic,          ///< two 3x3 convolutions, batch norm after each
  bottleneck,     ///< 1x1, 3x3, 1x1, four times as wide at the end
  preactivation,  ///< two 3x3 convolutions, batch norm and ReLU before each (He et al., arXiv:1603.05027); shortcut
                  ///< without norm, from the block's input, or (networks with norm_before_head) from its first
                  ///< activation, as in RobustBench
};

/// Residual networks with batch norm and global average pooling (He, Zhang, Ren, Sun, "Deep residual learning for image
/// recognition", CVPR 2016, arXiv:1512.03385).
///
/// Small images: 3x3 stem, stages that halve the maps from the second on. Keys: conv1, bn1 (not with preactivation),
/// layer<s>.<b>.{conv1,bn1,conv2,bn2,conv3,bn3,shortcut.0,shortcut.1}, bn (norm_before_head), linear.
/// ImageNet (torchvision's names): 7x7 stem of stride 2 and 3x3 max pooling; shortcut is called downsample, linear fc.
struct ResNetSpec {
  std::vector<int64_t> blocks;  ///< per stage
  std::vector<int64_t> widths;  ///< channels per stage (of a bottleneck: a quarter of what comes out)
  Shortcut shortcut = Shortcut::projection;
  Block block = Block::basic;
  bool imagenet = false;          ///< stem and names
  bool norm_before_head = false;  ///< preactivation: batch norm and ReLU before the pooling
  int64_t wider = 1;              ///< bottleneck: factor of the 3x3 convolution's channels (Wide ResNet-50-2: 2)
  friend bool operator==(const ResNetSpec&, const ResNetSpec&) = default;
};
/// The spec that fits the keys and shapes of a checkpoint, if any does.
std::optional<ResNetSpec> recognise_resnet(const std::map<std::string, std::vector<int64_t>>& keys);
std::shared_ptr<Network> make_resnet(const ResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape);

/// The residual networks without batch norm of the neural network verification literature (resnet2b, resnet4b): 3x3
/// stem with stride 2, stages of two-convolution blocks with biases, a hidden linear layer. Keys: conv1,
/// layer<s>.<b>.{conv1,conv2,shortcut.0}, linear1, linear2.
struct PlainResNetSpec {
  int64_t stem = 16;
  std::vector<int64_t> blocks;  ///< per stage; each stage halves the maps
  std::vector<int64_t> widths;  ///< channels per stage
  int64_t hidden = 100;         ///< D
};
std::shared_ptr<Network> make_plain_resnet(const PlainResNetSpec& spec, int64_t classes,
                                           const std::vector<int64_t>& input_shape);

}  // namespace hpm
