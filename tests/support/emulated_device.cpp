#include "support/emulated_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/HPUHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <set>

#include "hpm/core/torch_impl.h"

namespace hpm::test {

/// The name of a real device to test on, or null.
static const char* real_device() {
  const char* name = std::getenv("HPM_TEST_DEVICE");
  return name && std::string(name) != "emulated" ? name : nullptr;
}

}  // namespace hpm::test

namespace at {
namespace {

// ATen's registry of hooks knows an accelerator by the name of this class.
struct HPUHooks final : HPUHooksInterface {
  explicit HPUHooks(HPUHooksArgs) {}
  void init() const override {}
  // LibTorch works with one accelerator at a time.
  bool isBuilt() const override { return !hpm::test::real_device(); }
  bool isAvailable() const override { return isBuilt(); }
  bool hasHPU() const override { return isBuilt(); }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  const Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return globalContext().defaultGenerator(kCPU);
  }
};
}  // namespace

REGISTER_HPU_HOOKS(HPUHooks)

}  // namespace at

namespace hpm::test {
namespace {

using at::Tensor;
constexpr auto kType = c10::DeviceType::HPU;
const c10::Device kDevice(kType, 0);

// Backward passes on a device run on a thread of its own.
struct Counters {
  std::atomic<int64_t> operations{0}, items{0}, downloads{0}, sizes{0}, waiting_uploads{0}, uploads{0};
};
Counters counters;

// ---- memory, streams, hooks ----

/// Host memory under the device's name. The context of each piece is the host's own data pointer.
c10::DataPtr on_device(c10::DataPtr host) {
  void* data = host.get();
  return {data, new c10::DataPtr(std::move(host)), [](void* context) { delete static_cast<c10::DataPtr*>(context); },
          kDevice};
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override { return on_device(c10::GetCPUAllocator()->allocate(bytes)); }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
DeviceAllocator allocator;
REGISTER_ALLOCATOR(kType, &allocator);

struct DeviceGuard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::DeviceType type() const override { return kType; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(HPU, DeviceGuard)

// ---- tensors of one device seen as tensors of the other, on the same memory ----

Tensor with_storage(c10::Storage storage, c10::DispatchKey key, const Tensor& like) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return tensor;
}

/// The tensors of a call as tensors of the host, and back.
class Call {
 public:
  Tensor to_host(const Tensor& tensor) {
    if (!tensor.defined() || tensor.device().type() != kType) return tensor;
    auto& storage = storages_[tensor.storage().unsafeGetStorageImpl()];
    if (!storage) {
      // Keeps the device's memory alive for as long as the host's name for it is used.
      auto* kept = new c10::Storage(tensor.storage());
      c10::DataPtr data(
          kept->mutable_data(), kept, [](void* p) { delete static_cast<c10::Storage*>(p); }, at::kCPU);
      storage = c10::Storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), std::move(data),
                             c10::GetCPUAllocator(), true);
      owners_[storage.unsafeGetStorageImpl()] = tensor.storage();
    }
    auto alias = with_storage(storage, c10::DispatchKey::CPU, tensor);
    tensors_.emplace_back(alias, tensor);
    return alias;
  }

  Tensor to_device(const Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_cpu()) return tensor;
    for (const auto& [alias, original] : tensors_)
      if (alias.is_same(tensor)) return original;
    const auto owner = owners_.find(tensor.storage().unsafeGetStorageImpl());
    if (owner != owners_.end()) return with_storage(owner->second, c10::DispatchKey::HPU, tensor);  // a view
    auto* kept = new c10::Storage(tensor.storage());
    c10::DataPtr data(
        kept->mutable_data(), kept, [](void* p) { delete static_cast<c10::Storage*>(p); }, kDevice);
    c10::Storage storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), std::move(data), &allocator, true);
    return with_storage(std::move(storage), c10::DispatchKey::HPU, tensor);
  }

  /// Arguments that the operation gave another size.
  void follow_sizes() {
    for (auto& [alias, original] : tensors_) {
      auto owner = original.storage();
      auto& host = *alias.storage().unsafeGetStorageImpl();
      if (host.data() != owner.data()) {
        owner.set_data_ptr_noswap(on_device(host.set_data_ptr(c10::DataPtr(nullptr, at::kCPU))));
        owner.set_nbytes(host.nbytes());
      }
      if (alias.sizes() != original.sizes() || alias.strides() != original.strides())
        original.unsafeGetTensorImpl()->set_sizes_and_strides(alias.sizes(), alias.strides(), alias.storage_offset());
    }
  }

 private:
  std::map<c10::StorageImpl*, c10::Storage> storages_;  // of the device -> of the host
  std::map<c10::StorageImpl*, c10::Storage> owners_;    // of the host -> of the device
  std::vector<std::pair<Tensor, Tensor>> tensors_;      // host, device
};

