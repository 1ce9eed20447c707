// defines: Pickle, PickleLimits, StorageName, ByteRange
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"
#include "hpm/io/value.h"

namespace hpm {

struct PickleLimits {
  uint64_t depth = 100;                 ///< of nested containers
  uint64_t values = 4'000'000;          ///< of objects
  uint64_t text = uint64_t{256} << 20;  ///< of all strings and bytes together
  /// An object that the pickle names twice is there twice in the tree, and a tensor that repeats its elements takes the
  /// memory of all of them. Values, text and tensor bytes may become this many times as many as the file holds, ...
  uint64_t expansion = 4;
  uint64_t free_values = 100'000, free_text = 1 << 20, free_bytes = uint64_t{64} << 20;  ///< ... and these beside.
};

/// The memory of tensors as a pickle names it; its bytes lie elsewhere in the file.
struct StorageName {
  std::string key;
  std::string type;    ///< "torch.FloatStorage"
  uint64_t item = 0;   ///< bytes of an element; 0 for a type that hpm does not know, whose tensors are not read
  uint64_t count = 0;  ///< elements

  uint64_t size() const { return count * item; }  ///< bytes; cannot overflow
};

struct ByteRange {
  uint64_t begin, size;
};

struct PickleGraph;

/// A pickle (protocols 0 to 5), read without running code: numbers, texts, bytes, lists, tuples, dicts, tensors, numpy
/// arrays and scalars. Whatever else it would make by importing and calling something becomes an Opaque: its name is
/// kept, and nothing is called. First the pickle is read, then the tensors are filled, for in PyTorch's older files the
/// storages follow the pickle.
///
/// Example:
///     ByteReader in(source);
///     Value value = Pickle(in).value([&](const StorageName& name, ByteRange part) { return bytes_of(name.key, part);
///     });
class Pickle {
 public:
  /// Reads one pickle; `in` then stands behind it. Throws Error for a corrupt or hostile one.
  explicit Pickle(ByteReader& in, const PickleLimits& limits = {});
  ~Pickle();

  const std::vector<StorageName>& storages() const;
  /// The tree. `load` gives a part of a storage's bytes: for each tensor the part that it reaches, so that no storage
  /// need be held whole beside its tensors.
  Value value(const std::function<Bytes(const StorageName&, ByteRange)>& load) const;
  /// The tree of a pickle without tensors.
  Value value() const;

 private:
  std::unique_ptr<PickleGraph> graph_;
};

}  // namespace hpm
