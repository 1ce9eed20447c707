#include "hpm/report/results_impl.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

/// A JSON object with typed, tolerant look-up: absent and null are the same, a wrong type is an error.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail("{}: needs a JSON object, but holds {}", where_, json.type_name());
  }

  const Json* find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  template <class T>
  void read(const char* name, T& out) const {
    if (const auto* value = find(name)) convert(*value, name, out);
  }

  template <class T>
  void need(const char* name, T& out) const {
    if (!find(name)) fail("{}: needs \"{}\"; was the run finished?", where_, name);
    read(name, out);
  }

  /// Calls f(Reader, element) for each object of a list.
  template <class T, class F>
  void each(const char* name, std::vector<T>& out, F f) const {
    const auto* list = find(name);
    if (!list) return;
    if (!list->is_array()) wrong(name, "a list");
    for (size_t i = 0; i < list->size(); ++i)
      f(Reader((*list)[i], fmt::format("{}: {}[{}]", where_, name, i)), out.emplace_back());
  }

  template <class F>
  void inside(const char* name, F f) const {
    if (const auto* value = find(name)) f(Reader(*value, fmt::format("{}: {}", where_, name)));
  }

  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void wrong(const char* name, const char* needed) const {
    fail("{}: \"{}\" needs {}, but holds {}", where_, name, needed, json_text(json_.at(name)).substr(0, 40));
  }

  void convert(const Json& v, const char* name, std::string& out) const {
    if (!v.is_string()) wrong(name, "a string");
    out = v.get<std::string>();
  }
  void convert(const Json& v, const char* name, bool& out) const {
    if (!v.is_boolean()) wrong(name, "true or false");
    out = v.get<bool>();
  }
  void convert(const Json& v, const char* name, double& out) const {
    if (!v.is_number()) wrong(name, "a number");
    out = v.get<double>();
  }
  void convert(const Json& v, const char* name, int64_t& out) const {
    if (!v.is_number_integer()) wrong(name, "an integer");
    out = v.get<int64_t>();
  }
  void convert(const Json& v, const char* name, int& out) const {
    if (!v.is_number_integer() || v.get<int64_t>() < 0 || v.get<int64_t>() > 1) wrong(name, "flags of 0 and 1");
    out = v.get<int>();
  }
  void convert(const Json& v, const char* name, Interval& out) const {
    if (!v.is_array() || v.size() != 2 || !v[0].is_number() || !v[1].is_number()) wrong(name, "a list of two numbers");
    out = {v[0].get<double>(), v[1].get<double>()};
  }
  template <class T>
  void convert(const Json& v, const char* name, std::optional<T>& out) const {
    convert(v, name, out.emplace());
  }
  template <class T>
  void convert(const Json& v, const char* name, std::vector<T>& out) const {
    if (!v.is_array()) wrong(name, "a list");
    out.resize(v.size());
    for (size_t i = 0; i < v.size(); ++i) convert(v[i], name, out[i]);
  }

  const Json& json_;
  std::string where_;
};

void read_paired(const Reader& parent, const char* name, std::optional<PairedModel>& out) {
  parent.inside(name, [&](const Reader& r) {
    auto& model = out.emplace();
    model.name = name;
    r.read("name", model.name);
    r.read("file", model.file);
    r.read("clean_accuracy", model.clean_accuracy);
    r.read("robust_accuracy", model.robust_accuracy);
    r.read("difference", model.difference);
    r.read("difference_interval", model.difference_interval);
    r.read("wins", model.wins);
    r.read("losses", model.losses);
    r.read("p", model.p);
    r.read("smallest_detectable", model.smallest_detectable);
  });
}

void need_length(const Reader& r, const char* name, size_t got, int64_t n) {
  if (got != 0 && got != static_cast<size_t>(n))
    fail("{}: \"{}\" needs one value for each of the {} images, but has {}", r.where(), name, n, got);
}

