#include "hpm/core/error.h"

#include "hpm/report/analysis_impl.h"
#include "hpm/report/html.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(AnalysisPage, HasAPartForEachMeasurement) {
  const auto page = make_report({test::sample_study()});
  for (const char* id :
       {"against-eps", "against-iterations", "distances", "slopes", "scatter", "prototypes", "agreement", "provenance"})
    EXPECT_TRUE(contains(page, std::string("<h2 id=\"") + id + "\"")) << id;
  EXPECT_TRUE(contains(page, "FC keeps 60.0\u202F% (56.0–64.0), l2 keeps 50.0\u202F%")) << "the summary";
  EXPECT_TRUE(contains(page, "hpm analyze --config"));
  EXPECT_FALSE(contains(page, "Side by side"));
}

TEST(AnalysisPage, SharedFailuresAreSharesOfTheRowsFailures) {
  // FC is wrong on 10 + 30 images, l2 on 20 + 30, both on 30.
  const auto chart = analysis::agreement(parse_analysis(test::sample_study().results, "here"), 800);
  EXPECT_TRUE(contains(chart, "FC → l2: 75<"));
  EXPECT_TRUE(contains(chart, "l2 → FC: 60<"));
  EXPECT_TRUE(contains(chart, "HPM → HPM: 100<"));
}

TEST(AnalysisPage, StandsBesideEvaluationsAndOtherStudies) {
  HPM_NEED_PYTHON();
  auto runs = test::sample_runs(60);
  runs.push_back(test::sample_study());
  runs.push_back(test::sample_study());
  runs.back().directory = "runs/other";
  runs.back().results["heads"].erase(1), runs.back().results["heads"].erase(1);
  runs.back().results["transfer"] = {{60.}};
  const auto page = make_report(runs);
  EXPECT_TRUE(contains(page, "<h2 id=\"models\""));
  EXPECT_TRUE(contains(page, "Accuracy against eps, study") && contains(page, "Accuracy against eps, other"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", page);
  EXPECT_EQ(test::page_check("page", folder / "page.html").substr(0, 3), "ok ");
}

TEST(AnalysisPage, EscapesNamesAndSurvivesMeasuresOfNothing) {
  HPM_NEED_PYTHON();
  auto study = test::sample_study();
  study.results["class_names"] = {"<script>", "&", "\"'"};
  study.results["norm"] = study.results["budget"] = study.results["dataset"] = "<script>alert(1)</script>";
  study.results["scatter"][0]["images"] = study.results["agreement"]["attacked"][1]["wrong"][0] = "<b>";
  study.results["scatter"][1]["ratio"] = nullptr;
  for (auto& head : study.results["heads"])
    for (auto& measure : head["measures"])
      for (auto& value : measure) value = nullptr;
  const auto page = make_report({study});
  EXPECT_FALSE(contains(page, "<script"));
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.html", page);
  EXPECT_EQ(test::page_check("page", folder / "page.html").substr(0, 3), "ok ");
}

TEST(AnalysisPage, BrokenStudiesAreErrorsThatNameTheFile) {
  const auto message = [](const std::function<void(Json&)>& damage) {
    auto study = test::sample_study();
    damage(study.results);
    return test::message_of<Error>([&] { make_report({study}); });
  };
  EXPECT_TRUE(
      contains(message([](Json& j) { j.erase("heads"); }), "runs/study/analysis.json: is not a finished study"));
  EXPECT_TRUE(contains(message([](Json& j) { j["heads"][0]["name"] = "../../x"; }), "needs fc, l2 or hpm"));
  EXPECT_TRUE(contains(message([](Json& j) { j["transfer"].erase(0); }), "transfer needs 3 entries"));
  EXPECT_TRUE(contains(message([](Json& j) { j["eps"] = "x"; }), "runs/study/analysis.json"));
}

TEST(AnalysisPage, WritesItsPicturesIntoTheRunDirectory) {
  HPM_NEED_PYTHON();
  const test::TemporaryFolder folder;
  test::write_text(folder / "analysis.json", test::sample_study().results.dump());
  write_analysis_charts(folder.path.string());
  for (const char* name : {"against-eps", "against-iterations", "distances-clean", "distances-attacked", "slopes",
                           "scatter", "prototypes-fc", "prototypes-l2", "prototypes-hpm", "agreement", "transfer"})
    EXPECT_EQ(test::page_check("page", folder / (std::string(name) + ".svg")), "ok 0 images\n") << name;
}

}  // namespace
}  // namespace hpm
