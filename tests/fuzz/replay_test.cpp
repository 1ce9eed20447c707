// The fuzzers' targets over their committed corpora and over the files of make_broken.py, without a fuzzer.
#include <sys/resource.h>

#include "hpm/io/file.h"
#include "hpm/io/zip.h"
#include "report/tools.h"
#include "targets.h"

namespace hpm::test {
namespace {

int64_t peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss >> 10;
}

/// The message with which a target refuses a file; none when it reads it. Other exceptions pass.
std::optional<std::string> refusal(const FuzzTarget& target, std::span<const std::byte> bytes) {
  try {
    target.run(bytes);
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

class FuzzReplay : public testing::TestWithParam<FuzzTarget> {
 protected:
  /// The files of a kind, made anew by the script; empty without Python.
  static std::vector<std::filesystem::path> made(const std::string& kind) {
    static const TemporaryFolder folder;
    static const std::string said =
        output_of("'" + find_python() + "' '" + (source_dir() / "tests/io/make_broken.py").string() + "' '" +
                  folder.path.string() + "' 2>&1");
    EXPECT_EQ(said, "");
    std::vector<std::filesystem::path> out;
    const auto place = folder / GetParam().name / kind;
    if (std::filesystem::exists(place))
      for (const auto& entry : std::filesystem::directory_iterator(place)) out.push_back(entry.path());
    std::ranges::sort(out);
    return out;
  }
};

TEST_P(FuzzReplay, CommittedCorpusIsReadOrRefused) {
  const auto path = source_dir() / "tests/fuzz/corpus" / (std::string(GetParam().name) + ".zip");
  const FileSource file(path);
  const ZipArchive corpus(file);
  EXPECT_GT(corpus.entries().size(), 5u);
  for (const auto& entry : corpus.entries()) {
    SCOPED_TRACE(entry.name);
    EXPECT_NO_THROW(run_fuzz_target(GetParam(), corpus.read(entry)));
  }
}

TEST_P(FuzzReplay, SoundFilesAreRead) {
  HPM_NEED_PYTHON();
  const auto files = made("sound");
  EXPECT_FALSE(files.empty());
  for (const auto& path : files) EXPECT_EQ(refusal(GetParam(), read_file(path)).value_or(""), "") << path;
}

TEST_P(FuzzReplay, BrokenFilesAreRefusedWithTheirNameAndTheOffset) {
  HPM_NEED_PYTHON();
  const auto before = peak_megabytes();
  const auto files = made("broken");
  EXPECT_GT(files.size(), 10u);
  for (const auto& path : files) {
    const auto message = refusal(GetParam(), read_file(path));
    ASSERT_TRUE(message.has_value()) << path << " was read";
    EXPECT_NE(message->find(GetParam().file), std::string::npos) << path << ": " << *message;
    EXPECT_NE(message->find(GetParam().place), std::string::npos) << path << ": " << *message;
    EXPECT_LT(message->size(), 3000u) << path;
  }
  // The largest of these files that is read into memory at all has 7 MB; a zip may decompress to 64 MB before it is one
  // too many, and sanitizers keep what was freed.
  EXPECT_LT(peak_megabytes() - before, 1000);
}

TEST_P(FuzzReplay, FilesWithAFlippedByteAreReadOrRefused) {
  HPM_NEED_PYTHON();
  const auto files = made("flipped");
  EXPECT_GT(files.size(), 10u);
  for (const auto& path : files) EXPECT_NO_THROW(run_fuzz_target(GetParam(), read_file(path))) << path;
}

INSTANTIATE_TEST_SUITE_P(, FuzzReplay, testing::ValuesIn(fuzz_targets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace hpm::test
