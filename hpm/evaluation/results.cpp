#include "hpm/evaluation/results.h"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/version.h"
#include "hpm/evaluation/results_impl.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

using Json = nlohmann::ordered_json;

Json rounded(double value) { return std::round(value * 1e6) / 1e6; }
Json interval_json(const ConfidenceInterval& i) { return {rounded(i.low), rounded(i.high)}; }
ConfidenceInterval interval_of(const Tensor& flags) { return wilson(flags.sum().item<int64_t>(), flags.numel()); }

double standard_error(const Tensor& flags) {
  const double p = percent(flags) / 100;
  return 100 * std::sqrt(p * (1 - p) / static_cast<double>(std::max<int64_t>(flags.numel(), 1)));
}

Json peer_json(const PeerResult& peer, const Tensor& robust) {
  const auto& flags = peer.evaluation.first().robust;
  const auto paired = compare_paired(robust, flags);
  return {{"name", peer.name},
          {"file", peer.file},
          {"clean_accuracy", rounded(percent(peer.evaluation.first().clean_correct))},
          {"robust_accuracy", rounded(percent(flags))},
          {"robust", flags_json(flags)},
          {"difference", rounded(paired.difference)},
          {"wins", paired.wins},
          {"losses", paired.losses},
          {"p", rounded(paired.p)},
          {"difference_interval", interval_json(paired.interval)},
          {"smallest_detectable", rounded(paired.detectable)}};
}

Json surrogate_json(const SurrogateOutcome& s) {
  Json j{{"name", s.name}, {"kind", to_string(s.kind)}, {"summary", s.summary}};
  if (!s.same_as.empty()) j["same_as"] = s.same_as;
  if (!s.unavailable.empty()) j["unavailable"] = s.unavailable;
  if (!s.same_as.empty() || !s.unavailable.empty()) return j;
  j["complete"] = s.complete;
  j["robust_accuracy"] = s.accuracy ? rounded(*s.accuracy) : Json();
  j["broke"] = s.broke;
  j["of"] = s.of;
  j["first"] = s.first;
  return j;
}

/// What broke the images, most of them first.
Json broken_by_json(const ContextOutcome& context) {
  std::map<std::string, std::pair<Finding, int64_t>> counts;
  for (const auto& by : context.broken_by)
    if (by) {
      auto& [finding, images] = counts[to_string(by, context.context)];
      finding = by, ++images;
    }
  std::vector<std::pair<std::string, std::pair<Finding, int64_t>>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second.second > b.second.second; });
  Json list = Json::array();
  for (const auto& [text, counted] : sorted) {
    const auto& [by, images] = counted;
    Json entry{{"by", text}, {"images", images}, {"surrogate", by.surrogate}, {"attack", by.attack}};
    if (!by.target.empty()) entry["context"] = by.target;
    entry["elsewhere"] = by.target != context.context;
    if (by.composed) entry["composed"] = true;
    if (by.colluders) entry["colluders"] = *by.colluders;
    if (by.radius) entry["eps"] = *by.radius;
    list.push_back(std::move(entry));
  }
  return list;
}

Json context_json(const ContextOutcome& c, const ResultsInput& in) {
  const bool clean_only = in.protocol == "clean";
  Json j{{"context", c.context},
         {"clean_accuracy", rounded(percent(c.clean_correct))},
         {"robust_accuracy", clean_only ? Json() : rounded(percent(c.robust))},
         {"interval", interval_json(interval_of(c.robust))},
         {"clean_interval", interval_json(interval_of(c.clean_correct))},
         {"clean_correct", flags_json(c.clean_correct)},
         {"robust", clean_only ? Json() : flags_json(c.robust)}};
  if (c.ste_accuracy) {
    j["ste_accuracy"] = rounded(*c.ste_accuracy);
    j["obfuscation_gap"] = rounded(*c.ste_accuracy - percent(c.robust));
  }
  if (c.joint_any) j["joint_any"] = rounded(*c.joint_any);
  if (c.worst_draw) j["worst_draw_accuracy"] = rounded(*c.worst_draw);
  for (const auto& o : c.collusion)
    j["collusion"].push_back(
        {{"colluders", o.colluders}, {"victim_too", o.victim_too}, {"victims", o.victims}, {"broke", o.broke}});
  j["broken_by"] = broken_by_json(c);
  j["surrogates"] = Json::array();
  for (const auto& s : c.surrogates) j["surrogates"].push_back(surrogate_json(s));
  if (in.control) j["control"] = peer_json(*in.control, c.robust);
  return j;
}

