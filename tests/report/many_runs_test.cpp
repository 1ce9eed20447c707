// A page about many runs: the overview, the differences to a reference, what is folded away.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#include "hpm/core/error.h"
#include "hpm/report/charts.h"
#include "hpm/report/html.h"
#include "hpm/report/overview_impl.h"
#include "report/many.h"
#include "report/tools.h"

namespace hpm {
namespace {

using Points = std::vector<std::array<double, 2>>;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// From a text on, up to another.
std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const auto begin = text.find(from);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find(to, begin + from.size()) - begin);
}

std::vector<ReportedRun> parsed(const std::vector<RunFiles>& files) {
  std::vector<ReportedRun> runs;
  for (const auto& file : files) {
    auto run = parse_results(file.results, "results.json");
    run.source = runs.size(), run.directory = file.directory, run.label = file.label;
    run.folder = std::filesystem::path(file.directory).filename().string();
    runs.push_back(run);
  }
  return runs;
}

/// Two hundred runs of a thousand images each as folders on the disk, and the page that hpm report makes of them.
class TwoHundred : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const test::TemporaryFolder folder;
    const auto paths = test::write_runs(test::many_runs(200, 1000), folder.path.string());
    write_report(paths, (folder / "page.html").string());
    page = test::read_text(folder / "page.html");
  }
  static std::string page;
};
std::string TwoHundred::page;

