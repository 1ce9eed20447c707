#include "hpm/io/tensors.h"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <future>

#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/safetensors.h"
#include "hpm/io/sha256.h"
#include "hpm/io/state_dict.h"
#include "hpm/io/torch_file.h"

namespace hpm {
namespace {

// In the order of ScalarType.
constexpr std::array<at::ScalarType, kScalarTypes> torch_types{
    at::kBool,   at::kByte,   at::kChar, at::kShort,    at::kInt,   at::kLong,  at::kUInt16,
    at::kUInt32, at::kUInt64, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble};

constexpr const char* kSafetensors = "safetensors";

at::ScalarType torch_type(ScalarType type) { return torch_types[static_cast<size_t>(type)]; }

ScalarType stored_type(const at::Tensor& tensor) {
  const auto found = std::ranges::find(torch_types, tensor.scalar_type());
  if (found == torch_types.end())
    fail("to_stored: tensors of type {} cannot be stored", c10::toString(tensor.scalar_type()));
  return static_cast<ScalarType>(found - torch_types.begin());
}

// The compiler may assume that a bool is 0 or 1.
void check_booleans(const StoredTensor& stored) {
  if (stored.type != ScalarType::boolean) return;
  const auto odd = std::ranges::find_if(stored.data, [](std::byte b) { return b > std::byte{1}; });
  if (odd != stored.data.end())
    fail("a boolean tensor of shape {} holds the value {}; the file is corrupt", text_of_shape(stored.shape),
         static_cast<int>(*odd));
}

template <class From, class To>
at::Tensor widened(const StoredTensor& stored, at::ScalarType type) {
  auto out = at::empty(stored.shape, type);
  auto* to = out.mutable_data_ptr<To>();
  for (uint64_t i = 0; i < stored.count(); ++i) {
    From value;
    std::memcpy(&value, stored.data.data() + i * sizeof(From), sizeof(From));
    if (static_cast<uint64_t>(value) > static_cast<uint64_t>(std::numeric_limits<To>::max()))
      fail("a {} tensor of shape {} holds {}, more than a signed 64-bit integer can hold", name_of(stored.type),
           text_of_shape(stored.shape), value);
    to[i] = static_cast<To>(value);
  }
  return out;
}

// LibTorch stores the unsigned types beyond 8 bits and computes with none of them: they become the next signed one.
at::Tensor signed_tensor(const StoredTensor& stored) {
  if (stored.type == ScalarType::uint16) return widened<uint16_t, int32_t>(stored, at::kInt);
  if (stored.type == ScalarType::uint32) return widened<uint32_t, int64_t>(stored, at::kLong);
  return widened<uint64_t, int64_t>(stored, at::kLong);
}

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

at::Tensor on_cpu(const at::Tensor& tensor) { return tensor.detach().to(at::kCPU).contiguous(); }

// The shortest decimals: a float32 .4914 means .4914, not .49140000343, and so does a float64 that was made from it.
std::vector<double> decimals(StoredTensor&& stored) {
  const auto values = to_tensor(std::move(stored)).flatten();
  std::vector<double> out;
  for (int64_t i = 0; i < values.numel(); ++i) {
    const double value = values[i].item<double>();
    const auto single = static_cast<float>(value);
    out.push_back(static_cast<double>(single) == value ? std::stod(fmt::format("{}", single)) : value);
  }
  return out;
}

[[noreturn]] void fail_unknown(const ByteSource& source) {
  refuse_foreign_content(source);
  source.fail_at(
      0,
      "this is no checkpoint that hpm knows: neither safetensors, nor a zip file or pickle of PyTorch. Perhaps an "
      "incomplete download");
}

CheckpointFile read_by_content(const ByteSource& source, const std::string& key) {
  CheckpointFile out;
  StateDict found;
  if (is_torch_file(source)) {
    TorchFile file = read_torch_file(source);
    out.container = file.container;
    if (out.container == kTorchScript) return out;
    found = peel(std::move(file.root), source.name(), key);
    out.metadata = std::move(found.scalars);
  } else if (is_safetensors(source)) {
    SafetensorsFile file = read_safetensors(source);
    out.container = kSafetensors;
    found.tensors = std::move(file.tensors);
    out.metadata = std::move(file.metadata);
    found.candidates = {{".", found.tensors.size()}};
    // Our own files need no peeling.
    if (!out.metadata.contains("model.arch") || !key.empty()) strip_names(found, source.name(), key == "." ? "" : key);
  } else {
    fail_unknown(source);
  }
  out.peeled = std::move(found.peeled);
  out.ignored = std::move(found.ignored);
  out.unread = std::move(found.unread);
  out.warnings = std::move(found.warnings);
  out.candidates = std::move(found.candidates);
  out.key = std::move(found.key);
  out.prefix = std::move(found.prefix);
  if (found.normalisation) {
    out.mean = decimals(std::move(found.normalisation->mean));
    out.std = decimals(std::move(found.normalisation->std));
  }
  for (auto& [name, stored] : found.tensors) out.tensors.emplace_back(std::move(name), to_tensor(std::move(stored)));
  return out;
}

}  // namespace

at::Tensor to_tensor(StoredTensor&& stored) {
  check_booleans(stored);
  if (is_wide_unsigned(stored.type)) return signed_tensor(stored);
  const auto options = at::TensorOptions(torch_type(stored.type));
  if (stored.data.empty()) return at::empty(stored.shape, options);
  auto* owner = new StoredTensor(std::move(stored));
  return at::from_blob(
      owner->data.data(), owner->shape, [owner](void*) { delete owner; }, options);
}

at::Tensor to_tensor(const StoredTensor& stored) { return to_tensor(StoredTensor(stored)); }

StoredTensor to_stored(const at::Tensor& tensor) {
  const auto type = stored_type(tensor);
  const auto contiguous = on_cpu(tensor);
  return {type, contiguous.sizes().vec(), Bytes(bytes_of(contiguous))};
}

std::string container_of(const std::string& path) {
  const FileSource source(path);
  if (is_torch_file(source)) return container_of_torch_file(source);
  if (is_safetensors(source)) return kSafetensors;
  fail_unknown(source);
}

CheckpointFile read_checkpoint(const std::string& path, const std::string& key) {
  const FileSource source(path);
  // The checksum needs another pass over the file, so it is computed on a second thread during reading.
  auto digest = std::async(std::launch::async, [&] { return sha256_of(source); });
  CheckpointFile out = read_by_content(source, key);
  out.sha256 = digest.get();
  return out;
}

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<at::Tensor> held;
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    held.push_back(on_cpu(tensor));
    entries.push_back({name, stored_type(tensor), tensor.sizes().vec(), bytes_of(held.back())});
  }
  write_safetensors(path, entries, metadata);
}

}  // namespace hpm
