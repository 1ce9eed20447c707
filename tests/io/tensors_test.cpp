// The side of io that speaks torch.
#include "hpm/io/tensors.h"

#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const auto x = a.contiguous(), y = b.contiguous();
  return std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

NamedTensors some_of_each_type() {
  NamedTensors out;
  for (const auto type : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf, at::kBFloat16,
                          at::kFloat, at::kDouble})
    out.emplace_back(c10::toString(type), at::arange(6, at::kFloat).remainder(2).view({2, 3}).to(type));
  out.emplace_back("scalar", at::tensor(2.5));
  out.emplace_back("empty", at::empty({0, 3}));
  out.emplace_back("transposed", at::arange(6).view({2, 3}).t());
  out.emplace_back("not a number", at::tensor({std::nan(""), -0.0, INFINITY}));
  return out;
}

TEST(Tensors, RoundTripThroughStorageAndFileIsBitForBit) {
  const TemporaryFolder folder;
  const auto tensors = some_of_each_type();
  write_safetensors(folder / "a.safetensors", tensors, {{"epoch", "3"}});
  const auto file = read_checkpoint(folder / "a.safetensors");
  EXPECT_EQ(file.container, "safetensors");
  EXPECT_EQ(file.metadata.at("epoch"), "3");
  EXPECT_EQ(file.sha256, sha256(read_file(folder / "a.safetensors")));
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file.tensors[i].first, tensors[i].first);
    EXPECT_TRUE(same_bits(file.tensors[i].second, tensors[i].second)) << tensors[i].first;
    EXPECT_TRUE(same_bits(to_tensor(to_stored(tensors[i].second)), tensors[i].second)) << tensors[i].first;
  }
}

TEST(Tensors, MovedStorageIsOwnedByTheTensor) {
  at::Tensor kept;
  {
    StoredTensor stored = to_stored(at::arange(1000));
    kept = to_tensor(std::move(stored));
  }
  kept.add_(1);
  EXPECT_EQ(kept.sum().item<int64_t>(), 500500);
}

TEST(Tensors, RefusesTypesAndValuesThatCannotBe) {
  EXPECT_NE(message_of<Error>([] { to_stored(at::zeros({2}, at::kComplexFloat)); }).find("ComplexFloat"),
            std::string::npos);
  StoredTensor odd{ScalarType::boolean, {1}, Bytes(bytes_of("\2"))};
  EXPECT_NE(message_of<Error>([&] { to_tensor(odd); }).find("holds the value 2"), std::string::npos);
}

TEST(Checkpoint, IsRecognisedByItsContent) {
  const auto fixtures = source_dir() / "tests/io/fixtures";
  const auto zip = read_checkpoint(fixtures / "zip.pth"), legacy = read_checkpoint(fixtures / "legacy.pth");
  EXPECT_EQ(zip.container, "PyTorch zip");
  EXPECT_EQ(legacy.container, "PyTorch legacy pickle");
  EXPECT_EQ(zip.metadata.at("epoch"), "3");
  EXPECT_EQ(zip.peeled, std::vector<std::string>{"key \"state_dict\""});
  ASSERT_EQ(zip.tensors.size(), legacy.tensors.size());
  for (size_t i = 0; i < zip.tensors.size(); ++i)
    EXPECT_TRUE(same_bits(zip.tensors[i].second, legacy.tensors[i].second));
}

TEST(Checkpoint, RefusesWhatIsNone) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder.path); }).find("is a folder"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "absent.pth"); }).find("no such file"), std::string::npos);
  write_file_atomically(folder / "page.pth", "<html>404</html>");
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "page.pth"); }).find("no checkpoint that hpm knows"),
            std::string::npos);
  write_file_atomically(folder / "empty.pth", "");
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "empty.pth"); }).find("no checkpoint that hpm knows"),
            std::string::npos);
  const std::string whole = fixture("zip.pth");
  write_file_atomically(folder / "half.pth", std::string_view(whole).substr(0, whole.size() / 2));
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "half.pth"); }).find("incomplete download"),
            std::string::npos);
}

}  // namespace
}  // namespace hpm
