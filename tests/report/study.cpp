#include <nlohmann/json.hpp>

#include <cmath>

#include "report/sample.h"

namespace hpm::test {
namespace {

using Json = nlohmann::json;

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

}  // namespace

RunFiles sample_study() {
  auto files = sample_run("hpm");
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

}  // namespace hpm::test
