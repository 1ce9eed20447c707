// The side of io that speaks torch.
#include "hpm/io/tensors.h"

#include <malloc.h>

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

TEST(Tensors, UnsignedTypesThatLibTorchCannotComputeWithBecomeTheNextSignedOne) {
  const auto stored = [](auto value, ScalarType type) {
    return StoredTensor{type, {1}, Bytes(std::as_bytes(std::span(&value, 1)))};
  };
  const auto small = to_tensor(stored(uint16_t{65535}, ScalarType::uint16));
  EXPECT_EQ(small.scalar_type(), at::kInt);
  EXPECT_EQ(small.item<int64_t>(), 65535);
  EXPECT_EQ(to_tensor(stored(uint32_t{4294967295}, ScalarType::uint32)).item<int64_t>(), 4294967295);
  EXPECT_EQ(to_tensor(stored(uint64_t{1} << 62, ScalarType::uint64)).item<int64_t>(), int64_t{1} << 62);
  EXPECT_NE(
      message_of<Error>([&] { to_tensor(stored(uint64_t{1} << 63, ScalarType::uint64)); }).find("9223372036854775808"),
      std::string::npos);
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

/// Peak memory of this process in bytes, from now on or since the last call.
uint64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) << 10;
  return 0;
}
bool reset_peak_memory() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << 5 << std::flush); }

/// "{a: tensor, b: tensor}", of two storages, or of one whose halves they are.
std::string pickle_of_two(int64_t count, bool shared) {
  const auto integer = [](int64_t i) { return "\x8a\x08" + little(i); };
  const auto text = [](const std::string& s) { return "X" + little(static_cast<uint32_t>(s.size())) + s; };
  std::string out = "}(";
  for (int64_t i = 0; i < 2; ++i) {
    const std::string key = shared ? "0" : std::to_string(i);
    out += text(i == 0 ? "a" : "b") + "ctorch._utils\n_rebuild_tensor\n((" + text("storage") +
           "ctorch\nFloatStorage\n" + text(key) + text("cpu") + integer(shared ? 2 * count : count) + "tQ" +
           integer(shared ? i * count : 0) + "(" + integer(count) + "t(" + integer(1) + "ttR";
  }
  return out + "u.";
}

std::string legacy_file(int64_t count, bool shared) {
  using namespace std::string_literals;
  std::string out =
      "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.M\xe9\x03.}X\x0d\x00\x00\x00little_endian\x88s."s +
      pickle_of_two(count, shared) +
      (shared ? "](X\x01\0\0\0"
                "0e."s
              : "](X\x01\0\0\0"
                "0X\x01\0\0\0"
                "1e."s);
  for (int64_t i = 0; i < (shared ? 1 : 2); ++i) {
    const auto elements = static_cast<uint64_t>(shared ? 2 * count : count);
    out += little(elements) + std::string(elements * 4, '\1');
  }
  return out;
}

std::string zip_file(int64_t count, bool shared) {
  const auto bytes = static_cast<size_t>(count) * 4;
  std::vector<ZipItem> items{{"a/data.pkl", pickle_of_two(count, shared)},
                             {"a/data/0", std::string(shared ? 2 * bytes : bytes, '\1')}};
  if (!shared) items.push_back({"a/data/1", std::string(bytes, '\1')});
  return make_zip(std::move(items));
}

TEST(Checkpoint, TakesLittleMoreMemoryThanItsTensors) {
  if (!reset_peak_memory())
    GTEST_SKIP() << "needs a kernel that resets peak memory: run it on Linux with /proc/self/clear_refs writable";
  constexpr int64_t count = 5 << 20;  // 20 MB a tensor
  const TemporaryFolder folder;
  for (const std::string kind : {"safetensors", "zip", "zip, shared", "legacy", "legacy, shared"}) {
    const auto path = (folder / "file").string();
    const bool shared = kind.ends_with("shared");
    if (kind == "safetensors") write_safetensors(path, {{"a", at::ones(count)}, {"b", at::ones(count)}});
    else write_file_atomically(path, kind.starts_with("zip") ? zip_file(count, shared) : legacy_file(count, shared));
    malloc_trim(0);  // what was freed would be taken again unseen
    reset_peak_memory();
    const auto before = peak_memory();
    const auto file = read_checkpoint(path);
    const auto taken = static_cast<double>(peak_memory() - before), declared = 2. * count * 4;
    ASSERT_EQ(file.tensors.size(), 2u) << kind;
    EXPECT_EQ(file.tensors[1].second.sum().item<double>() > 0, true);
    EXPECT_LT(taken, 1.2 * declared) << kind;
    EXPECT_GT(taken, .9 * declared) << kind << ": the measurement does not see the tensors";
  }
}

TEST(Checkpoint, RefusesWhatIsNone) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder.path); }).find("is a folder"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "absent.pth"); }).find("no such file"), std::string::npos);
  write_file_atomically(folder / "noise.pth", "no checkpoint at all");
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "noise.pth"); }).find("no checkpoint that hpm knows"),
            std::string::npos);
  const std::string whole = fixture("zip.pth");
  write_file_atomically(folder / "half.pth", std::string_view(whole).substr(0, whole.size() / 2));
  EXPECT_NE(message_of<Error>([&] { read_checkpoint(folder / "half.pth"); }).find("incomplete download"),
            std::string::npos);
}

}  // namespace
}  // namespace hpm
