#include "hpm/io/archive.h"

#include <zlib.h>

#include "hpm/io/unpack.h"
#include "io/tar.h"
#include "support/libraries.h"
#include "support/support.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::TarItem;
using test::write_tar_gz;

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override { HPM_NEED_ARCHIVES(); }
  std::string tar(const std::vector<TarItem>& items) { return write_tar_gz(folder / "a.tar.gz", items); }
  std::string refusal(const std::vector<TarItem>& items) {
    const auto path = tar(items);
    const auto message = message_of<Error>([&] { unpack_archive(path, (folder / "out").string()); });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_TRUE(!fs::exists(folder / "out") || fs::is_empty(folder / "out")) << "left something behind: " << message;
    return message;
  }
  test::TemporaryFolder folder;
};

TEST_F(ArchiveTest, FilesAndFoldersComeOutAsTheyWentIn) {
  const auto path = tar({{"set/"}, {"set/a.bin", std::string(300'000, 'x')}, {"./set/deep/er/b", "bytes"}});
  const auto done = unpack_archive(path, (folder / "out").string());
  EXPECT_EQ(done.top, std::vector<std::string>{"set"});
  EXPECT_EQ(done.files, 2u);
  EXPECT_EQ(done.bytes, 300'005u);
  EXPECT_EQ(fs::file_size(folder / "out/set/a.bin"), 300'000u);
  EXPECT_TRUE(fs::exists(folder / "out/set/deep/er/b")) << "the names are tidied";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "out"), {}), 1) << "no scratch folder stays behind";
}

TEST_F(ArchiveTest, NamesThatLeadOutOfTheFolderAreRefused) {
  EXPECT_NE(refusal({{"good", "1"}, {"../evil", "2"}}).find("leads out"), std::string::npos);
  EXPECT_NE(refusal({{"a/../../evil", "2"}}).find("leads out"), std::string::npos);
  EXPECT_NE(refusal({{"/etc/evil", "2"}}).find("absolute"), std::string::npos);
  EXPECT_NE(refusal({{"a\\..\\evil", "2"}}).find("backslash"), std::string::npos);
  EXPECT_NE(refusal({{"../evil", "2"}}).find("(at byte "), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "evil"));
}

TEST_F(ArchiveTest, LinksAndDevicesAreRefused) {
  EXPECT_NE(refusal({{"link", "", '2', "/etc"}, {"link/evil", "1"}}).find("is a link"), std::string::npos);
  EXPECT_NE(refusal({{"hard", "", '1', "/etc/passwd"}}).find("is a link"), std::string::npos);
  EXPECT_NE(refusal({{"pipe", "", '6'}}).find("neither a file nor a folder"), std::string::npos);
}

TEST_F(ArchiveTest, NamesGivenTwiceAndFilesInThePlaceOfFoldersAreRefused) {
  EXPECT_NE(refusal({{"a", "1"}, {"a", "2"}}).find("cannot be made"), std::string::npos);
  refusal({{"a", "1"}, {"a/b", "2"}});
}

TEST_F(ArchiveTest, WhatIsThereAlreadyIsNotOverwritten) {
  const auto path = tar({{"set/a", "new"}});
  fs::create_directories(folder / "out/set");
  EXPECT_NE(message_of<Error>([&] { unpack_archive(path, (folder / "out").string()); }).find("is there already"),
            std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder / "out/set"));
}

TEST_F(ArchiveTest, BombsAreRefusedBeforeTheyAreWritten) {
  const auto path = tar({{"zeros", std::string(3'000'000, '\0')}});
  const UnpackLimits tight{.expansion = 10, .free_bytes = 1000};
  EXPECT_NE(message_of<Error>([&] { unpack_archive(path, (folder / "out").string(), tight); }).find("at most"),
            std::string::npos);
  EXPECT_TRUE(fs::is_empty(folder / "out"));
  EXPECT_THROW(unpack_archive(path, (folder / "out").string(), {.entries = 0}), Error);
  EXPECT_THROW(read_members(path, {"zeros"}, 1000), Error);
}

TEST_F(ArchiveTest, EveryTruncationIsAnErrorAndLeavesNothing) {
  const auto path = tar({{"a", std::string(2000, 'a')}, {"b", "end"}});
  const auto whole = fs::file_size(path);
  // The last 8 bytes are gzip's checksum and length; the trailing zeros of the tar need not be read.
  for (uintmax_t size = 0; size + 8 < whole; size += 7) {
    fs::resize_file(path, size);
    EXPECT_THROW(read_members(path, {"a", "b"}, 10'000), Error) << "of " << whole << " bytes, the first " << size;
    tar({{"a", std::string(2000, 'a')}, {"b", "end"}});
  }
}

TEST_F(ArchiveTest, MembersAreReadByNameInTheOrderAskedFor) {
  const auto path = tar({{"./d/a", "first"}, {"d/b", "second"}});
  const auto members = read_members(path, {"d/b", "d/a"}, 100);
  EXPECT_EQ(members[0].text(), "second");
  EXPECT_EQ(members[1].text(), "first");
  EXPECT_NE(message_of<Error>([&] { read_members(path, {"d/c"}, 100); }).find("ends without \"d/c\""),
            std::string::npos);
}

TEST(MemberName, HasNoFaultBelowTheFolderAlone) {
  for (const std::string good : {"./x//y/./z/", "..x/y..", "a"}) EXPECT_EQ(member_name_fault(good), "") << good;
  for (const auto& bad : {std::string(), std::string("."), std::string("/"), std::string(".."), std::string("x/.."),
                          std::string("x\ny"), std::string(300, 'x')})
    EXPECT_NE(member_name_fault(bad), "") << bad;
}

}  // namespace
}  // namespace hpm