void read_context(const Reader& r, int64_t n, ContextResult& c) {
  r.read("context", c.context);
  r.read("clean_accuracy", c.clean_accuracy);
  r.read("robust_accuracy", c.robust_accuracy);
  r.read("ste_accuracy", c.ste_accuracy);
  r.read("obfuscation_gap", c.obfuscation_gap);
  r.read("joint_any", c.joint_any);
  r.read("worst_draw_accuracy", c.worst_draw);
  r.each("collusion", c.collusion, [](const Reader& o, CollusionResult& out) {
    o.need("colluders", out.colluders);
    o.read("victim_too", out.victim_too);
    o.need("victims", out.victims);
    o.need("broke", out.broke);
  });
  r.each("broken_by", c.broken_by, [](const Reader& o, BrokenBy& out) {
    o.need("by", out.by);
    o.need("images", out.images);
    out.elsewhere =
        out.by.find(" in ") != std::string::npos;  // of results of earlier versions, which say it in words alone
    o.read("elsewhere", out.elsewhere);
  });
  r.read("clean_interval", c.clean_interval);
  r.read("interval", c.interval);
  r.read("clean_correct", c.clean_correct);
  r.read("robust", c.robust);
  need_length(r, "clean_correct", c.clean_correct.size(), n);
  need_length(r, "robust", c.robust.size(), n);
  r.each("surrogates", c.surrogates, [](const Reader& s, SurrogateResult& out) {
    s.need("name", out.name);
    s.read("summary", out.summary);
    s.read("same_as", out.same_as);
    s.read("unavailable", out.unavailable);
    s.read("complete", out.complete);
    s.read("robust_accuracy", out.robust_accuracy);
    s.read("broke", out.broke);
    s.read("of", out.of);
    s.read("first", out.first);
  });
  read_paired(r, "control", c.control);
}

void read_model(const Reader& r, RunResults& out) {
  r.read("model", out.model);
  r.inside("model_info", [&](const Reader& m) {
    m.read("name", out.name);
    m.read("head", out.head);
    m.read("architecture", out.architecture);
    m.read("sha256", out.sha256);
    m.read("classes", out.classes);
    m.read("parameters", out.parameters);
    m.read("lambda", out.lambda);
    m.read("metric", out.metric);
  });
  r.read("role", out.role);
  if (out.role.empty()) out.role = out.head == "hpm" || out.head == "l2" ? out.head : "";
  // A role of the user's own is a name; a model without one goes by its file.
  const bool named = !out.role.empty() && !is_known_role(out.role);
  out.name = named ? out.role : file_title(out.model);
  if (out.name.empty()) out.name = "the model";
}

void read_data(const Reader& r, RunResults& out) {
  r.read("dataset", out.dataset);
  r.read("split", out.split);
  r.read("class_names", out.class_names);
  r.need("n", out.n);
  if (out.n < 1) fail("{}: \"n\" needs at least 1 image, but holds {}", r.where(), out.n);
  r.read("first_index", out.first_index);
  r.read("indices", out.indices);
  r.read("labels", out.labels);
  r.inside("predictions", [&](const Reader& p) {
    p.read("clean", out.clean_predictions);
    p.read("adversarial", out.adversarial_predictions);
  });
  need_length(r, "labels", out.labels.size(), out.n);
  need_length(r, "predictions.clean", out.clean_predictions.size(), out.n);
  need_length(r, "predictions.adversarial", out.adversarial_predictions.size(), out.n);
  for (auto label : out.labels) out.classes = std::max(out.classes, label + 1);
  for (auto label : out.labels)
    if (label < 0 || label > 1000000) fail("{}: \"labels\" needs classes from 0, but holds {}", r.where(), label);
}

