#include "hpm/evaluation/results/run_results.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/evaluation/results/run_results_impl.h"
#include "support/support.h"

namespace hpm {
namespace {

using test::message_of;

PairedModel paired(const std::string& name) {
  return {.name = name,
          .file = name + ".pth",
          .clean_accuracy = 75,
          .robust_accuracy = 25.123456,
          .robust = {0, 1, 0, 0},
          .difference = 25,
          .wins = 2,
          .losses = 1,
          .p = 1,
          .difference_interval = ConfidenceInterval{-40.5, 60.25},
          .smallest_detectable = 99};
}

ContextResult context(const std::string& name) {
  ContextResult c{.context = name, .clean_accuracy = 75, .robust_accuracy = 50};
  c.interval = ConfidenceInterval{15, 85}, c.clean_interval = ConfidenceInterval{30.064, 95.441};
  c.clean_correct = {1, 1, 1, 0}, c.robust = {1, 1, 0, 0};
  c.leading = "ste", c.leading_accuracy = 62.5, c.obfuscation_gap = 12.5, c.joint_any = 49, c.worst_draw = 0;
  c.collusion = {{8, false, 100, 21}};
  c.benign = {{32, 96, 80.5, 70.25}};
  c.broken_by = {{.by = "fc/apgd-t in solo, composed",
                  .images = 3,
                  .surrogate = "fc",
                  .attack = "apgd-t",
                  .context = "solo",
                  .elsewhere = true,
                  .composed = true},
                 {.by = "eps 0.01", .images = 1, .colluders = 3, .eps = .01}};
  c.surrogates = {{.name = "ste",
                   .kind = "white box",
                   .summary = "s",
                   .complete = true,
                   .robust_accuracy = 60,
                   .broke = 1,
                   .of = 3,
                   .first = 1},
                  {.name = "hard", .same_as = "ste"},
                  {.name = "base", .unavailable = "needs --base FILE", .needs = "--base FILE"}};
  c.control = paired("control");
  return c;
}

/// Every field holds something that is not its default.
RunResults full() {
  RunResults x{.hpm_version = "0.1.0", .commit = "abc", .started = "2026-11-29T18:00:00Z", .seconds = 81.2};
  x.checks_seconds = 1.9, x.model = "m.pth";
  x.model_info = {.name = "hpm",
                  .file = "m.pth",
                  .sha256 = "00ff",
                  .architecture = "fc10",
                  .classes = 10,
                  .parameters = 70,
                  .head = "hpm",
                  .normalisation = {{.5}, {.25}},
                  .feature_size = 7,
                  .lambda = .3,
                  .tau = 1.25,
                  .ema = .99,
                  .metric = "learned (R = 9)"};
  x.role = "ours", x.dataset = "cifar10", x.split = "test", x.class_names = {"a", "Gr\u00fcn \\xE8"};
  x.n = 4, x.indices = {3, 1, 4, 1000}, x.split_size = 10000, x.labels = {0, 1, 1, 0};
  x.norm = "Linf", x.eps = 8. / 255, x.protocol = "msa", x.version = "quick", x.budget = "msa quick";
  x.changed_settings = true;
  x.company = CompanyResult{128, 5}, x.seed = 18446744073709551615ull, x.threads = 2;
  x.first = context("solo");
  x.predictions = {{0, 1, 1, 1}, {1, 1, 0, 1}};
  x.standard_error = 25;
  x.attacks = {{"apgd-ce", "ste", "solo", 50., {1, 1, 0, 0}, 40, 30, .25}, {"square"}};
  x.stages = {{"core", "relaxation", 4, 3, 1, 400, 390, .5}};
  x.escalated = true,
  x.alarms = {{"random", 2., 0., "images", true, "seen"}, {.name = "transfer", .evidence = "no base"}};
  x.bound = BoundResult{"core", 3, 1, 4, 60.5, 12.25};
  x.autoattack_passes = 30000;
  x.contexts = {context("solo"), context("joint")};
  x.curve = {{.01, 60, 3}};
  x.sweep = {{"solo", .5, 75, 50, true}};
  x.compositions = {{8, "class", 70, 40.5}};
  x.self_test = SelfTestResult{"binarisation", "solo", "apgd-ce", "logits", 64, 60, 57, 95.};
  x.base = paired("base");
  x.quantised = QuantisedResult{50, {1, 1, 0, 0}};
  x.borderline = 2;
  x.checks = {{"unbounded", "failed", 4., 1., "%", "detail", "solo"}, {"reload", "not run"}};
  x.suspect = true, x.reasons = {"unbounded in solo: detail"}, x.notes = {"a note"};
  x.gallery = {{3, 2, 2, 6, "fc", "apgd-ce", .1}};
  x.config = R"({"threat":{"eps":"8/255"}})";
  return x;
}

TEST(RunResults, AreReadAsTheyWereWritten) {
  EXPECT_EQ(read_results(results_text(full()), "results.json"), full());
  RunResults small;
  small.n = 1;
  EXPECT_EQ(read_results(results_text(small), "results.json"), small);
  auto first = full();
  first.indices.clear(), first.first_index = 500;
  EXPECT_EQ(read_results(results_text(first), "results.json"), first);
}

TEST(RunResults, FillEveryFieldInTheTestAbove) {
  const auto json = nlohmann::json::parse(results_text(full())), schema = nlohmann::json::parse(results_schema());
  for (const auto& [name, type] : schema["properties"].items())
    EXPECT_TRUE(name == "first_index" || (json.contains(name) && !json[name].empty() && !json[name].is_null())) << name;
  for (const auto& [name, type] : schema["properties"]["contexts"]["items"]["properties"].items())
    EXPECT_TRUE(json["contexts"][0].contains(name)) << name;
}

TEST(RunResults, OfAnEarlierVersionAreRead) {
  std::stringstream text;
  text << std::ifstream(test::source_dir() / "tests/evaluation/data/results-0.1.0.json").rdbuf();
  const auto x = read_results(text.str(), "results-0.1.0.json");
  EXPECT_EQ(x.n, 12);
  EXPECT_EQ(x.model_info.head, "hpm");
  ASSERT_EQ(x.contexts.size(), 3u);
  EXPECT_EQ(x.contexts[0].context, "solo");
  EXPECT_EQ(x.contexts[0].leading, "ste") << "the file does not name it";
  EXPECT_FALSE(x.changed_settings);
  ASSERT_TRUE(x.base && x.contexts[0].control);
  EXPECT_EQ(x.contexts[0].control->robust.size(), 12u);
  EXPECT_EQ(x.curve.size(), 2u);
  EXPECT_FALSE(x.checks.empty());
  const auto& by = x.contexts[2].broken_by.at(0);  // said in words alone: "ste/apgd-ce in solo"
  EXPECT_EQ(by.surrogate, "ste");
  EXPECT_EQ(by.attack, "apgd-ce");
  EXPECT_EQ(by.context, "solo");
  EXPECT_TRUE(by.elsewhere);
  EXPECT_EQ(read_results(results_text(x), "again"), x);
}

TEST(RunResults, TakeTheWordsOfEarlierVersionsApart) {
  const auto read = [](const std::string& words) {
    const nlohmann::json json{
        {"schema", 1}, {"n", 1}, {"contexts", {{{"broken_by", {{{"by", words}, {"images", 2}}}}}}}};
    return parse_run_results(json, "old").contexts.at(0).broken_by.at(0);
  };
  const auto composed = read("fc/apgd-t in solo, composed");
  EXPECT_EQ(composed, (BrokenBy{.by = "fc/apgd-t in solo, composed",
                                .images = 2,
                                .surrogate = "fc",
                                .attack = "apgd-t",
                                .context = "solo",
                                .elsewhere = true,
                                .composed = true}));
  EXPECT_EQ(read("pgd"), (BrokenBy{.by = "pgd", .images = 2, .attack = "pgd"}));
}

TEST(RunResults, OfEarlierVersionsSayInANoteThatSettingsWereChanged) {
  nlohmann::json json{{"schema", 1}, {"n", 1}, {"protocol", "autoattack"}};
  const auto changed = [&] { return parse_run_results(json, "old").changed_settings; };
  EXPECT_FALSE(changed());
  json["notes"] = {"apgd-t has 2 targets instead of 9: the model has 3 classes"};
  EXPECT_FALSE(changed());
  json["notes"] = {"apgd-ce has 20 steps instead of the 100 of version standard"};
  EXPECT_TRUE(changed());
  json["changed_settings"] = false;
  EXPECT_FALSE(changed()) << "the words are read where nothing else says it";
  json["notes"] = nlohmann::json::array(), json["changed_settings"] = true;
  EXPECT_TRUE(changed());
}

TEST(RunResults, NameALeadingSurrogateOnlyWhereItsFigureIs) {
  nlohmann::json json{{"schema", 1}, {"n", 1}, {"contexts", {{{"context", "solo"}}}}};
  EXPECT_EQ(parse_run_results(json, "old").contexts.at(0).leading, "");
  json["contexts"][0]["ste_accuracy"] = 50;
  EXPECT_EQ(parse_run_results(json, "old").contexts.at(0).leading, "ste");
}

TEST(RunResults, ThatDoNotFitAreRefusedWithFileAndField) {
  const auto message = [](const char* place, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(results_text(full()));
    json[nlohmann::json::json_pointer(place)] = value;
    return message_of<Error>([&] { parse_run_results(json, "run/results.json"); });
  };
  EXPECT_EQ(message("/schema", 2),
            "run/results.json: needs schema 1, but has schema 2; write the report with the hpm that made the run");
  EXPECT_EQ(message("/contexts/1/robust", {1, 0}),
            "run/results.json: contexts[1]: \"robust\" needs one value for each of the 4 images, but has 2");
  EXPECT_EQ(message("/contexts/0/control/p", "small"),
            "run/results.json: contexts[0]: control: \"p\" needs a number, but holds \"small\"");
  EXPECT_EQ(message("/robust/1", 2), "run/results.json: \"robust\" needs flags of 0 and 1, but holds [1,2,0,0]");
  EXPECT_EQ(message("/labels/0", -1), "run/results.json: \"labels\" needs a number from 0 to 999999, but holds -1");
  EXPECT_NE(message_of<Error>([] { read_results("{", "x.json"); }).find("x.json: is not JSON"), std::string::npos);
}

TEST(RunResults, OfMoreThanAnyEvaluationHasAreRefusedBeforeMemoryIsTaken) {
  const auto message = [](const char* place, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(results_text(full()));
    json[nlohmann::json::json_pointer(place)] = value;
    return message_of<Error>([&] { read_results(json.dump(), "x.json"); });
  };
  const int64_t huge = 1'000'000'000'000'000'000;
  EXPECT_EQ(message("/n", huge), "x.json: \"n\" needs an integer from -10^15 to 10^15, but holds 1000000000000000000");
  EXPECT_EQ(message("/n", 1'000'000'000), "x.json: \"n\" needs a number from 1 to 100000000, but holds 1000000000");
  EXPECT_EQ(message("/n", 0), "x.json: \"n\" needs a number from 1 to 100000000, but holds 0");
  EXPECT_EQ(message("/borderline", -huge),
            "x.json: \"borderline\" needs an integer from -10^15 to 10^15, but holds -1000000000000000000");
  EXPECT_EQ(message("/borderline", 18446744073709551615u).find("x.json: \"borderline\" needs an integer from"), 0u);
  EXPECT_EQ(message("/seed", -1), "x.json: \"seed\" needs an integer from 0, but holds -1");
  EXPECT_EQ(message("/model_info/classes", 1'000'000'000),
            "x.json: \"model_info.classes\" needs a number from 0 to 1000000, but holds 1000000000");
  EXPECT_EQ(message("/first_index", -1),
            "x.json: \"first_index\" needs a number from 0 to 1000000000000, but holds -1");
  EXPECT_EQ(message("/indices/3", -1), "x.json: \"indices\" needs a number from 0 to 1000000000000, but holds -1");
  EXPECT_EQ(message("/indices", {3, 1}), "x.json: \"indices\" needs one value for each of the 4 images, but has 2");
  EXPECT_EQ(message("/attacks/0/robust", {1}),
            "x.json: attacks[0]: \"robust\" needs one value for each of the 4 images, but has 1");
  EXPECT_EQ(message("/base/wins", 1'000'000'000),
            "x.json: base: \"wins\" and \"losses\" need to be of the 4 images, but are 1000000000 and 1");
  EXPECT_EQ(message("/contexts/1/control/losses", -1),
            "x.json: contexts[1]: control: \"wins\" and \"losses\" need to be of the 4 images, but are 2 and -1");
}

TEST(RunResults, NestedBeyondAnyStackAreRefused) {
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  for (const auto& text : {deep, "{\"schema\": 1, \"n\": 1, \"config\": " + deep + "}"})
    EXPECT_NE(message_of<Error>([&] { read_results(text, "x.json"); }).find("x.json: needs JSON of at most 64 levels"),
              std::string::npos);
}

TEST(RunResults, HaveTheSchemaThatIsCommitted) {
  std::stringstream text;
  text << std::ifstream(test::source_dir() / "docs/results.schema.json").rdbuf();
  EXPECT_EQ(text.str(), results_schema()) << "docs/results.schema.json needs to be written anew: its text is\n"
                                          << results_schema();
}

}  // namespace
}  // namespace hpm
