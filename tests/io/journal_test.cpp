#include "hpm/io/journal.h"

#include <fstream>

#include "hpm/core/error.h"
#include "hpm/io/file.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

NamedTensors piece(int64_t i) {
  return {{"flags", at::arange(i).gt(2)}, {"images", at::full({i, 2}, .5 * static_cast<double>(i))}};
}

std::string text_of(const std::filesystem::path& path) { return std::string(read_file(path.string()).text()); }

TEST(Journal, GivesBackWhatWasWrittenAlsoAfterReopening) {
  test::TemporaryFolder folder;
  {
    Journal journal(folder.path, "print", false);
    for (int64_t i = 0; i < 4; ++i) journal.write("piece " + std::to_string(i), piece(i));
  }
  Journal again(folder.path, "print", true);
  ASSERT_EQ(again.size(), 4u);
  for (int64_t i = 0; i < 4; ++i) {
    const auto found = again.read("piece " + std::to_string(i));
    EXPECT_TRUE(find_tensor(found, "flags").equal(piece(i)[0].second));
    EXPECT_TRUE(find_tensor(found, "images").equal(piece(i)[1].second));
  }
  EXPECT_FALSE(find_tensor(again.read("piece 1"), "other").defined());
  EXPECT_THROW(again.read("piece 4"), Error);
}

TEST(Journal, CutAnywhereItKeepsEveryPieceBeforeTheCutAndCanGoOn) {
  test::TemporaryFolder whole;
  {
    Journal journal(whole.path, "print", false);
    for (int64_t i = 0; i < 3; ++i) journal.write("piece " + std::to_string(i), piece(i + 3));
  }
  const auto lines = text_of(whole / "events.jsonl"), data = text_of(whole / "events.bin");
  for (size_t cut = 0; cut < lines.size(); cut += 7) {
    test::TemporaryFolder folder;
    std::ofstream(folder / "events.jsonl", std::ios::binary) << lines.substr(0, cut);
    std::ofstream(folder / "events.bin", std::ios::binary) << data;
    const auto whole_lines =
        static_cast<size_t>(std::count(lines.begin(), lines.begin() + static_cast<int64_t>(cut), '\n'));
    Journal journal(folder.path, "print", true);
    EXPECT_EQ(journal.size(), whole_lines > 0 ? whole_lines - 1 : 0) << cut;
    journal.write("later", piece(9));
    EXPECT_TRUE(find_tensor(journal.read("later"), "images").equal(piece(9)[1].second));
    for (size_t i = 0; i + 1 < whole_lines; ++i)
      EXPECT_TRUE(find_tensor(journal.read("piece " + std::to_string(i)), "images")
                      .equal(piece(static_cast<int64_t>(i) + 3)[1].second));
  }
}

TEST(Journal, DropsPiecesWhoseBytesAreWrongOrMissing) {
  for (const bool flip : {true, false}) {
    test::TemporaryFolder folder;
    {
      Journal journal(folder.path, "print", false);
      for (int64_t i = 0; i < 3; ++i) journal.write("piece " + std::to_string(i), piece(4));
    }
    auto data = text_of(folder / "events.bin");
    if (flip) data[data.size() / 2] = static_cast<char>(data[data.size() / 2] ^ 1);
    else data.resize(data.size() / 2);
    std::ofstream(folder / "events.bin", std::ios::binary) << data;
    EXPECT_EQ(Journal(folder.path, "print", true).size(), 1u);
  }
}

TEST(Journal, IsCutOffAtALineThatIsSealedButHostile) {
  const auto tensors = [](const std::string& shape) {
    return R"({"key":"bad","seconds":1,"tensors":[{"name":"a","dtype":"uint8","shape":)" + shape + "}]}";
  };
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  // Their bytes are 2^64 together, which would be none.
  const std::string most = R"({"name":"a","dtype":"uint8","shape":[9223372036854775807]},)";
  const auto wraps = R"({"key":"bad","tensors":[)" + most + most + R"({"name":"a","dtype":"uint8","shape":[2]}]})";
  for (const auto& line : {wraps, tensors(deep), "{\"key\":" + deep + "}", tensors("[-1]"), tensors("[-2,-2]"),
                           tensors("[2.5]"), tensors("[18446744073709551615]"), tensors("[9223372036854775807,3]"),
                           tensors("[0,4611686018427387904,8]"), tensors("\"4\""), std::string(R"({"key":"bad"})")}) {
    test::TemporaryFolder folder;
    Journal(folder.path, "print", false).write("good", piece(3));
    std::ofstream(folder / "events.jsonl", std::ios::app) << sealed_journal_line(line, "");
    Journal again(folder.path, "print", true);
    EXPECT_EQ(again.size(), 1u) << line.substr(0, 200);
    EXPECT_TRUE(find_tensor(again.read("good"), "flags").equal(piece(3)[0].second));
  }
}

TEST(Journal, OfAnotherRunIsRefused) {
  test::TemporaryFolder folder;
  Journal(folder.path, "one", false).write("piece", piece(3));
  EXPECT_NE(message_of<Error>([&] { Journal(folder.path, "two", true); }).find("other settings"), std::string::npos);
  EXPECT_EQ(Journal(folder.path, "two", false).size(), 0u);
}

TEST(WorkLog, DoesAPieceOnceForTheSameRowsAndAgainForOthers) {
  test::TemporaryFolder folder;
  Journal journal(folder.path, "print", false);
  const auto log = WorkLog(journal).below("eps");
  int done = 0;
  const auto work = [&] { return ++done, piece(3); };
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(find_tensor(log.once("key", at::arange(3), work), "flags").equal(piece(3)[0].second));
  EXPECT_EQ(done, 1);
  EXPECT_TRUE(journal.has("eps/key"));
  log.once("key", at::arange(4), work);
  EXPECT_EQ(done, 2);
  WorkLog().once("key", at::arange(4), work);
  EXPECT_EQ(done, 3);
}

TEST(WorkLog, CountsTheSecondsOfEarlierPartsOnceEach) {
  test::TemporaryFolder folder;
  {
    Journal first(folder.path, "print", false);
    first.write("slow", {{"rows", at::arange(3)}}, 100);
    first.write("other", {{"rows", at::arange(3)}}, 1000);
    const WorkLog log(first);
    const WorkTimer timer(log);
    log.once("slow", at::arange(3), [] { return NamedTensors{}; });
    EXPECT_LT(timer.seconds(), 50) << "done in this process, and timed here";
  }
  Journal again(folder.path, "print", true);
  const WorkLog log(again);
  const WorkTimer timer(log);
  for (int i = 0; i < 2; ++i) log.once("slow", at::arange(3), [] { return NamedTensors{}; });
  EXPECT_NEAR(timer.seconds(), 100, 50);
  const WorkTimer later(log);
  EXPECT_LT(later.seconds(), 50);
  log.once("new", at::arange(3), [] { return NamedTensors{}; });
  EXPECT_LT(later.seconds(), 50);
}

TEST(Journal, KeepsPiecesUnderNamesThatAreNotUtf8) {
  test::TemporaryFolder folder;
  Journal(folder.path, "print", false).write("mod\xe8le/apgd", piece(3));
  Journal again(folder.path, "print", true);
  ASSERT_TRUE(again.has("mod\xe8le/apgd"));
  EXPECT_TRUE(find_tensor(again.read("mod\xe8le/apgd"), "flags").equal(piece(3)[0].second));
}

}  // namespace
}  // namespace hpm
