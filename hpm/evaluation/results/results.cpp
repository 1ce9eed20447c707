#include "hpm/evaluation/results/results.h"

#include <nlohmann/json.hpp>

#include <ATen/Parallel.h>
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/version.h"
#include "hpm/evaluation/results/results_impl.h"
#include "hpm/evaluation/results/rounding_impl.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

ConfidenceInterval interval_of(const Tensor& flags) {
  return rounded(wilson(flags.sum().item<int64_t>(), flags.numel()));
}
double accuracy_of(const Tensor& flags) { return rounded(percent(flags)); }

/// The values of an integer or bool tensor; empty where undefined.
template <class T>
std::vector<T> values_of(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  const auto values = tensor.to(at::kCPU, at::kLong).contiguous();
  return {values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel()};
}
Flags flags_of(const Tensor& flags) { return values_of<int>(flags); }
std::vector<int64_t> numbers_of(const Tensor& numbers) { return values_of<int64_t>(numbers); }

PairedModel paired_model(const PeerResult& peer, const Tensor& robust) {
  const auto& theirs = peer.evaluation.first();
  const auto paired = compare_paired(robust, theirs.robust);
  return {.name = peer.name,
          .file = peer.file,
          .clean_accuracy = accuracy_of(theirs.clean_correct),
          .robust_accuracy = accuracy_of(theirs.robust),
          .robust = flags_of(theirs.robust),
          .difference = rounded(paired.difference),
          .wins = paired.wins,
          .losses = paired.losses,
          .p = rounded(paired.p),
          .difference_interval = rounded(paired.interval),
          .smallest_detectable = rounded(paired.detectable)};
}

SurrogateResult surrogate_result(const SurrogateOutcome& s) {
  SurrogateResult out{.name = s.name,
                      .kind = to_string(s.kind),
                      .summary = s.summary,
                      .same_as = s.same_as,
                      .unavailable = s.unavailable,
                      .needs = s.needs};
  if (!out.attacked()) return out;
  out.complete = s.complete;
  out.robust_accuracy = rounded(s.accuracy);
  out.broke = s.broke, out.of = s.of, out.first = s.first;
  return out;
}

/// What broke the images, most of them first.
std::vector<BrokenBy> broken_by(const ContextOutcome& context) {
  std::map<std::string, BrokenBy> found;  // in the words' order where the numbers are equal
  for (const auto& by : context.broken_by) {
    if (!by) continue;
    const auto words = to_string(by, context.context);
    const auto images = found[words].images + 1;
    found[words] = {.by = words,
                    .images = images,
                    .surrogate = by.surrogate,
                    .attack = by.attack,
                    .context = by.target,
                    .elsewhere = by.target != context.context,
                    .composed = by.composed,
                    .colluders = by.colluders,
                    .eps = by.radius};
  }
  std::vector<BrokenBy> sorted;
  for (auto& [words, by] : found) sorted.push_back(std::move(by));
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.images > b.images; });
  return sorted;
}

/// The figures of a context, without its attackers.
ContextResult figures_of(const ContextOutcome& c, bool attacked) {
  ContextResult out{.context = c.context,
                    .clean_accuracy = accuracy_of(c.clean_correct),
                    .interval = interval_of(attacked ? c.robust : c.clean_correct),
                    .clean_interval = interval_of(c.clean_correct),
                    .clean_correct = flags_of(c.clean_correct)};
  if (attacked) out.robust_accuracy = accuracy_of(c.robust), out.robust = flags_of(c.robust);
  return out;
}

ContextResult context_result(const ContextOutcome& c, const ResultsInput& in) {
  auto out = figures_of(c, in.protocol != "clean");
  if (c.leading_accuracy) {
    out.leading = c.leading;
    out.leading_accuracy = rounded(*c.leading_accuracy);
    out.obfuscation_gap = rounded(*c.leading_accuracy - percent(c.robust));
  }
  out.joint_any = rounded(c.joint_any);
  out.worst_draw = rounded(c.worst_draw);
  for (const auto& o : c.collusion) out.collusion.push_back({o.colluders, o.victim_too, o.victims, o.broke});
  for (const auto& o : c.benign) {
    const auto share = [&](int64_t right) {
      return rounded(100. * static_cast<double>(right) / static_cast<double>(std::max<int64_t>(o.images, 1)));
    };
    out.benign.push_back({o.malicious, o.images, share(o.clean_right), share(o.right)});
  }
  out.broken_by = broken_by(c);
  for (const auto& s : c.surrogates) out.surrogates.push_back(surrogate_result(s));
  if (in.control) out.control = paired_model(*in.control, c.robust);
  return out;
}

AttackPass attack_pass(const AttackRecord& a) {
  return {.name = a.name,
          .surrogate = a.own_gradient ? "" : a.surrogate,
          .context = a.context,
          .robust_accuracy = accuracy_of(a.robust),
          .robust = flags_of(a.robust),
          .forward_passes = a.passes.forward,
          .backward_passes = a.passes.backward,
          .seconds = rounded(a.seconds)};
}

