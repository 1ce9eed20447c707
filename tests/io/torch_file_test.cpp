// Files of torch.save against what PyTorch itself says they hold (make_fixtures.py).
#include "hpm/io/state_dict.h"

#include <nlohmann/json.hpp>

#include "hpm/io/torch_file.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

TorchFile read_bytes(const std::string& bytes) { return read_torch_file(MemorySource("a.pth", bytes_of(bytes))); }
std::string error_of(const std::string& bytes) {
  return message_of<Error>([&] { read_bytes(bytes); });
}
void read(const ByteSource& source) { read_torch_file(source); }

class TorchFileOf : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(TorchFileOf, HoldsWhatPyTorchSaved) {
  const auto [name, container] = GetParam();
  TorchFile file = read_bytes(fixture(name));
  EXPECT_EQ(file.container, container);
  const StateDict state = peel(std::move(file.root));
  const auto expected = nlohmann::json::parse(fixture("expected.json"))["checkpoint"];
  ASSERT_EQ(state.tensors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& [key, tensor] = state.tensors[i];
    EXPECT_EQ(key, expected[i]["name"]);
    EXPECT_EQ(name_of(tensor.type), expected[i]["type"]) << key;
    EXPECT_EQ(tensor.shape, expected[i]["shape"].get<std::vector<int64_t>>()) << key;
    EXPECT_EQ(hex(tensor.data), expected[i]["hex"]) << key;
  }
  const std::map<std::string, std::string> scalars{{"acc", "0.625"},
                                                   {"big", "0x0100000000000000000000"},
                                                   {"count", "-7"},
                                                   {"device", "cpu"},
                                                   {"dtype", "torch.float32"},
                                                   {"epoch", "3"},
                                                   {"flag", "True"},
                                                   {"half", "1.5"}};
  EXPECT_EQ(state.scalars, scalars);
}

TEST_P(TorchFileOf, SurvivesTruncationAndFlippedBytes) {
  const std::string file = fixture(GetParam().first);
  expect_truncations_refused(file, read);
  expect_flips_survived(file, read);
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TorchFileOf,
                         testing::Values(std::pair{"zip.pth", "PyTorch zip"},
                                         std::pair{"legacy.pth", "PyTorch legacy pickle"},
                                         std::pair{"legacy_protocol4.pth", "PyTorch legacy pickle"}));

std::string pickle_of_weights() {
  using namespace std::string_literals;
  return "}X\1\0\0\0wctorch._utils\n_rebuild_tensor\n((X\7\0\0\0storagectorch\nByteStorage\nX\1\0\0\0"s +
         "0NK\2tQK\0K\2\x85K\1\x85tRs."s;
}

TEST(TorchFile, ReadsAHandMadeArchive) {
  const auto file =
      read_bytes(make_zip({{"a/data.pkl", pickle_of_weights()}, {"a/byteorder", "little"}, {"a/data/0", "xy"}}));
  EXPECT_EQ((*file.root.find("w")->as<TensorPointer>())->data.text(), "xy");
}

TEST(TorchFile, RefusesArchivesThatContradictThemselves) {
  EXPECT_NE(error_of(make_zip({{"a/data.pkl", pickle_of_weights()}})).find("names storage \"0\" but does not hold it"),
            std::string::npos);
  EXPECT_NE(error_of(make_zip({{"a/data.pkl", pickle_of_weights()}, {"a/data/0", "xyz"}}))
                .find("2 torch.ByteStorage, 2 bytes, but has 3"),
            std::string::npos);
  EXPECT_NE(error_of(make_zip({{"a/data.pkl", pickle_of_weights()}, {"a/byteorder", "big"}, {"a/data/0", "xy"}}))
                .find("big-endian"),
            std::string::npos);
  EXPECT_NE(error_of(make_zip({{"a/readme", "x"}})).find("no data.pkl"), std::string::npos);
  EXPECT_NE(error_of("random bytes, not a checkpoint").find("no PyTorch checkpoint"), std::string::npos);
  EXPECT_NE(error_of("").find("the file is empty"), std::string::npos);
}

TEST(TorchFile, RunsNothingFromAnArchive) {
  const auto file = read_bytes(make_zip({{"a/data.pkl", "cos\nsystem\n(S'touch hpm_was_here'\ntR."}}));
  ASSERT_TRUE(file.root.as<Opaque>());
  EXPECT_EQ(file.root.as<Opaque>()->name, "os.system");
  EXPECT_FALSE(std::filesystem::exists("hpm_was_here"));
}

TEST(TorchFile, RecognisesTorchScriptWithoutReadingIt) {
  for (const char* sign : {"a/constants.pkl", "a/code/__torch__.py"}) {
    const auto file = read_bytes(make_zip({{"a/data.pkl", "cos\nsystem\n."}, {sign, ""}}));
    EXPECT_EQ(file.container, "TorchScript");
    EXPECT_TRUE(file.root.as<std::monostate>());
  }
}

TEST(TorchFile, RefusesALegacyFileOfAnotherByteOrderOrCount) {
  std::string file = fixture("legacy.pth");
  const std::string key = "little_endian";
  const size_t flag = file.find('\x88', file.find(key));
  ASSERT_NE(flag, std::string::npos);
  file[flag] = '\x89';
  EXPECT_NE(error_of(file).find("big-endian"), std::string::npos);
}

}  // namespace
}  // namespace hpm