TEST_F(TwoHundred, MakeAPageOfLessThanTwoMegabytes) {
  EXPECT_GT(page.size(), 200'000u);
  EXPECT_LT(page.size(), 2'000'000u);
}

TEST_F(TwoHundred, BeginWithAnOverviewAndFoldTheRestAway) {
  size_t last = page.find("<span class=\"chip\">200 runs</span>");
  EXPECT_NE(last, std::string::npos);
  for (const char* id : {"models", "accuracies", "eps", "reference", "runs"}) {
    const auto at = page.find(std::string("<h2 id=\"") + id);
    ASSERT_NE(at, std::string::npos) << id;
    EXPECT_LT(last, at) << id;
    last = at;
  }
  EXPECT_EQ(count(page, "<details class=\"run\"><summary>"), 200u);
  EXPECT_FALSE(contains(page, "<details open")) << "nothing is open";
  EXPECT_LT(page.rfind("<h2 id=\"runs\""), page.find("<details class=\"run\"")) << "no run stands before the overview";
  EXPECT_EQ(count(page, "<svg"), 6u) << "scatter, curves and differences, for wide and for narrow windows";
  EXPECT_TRUE(contains(page, "<h1>200 runs on cifar10, Linf 8/255</h1>"));
}

TEST_F(TwoHundred, HaveARowEachThatLeadsToTheRunsOwnPart) {
  const auto table = between(page, "<table class=\"sortable\">", "</table>");
  EXPECT_EQ(count(table, "<tr>"), 201u) << "and the titles";
  for (const int i : {1, 77, 200}) {
    EXPECT_EQ(count(table, fmt::format("<a href=\"#run-{}\">", i)), 1u);
    EXPECT_EQ(count(page, fmt::format("<div id=\"run-{}\">", i)), 1u);
  }
  EXPECT_EQ(count(table, "is the reference"), 1u);
}

TEST_F(TwoHundred, NameAtMostEightOfTheRunsThatNoOtherDominates) {
  Points points;
  for (size_t i = 0; i < 200; ++i) {
    const auto results = test::many_results(i, 1000);
    points.push_back({*results.first.clean_accuracy, *results.first.robust_accuracy});
  }
  // By the definition, pair by pair.
  std::set<std::string> front;
  for (size_t i = 0; i < points.size(); ++i) {
    const bool dominated = std::any_of(points.begin(), points.end(), [&](const auto& p) {
      return p[0] >= points[i][0] && p[1] >= points[i][1] && p != points[i];
    });
    if (!dominated) front.insert(fmt::format("model {:03}", i));
  }
  const auto scatter = between(page, "<h2 id=\"accuracies\"", "<h2 id=\"eps\"");
  const auto wide = between(scatter, "<div class=\"wide\">", "</svg>");
  EXPECT_EQ(count(wide, " fill\"/>"), front.size()) << "a full point for each of them";
  EXPECT_EQ(count(wide, " point\"/>"), 200 - front.size());
  EXPECT_EQ(count(wide, "class=\"front\""), 1u);
  const auto named = between(scatter, "<ol class=\"named-runs\">", "</ol>");
  EXPECT_EQ(count(named, "<li>"), std::min<size_t>(front.size(), 8));
  size_t found = 0;
  for (const auto& name : front) found += count(named, ">" + name + "</a>");
  EXPECT_EQ(found, std::min<size_t>(front.size(), 8)) << "only such runs are named";
}

TEST_F(TwoHundred, DrawTheNamedCurvesInColourAndTheOthersPale) {
  const auto wide = between(page.substr(page.find("<h2 id=\"eps\"")), "<div class=\"wide\">", "</svg>");
  const auto coloured = count(wide, " stroke\"/>");
  EXPECT_GE(coloured, 1u);
  EXPECT_LE(coloured, 8u);
  EXPECT_EQ(coloured + count(wide, "t-base hair\"/>"), 200u);
  EXPECT_EQ(count(wide, "strong named t-"), coloured) << "names for the coloured ones alone";
}

TEST_F(TwoHundred, HaveNoGalleriesAndSayWhereOneIs) {
  EXPECT_FALSE(contains(page, "<img"));
  EXPECT_TRUE(contains(page, "this page has no galleries"));
  EXPECT_EQ(count(page, "<pre>hpm report "), 200u) << "the command stands under each run";
}

TEST_F(TwoHundred, AreWellFormedAndLoadNothing) {
  HPM_NEED_PYTHON();
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", page);
  EXPECT_EQ(test::page_check("page", folder / "page.html"), "ok 0 images\n");
}

TEST(ManyRuns, OfFourContextsStayUnderTwoMegabytes) {
  const auto one = test::sample_run("hpm", 100);
  std::vector<RunFiles> runs(200, one);
  for (size_t i = 0; i < runs.size(); ++i) runs[i].directory = fmt::format("runs/{:03}", i), runs[i].gallery = {};
  const auto page = make_report(runs);
  EXPECT_LT(page.size(), 2'000'000u);
  EXPECT_EQ(count(between(page, "<table class=\"sortable\">", "</table>"), "<small>context "), 800u);
}

TEST(ManyRuns, BeginAtEight) {
  EXPECT_FALSE(contains(make_report(test::many_runs(7, 40)), "<details class=\"run\">"));
  EXPECT_TRUE(contains(make_report(test::many_runs(8, 40)), "<details class=\"run\">"));
}

TEST(ManyRuns, HaveTheirGalleriesFoldedAwayUpToTwelve) {
  const auto runs_of = [](size_t count) {
    std::vector<RunFiles> runs(count, test::sample_run("hpm", 60));
    for (size_t i = 0; i < count; ++i) runs[i].directory = fmt::format("runs/{:02}", i);
    return runs;
  };
  const auto few = make_report(runs_of(12)), many = make_report(runs_of(13));
  EXPECT_EQ(count(few, "<h3>Gallery</h3>"), 12u);
  EXPECT_LT(few.rfind("<h2 id=\"runs\""), few.find("<img"));
  EXPECT_EQ(count(many, "<h3>Gallery</h3>") + count(many, "<img"), 0u);
}

TEST(ManyRuns, DoNotReadGalleriesThatThePageDoesNotShow) {
  const test::TemporaryFolder folder;
  const auto paths = test::write_runs(test::many_runs(13, 20), folder.path.string());
  test::write_text(std::filesystem::path(paths[4]) / "gallery.safetensors", "no such thing");
  write_report(paths, (folder / "page.html").string());
  EXPECT_FALSE(test::message_of<Error>([&] { write_report({paths[4]}, (folder / "one.html").string()); }).empty())
      << "a page that shows it complains";
}

TEST(ManyRuns, AreComparedWithTheFirstOneImageByImage) {
  const auto files = test::many_runs(9, 300);
  const auto c = compare_runs(parsed(files));
  ASSERT_TRUE(c.reference);
  EXPECT_EQ(c.runs[*c.reference].title, "model 000");
  const auto first = test::many_results(0, 300), fourth = test::many_results(4, 300);
  const auto expected = compare_flags(fourth.first.robust, first.first.robust);
  const auto row = std::find_if(c.rows.begin(), c.rows.end(), [](const auto& r) { return r.title == "model 004"; });
  ASSERT_TRUE(row != c.rows.end() && row->reference);
  EXPECT_EQ(*row->reference, expected);
  EXPECT_FALSE(c.rows.front().reference) << "the reference itself";
  EXPECT_TRUE(contains(make_report(files), typeset(points(*expected.difference)) + "<small>"));
}

TEST(ManyRuns, TakeAReferenceByFolderLabelOrTitle) {
  auto files = test::many_runs(9, 60);
  files[2].label = "Ours";
  for (const auto& [name, run] : std::map<std::string, std::string>{
           {"runs/zoo/005/", "model 005"}, {"005", "model 005"}, {"Ours", "Ours"}, {"model 007", "model 007"}}) {
    const auto c = compare_runs(parsed(files), name);
    EXPECT_EQ(c.runs[c.reference.value()].title, run) << name;
  }
  const auto unknown = test::message_of<UsageError>([&] { make_report(files, "", "model 077"); });
  EXPECT_TRUE(contains(unknown, "no run is called \"model 077\"")) << unknown;
  EXPECT_TRUE(contains(unknown, "did you mean")) << unknown;
  files[3].label = "Ours";
  EXPECT_TRUE(contains(test::message_of<UsageError>([&] { make_report(files, "", "Ours"); }), "names 2 of them"));
}

TEST(ManyRuns, WithAReferenceThatWasAskedForNeedNotBeMany) {
  const auto files = test::many_runs(3, 60);
  EXPECT_FALSE(contains(make_report(files), "Difference to reference"));
  const auto page = make_report(files, "", "model 001");
  EXPECT_TRUE(contains(page, "Difference to reference"));
  EXPECT_TRUE(contains(page, "Difference to model 001"));
  EXPECT_FALSE(contains(page, "<details class=\"run\">"));
}

TEST(ManyRuns, ThatWereEvaluatedOtherwiseAreShownAndNotJudged) {
  auto files = test::many_runs(9, 200);
  files[1].results["eps"] = 4. / 255;
  files[2].results["budget"] = "pgd ce, 10 steps";
  files[3].results["first_index"] = 5000;
  files[4].results["suspect"] = true;
  for (const size_t i : {1, 2, 3, 4})
    files[i].results["clean_accuracy"] = 99., files[i].results["robust_accuracy"] = 98.;
  const auto c = compare_runs(parsed(files));
  const auto o = overview_of(c);
  EXPECT_EQ(o.attacked.size(), 9u);
  EXPECT_EQ(o.alike, (std::vector<size_t>{0, 5, 6, 7, 8}));
  for (const size_t i : {1, 2, 3, 4}) EXPECT_FALSE(o.is_front(i)) << "though its figures are the highest";
  for (const size_t i : {1, 2, 3}) EXPECT_FALSE(c.rows[i].reference) << i;
  EXPECT_TRUE(c.rows[4].reference_doubtful);
  const auto page = make_report(files);
  for (const char* part : {"another threat: Linf 4/255", "another budget: pgd ce, 10 steps", "other images",
                           "(suspect)", "What cannot be compared: 3 remarks", "Suspect: 1 run did not pass the checks"})
    EXPECT_TRUE(contains(page, part)) << part;
  EXPECT_TRUE(contains(page, "<h1>9 runs</h1>")) << "no threat in the headline that not all of them face";
}

TEST(ManyRuns, WithoutAnyAttackSaySo) {
  auto files = test::many_runs(8, 40);
  for (auto& file : files) {
    file.results["protocol"] = "clean", file.results["robust_accuracy"] = nullptr;
    for (const char* field : {"robust", "interval", "attacks", "curve", "checks"}) file.results.erase(field);
  }
  const auto page = make_report(files);
  EXPECT_TRUE(contains(page, "none of them was attacked"));
  for (const char* id : {"accuracies", "eps", "reference"})
    EXPECT_FALSE(contains(page, std::string("<h2 id=\"") + id)) << id;
}

TEST(Front, HoldsWhatNoOtherPointDominates) {
  EXPECT_EQ(not_dominated({}), std::vector<size_t>{});
  EXPECT_EQ(not_dominated({{80, 50}}), std::vector<size_t>{0});
  EXPECT_EQ(not_dominated({{80, 50}, {90, 40}, {85, 45}, {85, 44}, {79, 50}}), (std::vector<size_t>{0, 2, 1}))
      << "by rising first value";
  EXPECT_EQ(not_dominated({{80, 50}, {80, 50}, {70, 40}}).size(), 2u) << "neither of two equal points dominates";
}

TEST(Front, IsThinnedEvenlyWithBothEnds) {
  std::vector<size_t> items(30);
  for (size_t i = 0; i < items.size(); ++i) items[i] = 100 + i;
  const auto few = spread(items, 8);
  ASSERT_EQ(few.size(), 8u);
  EXPECT_EQ(few.front(), 100u);
  EXPECT_EQ(few.back(), 129u);
  EXPECT_TRUE(std::is_sorted(few.begin(), few.end()));
  EXPECT_EQ(std::set<size_t>(few.begin(), few.end()).size(), 8u);
  EXPECT_EQ(spread({3, 1, 2}, 8), (std::vector<size_t>{3, 1, 2}));
}

TEST(Scatter, PutsPointsWhereTheirNumbersAreAndItsNamesInsideThePicture) {
  using Mark = ScatterPoint::Mark;
  ScatterChart chart{.frame = {"t", "d", 800}};
  chart.points = {{.x = 80, .y = 40},
                  {.x = 90, .y = 50, .mark = Mark::front, .tone = "t-1", .name = "best"},
                  {.x = 85, .y = 45, .mark = Mark::ring}};
  const auto wide = scatter_chart(chart);
  // Ticks from 80 to 90 and from 40 to 50: the corners of the picture.
  EXPECT_TRUE(contains(wide, "<circle cx=\"44\" cy=\"388\" r=\"3.2\" class=\"t-base point\"/>")) << wide;
  EXPECT_TRUE(contains(wide, "cy=\"26\" r=\"5\" class=\"t-1 fill\"/>")) << wide;
  EXPECT_TRUE(contains(wide, "class=\"t-base ring\"/>")) << wide;
  chart.points[1].name = std::string(300, 'x');
  EXPECT_FALSE(contains(scatter_chart(chart), std::string(60, 'x'))) << "a long name is cut";
  chart.points.clear();
  EXPECT_TRUE(contains(scatter_chart(chart), "<svg")) << "an empty picture is one too";
}

TEST(Curves, CutLongNamesInPlaceOfTheLines) {
  LineChart chart{.frame = {"t", "d", 800}, .series = {{std::string(300, 'x'), "t-l2", {{0, 90}, {.1, 60}}}}};
  const auto drawn = line_chart(chart);
  EXPECT_TRUE(contains(drawn, "…"));
  // .38 of 800 for the name: the line ends at 480.
  EXPECT_TRUE(contains(drawn, "L480 ")) << drawn;
}

}  // namespace
}  // namespace hpm
