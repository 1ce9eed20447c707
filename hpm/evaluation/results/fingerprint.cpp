#include "hpm/evaluation/results/fingerprint.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/file.h"
#include "hpm/io/sha256.h"

namespace hpm {
namespace {

std::string path_in(const std::string& folder) { return folder + "/fingerprint.json"; }

nlohmann::json read_kept(const std::string& folder) {
  try {
    return parse_json_object(read_file(path_in(folder)).text(), path_in(folder));
  } catch (const Error& error) {
    fail("{}; give --overwrite, or another --out", error.what());
  }
}

std::string shown(const std::string& value) { return value.empty() ? "not given" : value; }

}  // namespace

void Fingerprint::add_options(const Fields& options, const std::vector<std::string>& left_out) {
  const auto out = [&](const std::string& name) {
    return std::find(left_out.begin(), left_out.end(), name) != left_out.end();
  };
  for (const auto& field : options.all()) {
    if (out(field.section) || out(field.name)) continue;
    set("--" + field.name, field.text());
    if (field.text() == field.default_text) defaults_.insert("--" + field.name);
  }
}

void Fingerprint::add_model(const std::string& whose, const Classifier& classifier) {
  const auto& info = classifier.info();
  set("SHA-256 of " + whose, info.sha256);
  set("architecture of " + whose, info.architecture);
  set("classes of " + whose, std::to_string(info.classes));
  set("input shape of " + whose, fmt::format("{}", fmt::join(info.input_shape, ",")));
  set("mean of " + whose, fmt::format("{}", fmt::join(info.normalisation.mean, ",")));
  set("std of " + whose, fmt::format("{}", fmt::join(info.normalisation.std, ",")));
}

void Fingerprint::require_same(const std::string& folder, NewOptions new_options) const {
  if (!std::filesystem::exists(path_in(folder))) return;
  const auto kept = read_kept(folder);
  std::map<std::string, std::pair<std::string, std::string>> both;  // then and now
  for (const auto& [name, value] : kept.items())
    both[name].first = value.is_string() ? value.get<std::string>() : json_text(value);
  for (const auto& [name, value] : values_) {
    const bool fine = new_options == NewOptions::fine_at_default && !kept.contains(name) && has_default(name);
    if (!fine) both[name].second = value;
  }
  std::vector<std::string> differences;
  for (const auto& [name, values] : both)
    if (values.first != values.second)
      differences.push_back(fmt::format("{} was {}, is now {}", name, shown(values.first), shown(values.second)));
  if (!differences.empty())
    fail("{}: holds a run with other settings: {}; give those, or --overwrite, or another --out", folder,
         fmt::join(differences, "; "));
}

void Fingerprint::write(const std::string& folder) const {
  write_file_atomically(path_in(folder), json_text(nlohmann::ordered_json(values_), 1) + "\n");
}

std::string Fingerprint::digest() const { return sha256(json_text(nlohmann::ordered_json(values_))); }

}  // namespace hpm
