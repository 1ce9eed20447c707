#include "hpm/io/event_file.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "report/tools.h"

namespace hpm {
namespace {

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c_of(""), 0u);
  EXPECT_EQ(crc32c_of("123456789"), 0xE3069283u);              // the CRC catalogue's check value
  EXPECT_EQ(crc32c_of(std::string(32, '\0')), 0x8A9136AAu);    // RFC 3720, B.4
  EXPECT_EQ(crc32c_of(std::string(32, '\xff')), 0x62A8AB43u);  // ibid.
}

/// By the tensorboard package where it is installed, and by an independent reader in any case.
TEST(EventFile, IsReadBackByTensorBoardsFormat) {
  HPM_NEED_PYTHON();
  test::TemporaryFolder folder;
  std::string path;
  {
    EventFile events(folder.path.string());
    path = events.path();
    events.scalar("loss", 1, .5);
    events.scalar("loss", 300, -2.25);
    events.image("examples", 2, 3, 2, 1, std::string("png\0bytes", 9));
    const std::vector<double> values{0, 1, 1, 30};
    events.histogram("margins", 3, values);
    events.histogram("one value", 3, std::vector<double>{2});
  }
  for (const std::string mode : {"", "--independent"}) {
    const auto out =
        test::output_of("'" + test::find_python() + "' '" + (test::source_dir() / "tests/io/read_events.py").string() +
                        "' " + mode + " '" + path + "' 2>&1");
    const auto j = nlohmann::json::parse(out, nullptr, false);
    ASSERT_FALSE(j.is_discarded()) << out;
    if (mode.empty()) RecordProperty("reader", j["reader"].get<std::string>());
    const auto& e = j["events"];
    ASSERT_EQ(e.size(), 5u) << out;
    EXPECT_EQ(e[0], (nlohmann::json{{"tag", "loss"}, {"step", 1}, {"scalar", .5}}));
    EXPECT_EQ(e[1], (nlohmann::json{{"tag", "loss"}, {"step", 300}, {"scalar", -2.25}}));
    EXPECT_EQ(e[2]["image"], (nlohmann::json{2, 3, 1, "706e67006279746573"})) << "height, width, channels, bytes";
    const auto& h = e[3]["histogram"];
    EXPECT_EQ(h[0], 4);
    EXPECT_EQ(h[1], 32);
    EXPECT_EQ(h[2].size(), 30u);
    EXPECT_EQ(h[2].back(), 30);
    EXPECT_EQ(h[3][0], 1);
    EXPECT_EQ(h[3][1], 2);
    EXPECT_EQ(h[3].back(), 1);
    EXPECT_EQ(e[4]["histogram"][0], 1);
  }
}

TEST(EventFile, AFolderThatIsNotThereIsASentence) {
  EXPECT_NE(test::message_of<Error>([] { EventFile("/nowhere/at/all"); }).find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace hpm