void read_lists(const Reader& r, RunResults& out) {
  r.each("attacks", out.attacks, [](const Reader& a, AttackPass& pass) {
    a.need("name", pass.name);
    a.read("surrogate", pass.surrogate);
    a.read("context", pass.context);
    a.read("robust_accuracy", pass.robust_accuracy);
    a.read("forward_passes", pass.forward_passes);
    a.read("backward_passes", pass.backward_passes);
    a.read("seconds", pass.seconds);
  });
  r.each("curve", out.curve, [](const Reader& c, CurvePoint& point) {
    c.need("eps", point.eps);
    c.need("robust_accuracy", point.robust_accuracy);
    c.read("standard_error", point.standard_error);
  });
  r.each("sweep", out.sweep, [](const Reader& s, SweepPoint& point) {
    s.need("context", point.context);
    s.need("lambda", point.lambda);
    s.need("clean_accuracy", point.clean_accuracy);
    s.need("robust_accuracy", point.robust_accuracy);
    s.read("attacked", point.attacked);
  });
  r.each("checks", out.checks, [](const Reader& c, CheckResult& check) {
    c.need("name", check.name);
    c.read("context", check.context);
    c.need("status", check.status);
    c.read("unit", check.unit);
    c.read("detail", check.detail);
    c.read("value", check.value);
    c.read("limit", check.limit);
  });
  r.each("gallery", out.gallery, [](const Reader& g, GalleryEntry& entry) {
    g.read("index", entry.index);
    g.read("label", entry.label);
    g.read("clean_prediction", entry.clean_prediction);
    g.read("adversarial_prediction", entry.adversarial_prediction);
    g.read("surrogate", entry.surrogate);
    g.read("attack", entry.attack);
    g.read("norm", entry.norm);
  });
}

}  // namespace

bool is_known_role(const std::string& role) {
  return role == "base" || role == "control" || role == "l2" || role == "hpm";
}

std::string file_title(const std::string& path) {
  const std::filesystem::path file(path);
  const auto folder = file.parent_path().filename().string();
  const bool generic = file.filename() == "model.safetensors" && !folder.empty();
  return (generic ? folder + "/" : "") + file.filename().string();
}

std::vector<std::string> failed_checks(const RunResults& run) {
  std::vector<std::string> names;
  for (const auto& check : run.checks)
    if (check.status == "failed" && std::find(names.begin(), names.end(), check.name) == names.end())
      names.push_back(check.name);
  return names;
}

std::vector<std::string> suspicions(const RunResults& run) {
  if (!run.reasons.empty()) return run.reasons;
  std::vector<std::string> out;
  for (const auto& check : run.checks)
    if (check.status == "failed") out.push_back(check.name + (check.detail.empty() ? "" : " (" + check.detail + ")"));
  return out;
}

bool is_suspect(const RunResults& run) { return run.suspect || !suspicions(run).empty(); }

RunResults parse_results(const Json& json, const std::string& where) {
  const Reader r(json, where);
  int64_t schema = 0;
  r.need("schema", schema);
  if (schema != 1)
    fail("{}: needs schema 1, but has schema {}; write the report with the hpm that made the run", where, schema);
  RunResults out;
  r.read("hpm_version", out.hpm_version);
  r.read("commit", out.commit);
  r.read("started", out.started);
  r.read("seconds", out.seconds);
  read_model(r, out);
  read_data(r, out);
  r.read("norm", out.norm);
  r.read("eps", out.eps);
  r.read("protocol", out.protocol);
  r.read("version", out.version);
  r.read("budget", out.budget);
  if (out.budget.empty()) out.budget = out.protocol + (out.version.empty() ? "" : " " + out.version);
  r.read("seed", out.seed);
  r.read("threads", out.threads);
  r.read("borderline", out.borderline);
  r.read("suspect", out.suspect);
  r.read("reasons", out.reasons);
  r.read("notes", out.notes);
  r.inside("quantised", [&](const Reader& q) { q.read("robust_accuracy", out.quantised_accuracy); });
  r.inside("company", [&](const Reader& c) {
    int64_t size = 0, seed = 0;
    c.read("size", size);
    c.read("seed", seed);
    out.company = fmt::format("{} images, seed {}", size, seed);
  });
  read_lists(r, out);
  read_paired(r, "base", out.base);
  r.each("contexts", out.contexts, [&](const Reader& c, ContextResult& context) { read_context(c, out.n, context); });
  if (out.contexts.empty()) read_context(r, out.n, out.contexts.emplace_back());
  if (!out.contexts.front().control) read_paired(r, "control", out.contexts.front().control);
  return out;
}

}  // namespace hpm
