// defines: make_layers(), is_layers()
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace hpm {

class Network;

/// True when `text` has the form of a LAYERS string: items joined by '-', the last one fc.
bool is_layers(const std::string& text);

/// A plain stack from its LAYERS string: `conv<out>k<k>[s<1>][p<0>]`, `relu`, `bn`, `maxpool<k>`, `avgpool<k>`,
/// `flatten`, `fc<out>`, joined by '-'. Keys follow the positions of a Sequential. input_shape = {C,H,W}. Throws
/// UsageError that names the item for a bad one, a shape that does not fit, or a last item other than fc.
///
/// Example: make_layers("conv16k4s2p1-relu-conv32k4s2p1-relu-flatten-fc100-relu-fc10", {3, 32, 32})
std::shared_ptr<Network> make_layers(const std::string& text, const std::vector<int64_t>& input_shape);

/// The inverse: the LAYERS string of a network made by make_layers, in canonical form (stride 1 and padding 0 left
/// out). Throws UsageError for another kind of network.
std::string layers_of(const Network& network);

}  // namespace hpm
