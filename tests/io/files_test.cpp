// Files, checksums, zip archives.
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <thread>

#include "hpm/core/progress.h"
#include "hpm/io/crc32.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"
#include "hpm/io/zip.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

TEST(Bytes, CopiesAreEqualAndMovedFromIsEmpty) {
  Bytes a(bytes_of("abc"));
  const Bytes b = a;
  EXPECT_EQ(a, b);
  const Bytes c = std::move(a);
  EXPECT_EQ(c, b);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(c.data()) % 64, 0u);
}

TEST(Bytes, MoreThanTheMachineHasIsAnError) { EXPECT_THROW(Bytes(uint64_t{1} << 62), Error); }

TEST(Text, NamesThatAreNotUtf8AreShownEscapedAndOthersAsTheyAre) {
  for (const char* valid : {"", "chat", "modèle", "模型", "a\\b"}) EXPECT_EQ(printable_utf8(valid), valid);
  EXPECT_EQ(printable_utf8("mod\xE8le"), "mod\\xE8le");
  EXPECT_EQ(printable_utf8("\xFF\xC3"), "\\xFF\\xC3") << "a sequence that ends early";
  EXPECT_EQ(printable_utf8("è\xE8"), "è\\xE8") << "both in one name";
  EXPECT_EQ(printable_utf8("\xED\xA0\x80"), "\\xED\\xA0\\x80") << "a surrogate";
  EXPECT_EQ(printable("a\nb\xE8"), "a?b\\xE8");
}

TEST(ByteReader, NeverReadsBeyondTheEnd) {
  const std::string text = "\x01\x02\x03";
  const MemorySource source("three", bytes_of(text));
  ByteReader in(source);
  EXPECT_EQ(in.number<uint16_t>(), 0x0201);
  EXPECT_NE(
      message_of<Error>([&] { in.number<uint16_t>(); }).find("three: 2 bytes are needed here but the file ends at 3"),
      std::string::npos);
  EXPECT_THROW(in.take(std::numeric_limits<uint64_t>::max()), Error);
  EXPECT_THROW(in.skip(2), Error);
  in.skip(1);
  EXPECT_EQ(in.left(), 0u);
  EXPECT_THROW(source.read(4, 0), Error);
  EXPECT_THROW(source.read(2, std::numeric_limits<uint64_t>::max()), Error);
}

TEST(ByteReader, WindowsJoinSeamlessly) {
  std::string text;
  for (uint32_t i = 0; i < 50000; ++i) text += little(i);
  const MemorySource source("numbers", bytes_of(text));
  ByteReader in(source);
  EXPECT_EQ(in.take(1)[0], std::byte{0});
  in.skip(3);
  for (uint32_t i = 1; i < 50000; ++i) ASSERT_EQ(in.number<uint32_t>(), i);
}

TEST(File, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_NE(message_of<Error>([&] { read_file(folder.path); }).find("is a folder"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_file(folder / "absent"); }).find("no such file"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { read_file("/dev/null"); }).find("not a regular file"), std::string::npos);
}

TEST(File, AppearsCompleteOrNotAtAll) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "a", "first");
  {
    AtomicFile file(folder / "a");
    file.write("sec");
  }
  EXPECT_EQ(read_file(folder / "a").text(), "first");
  write_file_atomically(folder / "a", "second");
  EXPECT_EQ(read_file(folder / "a").text(), "second");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path), {}), 1) << "a temporary file was left";
  EXPECT_THROW(write_file_atomically(folder.path, "x"), Error);
  EXPECT_THROW(write_file_atomically(folder / "absent/a", "x"), Error);
}

