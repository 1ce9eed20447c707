// The sensitivity study of `hpm analyze` as pictures and as sections of the page.
#pragma once
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "hpm/report/charts.h"
#include "hpm/report/report_impl.h"

namespace hpm {

/// Of one measure over the images that every head has right; NaN where there was none.
struct Spread {
  double p25 = 0, median = 0, p75 = 0;
};

struct HeadResult {
  std::string name;  ///< "fc", "l2" or "hpm"
  double clean_accuracy = 0, robust_accuracy = 0;
  Interval interval;
  std::vector<LinePoint> against_eps, against_iterations;  ///< clean accuracy first, at 0
  std::map<std::string, Spread> measures;
  std::vector<double> beyond_clean, beyond_attacked;     ///< percent, by AnalysisResults::distance_grid
  std::vector<std::vector<double>> prototype_distances;  ///< [K,K]; empty for very many classes
};

struct ScatterResult {
  std::string images, space;
  double within = 0, between = 0, ratio = 0;
};

/// Images on which exactly the heads `wrong` are wrong.
struct FailureCount {
  std::vector<std::string> wrong;
  int64_t images = 0;
};

/// analysis.json, schema 1 (docs/analysis.md).
struct AnalysisResults {
  std::string norm, budget, dataset;
  double eps = 0;
  int64_t n = 0, common_images = 0;
  std::vector<std::string> class_names;
  std::vector<HeadResult> heads;
  std::vector<double> distance_grid;
  std::vector<ScatterResult> scatter;
  std::vector<FailureCount> wrong_clean, wrong_attacked;
  std::vector<std::vector<double>> transfer;  ///< percent right: [made against, judged by]
};

/// Whether the run is one of hpm analyze.
bool is_analysis(const RunFiles& files);

/// Throws Error that names `where` for a field that is missing or of another type.
AnalysisResults parse_analysis(const nlohmann::json& json, const std::string& where);

std::string head_title(const std::string& head);  ///< "FC", "l2", "HPM"
std::string head_tone(const std::string& head);   ///< colour class

namespace analysis {
std::string against_eps(const AnalysisResults& a, double width);
std::string against_iterations(const AnalysisResults& a, double width);
std::string distances(const AnalysisResults& a, bool attacked, double width);
std::string distance_changes(const AnalysisResults& a, double width);
std::string slopes(const AnalysisResults& a, double width);
std::string feature_gains(const AnalysisResults& a, double width);
std::string head_slopes(const AnalysisResults& a, double width);
std::string scatter(const AnalysisResults& a, double width);
std::string prototypes(const AnalysisResults& a, const HeadResult& head, double width);
std::string agreement(const AnalysisResults& a, double width);
std::string transfer(const AnalysisResults& a, double width);
}  // namespace analysis

namespace sections {
/// What the study found, in sentences.
std::string analysis_summary(const AnalysisResults& a);
/// The study's parts. On a page with several studies `name` stands in the headings and `id` in their anchors.
std::string analysis_parts(const AnalysisResults& a, const std::string& name, const std::string& id);
}  // namespace sections

}  // namespace hpm
