#include "hpm/core/error.h"

#include <nlohmann/json.hpp>

#include "hpm/evaluation/checks/advice.h"
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/png.h"
#include "report/hostile.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

const std::string kHostile =
    "<script>alert('x')</script><img src=\"https://evil.example/a.png\" onerror=\"alert(1)\">&";

std::string sample_page(const std::string& title = {}) { return make_report(test::sample_runs(), title); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t position(const std::string& text, const std::string& part) {
  EXPECT_TRUE(contains(text, part)) << part;
  return text.find(part);
}

TEST(Page, HasTheSectionsInOrderWithTheVerdictFirst) {
  const auto page = sample_page();
  EXPECT_TRUE(contains(page, "2026-11-22"));
  size_t last = position(page, "class=\"verdict is-no-difference\"");
  for (const char* id :
       {"models", "faces", "surrogates", "eps", "lambda", "classes", "gallery", "checks", "provenance"}) {
    const auto at = position(page, std::string("<h2 id=\"") + id);
    EXPECT_LT(last, at) << id;
    last = at;
  }
}

TEST(Page, CallsWhatWasNotAttackedAnUpperBoundAndShowsWhatColludersBroke) {
  const auto page = sample_page();
  const auto sweep = page.substr(position(page, "<h2 id=\"lambda\""));
  int bounds = 0;
  for (auto at = sweep.find("at most "); at != std::string::npos; at = sweep.find("at most ", at + 1)) ++bounds;
  EXPECT_EQ(bounds, 8) << "four of five lambdas, in two contexts";
  EXPECT_TRUE(contains(page, "the victim and 8 neighbours"));
  EXPECT_TRUE(contains(page, "37 (37.0\u202F%)"));
}

TEST(Page, OfASuspectRunShowsTheFailedCheckBeforeAnyPercentage) {
  auto runs = test::sample_runs();
  runs[0].results["suspect"] = true;
  runs[0].results["reasons"] = {"unbounded: survivors"};
  const auto page = make_report(runs);
  const auto body = page.substr(page.find("<main>"));
  EXPECT_LT(position(body, "Suspect result: the evaluation of HPM"), body.find("\u202F%"));
  EXPECT_TRUE(contains(body, "is-suspect"));
  EXPECT_TRUE(contains(body, "For the record, suspect: HPM against the matched control"));
}

TEST(Page, IsWellFormedAndLoadsNothing) {
  HPM_NEED_PYTHON();
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", sample_page());
  EXPECT_EQ(test::page_check("page", folder / "page.html"), "ok 72 images\n");
}

TEST(Page, EscapesEveryStringOfTheRun) {
  HPM_NEED_PYTHON();
  const auto page = make_report(test::poisoned_runs(kHostile), kHostile);
  EXPECT_FALSE(contains(page, "<script"));
  EXPECT_FALSE(contains(page, "<img src=\"http"));
  EXPECT_TRUE(contains(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", page);
  EXPECT_EQ(test::page_check("page", folder / "page.html").substr(0, 3), "ok ");
}

TEST(Page, HasAScriptOnlyWhereManyRowsAreCompared) {
  HPM_NEED_PYTHON();
  HtmlTable table{.columns = {"Model"}, .sortable = true};
  const auto page_of = [&](size_t rows) {
    table.rows.assign(rows, {"a"});
    return html_page("t", html_table(table));
  };
  EXPECT_FALSE(contains(page_of(7), "<script"));
  EXPECT_FALSE(contains(page_of(7), "script-src"));
  const auto many = page_of(8);
  EXPECT_TRUE(contains(many, "<table class=\"sortable\">"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", many);
  EXPECT_EQ(test::page_check("page", folder / "page.html"), "ok 0 images\n");
  auto other = many;
  other.replace(other.find("querySelectorAll"), 5, "QUERY");
  test::write_text(folder / "page.html", other);
  EXPECT_NE(test::page_check("page", folder / "page.html").find("script at"), std::string::npos);
}

TEST(Page, TakesASingleRunOfAPlainModel) {
  auto run = test::sample_run("base");
  for (const char* field : {"role", "checks", "curve", "class_names", "predictions", "attacks"})
    run.results.erase(field);
  run.environment = nullptr, run.config.clear();
  const auto page = make_report({run});
  EXPECT_TRUE(contains(page, "No control to compare with"));
  EXPECT_FALSE(contains(page, "id=\"faces\""));
  EXPECT_FALSE(contains(page, "id=\"gallery\""));
}

TEST(Page, ShowsTheStagesAlarmsAndTheBoundOfAFastRun) {
  auto run = test::sample_runs(60)[1];  // of a plain model
  auto& r = run.results;
  r["protocol"] = "fast", r["version"] = nullptr, r["escalated"] = false, r["autoattack_passes"] = 300000;
  r["stages"] = {{{"name", "core"},
                  {"attack", "relaxation"},
                  {"images", 50},
                  {"attacked", 50},
                  {"broke", 11},
                  {"passes", 7000},
                  {"backward_passes", 6900},
                  {"seconds", 1.5}},
                 {{"name", "tail"},
                  {"attack", "apgd-t"},
                  {"images", 4},
                  {"attacked", 4},
                  {"broke", 0},
                  {"passes", 3000},
                  {"backward_passes", 2900},
                  {"seconds", .5}}};
  r["alarms"] = {{{"name", "zero gradients"},
                  {"value", 0},
                  {"limit", 5},
                  {"unit", "%"},
                  {"fired", false},
                  {"evidence", "none of 50"}},
                 {{"name", "transfer"}, {"value", nullptr}, {"fired", false}, {"evidence", "no base <given>"}}};
  r["bound"] = {{"stage", "FAB-T and Square"}, {"sampled", 12}, {"broke", 0}, {"of", 39}, {"share", 22.1},
                {"robust_accuracy", 54.3}};
  auto page = make_report({run}, "");
  for (const char* part :
       {"The fast evaluation", "relaxation", "7,000", "30 times those of the stages", "quiet", "not looked at",
        "no base &lt;given&gt;", "No alarm fired", "attacked a random 12 of 39 images", "under the fast evaluation"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("id=\"attacks\""), std::string::npos) << "the stages have a table of their own";
  r["alarms"][0]["fired"] = true, r["escalated"] = true;
  page = make_report({run}, "");
  EXPECT_NE(page.find(">fired<"), std::string::npos);
  EXPECT_NE(page.find("which escalated"), std::string::npos);
}

TEST(Page, TakesControlAndBaseFromTheRunWhenTheyHaveNoneOfTheirOwn) {
  const auto page = make_report({test::sample_run("hpm")});
  EXPECT_TRUE(contains(page, "</i>FC, control"));
  EXPECT_TRUE(contains(page, "</i>FC, base"));
}

TEST(Page, SaysWhatFellToImagesMadeForAnotherContext) {
  EXPECT_TRUE(
      contains(sample_page(), "Of the 131 images lost, 51 fell to images made for another context of this run."));
}

TEST(Page, PrintsHowMuchThePerturbationIsMagnified) {
  EXPECT_TRUE(contains(sample_page(), "perturbation ×5"));
  auto run = test::sample_run("hpm");
  run.gallery.adversarial = run.gallery.original;
  EXPECT_TRUE(contains(make_report({run}), "perturbation ×1"));
}

TEST(Page, SaysWhatToDoNextBesideAFailedCheckAndNowhereElse) {
  auto run = test::sample_run("hpm");
  for (auto& check : run.results["checks"])
    if (check["name"] == "transfer") check["status"] = "failed";
  const auto page = make_report({run});
  const auto table = page.substr(position(page, "<h2 id=\"checks\""));
  EXPECT_TRUE(contains(table, "What to do next: " + typeset(advice_for("transfer"))));
  EXPECT_EQ(table.find("What to do next"), table.rfind("What to do next"));
  EXPECT_TRUE(contains(table, typeset(meaning_of_check("determinism"))));
}

TEST(Page, LeavesOutColumnsWithoutAnEntry) {
  auto run = test::sample_run("base");
  run.results["protocol"] = "clean", run.results["robust_accuracy"] = nullptr;
  for (const char* field : {"robust", "interval", "attacks", "curve", "checks"}) run.results.erase(field);
  const auto page = make_report({run});
  EXPECT_FALSE(contains(page, "Robust, worst case"));
  EXPECT_TRUE(contains(page, "<th scope=\"col\" class=\"num\">n</th>"));
}

TEST(Page, CallsRunsByTheirLabels) {
  auto runs = test::sample_runs();
  runs[0].label = "Ours <1>";
  const auto page = make_report(runs);
  EXPECT_TRUE(contains(page, "</i>Ours &lt;1&gt;"));
  EXPECT_TRUE(contains(page, "Ours &lt;1&gt; shows no detectable difference"));
}

TEST(Page, ShowsAnImageThatNothingBrokeOnceAndWithoutAnEmptyPerturbation) {
  auto run = test::sample_run("base");
  const size_t size = 28 * 28;
  run.gallery = {.original = std::vector<float>(2 * size, .25f),
                 .adversarial = std::vector<float>(2 * size, .25f),
                 .count = 2,
                 .channels = 1,
                 .height = 28,
                 .width = 28};
  const auto entry = [](int64_t index, int64_t prediction) {
    return nlohmann::json{
        {"index", index}, {"label", 1}, {"clean_prediction", 1}, {"adversarial_prediction", prediction}, {"norm", 0}};
  };
  run.results["gallery"] = {entry(3, 1), entry(4, 1)};
  const auto page = make_report({run});
  EXPECT_TRUE(contains(page, "alt=\"image 3, trouser, kept\""));
  EXPECT_FALSE(contains(page, "<div class=\"triple\">"));
  run.results["gallery"] = {entry(3, 1), entry(4, 6)};
  EXPECT_TRUE(contains(make_report({run}), "<div class=\"triple\">")) << "one that broke has its three pictures";
}

TEST(Page, RejectsAGalleryThatDoesNotFitTheResults) {
  auto run = test::sample_run("hpm");
  run.gallery.adversarial.pop_back();
  EXPECT_TRUE(
      contains(test::message_of<Error>([&] { make_report({run}); }), "the gallery of runs/demo/hpm needs 8 images"));
}

TEST(Page, IsWrittenFromRunDirectoriesWithTheirGalleries) {
  const test::TemporaryFolder folder;
  std::vector<std::string> directories;
  for (const auto& run : test::sample_runs()) {
    directories.push_back((folder / run.results["role"].get<std::string>()).string());
    test::write_sample(run, directories.back());
  }
  const auto html = folder / "new/report.html";
  write_report(directories, html.string(), {.title = "A title"});
  EXPECT_TRUE(is_report_file(html.string()));
  EXPECT_FALSE(is_report_file((folder / "hpm/results.json").string()));
  auto expected = test::sample_runs();
  for (size_t i = 0; i < expected.size(); ++i) expected[i].directory = directories[i];
  EXPECT_EQ(test::read_text(html), make_report(expected, "A title"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "new"), {}), 1) << "no temporary file stays";
}

TEST(Page, OfABrokenRunDirectoryIsAClearErrorAndLeavesTheOldReport) {
  const test::TemporaryFolder folder;
  const auto write = [&] { write_report({folder.path.string()}, (folder / "report.html").string()); };
  EXPECT_TRUE(contains(test::message_of<Error>(write), "results.json"));
  test::write_text(folder / "events.jsonl", "");
  EXPECT_TRUE(contains(test::message_of<Error>(write), "the run is not finished"));
  test::write_text(folder / "report.html", "old");
  test::write_text(folder / "results.json", "{\"schema\": 1, ");
  EXPECT_TRUE(contains(test::message_of<Error>(write), "results.json: is not JSON"));
  EXPECT_EQ(test::read_text(folder / "report.html"), "old");
  EXPECT_TRUE(contains(test::message_of<Error>([&] { read_run("/no/such"); }), "/no/such: needs a run directory"));
}

TEST(Page, OfAHostileRunDirectoryNamesTheFileAndDoesNotCrash) {
  const test::TemporaryFolder folder;
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  const auto message = [&] {
    return test::message_of<Error>([&] { write_report({folder.path.string()}, (folder / "report.html").string()); });
  };
  test::write_sample(test::sample_run("hpm"), folder.path);
  auto results = test::read_json(folder / "results.json");
  test::write_text(folder / "environment.json", "{\"cpu\": " + deep + "}");
  EXPECT_TRUE(contains(message(), "environment.json: needs JSON of at most 64 levels")) << message();
  std::filesystem::remove(folder / "environment.json");
  results["model_info"]["classes"] = 1'000'000'000'000;
  test::write_text(folder / "results.json", results.dump());
  EXPECT_TRUE(contains(message(), "results.json: \"model_info.classes\" needs a number from 0 to 1000000"))
      << message();
  results["model_info"]["classes"] = 10, results["config"] = "here";
  auto text = results.dump();
  test::write_text(folder / "results.json", text.replace(text.find("\"here\""), 6, deep));
  EXPECT_TRUE(contains(message(), "results.json: needs JSON of at most 64 levels")) << message();
}

TEST(Html, EscapesMarkupControlCharactersAndBrokenUtf8) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  EXPECT_EQ(escape_html("a\x01\xff\xc3(\xed\xa0\x80z"), "a�\\xFF\\xC3(\\xED\\xA0\\x80z");
  EXPECT_EQ(escape_html("\xc3"), "\\xC3");
  EXPECT_EQ(escape_html("Grün ↦ 猫 🐈"), "Grün ↦ 猫 🐈");
}

TEST(Html, SetsMinusSignsAndDashesAsABookWould) {
  EXPECT_EQ(typeset("-1.9 to 2.3 (-0.2), 57.0-65.4, 61.2 %"), "−1.9 to 2.3 (−0.2), 57.0–65.4, 61.2\u202F%");
  EXPECT_EQ(typeset("T-shirt apgd-ce --base -x"), "T-shirt apgd-ce --base -x");
}

TEST(Charts, AreAccessibleScalableAndEscaped) {
  HPM_NEED_PYTHON();
  const ChartFrame frame{kHostile, kHostile, 336};
  const std::vector<std::string> charts = {
      bar_chart({.frame = frame, .rows = {{.label = kHostile, .layers = {{50, "t-hpm fill"}}, .text = kHostile}}}),
      interval_chart({.frame = frame, .rows = {{kHostile, "t-hpm", kHostile, 1, Interval{-1, 3}}}, .axis = kHostile}),
      line_chart({.frame = frame, .series = {{kHostile, "t-l2", {{0, 90}, {.1, 60}}}}, .x_axis = kHostile}),
      heat_map({.frame = frame, .row_labels = {kHostile}, .column_labels = {kHostile}, .values = {50}})};
  const test::TemporaryFolder folder;
  for (const auto& chart : charts) {
    EXPECT_TRUE(contains(chart, "viewBox=\"0 0 336 ") && contains(chart, "role=\"img\" aria-label=\"&lt;script&gt;"));
    EXPECT_TRUE(contains(chart, "<title>&lt;script&gt;") && contains(chart, "<desc>&lt;script&gt;"));
    test::write_text(folder / "chart.html", svg_file(chart));
    EXPECT_EQ(test::page_check("page", folder / "chart.html"), "ok 0 images\n");
  }
}

TEST(Charts, PutBarsWhereTheNumbersAre) {
  const auto chart = bar_chart({.frame = {"t", "d", 336}, .rows = {{.label = "a", .layers = {{100, "x"}, {25, "y"}}}}});
  EXPECT_TRUE(contains(chart, "width=\"320\" height=\"13\" rx=\"1.5\" class=\"x\"")) << chart;
  EXPECT_TRUE(contains(chart, "width=\"80\" height=\"13\" rx=\"1.5\" class=\"y\"")) << chart;
  EXPECT_EQ(nice_ticks(-7.3, 2.1, 5), (std::vector<double>{-8, -6, -4, -2, 0, 2, 4}));
}

TEST(Png, DecodesToThePixelsThatWereEncoded) {
  HPM_NEED_PYTHON();
  const test::TemporaryFolder folder;
  for (const int64_t channels : {1, 3}) {
    std::vector<uint8_t> pixels;
    std::string expected = fmt::format("5 3 {} ", channels);
    for (int64_t i = 0; i < 5 * 3 * channels; ++i) {
      pixels.push_back(static_cast<uint8_t>(i * 37 % 256));
      expected += fmt::format("{:02x}", pixels.back());
    }
    test::write_text(folder / "p.png", encode_png(pixels, 5, 3, channels));
    EXPECT_EQ(test::first_line(test::page_check("png", folder / "p.png")), expected);
  }
}

TEST(Png, RejectsPixelsThatDoNotFit) {
  const std::vector<uint8_t> pixels(12);
  EXPECT_TRUE(
      contains(test::message_of<UsageError>([&] { encode_png(pixels, 3, 2, 2); }), "1 or 3 channels, but got 2"));
  EXPECT_TRUE(contains(test::message_of<UsageError>([&] { encode_png(pixels, 3, 3, 1); }), "= 9 bytes, but got 12"));
  EXPECT_TRUE(contains(test::message_of<UsageError>([&] { encode_png({}, 0, 3, 1); }), "but got 0 x 3"));
}

TEST(Base64, MatchesTheRfc) {
  const std::vector<std::pair<std::string, std::string>> kVectors = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}};
  for (const auto& [text, coded] : kVectors) EXPECT_EQ(base64(text), coded);
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(Page, ShowsWhatEachAttackOfASequenceBrokeAndNamesAPlainModelByItsFile) {
  auto run = test::sample_run("base");
  auto& json = run.results;
  json["role"] = "", json["model"] = "models/robust.pth", json["protocol"] = "autoattack", json["version"] = "standard";
  json["clean_accuracy"] = 80., json.erase("contexts");
  const auto left = [&](const char* name, double accuracy) {
    return nlohmann::json{{"name", name}, {"robust_accuracy", accuracy}};
  };
  json["attacks"] = {left("apgd-ce", 62.), left("square", 61.8)};
  const auto page = make_report({run}, "");
  EXPECT_NE(page.find("What each attack broke"), std::string::npos);
  EXPECT_NE(page.find("90 of 400"), std::string::npos) << "400 of 500 were right, 310 were left";
  EXPECT_NE(page.find("1 of 310"), std::string::npos);
  EXPECT_NE(page.find("robust.pth keeps"), std::string::npos);
  // With surrogates, what each of them broke is the section; attacks are listed below.
  EXPECT_EQ(make_report({test::sample_run("hpm")}, "").find("What each attack broke"), std::string::npos);
}

}  // namespace
}  // namespace hpm
