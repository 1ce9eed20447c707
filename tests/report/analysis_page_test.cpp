#include "hpm/core/error.h"

#include "hpm/report/analysis_impl.h"
#include "hpm/report/html.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Json sample_head(const std::string& name, double robust) {
  Json spread{{"mean", 1.2}, {"p5", .1}, {"p25", .5}, {"median", 1.}, {"p75", 1.5}, {"p95", 2.}, {"max", 3.}};
  Json head{{"name", name},
            {"clean_accuracy", 80.},
            {"robust_accuracy", robust},
            {"clean_interval", {76., 84.}},
            {"interval", {robust - 4, robust + 4}},
            {"against_eps", Json::array()},
            {"against_iterations", Json::array()},
            {"beyond", {{"clean", {80., 30., 5.}}, {"attacked", {robust, 10., 1.}}}}};
  for (double eps : {.05, .1})
    head["against_eps"].push_back({{"eps", eps}, {"accuracy", robust}, {"interval", {robust - 4, robust + 4}}});
  for (int steps : {1, 10, 100})
    head["against_iterations"].push_back(
        {{"iterations", steps}, {"accuracy", robust + 1}, {"interval", {robust - 3, robust + 5}}});
  for (const char* measure :
       {"distance", "attacked_distance", "change", "local_slope", "model_slope", "feature_gain", "head_slope"})
    head["measures"][measure] = spread;
  for (int r = 0; r < 3; ++r)
    head["prototype_distances"].push_back({std::abs(r - 0.), std::abs(r - 1.), std::abs(r - 2.)});
  return head;
}

/// Three heads on 100 images; every figure made up.
RunFiles sample_study() {
  auto files = test::sample_run("hpm");
  Json j;
  for (const char* field : {"schema", "hpm_version", "model", "model_info", "dataset", "split", "seed", "threads"})
    j[field] = files.results[field];
  j.update(
      {{"n", 100}, {"norm", "Linf"}, {"eps", .1}, {"protocol", "analysis"}, {"budget", "apgd-ce, 100 steps, 1 start"}});
  j["class_names"] = {"cat", "dog", "owl"};
  j["common_images"] = 70;
  j["distance_grid"] = {0., .5, 1.};
  j["heads"] = {sample_head("fc", 60), sample_head("l2", 50), sample_head("hpm", 55)};
  for (const char* images : {"clean", "fc", "l2", "hpm"})
    j["scatter"].push_back({{"images", images}, {"space", "z"}, {"within", 2.}, {"between", 1.}, {"ratio", 2.}});
  j["transfer"] = {{60., 55., 56.}, {70., 50., 52.}, {69., 51., 55.}};
  for (const char* images : {"clean", "attacked"})
    j["agreement"][images] = {{{"wrong", Json::array()}, {"images", 40}},
                              {{"wrong", {"fc"}}, {"images", 10}},
                              {{"wrong", {"l2"}}, {"images", 20}},
                              {{"wrong", {"fc", "l2", "hpm"}}, {"images", 30}}};
  files.results = j;
  files.gallery = {};
  files.directory = "runs/study";
  return files;
}

TEST(AnalysisPage, HasAPartForEachMeasurement) {
  const auto page = make_report({sample_study()});
  for (const char* id :
       {"against-eps", "against-iterations", "distances", "slopes", "scatter", "prototypes", "agreement", "provenance"})
    EXPECT_TRUE(contains(page, std::string("<h2 id=\"") + id + "\"")) << id;
  EXPECT_TRUE(contains(page, "FC keeps 60.0\u202F% (56.0–64.0), l2 keeps 50.0\u202F%")) << "the summary";
  EXPECT_TRUE(contains(page, "hpm analyze --config"));
  EXPECT_FALSE(contains(page, "Side by side"));
}

TEST(AnalysisPage, SharedFailuresAreSharesOfTheRowsFailures) {
  // FC is wrong on 10 + 30 images, l2 on 20 + 30, both on 30.
  const auto chart = analysis::agreement(parse_analysis(sample_study().results, "here"), 800);
  EXPECT_TRUE(contains(chart, "FC → l2: 75<"));
  EXPECT_TRUE(contains(chart, "l2 → FC: 60<"));
  EXPECT_TRUE(contains(chart, "HPM → HPM: 100<"));
}

TEST(AnalysisPage, StandsBesideEvaluationsAndOtherStudies) {
  HPM_NEED_PYTHON();
  auto runs = test::sample_runs(60);
  runs.push_back(sample_study());
  runs.push_back(sample_study());
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
  auto study = sample_study();
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
    auto study = sample_study();
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
  test::write_text(folder / "analysis.json", sample_study().results.dump());
  write_analysis_charts(folder.path.string());
  for (const char* name : {"against-eps", "against-iterations", "distances-clean", "distances-attacked", "slopes",
                           "scatter", "prototypes-fc", "prototypes-l2", "prototypes-hpm", "agreement", "transfer"})
    EXPECT_EQ(test::page_check("page", folder / (std::string(name) + ".svg")), "ok 0 images\n") << name;
}

}  // namespace
}  // namespace hpm