void add_fast(const FastOutcome& fast, RunResults& out) {
  out.stages = fast.stages, out.alarms = fast.alarms, out.bound = fast.bound;
  out.escalated = fast.escalated;
  if (fast.autoattack_passes > 0) out.autoattack_passes = fast.autoattack_passes;
  for (auto& stage : out.stages) stage.seconds = rounded(stage.seconds);
  for (auto& alarm : out.alarms) alarm.value = rounded(alarm.value), alarm.limit = rounded(alarm.limit);
  if (out.bound) out.bound->share = rounded(out.bound->share);
  if (out.bound) out.bound->robust_accuracy = rounded(out.bound->robust_accuracy);
}

CheckResult check_result(const CheckOutcome& c) {
  static const char* const names[] = {"passed", "failed", "reported", "not run"};
  return {.name = c.name,
          .status = names[static_cast<int>(c.status)],
          .value = rounded(c.value),
          .limit = rounded(c.limit),
          .unit = c.unit,
          .detail = c.detail,
          .context = c.context,
          .cause = to_string(c.cause),
          .surrogates = surrogates_for(c.cause)};
}

SelfTestResult self_test_result(const SelfTestOutcome& t) {
  SelfTestResult out{"binarisation", t.context, t.attack, t.on_features ? "features" : "logits"};
  out.images = t.images, out.tested = t.tested(), out.found = t.found;
  if (t.tested() > 0) out.share = rounded(100. * static_cast<double>(t.found) / static_cast<double>(t.tested()));
  return out;
}

/// The images of the gallery: broken ones first.
std::vector<int64_t> gallery_rows(const ResultsInput& in) {
  std::vector<int64_t> rows;
  const auto& first = in.evaluation.first();
  if (!first.adversarial.defined()) return rows;
  const auto broken = first.clean_correct & first.robust.logical_not();
  for (bool want : {true, false})
    for (int64_t i = 0; i < in.images.size() && static_cast<int64_t>(rows.size()) < in.gallery; ++i)
      if (broken[i].item<bool>() == want && (want || first.clean_correct[i].item<bool>())) rows.push_back(i);
  return rows;
}

GalleryEntry gallery_entry(const ResultsInput& in, int64_t i) {
  const auto& first = in.evaluation.first();
  const auto place = torch::tensor({i}, at::kLong);
  const auto delta = first.adversarial.select(place) - in.images.select(place).x;
  const auto by = first.broken_by.empty() ? Finding{} : first.broken_by[static_cast<size_t>(i)];
  return {.index = in.images.index[i].item<int64_t>(),
          .label = in.images.y[i].item<int64_t>(),
          .clean_prediction = first.clean_prediction[i].item<int64_t>(),
          .adversarial_prediction = in.evaluation.adversarial_prediction[i].item<int64_t>(),
          .surrogate = by.surrogate,
          .attack = by.attack.empty() ? to_string(by, first.context) : by.attack,
          .norm = rounded(norm_of_rows(delta, in.threat.norm).item<double>())};
}

/// What was evaluated, how and with what.
RunResults setting_of(const ResultsInput& in) {
  RunResults out{.hpm_version = this_build().version,
                 .commit = this_build().commit,
                 .started = in.started,
                 .seconds = rounded(in.evaluation.seconds),
                 .checks_seconds = rounded(in.evaluation.checks_seconds),
                 .model = in.model.classifier.info().file,
                 .model_info = model_result(in.model),
                 .role = in.role,
                 .dataset = in.data.name,
                 .split = in.data.split,
                 .class_names = in.data.class_names,
                 .n = in.images.size(),
                 .labels = numbers_of(in.images.y),
                 .norm = to_string(in.threat.norm),
                 .eps = in.threat.eps,
                 .protocol = in.protocol,
                 .version = in.version,
                 .changed_settings = in.evaluation.changed_settings,
                 .budget = in.budget,
                 .company = CompanyResult{in.company_size, in.company_seed},
                 .seed = in.seed,
                 .threads = at::get_num_threads()};
  if (in.indices_given) out.indices = numbers_of(in.images.index);
  else out.first_index = in.first_index;
  if (in.data.labels.defined()) out.split_size = in.data.size();
  if (!in.config.empty()) out.config = json_text(nlohmann::json::parse(in.config));
  return out;
}

/// The figures of the whole run: of the first context, and of all contexts together.
ContextResult headline_of(const ResultsInput& in) {
  const auto& e = in.evaluation;
  const auto& first = e.first();
  auto out = first.context.empty() ? context_result(first, in) : figures_of(first, in.protocol != "clean");
  for (const auto& c : e.contexts)
    if (c.joint_any) out.joint_any = rounded(*c.joint_any);
  if (e.worst_draw_accuracy) out.worst_draw = rounded(*e.worst_draw_accuracy);
  if (in.control) out.control = paired_model(*in.control, first.robust);
  return out;
}