Json check_json(const CheckOutcome& c) {
  static const char* const names[] = {"passed", "failed", "reported", "not run"};
  Json j{{"name", c.name},
         {"status", names[static_cast<int>(c.status)]},
         {"value", c.value ? rounded(*c.value) : Json()},
         {"limit", c.limit ? rounded(*c.limit) : Json()},
         {"unit", c.unit},
         {"detail", c.detail}};
  if (!c.context.empty()) j["context"] = c.context;
  return j;
}

Json attack_json(const AttackRecord& a) {
  return {{"name", a.name},
          {"surrogate", a.surrogate.empty() || a.own_gradient ? Json() : Json(a.surrogate)},
          {"context", a.context.empty() ? Json() : Json(a.context)},
          {"robust_accuracy", rounded(percent(a.robust))},
          {"robust", flags_json(a.robust)},
          {"forward_passes", a.passes.forward},
          {"backward_passes", a.passes.backward},
          {"seconds", rounded(a.seconds)}};
}

/// What was evaluated, how and with what.
Json setting_json(const ResultsInput& in) {
  Json j{{"schema", 1},
         {"hpm_version", this_build().version},
         {"commit", this_build().commit},
         {"started", in.started},
         {"seconds", rounded(in.evaluation.seconds)},
         {"checks_seconds", rounded(in.evaluation.checks_seconds)},
         {"model", in.model.classifier.info().file},
         {"model_info", model_json(in.model)},
         {"role", in.role},
         {"dataset", in.data.name},
         {"split", in.data.split},
         {"class_names", in.data.class_names},
         {"n", in.images.size()}};
  if (in.indices_given) j["indices"] = flags_json(in.images.index);
  else j["first_index"] = in.first_index;
  const auto& context = in.evaluation.first().context;
  j["labels"] = flags_json(in.images.y);
  j["norm"] = to_string(in.threat.norm);
  j["eps"] = in.threat.eps;
  j["protocol"] = in.protocol;
  j["version"] = in.version.empty() ? Json() : Json(in.version);
  j["budget"] = in.budget.empty() ? Json() : Json(in.budget);
  j["context"] = context.empty() ? Json() : Json(context);
  j["company"] = {{"size", in.company_size}, {"seed", in.company_seed}};
  j["seed"] = in.seed;
  j["threads"] = at::get_num_threads();
  return j;
}

/// Other mixing weights and other radii.
void add_curves(const ResultsInput& in, Json& j) {
  for (const auto& s : in.evaluation.sweep)
    j["sweep"].push_back({{"context", s.context},
                          {"lambda", rounded(s.lambda)},
                          {"clean_accuracy", rounded(percent(s.clean_correct))},
                          {"robust_accuracy", rounded(percent(s.robust))},
                          {"attacked", s.attacked}});
  for (const auto& point : in.curve)
    j["curve"].push_back({{"eps", point.eps},
                          {"robust_accuracy", rounded(point.robust_accuracy)},
                          {"standard_error", rounded(point.standard_error)}});
}

/// The images of the gallery: broken ones first, spread over the classes.
std::vector<int64_t> gallery_rows(const ResultsInput& in) {
  std::vector<int64_t> rows;
  if (!in.evaluation.first().adversarial.defined()) return rows;
  const auto broken = in.evaluation.first().clean_correct & in.evaluation.first().robust.logical_not();
  for (bool want : {true, false})
    for (int64_t i = 0; i < in.images.size() && static_cast<int64_t>(rows.size()) < in.gallery; ++i)
      if (broken[i].item<bool>() == want && (want || in.evaluation.first().clean_correct[i].item<bool>()))
        rows.push_back(i);
  return rows;
}

Json gallery_json(const ResultsInput& in, const std::vector<int64_t>& rows) {
  Json list = Json::array();
  const auto& e = in.evaluation;
  for (auto i : rows) {
    const auto place = torch::tensor({i}, at::kLong);
    const auto delta = e.first().adversarial.select(place) - in.images.select(place).x;
    const auto by = e.first().broken_by.empty() ? Finding{} : e.first().broken_by[static_cast<size_t>(i)];
    list.push_back({{"index", in.images.index[i].item<int64_t>()},
                    {"label", in.images.y[i].item<int64_t>()},
                    {"clean_prediction", e.first().clean_prediction[i].item<int64_t>()},
                    {"adversarial_prediction", e.adversarial_prediction[i].item<int64_t>()},
                    {"surrogate", by.surrogate},
                    {"attack", by.attack.empty() ? to_string(by, e.first().context) : by.attack},
                    {"norm", rounded(norm_of_rows(delta, in.threat.norm).item<double>())}});
  }
  return list;
}

}  // namespace

Json flags_json(const Tensor& flags) {
  if (!flags.defined()) return nullptr;
  const auto values = flags.to(at::kCPU, at::kLong).contiguous();
  return std::vector<int64_t>(values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel());
}

