// What the tests share: the fill rule of the oracles, temporary folders, comparison of tensors, paths of shared data.
#pragma once
#include <gtest/gtest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include "hpm/core/torch_impl.h"

namespace hpm::test {

/// u(n, t)[i] = frac(sin(i * 12.9898 + t * 78.233) * 43758.5453), double [n].
at::Tensor fill_rule(int64_t n, int64_t t);

/// Fails the test unless the shapes agree and max |a - b| <= absolute + relative * max |b|; NaN equals nothing.
testing::AssertionResult close(const at::Tensor& a, const at::Tensor& b, double absolute, double relative = 0);

/// The source folder of the project and the folder of the build.
std::filesystem::path source_dir();
std::filesystem::path binary_dir();

/// A path below ../shared (or $HPM_SHARED); none where it is absent.
std::optional<std::filesystem::path> shared(const std::string& relative);

nlohmann::json read_json(const std::filesystem::path& path);
/// A JSON list, nested up to three deep, as a double tensor.
at::Tensor tensor_of(const nlohmann::json& list);

/// A fresh folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::filesystem::path path;
  std::filesystem::path operator/(const std::string& name) const { return path / name; }
};

/// The message of the exception of type E that `f` throws; fails the test when it throws none.
template <class E, class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "threw another exception: " << error.what();
    return {};
  }
  ADD_FAILURE() << "threw nothing";
  return {};
}

}  // namespace hpm::test

/// Skips the running test with a printed reason where a shared file is absent.
#define HPM_NEED_SHARED(variable, relative)                                                                      \
  const auto variable##_found = ::hpm::test::shared(relative);                                                   \
  if (!variable##_found)                                                                                         \
    GTEST_SKIP() << "needs ../shared/" << (relative) << ", absent here (HPM_SHARED=FOLDER names another place)"; \
  const std::filesystem::path variable = *variable##_found
