#include <torch/cuda.h>
#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/json_impl.h"
#include "hpm/data/catalogue.h"
#include "hpm/io/optional_parts.h"
#include "options.h"

namespace hpm::app {

int doctor(const Arguments& arguments) {
  CommandLine line("doctor", "What this build and machine have, and what is missing with the command that brings it.",
                   "hpm doctor");
  std::string root;
  line.fields.section("data").add("data-root", root, "parent of the data sets' folders", {.place = Place::folder});
  if (!line.parse(arguments)) return 0;
  configure_threads(0);
  auto found = nlohmann::ordered_json::parse(environment_json({}, 0));
  found.erase("seed"), found.erase("started"), found.erase("device"), found.erase("precision");
  found["cuda"] = torch::cuda::is_available() ? fmt::format("{} devices", torch::cuda::device_count()) : "none";
  nlohmann::ordered_json data, missing = nlohmann::ordered_json::array();
  for (const auto& format : dataset_formats()) {
    const auto test = find_dataset(format, "test", root);
    data[format.name] = test ? nlohmann::ordered_json(test.place) : nlohmann::ordered_json();
    if (!test) missing.push_back({{"what", "data set " + format.name}, {"get", format.how_to_get}});
  }
  nlohmann::ordered_json parts;
  for (const auto& part : optional_parts()) {
    parts[part.name] = part.library.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(part.library);
    if (part.library.empty())
      missing.push_back({{"what", part.name + ", for " + part.reads},
                         {"get", "apt-get install " + part.package + ", and build again"}});
  }
  found["optional_parts"] = parts;
  found["data"] = data;
  found["missing"] = missing;
  if (line.json) return fmt::print("{}\n", json_text(found, 1)), 0;
  for (const auto& [key, value] : found.items())
    if (!value.is_structured())
      fmt::print("{:<12} {}\n", key, value.is_string() ? value.get<std::string>() : json_text(value));
  for (const auto& [name, library] : parts.items())
    if (!library.is_null()) fmt::print("{:<12} {}: {}\n", "reads", name, library.get<std::string>());
  for (const auto& [name, folder] : data.items())
    if (!folder.is_null()) fmt::print("{:<12} {} in {}\n", "data set", name, folder.get<std::string>());
  for (const auto& item : missing)
    fmt::print("{:<12} {}: {}\n", "missing", item["what"].get<std::string>(), item["get"].get<std::string>());
  return 0;
}

}  // namespace hpm::app