// ---- waits ----

std::atomic<bool> tracing{false};
std::mutex trace_mutex;
std::map<std::string, int64_t> trace;
thread_local std::string last_operation;

void waited(std::atomic<int64_t>& counter, const std::string& what) {
  ++counter;
  if (!tracing) return;
  const std::lock_guard lock(trace_mutex);
  ++trace[what + " after " + last_operation];
}

bool asks_for_size(const std::string& name, const torch::jit::Stack& stack, size_t arguments) {
  static const std::set<std::string> names = {"aten::nonzero", "aten::masked_select",     "aten::_unique2",
                                              "aten::_unique", "aten::unique_dim",        "aten::unique_consecutive",
                                              "aten::equal",   "aten::repeat_interleave", "aten::bincount"};
  if (names.contains(name)) return true;
  if (name != "aten::index" && name != "aten::index_put_" && name != "aten::_index_put_impl_") return false;
  for (const auto& indices : torch::jit::last(stack, arguments)) {
    if (!indices.isList() || indices.isTensorList()) continue;
    for (const c10::IValue& index : indices.toListRef())
      if (index.isTensor() && index.toTensor().defined() && index.toTensor().scalar_type() == at::kBool) return true;
  }
  return false;
}

// ---- kernels ----

template <class F>
void for_tensors(c10::IValue& value, F change) {
  if (value.isTensor()) {
    value = change(value.toTensor());
  } else if (value.isTensorList()) {
    auto list = value.toTensorList().copy();
    for (size_t i = 0; i < list.size(); ++i) list.set(i, change(list.get(i)));
    value = list;
  } else if (value.isOptionalTensorList()) {
    auto list = value.toOptionalTensorList().copy();
    for (size_t i = 0; i < list.size(); ++i)
      if (const std::optional<Tensor> one = list.get(i)) list.set(i, change(*one));
    value = list;
  }
}

