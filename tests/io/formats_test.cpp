// safetensors, .npy and .npz; what lies in the place of a file.
#include "hpm/io/file.h"

#include <nlohmann/json.hpp>

#include "hpm/data/cifar.h"
#include "hpm/data/idx.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/image.h"
#include "hpm/io/mat.h"
#include "hpm/io/npy.h"
#include "hpm/io/npz.h"
#include "hpm/io/safetensors.h"
#include "hpm/io/torch_file.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

StoredTensor numbers(ScalarType type, std::vector<int64_t> shape) {
  Bytes data(count_of(shape) * item_size(type));
  for (size_t i = 0; i < data.size(); ++i)
    data.data()[i] = static_cast<std::byte>(type == ScalarType::boolean ? i % 2 : i * 37 + 1);
  return {type, std::move(shape), std::move(data)};
}

NamedStoredTensors one_of_each_type() {
  NamedStoredTensors out;
  for (int i = 0; i < static_cast<int>(kScalarTypes); ++i) {
    const auto type = static_cast<ScalarType>(i);
    out.emplace_back(std::string(name_of(type)), numbers(type, {3, i % 3 + 1}));
  }
  out.emplace_back("scalar", numbers(ScalarType::float64, {}));
  out.emplace_back("empty", numbers(ScalarType::float32, {0, 5}));
  out.emplace_back("a \"quoted\" näme", numbers(ScalarType::int8, {1}));
  return out;
}

std::string safetensors(const std::string& header, const std::string& data) {
  return little<uint64_t>(header.size()) + header + data;
}

std::string safetensors_error(const std::string& bytes) {
  return message_of<Error>([&] { read_safetensors(MemorySource("bad.safetensors", bytes_of(bytes))); });
}
std::string header_error(const std::string& header, size_t data = 8) {
  return safetensors_error(safetensors(header, std::string(data, 'x')));
}

TEST(Safetensors, RoundTripIsBitForBitAndKeepsTheOrder) {
  const TemporaryFolder folder;
  const auto tensors = one_of_each_type();
  write_safetensors(folder / "a.safetensors", tensors, {{"b", "2"}, {"a", "é"}});
  const auto file = read_safetensors(folder / "a.safetensors");
  EXPECT_EQ(file.tensors, tensors);
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"a", "é"}, {"b", "2"}}));
}

TEST(Safetensors, EveryTensorIsAlignedToItsItems) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", one_of_each_type());
  const Bytes bytes = read_file(folder / "a");
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  const auto json = nlohmann::json::parse(bytes.text().substr(8, header));
  for (const auto& [name, tensor] : one_of_each_type())
    EXPECT_EQ(json[name]["data_offsets"][0].get<uint64_t>() % item_size(tensor.type), 0u) << name;
}

TEST(Safetensors, OfNothingIsAFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a", NamedStoredTensors{});
  EXPECT_TRUE(read_safetensors(folder / "a").tensors.empty());
}

