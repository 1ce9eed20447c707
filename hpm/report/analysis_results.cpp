#include "hpm/core/error.h"
#include "hpm/report/analysis_impl.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

/// null is NaN: a mean of nothing.
double number(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

std::vector<double> numbers(const Json& json) {
  std::vector<double> out;
  for (const auto& value : json) out.push_back(number(value));
  return out;
}

Interval interval(const Json& json) { return {json.at(0).get<double>(), json.at(1).get<double>()}; }

std::vector<LinePoint> curve(const Json& head, const char* name, const char* place) {
  std::vector<LinePoint> points{{0, head.at("clean_accuracy").get<double>(), interval(head.at("clean_interval"))}};
  for (const auto& point : head.at(name))
    points.push_back(
        {point.at(place).get<double>(), point.at("accuracy").get<double>(), interval(point.at("interval"))});
  return points;
}

HeadResult read_head(const Json& json) {
  HeadResult head{.name = json.at("name").get<std::string>()};
  if (head_title(head.name).empty()) fail("heads needs fc, l2 or hpm, but holds \"{}\"", head.name);
  head.clean_accuracy = json.at("clean_accuracy").get<double>();
  head.robust_accuracy = json.at("robust_accuracy").get<double>();
  head.interval = interval(json.at("interval"));
  head.against_eps = curve(json, "against_eps", "eps");
  head.against_iterations = curve(json, "against_iterations", "iterations");
  for (const auto& [name, spread] : json.at("measures").items())
    head.measures[name] = {number(spread.at("p25")), number(spread.at("median")), number(spread.at("p75"))};
  head.beyond_clean = numbers(json.at("beyond").at("clean"));
  head.beyond_attacked = numbers(json.at("beyond").at("attacked"));
  if (json.contains("prototype_distances"))
    for (const auto& row : json.at("prototype_distances")) head.prototype_distances.push_back(numbers(row));
  return head;
}

std::vector<FailureCount> failures(const Json& json) {
  std::vector<FailureCount> out;
  for (const auto& entry : json)
    out.push_back({entry.at("wrong").get<std::vector<std::string>>(), entry.at("images").get<int64_t>()});
  return out;
}

/// Lists that charts index together have one length.
void check_sizes(const AnalysisResults& a) {
  const auto check = [](const char* name, size_t got, size_t needed) {
    if (got != needed) fail("{} needs {} entries, but holds {}", name, needed, got);
  };
  if (a.heads.empty()) fail("heads is empty");
  check("transfer", a.transfer.size(), a.heads.size());
  for (const auto& row : a.transfer) check("a row of transfer", row.size(), a.heads.size());
  for (const auto& head : a.heads) {
    check("beyond.clean", head.beyond_clean.size(), a.distance_grid.size());
    check("beyond.attacked", head.beyond_attacked.size(), a.distance_grid.size());
    for (const auto& row : head.prototype_distances)
      check("a row of prototype_distances", row.size(), head.prototype_distances.size());
  }
}

AnalysisResults read(const Json& json) {
  AnalysisResults a{.norm = json.at("norm").get<std::string>(),
                    .budget = json.at("budget").get<std::string>(),
                    .dataset = json.at("dataset").get<std::string>(),
                    .eps = json.at("eps").get<double>(),
                    .n = json.at("n").get<int64_t>(),
                    .common_images = json.at("common_images").get<int64_t>()};
  a.class_names = json.at("class_names").get<std::vector<std::string>>();
  for (const auto& head : json.at("heads")) a.heads.push_back(read_head(head));
  a.distance_grid = numbers(json.at("distance_grid"));
  for (const auto& row : json.at("scatter"))
    a.scatter.push_back({row.at("images").get<std::string>(), row.at("space").get<std::string>(),
                         number(row.at("within")), number(row.at("between")), number(row.at("ratio"))});
  a.wrong_clean = failures(json.at("agreement").at("clean"));
  a.wrong_attacked = failures(json.at("agreement").at("attacked"));
  for (const auto& row : json.at("transfer")) a.transfer.push_back(numbers(row));
  check_sizes(a);
  return a;
}

}  // namespace

bool is_analysis(const RunFiles& files) {
  return files.results.is_object() && files.results.contains("protocol") && files.results["protocol"] == "analysis";
}

AnalysisResults parse_analysis(const Json& json, const std::string& where) {
  try {
    return read(json);
  } catch (const Json::exception& error) {
    fail("{}: is not a finished study: {}", where, error.what());
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

std::string head_title(const std::string& head) {
  return head == "fc" ? "FC" : head == "l2" ? "l2" : head == "hpm" ? "HPM" : "";
}

std::string head_tone(const std::string& head) { return head == "l2" ? "t-l2" : head == "hpm" ? "t-hpm" : "t-control"; }

}  // namespace hpm