TEST(File, BehindASymbolicLinkIsReplacedAndTheLinkStays) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path / "there");
  write_file_atomically(folder / "there/target", "first");
  std::filesystem::permissions(folder.path / "there/target", std::filesystem::perms(0640));
  std::filesystem::create_symlink("there/target", folder.path / "near");
  std::filesystem::create_symlink("near", folder.path / "far");
  std::filesystem::create_symlink("there/new", folder.path / "dangling");
  std::filesystem::create_symlink("circle", folder.path / "circle");
  write_file_atomically(folder / "far", "second");
  write_file_atomically(folder / "dangling", "made");
  EXPECT_EQ(read_file(folder / "there/target").text(), "second");
  EXPECT_EQ(read_file(folder / "there/new").text(), "made");
  for (const char* link : {"near", "far", "dangling"})
    EXPECT_TRUE(std::filesystem::is_symlink(folder.path / link)) << link;
  EXPECT_EQ(std::filesystem::status(folder.path / "there/target").permissions(), std::filesystem::perms(0640));
  EXPECT_NE(message_of<Error>([&] { write_file_atomically(folder / "circle", "x"); }).find("circle"),
            std::string::npos);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path / "there"), {}), 2) << "a file was left";
}

TEST(File, GoesThroughAFifoAndADevice) {
  const TemporaryFolder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const std::string text(300000, 'x');  // more than a pipe holds
  std::string read;
  std::thread reader([&] {
    std::ifstream in(fifo, std::ios::binary);
    read.assign(std::istreambuf_iterator<char>(in), {});
  });
  write_file_atomically(fifo, text);
  reader.join();
  EXPECT_EQ(read, text);
  EXPECT_TRUE(std::filesystem::is_fifo(fifo));
  write_file_atomically("/dev/null", text);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_NE(message_of<Error>([&] { write_file_atomically("/dev/full", text); }).find("/dev/full: cannot be written"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path), {}), 1) << "a temporary file was left";
}

TEST(File, WaitingForTheReaderOfAFifoIsInterrupted) {
  const TemporaryFolder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EXIT(
      {
        std::signal(SIGALRM, [](int) { request_interrupt(); });
        ::alarm(1);
        try {
          write_file_atomically(fifo, "x");
        } catch (const Interrupted&) {
          std::_Exit(130);
        }
        std::_Exit(0);
      },
      testing::ExitedWithCode(130), "");
}

TEST(File, IsReplaceableWhereNobodyLosesAnything) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "full", "x");
  write_file_atomically(folder / "empty", "");
  std::filesystem::create_symlink("full", folder.path / "link");
  for (const auto& path : std::vector<std::string>{folder / "none", folder / "empty", "/dev/null"})
    EXPECT_TRUE(is_replaceable(path)) << path;
  for (const auto& path : std::vector<std::string>{folder / "full", folder / "link", folder.path})
    EXPECT_FALSE(is_replaceable(path)) << path;
  EXPECT_TRUE(becomes_a_file(folder / "none") && becomes_a_file(folder / "link"));
  EXPECT_FALSE(becomes_a_file("/dev/null"));
}

TEST(Crc32, IsZlibsForEveryLengthAlignmentAndDivision) {
  const std::string check = "123456789";
  EXPECT_EQ(crc32_of(std::as_bytes(std::span(check))), 0xCBF43926u);
  std::string text(1200, ' ');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * i * 7 % 251);
  const auto bytes = std::as_bytes(std::span(text));
  const auto expected = [&](size_t begin, size_t size) {
    return static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const unsigned char*>(text.data()) + begin, size));
  };
  for (size_t begin : {0u, 1u, 7u})
    for (size_t size = 0; size < 400; ++size)
      ASSERT_EQ(crc32_of(bytes.subspan(begin, size)), expected(begin, size)) << begin << " " << size;
  for (size_t cut = 0; cut <= 1200; cut += 37)
    EXPECT_EQ(crc32_of(bytes.subspan(cut), crc32_of(bytes.first(cut))), expected(0, 1200)) << cut;
}

TEST(Sha256, GivesTheValuesOfFips180) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnThePieces) {
  const std::string text(300, 'x');
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Sha256 hash;
    hash.update(bytes_of(text).first(cut));
    hash.update(bytes_of(text).subspan(cut));
    ASSERT_EQ(hash.hex(), sha256(text)) << cut;
  }
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
  const TemporaryFolder folder;
  const std::string text(1000000, 'a');
  write_file_atomically(folder / "a", text);
  EXPECT_EQ(sha256_of_file(folder / "a"), sha256(text));
}