TEST(Safetensors, DoesNotWriteWhatCannotBeRead) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, StoredTensor tensor) {
    NamedStoredTensors tensors;
    tensors.emplace_back("first", numbers(ScalarType::int8, {1}));
    tensors.emplace_back(name, std::move(tensor));
    return message_of<Error>([&] { write_safetensors(folder / "a", tensors); });
  };
  EXPECT_NE(write("first", numbers(ScalarType::int8, {1})).find("two tensors"), std::string::npos);
  EXPECT_NE(write("__metadata__", numbers(ScalarType::int8, {1})).find("cannot be called"), std::string::npos);
  EXPECT_NE(write("\xFF", numbers(ScalarType::int8, {1})).find("UTF-8"), std::string::npos);
  EXPECT_NE(write("x", {ScalarType::int8, {2}, Bytes(1)}).find("has 1 bytes"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
}

TEST(Safetensors, RefusesAHeaderThatDoesNotFitTheFile) {
  EXPECT_NE(safetensors_error("short").find("cannot be 5 bytes long"), std::string::npos);
  EXPECT_NE(safetensors_error(little<uint64_t>(1000) + "{}").find("header is 1000 bytes long but the file only 10"),
            std::string::npos);
  EXPECT_NE(safetensors_error(little<uint64_t>(100'000'001) + "{}").find("at most 100000000"), std::string::npos);
  EXPECT_NE(safetensors_error(little<uint64_t>(std::numeric_limits<uint64_t>::max()) + "{}").find("at most"),
            std::string::npos);
}

TEST(Safetensors, RefusesHeadersThatAreNotTheFormat) {
  EXPECT_NE(header_error("[]").find("does not begin with"), std::string::npos);
  EXPECT_NE(header_error("{\"a\": ").find("no JSON"), std::string::npos);
  EXPECT_NE(header_error("{} {}").find("no JSON"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": 5})").find("a number stands"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": {"b": 1}}})").find("an object stands"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"shape": [[1]]}})").find("a list stands"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"shape": [-1]}})").find("negative"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"shape": [1.5]}})").find("fraction"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"shape": [null]}})").find("null"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"shape": [true]}})").find("boolean"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"colour": "red"}})").find("a text stands"), std::string::npos);
  EXPECT_NE(header_error(R"({"__metadata__": {"a": 5}})").find("a number stands"), std::string::npos);
  EXPECT_NE(header_error(R"({"__metadata__": {"a": "1", "a": "2"}})").find("twice"), std::string::npos);
  EXPECT_NE(header_error("{\"a\": \"" + std::string(1, '\xFF') + "\"}").find("no JSON"), std::string::npos);
  std::string deep = "{\"a\": ";
  for (int i = 0; i < 1000000; ++i) deep += "[";
  EXPECT_NE(header_error(deep).find("a list stands"), std::string::npos);
}

TEST(Safetensors, RefusesIncompleteOrRepeatedFields) {
  EXPECT_NE(header_error(R"({"a": {"shape": [2], "data_offsets": [0, 8]}})").find("has no dtype"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "data_offsets": [0, 8]}})").find("has no shape"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "shape": [2]}})").find("has no data_offsets"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "shape": [2], "shape": [2], "data_offsets": [0, 8]}})")
                .find("has shape twice"),
            std::string::npos);
  const std::string one = R"("a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})";
  EXPECT_NE(header_error("{" + one + "," + one + "}").find("the name \"a\" is there twice"), std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}})").find("3 data_offsets"),
            std::string::npos);
  EXPECT_NE(
      header_error(R"({"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}})").find("has the type F8_E4M3"),
      std::string::npos);
}

TEST(Safetensors, RefusesOffsetsThatDoNotFit) {
  EXPECT_NE(
      header_error(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})", 7).find("outside the 7 bytes"),
      std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}})").find("outside"),
            std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}})").find("takes 12 bytes"),
            std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F64", "shape": [288230376151711744, 64], "data_offsets": [0, 0]}})", 0)
                .find("takes"),
            std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F64", "shape": [99999999999999999999], "data_offsets": [0, 8]}})")
                .find("fraction"),
            std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "F64", "shape": [9999999999999999999], "data_offsets": [0, 8]}})")
                .find("impossible"),
            std::string::npos);
}

TEST(Safetensors, RefusesOffsetsThatOverlapOrLeaveHoles) {
  EXPECT_NE(
      header_error(
          R"({"a": {"dtype": "U8", "shape": [6], "data_offsets": [0, 6]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}})")
          .find("\"b\" at 4 overlaps"),
      std::string::npos);
  EXPECT_NE(
      header_error(
          R"({"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}})")
          .find("bytes 3 to 4 of the data"),
      std::string::npos);
  EXPECT_NE(header_error(R"({"a": {"dtype": "U8", "shape": [7], "data_offsets": [0, 7]}})").find("end at byte 7"),
            std::string::npos);
}

