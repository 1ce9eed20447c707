// defines: make_resnet(), make_plain_resnet(), their specs
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace hpm {

class Network;

/// How a block whose output has another shape than its input is bypassed (He et al., section 4.2).
enum class Shortcut {
  padding,     ///< A: every second pixel, missing channels zero
  projection,  ///< B: 1x1 convolution and batch norm
};

/// A residual network for small images with batch norm and global average pooling: 3x3 stem, stages that halve the maps
/// (He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385, section 4.2). Keys:
/// conv1, bn1, layer<s>.<b>.{conv1,bn1,conv2,bn2,shortcut.0,shortcut.1}, linear.
struct ResNetSpec {
  std::vector<int64_t> blocks;  ///< per stage
  std::vector<int64_t> widths;  ///< channels per stage
  Shortcut shortcut = Shortcut::projection;
};
std::shared_ptr<Network> make_resnet(const ResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape);

/// The residual networks without batch norm of the neural network verification literature (resnet2b, resnet4b): 3x3 stem
/// with stride 2, stages of two-convolution blocks with biases, a hidden linear layer. Keys: conv1,
/// layer<s>.<b>.{conv1,conv2,shortcut.0}, linear1, linear2.
struct PlainResNetSpec {
  int64_t stem = 16;
  std::vector<int64_t> blocks;  ///< per stage; each stage halves the maps
  std::vector<int64_t> widths;  ///< channels per stage
  int64_t hidden = 100;         ///< D
};
std::shared_ptr<Network> make_plain_resnet(const PlainResNetSpec& spec, int64_t classes, const std::vector<int64_t>& input_shape);

}  // namespace hpm
