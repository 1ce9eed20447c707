#include "hpm/evaluation/analysis/analysis_results.h"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include "hpm/core/json_impl.h"
#include "hpm/core/version.h"
#include "hpm/evaluation/analysis/analysis_csv_impl.h"
#include "hpm/evaluation/analysis/analysis_summary.h"
#include "hpm/evaluation/results/results_impl.h"

namespace hpm {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostClasses = 100;  // whose prototype distances stand in analysis.json; the CSV has any number

/// Six significant digits; NaN and infinity are null.
Json number(double value) { return std::isfinite(value) ? Json(std::stod(fmt::format("{:.6g}", value))) : Json(); }

Json numbers(const Tensor& values) {
  Json list = Json::array();
  const auto all = values.to(at::kCPU, at::kDouble).contiguous();
  for (int64_t i = 0; i < all.numel(); ++i) list.push_back(number(all.data_ptr<double>()[i]));
  return list;
}

Json interval_json(const Tensor& flags) {
  const auto i = wilson(flags.sum().item<int64_t>(), flags.numel());
  return {number(i.low), number(i.high)};
}

Json quantiles_json(const Tensor& values) {
  const auto q = quantiles(values);
  return {{"mean", number(q.mean)}, {"p5", number(q.p5)},   {"p25", number(q.p25)}, {"median", number(q.median)},
          {"p75", number(q.p75)},   {"p95", number(q.p95)}, {"max", number(q.max)}};
}

Json head_json(const HeadAnalysis& h, const Analysis& a, const Tensor& common, const Tensor& grid) {
  const auto robust = h.robust(a.own_radius);
  Json j{{"name", h.head.name},
         {"clean_accuracy", number(percent(h.clean_correct))},
         {"robust_accuracy", number(percent(robust))},
         {"interval", interval_json(robust)},
         {"clean_interval", interval_json(h.clean_correct)}};
  const auto curve = [](const char* name, const auto& places, const Tensor& flags) {
    Json points = Json::array();
    for (size_t i = 0; i < places.size(); ++i) {
      const auto row = flags.select(0, static_cast<int64_t>(i));
      points.push_back({{name, places[i]}, {"accuracy", number(percent(row))}, {"interval", interval_json(row)}});
    }
    return points;
  };
  j["against_eps"] = curve("eps", a.radii, h.robust_eps);
  j["against_iterations"] = curve("iterations", a.iterations, h.robust_iterations);
  for (const auto& [name, values] : measures(h)) j["measures"][name] = quantiles_json(values.index({common}));
  j["beyond"] = {{"clean", numbers(share_beyond(h.distance, grid))},
                 {"attacked", numbers(share_beyond(h.attacked_distance, grid))}};
  if (h.head.prototypes.size(0) <= kMostClasses) {
    j["prototype_distances"] = Json::array();
    for (const auto& row : h.head.prototype_distances().unbind(0)) j["prototype_distances"].push_back(numbers(row));
  }
  j["clean_correct"] = flags_json(h.clean_correct);
  j["robust"] = flags_json(robust);
  return j;
}

Json scatter_json(const Analysis& a) {
  Json list = Json::array();
  const auto add = [&](const std::string& images, const char* space, const ClassScatter& s) {
    if (s.sums.defined())
      list.push_back({{"images", images},
                      {"space", space},
                      {"within", number(s.within())},
                      {"between", number(s.between())},
                      {"ratio", number(s.within() / s.between())}});
  };
  for (const auto& row : a.scatter) add(row.images, "z", row.z), add(row.images, "h", row.h);
  return list;
}

Json agreement_json(const Analysis& a, bool attacked) {
  Json list = Json::array();
  const auto counts = failure_patterns(wrong_flags(a, attacked));
  for (size_t pattern = 0; pattern < counts.size(); ++pattern) {
    Json wrong = Json::array();
    for (size_t h = 0; h < a.heads.size(); ++h)
      if (pattern >> h & 1) wrong.push_back(a.heads[h].head.name);
    list.push_back({{"wrong", wrong}, {"images", counts[pattern]}});
  }
  return list;
}

}  // namespace

std::string analysis_json(const AnalysisInput& in) {
  const auto& a = in.analysis;
  Json j{{"schema", 1},
         {"hpm_version", this_build().version},
         {"commit", this_build().commit},
         {"started", in.started},
         {"seconds", number(a.seconds)},
         {"model", in.model.classifier.info().file},
         {"model_info", json_of(model_result(in.model))},
         {"dataset", in.data.name},
         {"split", in.data.split},
         {"class_names", in.data.class_names},
         {"n", in.index.size(0)}};
  if (in.indices_given) j["indices"] = flags_json(in.index);
  else j["first_index"] = in.first_index;
  j["norm"] = to_string(in.threat.norm);
  j["eps"] = in.threat.eps;
  j["protocol"] = "analysis";
  j["budget"] = fmt::format("apgd-{}, {} steps, 1 start", to_string(in.options.loss), a.iterations.back());
  j["seed"] = in.options.seed;
  j["threads"] = at::get_num_threads();
  const auto common = common_images(a), grid = distance_grid(a);
  j["common_images"] = common.sum().item<int64_t>();
  j["distance_grid"] = numbers(grid);
  j["heads"] = Json::array();
  for (const auto& head : a.heads) j["heads"].push_back(head_json(head, a, common, grid));
  j["scatter"] = scatter_json(a);
  j["agreement"] = {{"clean", agreement_json(a, false)}, {"attacked", agreement_json(a, true)}};
  j["transfer"] = Json::array();
  for (const auto& row : transfer_matrix(a).unbind(0)) j["transfer"].push_back(numbers(row));
  j["config"] = in.config.empty() ? Json() : Json::parse(in.config);
  return json_text(j, 1) + "\n";
}

void write_analysis(const RunDirectory& run, const AnalysisInput& in) {
  write_csv_files(run, in);
  run.write("analysis.json", analysis_json(in));
}

}  // namespace hpm