TEST(Safetensors, SurvivesTruncationAndFlippedBytes) {
  const std::string file = safetensors(
      R"({"__metadata__":{"a":"b"},"a":{"dtype":"U8","shape":[2,3],"data_offsets":[0,6]},"b":{"dtype":"F16","shape":[1],"data_offsets":[6,8]}})",
      "01234567");
  const auto read = [](const ByteSource& source) { read_safetensors(source); };
  expect_truncations_refused(file, read);
  expect_flips_survived(file, read);
}

// NumPy

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  const std::string size =
      version == 1 ? little(static_cast<uint16_t>(header.size())) : little(static_cast<uint32_t>(header.size()));
  return "\x93NUMPY" + std::string{version, '\0'} + size + header + data;
}
std::string npy_error(const std::string& bytes) {
  return message_of<Error>([&] { read_npy(MemorySource("bad.npy", bytes_of(bytes))); });
}
NamedStoredTensors expected_arrays() {
  NamedStoredTensors out;
  const auto rows = nlohmann::json::parse(fixture("expected.json"))["arrays"];
  for (const auto& row : rows) {
    const std::string digits = row["hex"];
    StoredTensor tensor{*scalar_type_of(row["type"].get<std::string>()), row["shape"], Bytes(digits.size() / 2)};
    for (size_t i = 0; i < tensor.data.size(); ++i)
      tensor.data.data()[i] = static_cast<std::byte>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
    out.emplace_back(row["name"], std::move(tensor));
  }
  return out;
}

TEST(Npy, ReadsWhatNumPyWrote) {
  const auto arrays = expected_arrays();
  ASSERT_EQ(arrays.size(), 6u);
  for (const char* name : {"arrays.npz", "stored.npz"})
    EXPECT_EQ(read_npz(source_dir() / "tests/io/fixtures" / name), arrays) << name;
  EXPECT_EQ(read_npy(source_dir() / "tests/io/fixtures/fortran.npy"), arrays[1].second);
  EXPECT_EQ(read_npy(source_dir() / "tests/io/fixtures/version3.npy"), arrays[0].second);
}

TEST(Npy, ReadsOnlyTheArraysAskedFor) {
  const auto path = source_dir() / "tests/io/fixtures/arrays.npz";
  const auto found = read_npz(path, {"half", "f8"});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].first, "f8");
  EXPECT_NE(message_of<Error>([&] {
              read_npz(path, {"labels"});
            }).find("no array \"labels\" in the file; it holds: f8, fortran"),
            std::string::npos);
}

// What lies in the place of a file

TEST(ForeignContent, IsNamedByEveryReaderWithWhatToDo) {
  const auto pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:" + std::string(64, '0') + "\nsize 19332096\n";
  const std::vector<std::pair<std::string, std::string>> contents{
      {pointer, "Git LFS pointer, which stands for a file of 19332096 bytes: fetch that with `git lfs pull`"},
      {"/annex/objects/SHA256E-s123--0d0d.pth\n", "git-annex pointer, which stands for a file of 123 bytes"},
      {"outs:\n- md5: 00\n  size: 5\n  path: m.pth\n", "dvc pull"},
      {"\n<!DOCTYPE html><html><head><title>404 Not Found</title>", "web page (\"404 Not Found\")"},
      {"\xEF\xBB\xBF<HTML>", "web page"},
      {"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "XML text (\"AccessDenied\")"},
      {"{\"message\": \"Not Found\"}", "JSON text"},
      {"", "the file is empty"}};
  const std::vector<std::pair<const char*, std::function<void(const ByteSource&)>>> readers{
      {"torch", [](const ByteSource& s) { read_torch_file(s); }},
      {"safetensors", [](const ByteSource& s) { read_safetensors(s); }},
      {"npy", [](const ByteSource& s) { read_npy(s); }},
      {"npz", [](const ByteSource& s) { read_npz(s); }},
      {"idx", [](const ByteSource& s) { read_idx(s, s, 10); }},
      {"cifar", [](const ByteSource& s) { read_cifar_binary(s, 1, 10); }},
      {"batch", [](const ByteSource& s) { read_cifar_pickle(s, 10); }},
      {"mat", [](const ByteSource& s) { read_mat(s, {"X"}, 1000); }},
      {"image", [](const ByteSource& s) { decode_image(s); }}};
  for (const auto& [content, part] : contents)
    for (const auto& [name, read] : readers) {
      const auto message =
          message_of<Error>([&, &read = read, &content = content] { read(MemorySource("file", bytes_of(content))); });
      EXPECT_NE(message.find(part), std::string::npos) << name << ": " << message;
    }
  EXPECT_EQ(foreign_content(MemorySource("zip", bytes_of("PK\3\4"))), "");
}

TEST(ForeignContent, LinksOfGitAnnexWhoseFileIsAbsentAreNamed) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink(".git/annex/objects/aa/bb/SHA256E-s1--00/SHA256E-s1--00", folder / "m.pth");
  EXPECT_NE(message_of<Error>([&] { FileSource((folder / "m.pth").string()); }).find("git annex get"),
            std::string::npos);
  std::filesystem::create_symlink("nowhere", folder / "n.pth");
  EXPECT_NE(message_of<Error>([&] { FileSource((folder / "n.pth").string()); }).find("a link to nowhere"),
            std::string::npos);
}