/// Every operation without a kernel of its own: the CPU's kernel on the same memory.
void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto arguments = schema.arguments().size();
  ++counters.operations;
  if (asks_for_size(schema.name(), *stack, arguments)) waited(counters.sizes, schema.name());
  last_operation = schema.name();
  Call call;
  bool on_device = false;
  std::string stranger;
  for (auto i = stack->size() - arguments; i < stack->size(); ++i) {
    auto& value = (*stack)[i];
    if (value.isDevice() && value.toDevice().type() == kType) value = c10::Device(at::kCPU);
    for_tensors(value, [&](const Tensor& t) {
      if (t.defined() && t.device().type() == kType) on_device = true;
      else if (t.defined() && t.dim() > 0) stranger = c10::toString(t.scalar_type()) + std::string(t.device().str());
      return call.to_host(t);
    });
  }
  TORCH_CHECK(!on_device || stranger.empty(), "emulated device: ", schema.name(),
              " got tensors of two devices, the device and ", stranger);
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  call.follow_sizes();
  for (auto i = stack->size() - schema.returns().size(); i < stack->size(); ++i)
    for_tensors((*stack)[i], [&](const Tensor& t) { return call.to_device(t); });
}

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::HPU),
                                   c10::dtype_or_default(type), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> type,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::HPU),
                                           c10::dtype_or_default(type));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  const bool up = from.device().type() != kType, down = to.device().type() != kType;
  if (down) waited(counters.downloads, "download");
  else if (!up) ++counters.operations;
  else if (non_blocking) ++counters.uploads;
  else waited(counters.waiting_uploads, "upload of " + std::to_string(from.numel()));
  Call call;
  call.to_host(to).copy_(call.to_host(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar_dense(const Tensor& value) {
  waited(counters.items, "item");
  Call call;
  return at::_local_scalar_dense(call.to_host(value));
}

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias, at::IntArrayRef stride,
                   at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef output_padding,
                   int64_t groups) {
  ++counters.operations;
  TORCH_CHECK(input.device() == weight.device(), "emulated device: convolution of tensors of two devices");
  last_operation = "convolution";
  Call call;
  const auto b = bias && bias->defined() ? std::optional(call.to_host(*bias)) : std::nullopt;
  return call.to_device(at::convolution(call.to_host(input), call.to_host(weight), b, stride, padding, dilation,
                                        transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& gradient, const Tensor& input,
                                                        const Tensor& weight, at::IntArrayRef stride,
                                                        at::IntArrayRef padding, at::IntArrayRef dilation,
                                                        bool transposed, at::IntArrayRef output_padding, int64_t groups,
                                                        std::array<bool, 3> wanted) {
  ++counters.operations;
  last_operation = "convolution_backward";
  Call call;
  const std::vector<int64_t> bias{weight.size(transposed ? 1 : 0)};
  const auto [dx, dw, db] = at::convolution_backward(call.to_host(gradient), call.to_host(input), call.to_host(weight),
                                                     at::OptionalIntArrayRef(bias), stride, padding, dilation,
                                                     transposed, output_padding, groups, wanted);
  return {call.to_device(dx), call.to_device(dw), call.to_device(db)};
}

/// PyTorch looks at the labels before it counts, but not on CUDA.
Tensor one_hot(const Tensor& labels, int64_t classes) {
  TORCH_CHECK(classes > 0, "emulated device: one_hot needs the number of classes");
  auto shape = labels.sizes().vec();
  shape.push_back(classes);
  return at::zeros(shape, labels.options()).scatter_(-1, labels.unsqueeze(-1), 1);
}

TORCH_LIBRARY_IMPL(_, HPU, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_host>()); }

TORCH_LIBRARY_IMPL(aten, HPU, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("one_hot", &one_hot);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

// Autocast: operations that compute in the lower precision, as on CUDA. LibTorch has no such list for HPU.
TORCH_LIBRARY_IMPL(_, AutocastHPU, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutocastHPU, m) {
  KERNEL(kType, conv2d, lower_precision_fp)
  KERNEL(kType, _convolution, lower_precision_fp)
  KERNEL(kType, linear, lower_precision_fp)
  KERNEL(kType, matmul, lower_precision_fp)
  KERNEL(kType, mm, lower_precision_fp)
  KERNEL(kType, addmm, lower_precision_fp)
  KERNEL(kType, bmm, lower_precision_fp)
}

}  // namespace

at::Device emulated_device() { return kDevice; }

at::Device test_device() {
  const char* name = real_device();
  return name ? at::Device(std::string(name) == "cuda" ? "cuda:0" : name) : kDevice;
}

DeviceCounts DeviceCounts::operator-(const DeviceCounts& b) const {
  return {operations - b.operations,           items - b.items,    downloads - b.downloads, sizes - b.sizes,
          waiting_uploads - b.waiting_uploads, uploads - b.uploads};
}

DeviceCounts device_counts() {
  return {counters.operations, counters.items,           counters.downloads,
          counters.sizes,      counters.waiting_uploads, counters.uploads};
}

WaitTrace::WaitTrace() {
  const std::lock_guard lock(trace_mutex);
  trace.clear();
  tracing = true;
}
WaitTrace::~WaitTrace() { tracing = false; }
std::map<std::string, int64_t> WaitTrace::seen() {
  const std::lock_guard lock(trace_mutex);
  return trace;
}

}  // namespace hpm::test
