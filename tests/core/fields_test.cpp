#include "hpm/core/fields.h"

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

struct Sample {
  int64_t steps = 40;
  double lr = .5;
  std::string norm = "Linf", eps = "8/255";
  bool flip = true;
  std::vector<double> mean;
  std::optional<double> tau;
};

void declare(Fields& f, Sample& o) {
  f.section("attack");
  f.add("steps", o.steps, "gradient steps", {.min = 1, .max = 100});
  f.add("lr", o.lr, "rate", {.min = 0});
  f.add("norm", o.norm, "norm", {.choices = {"Linf", "L2"}});
  f.add("eps", o.eps, "radius", {.radius = true});
  f.section("data");
  f.add("flip", o.flip, "mirror");
  f.add("mean", o.mean, "mean");
  f.add("tau", o.tau, "temperature");
}

class FieldsTest : public testing::Test {
 protected:
  FieldsTest() { declare(fields, sample); }
  std::string file(const std::string& text) {
    const auto path = (folder / "run.toml").string();
    std::ofstream(path) << text;
    return path;
  }
  test::TemporaryFolder folder;
  Sample sample;
  Fields fields;
};

TEST(Radius, IsANumberOrAQuotient) {
  EXPECT_DOUBLE_EQ(parse_radius("8/255"), 8. / 255);
  EXPECT_DOUBLE_EQ(parse_radius(".031"), .031);
  EXPECT_DOUBLE_EQ(parse_radius("0"), 0);
  for (const char* bad : {"8/0", "-1", "-1/255", "", "eps", "1/", "/2", "nan", "inf", "1e999", "8/-255", "1 "})
    EXPECT_NE(message_of<UsageError>([&] { parse_radius(bad); }).find("radius"), std::string::npos) << bad;
}

TEST_F(FieldsTest, FileIsOverriddenBySetAndSetByFlags) {
  fields.read_toml(file("[attack]\nsteps = 7\nlr = 0.25\nnorm = \"L2\"\n"));
  fields.set("attack.lr", "1", Origin::set, "--set");
  fields.set("steps", "9", Origin::flag, "--steps");
  fields.set("steps", "8", Origin::set, "--set");  // comes later, but weighs less
  EXPECT_EQ(sample.steps, 9);
  EXPECT_EQ(sample.lr, 1);
  EXPECT_EQ(sample.norm, "L2");
  EXPECT_TRUE(fields.given("norm"));
  EXPECT_FALSE(fields.given("flip"));
}

TEST_F(FieldsTest, UnknownKeyNamesFileLineAndTheNearestKnownName) {
  const auto path = file("[attack]\nsteps = 7\nstepz = 8\n");
  const auto message = message_of<UsageError>([&] { fields.read_toml(path); });
  EXPECT_NE(message.find(path + ":3"), std::string::npos) << message;
  EXPECT_NE(message.find("\"steps\""), std::string::npos) << message;
}

TEST_F(FieldsTest, WrongTypesAndRangesSayWhatIsNeededAndWhatCame) {
  const auto message = message_of<UsageError>([&] { fields.set("steps", "0", Origin::flag, "--steps"); });
  EXPECT_NE(message.find("from 1 to 100"), std::string::npos) << message;
  EXPECT_NE(message.find("\"0\""), std::string::npos) << message;
  EXPECT_THROW(fields.set("steps", "3.5", Origin::flag, "--steps"), UsageError);
  EXPECT_THROW(fields.set("norm", "linfinity", Origin::flag, "--norm"), UsageError);
  EXPECT_THROW(fields.set("eps", "1/255,x", Origin::flag, "--eps"), UsageError);
  EXPECT_THROW(fields.set("flip", "yes", Origin::flag, "--flip"), UsageError);
  EXPECT_EQ(sample.steps, 40) << "a refused value must not stick";
}

TEST_F(FieldsTest, BrokenTomlIsAUsageErrorWithItsLine) {
  const auto path = file("[attack]\nsteps = = 3\n");
  EXPECT_NE(message_of<UsageError>([&] { fields.read_toml(path); }).find(":2"), std::string::npos);
  EXPECT_THROW(fields.read_toml((folder / "none.toml").string()), UsageError);
}

TEST_F(FieldsTest, EffectiveTomlReadsBackToTheSameValues) {
  fields.set("mean", "0.1,0.25", Origin::flag, "--mean");
  fields.set("tau", "2/3", Origin::flag, "--tau");
  fields.set("flip", "false", Origin::flag, "--flip");
  Sample copy;
  Fields other;
  declare(other, copy);
  other.read_toml(file(fields.toml()));
  EXPECT_EQ(other.json(), fields.json());
  EXPECT_EQ(copy.mean, (std::vector<double>{.1, .25}));
  EXPECT_EQ(copy.tau, 2. / 3);
}

TEST(NearestName, FindsTyposAndNothingElse) {
  EXPECT_EQ(nearest_name("stepz", {"steps", "seed"}), "steps");
  EXPECT_EQ(nearest_name("quux", {"steps", "seed"}), "");
}

TEST(Fields, ARepeatableListKeepsCommasAndComesBackFromItsFile) {
  std::vector<std::string> labels, names;
  const auto declare = [&](Fields& f) {
    f.section("output");
    f.add("label", labels, "a label", {.repeatable = true});
    f.add("names", names, "names");
  };
  Fields fields;
  declare(fields);
  fields.set_list("label", {"ours, beta 6", "theirs"}, Origin::flag, "--label");
  fields.set("names", "a,b", Origin::flag, "--names");
  EXPECT_EQ(labels, (std::vector<std::string>{"ours, beta 6", "theirs"}));
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b"}));
  const test::TemporaryFolder folder;
  std::ofstream(folder / "run.toml") << fields.toml();
  labels.clear(), names.clear();
  Fields again;
  declare(again);
  again.read_toml((folder / "run.toml").string());
  EXPECT_EQ(labels, (std::vector<std::string>{"ours, beta 6", "theirs"}));
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b"}));
}

TEST(Fields, ATextThatIsNotUtf8IsEscapedInJsonAndTomlAndTheFileSaysSo) {
  std::string model = "mod\xe8le.pth";
  Fields fields;
  fields.section("model").add("model", model, "checkpoint");
  EXPECT_EQ(nlohmann::json::parse(fields.json())["model"]["model"], "mod\\xE8le.pth");
  EXPECT_EQ(fields.toml(),
            "[model]\n# mod\\xE8le.pth is not UTF-8: give it as the flag --model\nmodel = \"mod\\\\xE8le.pth\"\n");
}

TEST(Json, OfAnyBytesIsWrittenWithKeysAndStringsEscaped) {
  const nlohmann::ordered_json json{{"a\xff", {"b\xc3", 1, {{"c", "\xe8"}}}}, {"good", "Gr\u00fcn"}};
  EXPECT_EQ(json_text(json), "{\"a\\\\xFF\":[\"b\\\\xC3\",1,{\"c\":\"\\\\xE8\"}],\"good\":\"Gr\u00fcn\"}");
}

TEST(Json, IsWrittenByJsonTextAlone) {
  for (const char* root : {"hpm", "apps"})
    for (const auto& entry : std::filesystem::recursive_directory_iterator(test::source_dir() / root)) {
      if (!entry.is_regular_file() || entry.path().filename() == "json_impl.h") continue;
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      EXPECT_EQ(text.str().find(".dump("), std::string::npos)
          << entry.path() << ": dump() throws at a name that is not UTF-8; json_text() escapes it";
    }
}

}  // namespace
}  // namespace hpm
