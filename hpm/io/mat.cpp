#include "hpm/io/mat.h"

#include <matio.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "hpm/io/file.h"

namespace hpm {
namespace {

struct MatType {
  matio_classes kind;
  matio_types data;
  ScalarType type;
};
// matio gives the elements in the type of the class, however they were stored.
constexpr std::array<MatType, 7> types{{{MAT_C_UINT8, MAT_T_UINT8, ScalarType::uint8},
                                        {MAT_C_INT8, MAT_T_INT8, ScalarType::int8},
                                        {MAT_C_INT16, MAT_T_INT16, ScalarType::int16},
                                        {MAT_C_INT32, MAT_T_INT32, ScalarType::int32},
                                        {MAT_C_INT64, MAT_T_INT64, ScalarType::int64},
                                        {MAT_C_SINGLE, MAT_T_SINGLE, ScalarType::float32},
                                        {MAT_C_DOUBLE, MAT_T_DOUBLE, ScalarType::float64}}};

using MatFile = std::unique_ptr<mat_t, int (*)(mat_t*)>;
using MatVariable = std::unique_ptr<matvar_t, void (*)(matvar_t*)>;

// The shape in reverse; throws for what cannot be read or would take too much.
StoredTensor check(const std::string& path, const std::string& name, const matvar_t& variable, uint64_t limit) {
  const auto found = std::ranges::find(types, variable.class_type, &MatType::kind);
  if (found == types.end() || variable.isComplex)
    fail("{}: the array \"{}\" is of another type than real numbers of 8 to 64 bits", path, name);
  if (variable.rank < 1 || variable.rank > 16 || !variable.dims)
    fail("{}: the array \"{}\" has {} dimensions", path, name, variable.rank);
  StoredTensor out{found->type, {}, {}};
  for (int d = variable.rank; d-- > 0;) {
    if (variable.dims[d] > limit) fail("{}: the array \"{}\" has a side of {}", path, name, variable.dims[d]);
    out.shape.push_back(static_cast<int64_t>(variable.dims[d]));
  }
  const uint64_t size = saturating_product(count_of(out.shape), item_size(out.type));
  if (size > limit)
    fail("{}: the array \"{}\" {} takes {} bytes; at most {} are read", path, name, text_of_shape(out.shape), size,
         limit);
  return out;
}

StoredTensor read_variable(const std::string& path, mat_t* file, const std::string& name, uint64_t limit) {
  const MatVariable variable(Mat_VarReadInfo(file, name.c_str()), Mat_VarFree);
  if (!variable) fail("{}: has no readable array \"{}\"; the file is incomplete or another one", path, name);
  auto out = check(path, name, *variable, limit);
  const uint64_t size = count_of(out.shape) * item_size(out.type);
  if (Mat_VarReadDataAll(file, variable.get()) != 0)
    fail("{}: the array \"{}\" cannot be read; the file is truncated or corrupt, get it anew", path, name);
  const auto found = std::ranges::find(types, variable->class_type, &MatType::kind);
  if (variable->data_type != found->data || variable->nbytes != size || (size > 0 && !variable->data))
    fail("{}: the array \"{}\" {} needs {} bytes, but {} came; the file is truncated or corrupt, get it anew", path,
         name, text_of_shape(out.shape), size, variable->nbytes);
  out.data = Bytes(std::span(static_cast<const std::byte*>(variable->data), size));
  return out;
}

}  // namespace

NamedStoredTensors read_mat(const std::string& path, const std::vector<std::string>& names, uint64_t limit) {
  { const FileSource exists(path); }  // with its message
  const MatFile file(Mat_Open(path.c_str(), MAT_ACC_RDONLY), [](mat_t* f) { return f ? Mat_Close(f) : 0; });
  if (!file) fail("{}: is no MATLAB file, or an incomplete one", path);
  if (Mat_GetVersion(file.get()) == MAT_FT_MAT73)
    fail("{}: a MATLAB 7.3 file (HDF5); save it with version 7 to have it read", path);
  NamedStoredTensors out;
  for (const auto& name : names) out.emplace_back(name, read_variable(path, file.get(), name, limit));
  return out;
}

std::string mat_library() {
  int major = 0, minor = 0, release = 0;
  Mat_GetLibraryVersion(&major, &minor, &release);
  return fmt::format("libmatio {}.{}.{}", major, minor, release);
}

}  // namespace hpm
