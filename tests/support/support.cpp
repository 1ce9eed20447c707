#include "support/support.h"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace hpm::test {

at::Tensor fill_rule(int64_t n, int64_t t) {
  auto out = at::empty({n}, at::kDouble);
  double* data = out.data_ptr<double>();
  for (int64_t i = 0; i < n; ++i) {
    const double v = std::sin(static_cast<double>(i) * 12.9898 + static_cast<double>(t) * 78.233) * 43758.5453;
    data[i] = v - std::floor(v);
  }
  return out;
}

testing::AssertionResult close(const at::Tensor& a, const at::Tensor& b, double absolute, double relative) {
  if (a.sizes() != b.sizes()) return testing::AssertionFailure() << "shapes " << a.sizes() << " and " << b.sizes();
  if (a.numel() == 0) return testing::AssertionSuccess();
  const auto x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  const double worst = (x - y).abs().max().item<double>(), bound = absolute + relative * y.abs().max().item<double>();
  if (worst <= bound) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "largest difference " << worst << " over " << bound;
}

std::filesystem::path source_dir() { return HPM_SOURCE_DIR; }
std::filesystem::path binary_dir() { return HPM_BINARY_DIR; }

std::optional<std::filesystem::path> shared(const std::string& relative) {
  const char* given = std::getenv("HPM_SHARED");
  const auto root = given ? std::filesystem::path(given) : source_dir().parent_path() / "shared";
  if (!std::filesystem::exists(root / relative)) return std::nullopt;
  return root / relative;
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return nlohmann::json::parse(file);
}

at::Tensor tensor_of(const nlohmann::json& list) {
  std::vector<int64_t> shape;
  for (const auto* level = &list; level->is_array(); level = &level->front()) {
    shape.push_back(static_cast<int64_t>(level->size()));
    if (level->empty()) break;
  }
  std::vector<double> flat;
  const auto collect = [&](auto&& self, const nlohmann::json& value) -> void {
    if (value.is_array())
      for (const auto& element : value) self(self, element);
    else flat.push_back(value.get<double>());
  };
  collect(collect, list);
  return at::tensor(flat, at::kDouble).view(shape);
}

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "hpm-test-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("cannot make a temporary folder");
  path = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace hpm::test
