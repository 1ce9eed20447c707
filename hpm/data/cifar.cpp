#include "hpm/data/cifar.h"

#include <cstring>

#include "hpm/io/foreign_content.h"
#include "hpm/io/pickle.h"

namespace hpm {
namespace {

constexpr uint64_t kPixels = 3 * 32 * 32;

}  // namespace

LabelledBytes read_cifar_binary(const ByteSource& source, uint64_t label_bytes, int64_t classes) {
  const uint64_t record = label_bytes + kPixels, count = source.size() / record, rest = source.size() % record;
  if (count == 0 || rest != 0) refuse_foreign_content(source);
  if (count == 0 || rest != 0)
    source.fail_at(count * record, "needs to be records of {} bytes, but record {} is cut after {}; get it anew",
                   record, count, rest);
  const Bytes file = source.read(0, source.size());
  LabelledBytes out{{ScalarType::uint8, {static_cast<int64_t>(count), 3, 32, 32}, Bytes(count * kPixels)}, {}};
  for (uint64_t i = 0; i < count; ++i) {
    const std::byte* from = file.data() + i * record + label_bytes;
    out.labels.push_back(std::to_integer<int64_t>(from[-1]));
    std::memcpy(out.images.data.data() + i * kPixels, from, kPixels);
  }
  check_labels(source, out.labels, classes, [&](size_t i) { return i * record + label_bytes - 1; });
  return out;
}

LabelledBytes read_cifar_pickle(const ByteSource& source, int64_t classes) {
  refuse_foreign_content(source);
  ByteReader in(source);
  Value root = Pickle(in).value();
  const auto* images = root.find("data");
  const auto* labels = root.find("fine_labels");
  if (!labels) labels = root.find("labels");
  const auto* array = images ? images->as<TensorPointer>() : nullptr;
  const auto* list = labels ? labels->items() : nullptr;
  if (!array || !list)
    source.fail_at(0, "needs to be a dict with an array \"data\" and a list \"labels\" or \"fine_labels\", but is: {}",
                   root.description());
  const auto& data = **array;
  const auto count = static_cast<int64_t>(list->size());
  if (data.type != ScalarType::uint8 || data.shape != std::vector<int64_t>{count, static_cast<int64_t>(kPixels)})
    source.fail_at(0, "needs data of uint8 [{}, {}], as many as labels, but has {} {}", count, kPixels,
                   name_of(data.type), text_of_shape(data.shape));
  LabelledBytes out{{ScalarType::uint8, {count, 3, 32, 32}, data.data}, {}};
  for (const auto& label : *list) {
    const auto* value = label.as<int64_t>();
    if (!value) source.fail_at(0, "label {} is no integer but {}", out.labels.size(), label.description());
    out.labels.push_back(*value);
  }
  check_labels(source, out.labels, classes, [](size_t) { return uint64_t{0}; });
  return out;
}

}  // namespace hpm