std::string zip_error(const std::string& bytes) {
  return message_of<Error>([&] {
    const MemorySource source("hostile.zip", bytes_of(bytes));
    const ZipArchive zip(source);
    for (const auto& entry : zip.entries()) zip.read(entry);
  });
}

void read_all(const ByteSource& source) {
  const ZipArchive zip(source);
  for (const auto& entry : zip.entries()) zip.read(entry);
}

TEST(Zip, ReadsStoredAndDeflatedEntries) {
  const std::string zeros(100000, 'z'),
      bytes = make_zip({{"a/x", "hello"}, {"a/y", zeros, true}, {"empty", ""}, {"none", "", true}});
  const MemorySource source("a.zip", bytes_of(bytes));
  const ZipArchive zip(source);
  ASSERT_EQ(zip.entries().size(), 4u);
  EXPECT_EQ(zip.read(*zip.find("a/x")).text(), "hello");
  EXPECT_EQ(zip.read(*zip.find("a/y")).text(), zeros);
  EXPECT_TRUE(zip.read(*zip.find("empty")).empty());
  EXPECT_TRUE(zip.read(*zip.find("none")).empty());
  EXPECT_EQ(zip.find("absent"), nullptr);
}

TEST(Zip, RefusesEntriesOutsideTheFile) {
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "hello", .header = 4000}})).find("outside the archive"),
            std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "hello", .header = 5}})).find("header of the zip entry"),
            std::string::npos);
}

TEST(Zip, RefusesEntriesThatOverlap) {
  // The second entry's header and data lie inside the first one's data.
  const std::string inner = make_zip({{"b", "12345"}}), outer_name = "a";
  const std::string whole = make_zip({{.name = "a", .data = inner}, {.name = "b", .data = "12345", .header = 31}});
  EXPECT_NE(zip_error(whole).find("overlaps"), std::string::npos);
}

TEST(Zip, RefusesNamesThatLeaveTheFolder) {
  for (const char* name : {"../x", "a/../../x", "/etc/passwd", "..", "a/..", "C:x", "a\\..\\x", ""})
    EXPECT_NE(zip_error(make_zip({{name, "x"}})).find("leaves the archive's folder"), std::string::npos) << name;
  EXPECT_NE(zip_error(make_zip({{std::string("a\0b", 3), "x"}})).find("leaves the archive's folder"),
            std::string::npos);
}

TEST(Zip, RefusesWhatItCannotTrust) {
  EXPECT_NE(zip_error(make_zip({{"a", "x"}, {"a", "y"}})).find("there twice"), std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "x", .flags = 1}})).find("encrypted"), std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "x", .crc = 5}})).find("checksum"), std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "hello", .size = 4}})).find("two sizes"), std::string::npos);
  EXPECT_NE(
      zip_error(make_zip({{.name = "a", .data = "hello", .deflate = true, .size = 4}})).find("longer than the 4 bytes"),
      std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "hello", .deflate = true, .size = 6}}))
                .find("gives 5 bytes but declares 6"),
            std::string::npos);
  EXPECT_NE(zip_error(make_zip({{.name = "a", .data = "hello", .deflate = true, .stored = "\xFF\xFF"}}))
                .find("cannot be decompressed"),
            std::string::npos);
}

TEST(Zip, RefusesBombsBeforeTakingMemory) {
  EXPECT_NE(
      zip_error(make_zip({{.name = "a", .data = "hello", .deflate = true, .size = 0xF0000000}})).find("more than"),
      std::string::npos);
  const std::string bomb = deflated(std::string(20 << 20, '\0'));
  std::vector<ZipItem> items;
  for (int i = 0; i < 5; ++i)
    items.push_back({.name = std::to_string(i), .data = "", .deflate = true, .stored = bomb, .size = 20 << 20});
  EXPECT_NE(zip_error(make_zip(items)).find("zip bomb"), std::string::npos);
}

TEST(Zip, SurvivesTruncationAndFlippedBytes) {
  const std::string bytes = make_zip({{"a/x", "hello"}, {"a/y", std::string(300, 'z'), true}});
  expect_truncations_refused(bytes, read_all);
  expect_flips_survived(bytes, read_all);
}

}  // namespace
}  // namespace hpm
