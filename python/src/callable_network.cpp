#include "callable_network.h"

#include <ATen/core/Generator.h>

#include "hpm/core/error.h"

namespace hpm::python {
namespace {

/// A linear layer on memory that Python holds.
class SharedLinear : public torch::nn::LinearImpl {
 public:
  explicit SharedLinear(const LastLayer& layer) : LinearImpl(1, 1) {
    options = torch::nn::LinearOptions(layer.weight.size(1), layer.weight.size(0)).bias(layer.bias.defined());
    parameters_.clear();
    weight = register_parameter("weight", layer.weight, layer.weight.requires_grad());
    bias = layer.bias.defined() ? register_parameter("bias", layer.bias, layer.bias.requires_grad()) : Tensor();
  }
};

std::shared_ptr<SharedLinear> shared_linear(const LastLayer& layer) {
  auto generator = at::globalContext().defaultGenerator(at::kCPU);  // a new layer draws its first weights
  const auto state = generator.get_state();
  auto made = std::make_shared<SharedLinear>(layer);
  generator.set_state(state);
  return made;
}

std::string without_dots(std::string name) {
  std::replace(name.begin(), name.end(), '.', '/');
  return name;
}

std::string type_name(const py::handle& object) { return py::str(py::type::handle_of(object).attr("__name__")); }

/// What a model may have meant by an answer that is no tensor.
std::string hint(const py::object& answer) {
  if (PyTuple_Check(answer.ptr()) || PyList_Check(answer.ptr())) return "; wrap it: lambda x: model(x)[0]";
  if (py::hasattr(answer, "logits")) return "; wrap it: lambda x: model(x).logits";
  if (PyDict_Check(answer.ptr())) return "; wrap it: lambda x: model(x)[\"logits\"]";
  return "";
}

[[noreturn]] void refuse_answer(const py::object& answer, const std::string& what) {
  auto text = type_name(answer);
  if (PySequence_Check(answer.ptr()) && !PyUnicode_Check(answer.ptr())) text += fmt::format(" of {}", py::len(answer));
  throw py::type_error(fmt::format("{} needs to return logits [N,K] as one torch.Tensor, but returned a {}{}", what,
                                   text, hint(answer)));
}

bool is_tensor(const py::handle& object) { return THPVariable_Check(object.ptr()); }

Tensor checked_logits(const Tensor& logits, const Tensor& x, int64_t classes, const std::string& what) {
  const bool fits = logits.dim() == 2 && logits.size(0) == x.size(0) && (classes == 0 || logits.size(1) == classes);
  if (!fits)
    throw py::value_error(fmt::format("{} needs to return logits [{},{}] for images [{}], but returned [{}]", what,
                                      x.size(0), classes ? std::to_string(classes) : "K", fmt::join(x.sizes(), ","),
                                      fmt::join(logits.sizes(), ",")));
  if (!logits.is_floating_point())
    throw py::type_error(
        fmt::format("{} needs to return logits as floating-point numbers, but returned {}; attacks "
                    "need the values before argmax",
                    what, toString(logits.scalar_type())));
  return logits.to(x.device(), at::kFloat);
}

}  // namespace

Tensor call_for_logits(const py::object& call, const std::vector<Tensor>& arguments, int64_t classes,
                       const std::string& what) {
  py::tuple packed(arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i) packed[i] = py::cast(arguments[i]);
  const auto& x = arguments.front();
  const auto version = x.is_inference() ? 0 : x._version();
  const py::object answer = call(*packed);
  if (!x.is_inference() && x._version() != version)
    throw py::value_error(fmt::format(
        "{} changed its input images in place; they are the attack's own: let it work on a copy (x = x - mean)", what));
  if (!is_tensor(answer)) refuse_answer(answer, what);
  return checked_logits(THPVariable_Unpack(answer.ptr()), x, classes, what);
}

CallableNetwork::CallableNetwork(py::object call, int64_t classes, const std::vector<Tensor>& parameters,
                                 const std::optional<LastLayer>& last)
    : call_(shared_object(std::move(call))), classes_(classes) {
  size_t number = 0;
  for (const auto& p : parameters) register_parameter(std::to_string(number++), p, p.requires_grad());
  if (!last) return;
  const auto layer = shared_linear(*last);
  head_ = torch::nn::Linear(std::static_pointer_cast<torch::nn::LinearImpl>(layer));
  register_module(without_dots(last->name), head_.ptr());
}

NetworkOutput CallableNetwork::run(const Tensor& x) {
  const py::gil_scoped_acquire gil;
  if (interrupt_) throw py::error_already_set(*interrupt_);
  try {
    if (head_.is_empty()) return {{}, call_for_logits(*call_, {x}, classes_, "the model")};
    const auto pair = (*call_)(x).cast<std::pair<Tensor, Tensor>>();
    return {pair.first, checked_logits(pair.second, x, classes_, "the model")};
  } catch (py::error_already_set& error) {
    // The probe of gradients takes any exception for a missing gradient. Ctrl-C must not end there.
    if (!error.matches(PyExc_Exception)) interrupt_ = std::make_shared<py::error_already_set>(error);
    throw;
  }
}

std::shared_ptr<Network> CallableNetwork::fresh() const {
  fail("hpm: a Python model cannot be copied by the engine; hpm.native(model) makes a network that can");
}

}  // namespace hpm::python