/// What each attack in a context did to each image: 0 not attacked, 1 held, 2 broken. An attack that ran again, as an
/// alarm or after one, has one matrix of all its runs.
NamedTensors verdict_matrices(const std::vector<AttackRecord>& attacks) {
  NamedTensors all;
  for (const auto& a : attacks) {
    if (!a.matrix.defined() || a.context.empty()) continue;
    auto name = fmt::format("{}.matrix.{}/{}", a.context, a.surrogate, a.name);
    const auto before = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.first == name; });
    if (before == all.end()) all.emplace_back(std::move(name), a.matrix);
    else before->second = at::maximum(before->second, a.matrix);
  }
  return all;
}

}  // namespace

ModelResult model_result(const HpmModel& model) {
  const auto& info = model.classifier.info();
  ModelResult out{.name = model.head_kind(),
                  .file = info.file,
                  .sha256 = info.sha256,
                  .architecture = info.architecture,
                  .classes = info.classes,
                  .parameters = model.classifier.parameter_count(),
                  .head = model.head_kind(),
                  .normalisation = {info.normalisation.mean, info.normalisation.std}};
  if (!model.classifier.is_black_box()) out.feature_size = model.classifier.feature_size();
  if (model.head) {
    const auto& head = *model.head;
    out.lambda = head.lambda;
    out.tau = rounded(head.tau().item<double>());
    out.metric = head.metric.defined() ? fmt::format("learned (R = {})", head.metric.size(0)) : to_string(head.kind);
    out.ema = head.momentum;
  }
  return out;
}

nlohmann::ordered_json flags_json(const Tensor& flags) {
  return flags.defined() ? nlohmann::ordered_json(numbers_of(flags)) : nlohmann::ordered_json();
}

RunResults run_results(const ResultsInput& in) {
  const auto& e = in.evaluation;
  const auto& first = e.first();
  auto out = setting_of(in);
  out.first = headline_of(in);
  out.predictions = {numbers_of(first.clean_prediction), numbers_of(e.adversarial_prediction)};
  const auto& figure = in.protocol == "clean" ? first.clean_correct : first.robust;
  out.standard_error = rounded(standard_error(percent(figure), figure.numel()));
  for (const auto& a : e.attacks) out.attacks.push_back(attack_pass(a));
  if (e.fast) add_fast(*e.fast, out);
  for (const auto& c : e.contexts)
    if (!c.context.empty()) out.contexts.push_back(context_result(c, in));
  for (const auto& point : in.curve)
    out.curve.push_back({point.eps, rounded(point.robust_accuracy), rounded(point.standard_error)});
  for (const auto& s : e.sweep)
    out.sweep.push_back(
        {s.context, rounded(s.lambda), accuracy_of(s.clean_correct), accuracy_of(s.robust), s.attacked});
  for (const auto& c : e.compositions)
    out.compositions.push_back(
        {c.size, c.by_class ? "class" : "given", rounded(c.clean_accuracy), rounded(c.robust_accuracy)});
  if (e.self_test) out.self_test = self_test_result(*e.self_test);
  if (in.base) out.base = paired_model(*in.base, first.robust);
  if (e.quantised_robust.defined()) out.quantised = {accuracy_of(e.quantised_robust), flags_of(e.quantised_robust)};
  out.borderline = e.borderline;
  for (const auto& c : e.checks) out.checks.push_back(check_result(c));
  out.suspect = e.suspect();
  out.reasons = e.reasons();
  out.notes = e.notes;
  for (const auto i : gallery_rows(in)) out.gallery.push_back(gallery_entry(in, i));
  return out;
}

std::string write_run(const RunDirectory& run, const ResultsInput& in) {
  const auto& e = in.evaluation;
  NamedTensors verdicts{{"index", in.images.index}, {"labels", in.images.y}};
  for (const auto& c : e.contexts) {
    const auto prefix = c.context.empty() ? std::string() : c.context + ".";
    verdicts.emplace_back(prefix + "clean_correct", c.clean_correct);
    verdicts.emplace_back(prefix + "robust", c.robust);
  }
  for (auto& matrix : verdict_matrices(e.attacks)) verdicts.push_back(std::move(matrix));
  write_safetensors(run.file("verdicts.safetensors"), verdicts);
  const auto rows = gallery_rows(in);
  if (!rows.empty()) {
    const auto index = torch::tensor(rows, at::kLong);
    write_safetensors(run.file("gallery.safetensors"),
                      {{"original", in.images.select(index).x}, {"adversarial", e.first().adversarial.select(index)}});
  }
  const auto text = results_text(run_results(in));
  run.write("results.json", text);
  return text;
}

}  // namespace hpm