TEST(Npy, RoundTripIsBitForBit) {
  const TemporaryFolder folder;
  for (const auto& [name, tensor] : one_of_each_type()) {
    if (tensor.type == ScalarType::bfloat16) {
      EXPECT_NE(message_of<Error>([&] { write_npy(folder / "a.npy", tensor); }).find("no bfloat16"), std::string::npos);
      continue;
    }
    write_npy(folder / "a.npy", tensor);
    EXPECT_EQ(read_npy(folder / "a.npy"), tensor) << name;
    const Bytes bytes = read_file(folder / "a.npy");
    EXPECT_EQ((bytes.size() - tensor.data.size()) % 64, 0u);
  }
}

TEST(Npy, RefusesWhatItCannotRead) {
  EXPECT_NE(npy_error(fixture("objects.npy")).find("Python objects"), std::string::npos);
  EXPECT_NE(npy_error(fixture("big_endian.npy")).find("big-endian"), std::string::npos);
  EXPECT_NE(npy_error("no array at all").find("no .npy file"), std::string::npos);
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
  EXPECT_NO_THROW(read_npy(MemorySource("a", bytes_of(npy(good, "12345678")))));
  EXPECT_NE(npy_error(npy(good, "12345678", 4)).find("version 4"), std::string::npos);
  EXPECT_NE(npy_error(npy(good, "1234567")).find("takes 8 bytes, but 7 follow"), std::string::npos);
  EXPECT_NE(npy_error(npy(good, "123456789")).find("takes 8 bytes, but 9 follow"), std::string::npos);
  for (const char* header : {"", "{", "{'descr': '<f4'}", "{'descr' '<f4'}", "{'descr': '<f4', 'descr': '<f4'}",
                             "{'descr': <f4}", "{'shape': (2}", "{'shape': (-1,)}", "{'fortran_order': 1}",
                             "{'other': 1}", "{'shape': (99999999999999999999,)}"})
    EXPECT_NE(npy_error(npy(header, "12345678")).find("the header of the array has"), std::string::npos) << header;
  EXPECT_NE(npy_error(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "")).find("records"),
            std::string::npos);
  EXPECT_NE(
      npy_error(npy("{'descr': '<f8', 'fortran_order': True, 'shape': (4294967296, 4294967296, 0)}", "")).find("takes"),
      std::string::npos);
}

TEST(Npy, SurvivesTruncationAndFlippedBytes) {
  const auto read = [](const ByteSource& source) { read_npy(source); };
  expect_truncations_refused(fixture("fortran.npy"), read);
  expect_flips_survived(fixture("fortran.npy"), read);
  const auto read_archive = [](const ByteSource& source) { read_npz(source); };
  expect_truncations_refused(fixture("arrays.npz"), read_archive);
  expect_flips_survived(fixture("arrays.npz"), read_archive);
}

}  // namespace
}  // namespace hpm
