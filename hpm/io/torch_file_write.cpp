#include "hpm/io/torch_file_write.h"

#include <caffe2/serialize/inline_container.h>
#include <torch/types.h>

#include <cstring>
#include <exception>
#include <limits>
#include <set>

#include "hpm/core/error.h"
#include "hpm/core/text.h"
#include "hpm/io/file.h"

namespace hpm {
namespace {

/// The class of torch that a pickle names for a storage of this type.
const char* storage_class(at::ScalarType type) {
  switch (type) {
    case at::kBool: return "BoolStorage";
    case at::kByte: return "ByteStorage";
    case at::kChar: return "CharStorage";
    case at::kShort: return "ShortStorage";
    case at::kInt: return "IntStorage";
    case at::kLong: return "LongStorage";
    case at::kHalf: return "HalfStorage";
    case at::kBFloat16: return "BFloat16Storage";
    case at::kFloat: return "FloatStorage";
    case at::kDouble: return "DoubleStorage";
    default: fail("write_state_dict: tensors of type {} cannot be stored", c10::toString(type));
  }
}

/// The opcodes of Python's pickletools that an OrderedDict of tensors and texts needs, protocol 2.
class PickleWriter {
 public:
  const std::string& bytes() const { return out_; }
  PickleWriter& op(std::string_view opcodes) { return out_ += opcodes, *this; }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return out_ += fmt::format("c{}\n{}\n", module, name), *this;
  }
  PickleWriter& text(std::string_view value) {
    if (value.size() > std::numeric_limits<uint32_t>::max()) fail("write_state_dict: a text of over 4 GB");
    return op("X").little(static_cast<uint32_t>(value.size())).op(value);
  }
  PickleWriter& integer(int64_t value) {
    if (value >= 0 && value <= std::numeric_limits<int32_t>::max()) return op("J").little(static_cast<int32_t>(value));
    return op("\x8a\x08").little(value);
  }
  PickleWriter& integers(at::IntArrayRef values) {
    op("(");
    for (const auto value : values) integer(value);
    return op("t");
  }
  PickleWriter& empty_ordered_dict() { return global("collections", "OrderedDict").op(")R"); }
  /// torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) of storage number `key`.
  PickleWriter& tensor(const std::string& key, const at::Tensor& contiguous) {
    global("torch._utils", "_rebuild_tensor_v2").op("((").text("storage");
    global("torch", storage_class(contiguous.scalar_type())).text(key).text("cpu").integer(contiguous.numel());
    op("tQ").integer(0).integers(contiguous.sizes()).integers(contiguous.strides()).op("\x89");
    return empty_ordered_dict().op("tR");
  }

 private:
  template <class T>
  PickleWriter& little(T value) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
    return *this;
  }
  std::string out_;
};

void check_names(const std::string& path, const NamedTensors& tensors,
                 const std::map<std::string, std::string>& texts) {
  std::set<std::string_view> names;
  const auto check = [&](std::string_view name) {
    if (!is_utf8(name)) fail("{}: the name of an entry is not UTF-8", path);
    if (!names.insert(name).second) fail("{}: two entries are called \"{}\"", path, name);
  };
  for (const auto& [name, tensor] : tensors) check(name);
  for (const auto& [name, text] : texts) {
    check(name);
    if (!is_utf8(text)) fail("{}: the text \"{}\" is not UTF-8", path, name);
  }
}

std::string pickled(const NamedTensors& tensors, const std::map<std::string, std::string>& texts) {
  PickleWriter pickle;
  pickle.op("\x80\x02").empty_ordered_dict().op("(");
  for (size_t i = 0; i < tensors.size(); ++i)
    pickle.text(tensors[i].first).tensor(std::to_string(i), tensors[i].second);
  for (const auto& [name, text] : texts) pickle.text(name).text(text);
  return pickle.op("u.").bytes();
}

}  // namespace

void write_state_dict(const std::string& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& texts) {
  check_names(path, tensors, texts);
  NamedTensors held;
  for (const auto& [name, tensor] : tensors)
    held.emplace_back(name, tensor.detach().to(at::kCPU).contiguous().view(tensor.sizes()));
  const auto pickle = pickled(held, texts);
  AtomicFile file(path);
  // The archive's writer is C: no exception may pass through it. After a failure nothing more is written.
  std::exception_ptr failure;
  caffe2::serialize::PyTorchStreamWriter archive([&](const void* data, size_t size) {
    try {
      if (!failure) file.write({static_cast<const std::byte*>(data), size});
    } catch (...) {
      failure = std::current_exception();
    }
    return size;
  });
  archive.writeRecord("data.pkl", pickle.data(), pickle.size());
  archive.writeRecord("byteorder", "little", 6);
  for (size_t i = 0; i < held.size() && !failure; ++i)
    archive.writeRecord("data/" + std::to_string(i), held[i].second.const_data_ptr(), held[i].second.nbytes());
  archive.writeEndOfFile();
  if (failure) std::rethrow_exception(failure);
  file.commit();
}

}  // namespace hpm