Json model_json(const HpmModel& model) {
  const auto& info = model.classifier.info();
  Json j{{"name", model.head_kind()},
         {"file", info.file},
         {"sha256", info.sha256},
         {"architecture", info.architecture},
         {"classes", info.classes},
         {"parameters", model.classifier.parameter_count()},
         {"head", model.head_kind()},
         {"normalisation", {{"mean", info.normalisation.mean}, {"std", info.normalisation.std}}}};
  if (!model.classifier.is_black_box()) j["feature_size"] = model.classifier.feature_size();
  if (model.head) {
    const auto& head = *model.head;
    j["lambda"] = head.lambda;
    j["tau"] = rounded(head.tau().item<double>());
    j["metric"] = head.metric.defined() ? fmt::format("learned (R = {})", head.metric.size(0)) : to_string(head.kind);
    j["ema"] = head.momentum;
  }
  return j;
}

std::string results_json(const ResultsInput& in) {
  const auto& e = in.evaluation;
  const auto& first = e.first();
  const bool clean_only = in.protocol == "clean";
  Json j = setting_json(in);
  j["clean_accuracy"] = rounded(percent(first.clean_correct));
  j["robust_accuracy"] = clean_only ? Json() : rounded(percent(first.robust));
  j["clean_correct"] = flags_json(first.clean_correct);
  j["robust"] = clean_only ? Json() : flags_json(first.robust);
  j["predictions"] = {{"clean", flags_json(first.clean_prediction)},
                      {"adversarial", flags_json(e.adversarial_prediction)}};
  j["standard_error"] = rounded(standard_error(clean_only ? first.clean_correct : first.robust));
  j["interval"] = interval_json(interval_of(clean_only ? first.clean_correct : first.robust));
  j["clean_interval"] = interval_json(interval_of(first.clean_correct));
  j["attacks"] = Json::array();
  for (const auto& a : e.attacks) j["attacks"].push_back(attack_json(a));
  if (in.model.head || in.protocol == "msa") {
    j["contexts"] = Json::array();
    for (const auto& c : e.contexts)
      if (!c.context.empty()) j["contexts"].push_back(context_json(c, in));
  }
  // Of a model without a head: the stand-ins that attacked it.
  if (first.context.empty())
    for (const auto& s : first.surrogates) j["surrogates"].push_back(surrogate_json(s));
  add_curves(in, j);
  j["control"] = in.control ? peer_json(*in.control, first.robust) : Json();
  j["base"] = in.base ? peer_json(*in.base, first.robust) : Json();
  j["joint_any"] = nullptr;
  for (const auto& c : e.contexts)
    if (c.joint_any) j["joint_any"] = rounded(*c.joint_any);
  if (e.worst_draw_accuracy) j["worst_draw_accuracy"] = rounded(*e.worst_draw_accuracy);
  if (e.quantised_robust.defined())
    j["quantised"] = {{"robust_accuracy", rounded(percent(e.quantised_robust))},
                      {"robust", flags_json(e.quantised_robust)}};
  j["borderline"] = e.borderline;
  j["checks"] = Json::array();
  for (const auto& c : e.checks) j["checks"].push_back(check_json(c));
  j["suspect"] = e.suspect();
  j["reasons"] = e.reasons();
  j["notes"] = e.notes;
  j["gallery"] = gallery_json(in, gallery_rows(in));
  j["config"] = in.config.empty() ? Json() : Json::parse(in.config);
  return json_text(j, 1) + "\n";
}

void write_run(const RunDirectory& run, const ResultsInput& in) {
  const auto& e = in.evaluation;
  NamedTensors verdicts{{"index", in.images.index}, {"labels", in.images.y}};
  for (const auto& c : e.contexts) {
    const auto prefix = c.context.empty() ? std::string() : c.context + ".";
    verdicts.emplace_back(prefix + "clean_correct", c.clean_correct);
    verdicts.emplace_back(prefix + "robust", c.robust);
  }
  // The verdict matrix: 0 not attacked, 1 held, 2 broken.
  for (const auto& a : e.attacks)
    if (a.matrix.defined() && !a.context.empty())
      verdicts.emplace_back(fmt::format("{}.matrix.{}/{}", a.context, a.surrogate, a.name), a.matrix);
  write_safetensors(run.file("verdicts.safetensors"), verdicts);
  const auto rows = gallery_rows(in);
  if (!rows.empty()) {
    const auto index = torch::tensor(rows, at::kLong);
    write_safetensors(run.file("gallery.safetensors"),
                      {{"original", in.images.select(index).x}, {"adversarial", e.first().adversarial.select(index)}});
  }
  run.write("results.json", results_json(in));
}

}  // namespace hpm
