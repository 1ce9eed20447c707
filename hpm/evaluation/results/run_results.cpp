#include "hpm/evaluation/results/run_results.h"

#include "hpm/evaluation/results/json_fields_impl.h"
#include "hpm/evaluation/results/plausible_impl.h"
#include "hpm/evaluation/results/run_results_impl.h"

namespace hpm {

// The fields of results.json, each once: for writing, reading and the schema.

template <class V>
void describe(V& v, NormalisationResult& x) {
  v.keep("mean", x.mean, "by channel; empty: identity");
  v.keep("std", x.std);
}

template <class V>
void describe(V& v, ModelResult& x) {
  v.keep("name", x.name, "the kind of the head");
  v.keep("file", x.file);
  v.keep("sha256", x.sha256);
  v.keep("architecture", x.architecture, "a name of the table of architectures, or a LAYERS string");
  v.keep("classes", x.classes);
  v.keep("parameters", x.parameters);
  v.keep("head", x.head, "fc, l2 or hpm");
  v.keep("normalisation", x.normalisation);
  v.optional("feature_size", x.feature_size, "of the features before the last layer");
  v.optional("lambda", x.lambda, "the mixing weight of an HPM head");
  v.optional("tau", x.tau);
  v.optional("metric", x.metric);
  v.optional("ema", x.ema);
}

template <class V>
void describe(V& v, PairedModel& x) {
  v.keep("name", x.name, "base or control");
  v.keep("file", x.file);
  v.keep("clean_accuracy", x.clean_accuracy, "of the other model");
  v.keep("robust_accuracy", x.robust_accuracy, "of the other model");
  v.keep("robust", x.robust, "of the other model");
  v.keep("difference", x.difference, "this model minus the other, points");
  v.keep("wins", x.wins, "images that only this model keeps");
  v.keep("losses", x.losses, "images that only the other model keeps");
  v.keep("p", x.p, "McNemar's exact test");
  v.keep("difference_interval", x.difference_interval);
  v.keep("smallest_detectable", x.smallest_detectable, "points that so many images show with 80 % power");
}

template <class V>
void describe(V& v, SurrogateResult& x) {
  v.need("name", x.name);
  v.keep("kind", x.kind);
  v.keep("summary", x.summary, "what it approximates");
  v.optional("same_as", x.same_as, "the surrogate with the same logits, of which this one is restarts");
  v.optional("unavailable", x.unavailable, "why it did not attack");
  v.optional("needs", x.needs, "the option that would make it attack");
  if (V::writes && !x.attacked()) return;
  v.sometimes("complete", x.complete, "it was given every correctly classified image");
  v.sometimes("robust_accuracy", x.robust_accuracy, "under it alone, where complete");
  v.sometimes("broke", x.broke, "images that it broke, of the `of` that it was given");
  v.sometimes("of", x.of);
  v.sometimes("first", x.first, "images that nothing before it had broken");
}

template <class V>
void describe(V& v, BrokenBy& x) {
  v.need("by", x.by, "all of it in words");
  v.need("images", x.images);
  v.keep("surrogate", x.surrogate);
  v.keep("attack", x.attack);
  v.optional("context", x.context, "at which the attack was aimed");
  v.keep("elsewhere", x.elsewhere, "it was aimed at another context than the one it broke images in");
  v.optional("composed", x.composed, "joint: part of a batch of several attacks' finds");
  v.optional("colluders", x.colluders, "found by the study of so many colluding neighbours");
  v.optional("eps", x.eps, "found by the attacks on this smaller radius");
}

template <class V>
void describe(V& v, CollusionResult& x) {
  v.need("colluders", x.colluders, "neighbours that the attacker controls");
  v.keep("victim_too", x.victim_too, "and the victim's own image");
  v.need("victims", x.victims);
  v.need("broke", x.broke);
}

template <class V>
void describe(V& v, BenignResult& x) {
  v.need("malicious", x.malicious, "images of each batch that the attacker moves");
  v.need("images", x.images, "untouched images of these batches");
  v.keep("clean_accuracy", x.clean_accuracy, "percent of the untouched images, without the attack");
  v.need("accuracy", x.accuracy, "percent of the untouched images, under the attack");
}

template <class V>
void describe(V& v, CompositionResult& x) {
  v.need("size", x.size, "images a batch");
  v.keep("order", x.order, "given: as the images come; class: sorted by class");
  v.keep("clean_accuracy", x.clean_accuracy, "percent");
  v.need("robust_accuracy", x.robust_accuracy, "percent, by the defence's own gradient");
}

template <class V>
void describe(V& v, SelfTestResult& x) {
  v.need("name", x.name, "binarisation (docs/checks.md)");
  v.optional("context", x.context);
  v.keep("attack", x.attack, "the attack in use, in words");
  v.keep("readout", x.readout, "features or logits: what the planted two-class problems are made of");
  v.keep("images", x.images, "looked at");
  v.keep("tested", x.tested, "of these: with a problem that no random point solves");
  v.keep("found", x.found, "of these: the attack found an adversarial image");
  v.nullable("share", x.share, "percent found; null where nothing could be tested");
}

/// What a context and a whole run have in common.
template <class V>
void describe_figures(V& v, ContextResult& x) {
  v.keep("clean_accuracy", x.clean_accuracy, "percent");
  v.nullable("robust_accuracy", x.robust_accuracy, "percent; null for protocol clean");
  v.nullable("interval", x.interval, "of the robust accuracy, 95 %, Wilson; of the clean one for protocol clean");
  v.nullable("clean_interval", x.clean_interval);
  v.keep("clean_correct", x.clean_correct, "one 0 or 1 an image");
  v.nullable("robust", x.robust, "one 0 or 1 an image; null for protocol clean");
}

/// What one attack after the other did in a context.
template <class V>
void describe_attackers(V& v, ContextResult& x) {
  v.optional("leading", x.leading, "the surrogate that leads: ste of an HPM model, self or eot of another");
  v.optional("ste_accuracy", x.leading_accuracy, "percent, under the leading surrogate alone");
  v.optional("obfuscation_gap", x.obfuscation_gap, "ste_accuracy minus robust_accuracy, points");
  v.optional("worst_draw_accuracy", x.worst_draw, "percent right in each of ten draws");
  v.optional("collusion", x.collusion);
  v.optional("benign", x.benign, "joint: accuracy of untouched images whose batch mates are malicious");
  v.optional("broken_by", x.broken_by, "what broke images first, most images first");
  v.optional("surrogates", x.surrogates, "in the order in which they attacked");
}

template <class V>
void describe(V& v, ContextResult& x) {
  v.keep("context", x.context);
  describe_figures(v, x);
  describe_attackers(v, x);
  v.optional("joint_any", x.joint_any, "joint: percent that no attacked batch broke");
  v.optional("control", x.control);
}

template <class V>
void describe(V& v, AttackPass& x) {
  v.need("name", x.name);
  v.nullable("surrogate", x.surrogate, "null: the model itself");
  v.nullable("context", x.context, "at which it was aimed");
  v.keep("robust_accuracy", x.robust_accuracy, "after this attack and all before it");
  v.keep("robust", x.robust);
  v.keep("forward_passes", x.forward_passes, "images through the network");
  v.keep("backward_passes", x.backward_passes);
  v.keep("seconds", x.seconds);
}

template <class V>
void describe(V& v, StageResult& x) {
  v.need("name", x.name);
  v.keep("attack", x.attack);
  v.keep("images", x.images, "given to it");
  v.keep("attacked", x.attacked, "of these, before the time was up");
  v.keep("broke", x.broke);
  v.keep("passes", x.passes, "images through the network");
  v.keep("backward_passes", x.backward_passes);
  v.keep("seconds", x.seconds);
}

template <class V>
void describe(V& v, AlarmResult& x) {
  v.need("name", x.name, "docs/fast.md");
  v.nullable("value", x.value, "null: not looked at");
  v.nullable("limit", x.limit);
  v.keep("unit", x.unit);
  v.keep("fired", x.fired, "the value is above the limit");
  v.keep("evidence", x.evidence);
}

template <class V>
void describe(V& v, BoundResult& x) {
  v.need("stage", x.stage, "whose random sample it is");
  v.keep("sampled", x.sampled, "images that it attacked");
  v.keep("broke", x.broke, "of these");
  v.keep("of", x.of, "images that the sample was drawn from");
  v.keep("share", x.share, "percent of these that it would break, at most (95 %, exact binomial)");
  v.keep("robust_accuracy", x.robust_accuracy, "percent of all images, at least (95 %)");
}

template <class V>
void describe(V& v, CurvePoint& x) {
  v.need("eps", x.eps);
  v.need("robust_accuracy", x.robust_accuracy);
  v.keep("standard_error", x.standard_error);
}

template <class V>
void describe(V& v, SweepPoint& x) {
  v.need("context", x.context);
  v.need("lambda", x.lambda);
  v.need("clean_accuracy", x.clean_accuracy);
  v.need("robust_accuracy", x.robust_accuracy, "an upper bound unless attacked");
  v.keep("attacked", x.attacked, "the attacks were aimed at this lambda");
}

template <class V>
void describe(V& v, CheckResult& x) {
  v.need("name", x.name, "docs/checks.md");
  v.need("status", x.status, "passed, failed, reported or not run");
  v.nullable("value", x.value);
  v.nullable("limit", x.limit);
  v.keep("unit", x.unit);
  v.keep("detail", x.detail);
  v.optional("context", x.context, "of an HPM model; base or control for the checks of these");
  v.optional("cause", x.cause, "of a failure: the kind of masking that it saw");
  v.optional("surrogates", x.surrogates, "of a failure: what to attack such a model with");
}

template <class V>
void describe(V& v, GalleryEntry& x) {
  v.keep("index", x.index, "the image's number in its data set");
  v.keep("label", x.label);
  v.keep("clean_prediction", x.clean_prediction);
  v.keep("adversarial_prediction", x.adversarial_prediction);
  v.keep("surrogate", x.surrogate);
  v.keep("attack", x.attack, "empty: nothing broke it");
  v.keep("norm", x.norm, "of the perturbation");
}

template <class V>
void describe(V& v, Predictions& x) {
  v.keep("clean", x.clean, "one class an image");
  v.nullable("adversarial", x.adversarial, "on the adversarial images of the first context");
}

template <class V>
void describe(V& v, QuantisedResult& x) {
  v.keep("robust_accuracy", x.robust_accuracy);
  v.keep("robust", x.robust);
}

template <class V>
void describe(V& v, CompanyResult& x) {
  v.keep("size", x.size, "images in a batch of solo and joint");
  v.keep("seed", x.seed);
}

template <class V>
void describe_setting(V& v, RunResults& x) {
  v.keep("hpm_version", x.hpm_version);
  v.keep("commit", x.commit);
  v.keep("started", x.started, "UTC, ISO 8601");
  v.keep("seconds", x.seconds, "of all parts of a resumed run");
  v.optional("checks_seconds", x.checks_seconds);
  v.keep("model", x.model, "its file");
  v.keep("model_info", x.model_info);
  v.keep("role", x.role, "base, control, l2 or hpm in a comparison; any other is a name");
  v.keep("dataset", x.dataset);
  v.keep("split", x.split);
  v.keep("class_names", x.class_names);
  v.need("n", x.n, "images");
  if (!V::writes || x.indices.empty())
    v.sometimes("first_index", x.first_index, "the number of the first image; the others follow it");
  v.optional("indices", x.indices, "the numbers of the images, in place of first_index");
  v.optional("split_size", x.split_size, "images that the split holds, of which n were evaluated");
  v.keep("labels", x.labels);
  v.keep("norm", x.norm, "Linf, L2 or L1");
  v.keep("eps", x.eps);
  v.keep("protocol", x.protocol, "clean, pgd, autoattack, fast or msa");
  v.nullable("version", x.version, "of the protocol");
  v.keep("changed_settings", x.changed_settings, "of autoattack: settings were given in place of the version's");
  v.nullable("budget", x.budget, "the attacks in words; runs with other budgets are not compared");
  v.nullable("context", x.first.context, "the first context, to which the figures of the run belong");
  v.keep("company", x.company);
  v.keep("seed", x.seed);
  v.keep("threads", x.threads);
}

template <class V>
void describe(V& v, RunResults& x) {
  describe_setting(v, x);
  describe_figures(v, x.first);
  v.keep("predictions", x.predictions);
  v.keep("standard_error", x.standard_error, "of the accuracy that interval is for");
  v.keep("attacks", x.attacks, "in the order in which they ran");
  v.optional("stages", x.stages, "of the protocol fast, in the order in which they ran");
  v.optional("escalated", x.escalated, "of fast evaluations: an alarm fired, and stronger attacks followed");
  v.optional("alarms", x.alarms, "of fast evaluations");
  v.optional("bound", x.bound, "of fast evaluations that attacked a random sample in some stage");
  v.optional("autoattack_passes", x.autoattack_passes, "forward passes that AutoAttack would have taken, about");
  v.keep("contexts", x.contexts, "of an HPM model; empty for others");
  describe_attackers(v, x.first);
  v.optional("curve", x.curve, "accuracy against eps");
  v.optional("sweep", x.sweep, "accuracy against lambda");
  v.optional("compositions", x.compositions, "joint: in batches of other sizes and orders");
  v.optional("self_test", x.self_test, "--self-test");
  v.nullable("control", x.first.control, "the matched control under the same budget");
  v.nullable("base", x.base, "the model before the defence");
  v.nullable("joint_any", x.first.joint_any, "of the context joint");
  v.optional("quantised", x.quantised, "on the adversarial images rounded to 8 bits");
  v.keep("borderline", x.borderline, "near ties, judged again alone");
  v.keep("checks", x.checks);
  v.keep("suspect", x.suspect, "a check failed");
  v.keep("reasons", x.reasons, "of suspicion");
  v.keep("notes", x.notes, "what a reader must know of the settings");
  v.keep("gallery", x.gallery, "images in gallery.safetensors, in its order");
  v.nullable("config", JsonText{x.config}, "the options");
}

namespace {

constexpr int64_t kSchema = 1;

/// Files of earlier versions say in words alone what broke the images: "fc/apgd-t in solo, composed".
void take_from_words(BrokenBy& x) {
  if (!x.surrogate.empty() || !x.attack.empty() || x.composed || x.colluders || x.eps) return;
  std::string_view words = x.by;
  constexpr std::string_view composed = ", composed", in = " in ";
  if ((x.composed = words.ends_with(composed))) words.remove_suffix(composed.size());
  if (const auto at = words.rfind(in); at != std::string_view::npos) {
    x.context = words.substr(at + in.size()), x.elsewhere = true;
    words = words.substr(0, at);
  }
  const auto slash = words.find('/');
  if (slash != std::string_view::npos) x.surrogate = words.substr(0, slash);
  x.attack = words.substr(slash == std::string_view::npos ? 0 : slash + 1);
}

/// Files of earlier versions say it in the reason alone: "needs --base FILE".
void take_needs_from_words(SurrogateResult& x) {
  constexpr std::string_view kNeeds = "needs ";
  if (x.needs.empty() && x.unavailable.starts_with(kNeeds)) x.needs = x.unavailable.substr(kNeeds.size());
}

/// Files of earlier versions name no leading surrogate: there it was ste.
void take_leading_by_default(ContextResult& x) {
  if (x.leading.empty() && x.leading_accuracy) x.leading = "ste";
}

/// Files of earlier versions say it in a note alone: "apgd-ce has 20 steps instead of the 100 of version standard".
bool changed_by_notes(const RunResults& x) {
  return x.protocol == "autoattack" && std::any_of(x.notes.begin(), x.notes.end(), [](const auto& note) {
           return note.find(" instead of the ") != std::string::npos;
         });
}

/// The schema's number stands before everything else.
struct Numbered {
  int64_t schema = kSchema;
};
template <class V>
void describe_number(V& v, Numbered& x) {
  v.need("schema", x.schema, "of this format");
}

}  // namespace

int check_severity(const std::string& status) {
  return status == "failed" ? 3 : status == "reported" ? 2 : status == "passed" ? 1 : 0;
}

nlohmann::ordered_json json_of(const ModelResult& model) {
  JsonFieldWriter writer;
  describe(writer, const_cast<ModelResult&>(model));
  return writer.json;
}

std::string results_text(const RunResults& results) {
  JsonFieldWriter writer;
  Numbered number;
  describe_number(writer, number);
  describe(writer, const_cast<RunResults&>(results));  // a writer changes nothing
  return json_text(writer.json, 1) + "\n";
}

RunResults parse_run_results(const nlohmann::json& json, const std::string& where) {
  JsonFieldReader reader(json, where);
  Numbered number;
  describe_number(reader, number);
  if (number.schema != kSchema)
    fail("{}: needs schema {}, but has schema {}; write the report with the hpm that made the run", where, kSchema,
         number.schema);
  RunResults out;
  describe(reader, out);
  if (!json.contains("changed_settings")) out.changed_settings = changed_by_notes(out);
  const auto complete = [](ContextResult& context) {
    take_leading_by_default(context);
    for (auto& by : context.broken_by) take_from_words(by);
    for (auto& surrogate : context.surrogates) take_needs_from_words(surrogate);
  };
  complete(out.first);
  for (auto& context : out.contexts) complete(context);
  require_plausible(out, where);
  return out;
}

RunResults read_results(std::string_view json, const std::string& where) {
  return parse_run_results(parse_json(json, where), where);
}

std::string results_schema() {
  auto schema = JsonFieldSchema::of<RunResults>();
  nlohmann::ordered_json json{
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "results.json of hpm evaluate"},
      {"description",
       "As this version writes it. Files of earlier versions may lack fields, and later ones have more: readers ignore "
       "what they do not know."}};
  json["type"] = "object";
  json["properties"]["schema"] = {{"type", "integer"}, {"const", kSchema}, {"description", "of this format"}};
  json["properties"].update(schema["properties"]);
  json["required"] = {"schema"};
  json["required"].insert(json["required"].end(), schema["required"].begin(), schema["required"].end());
  return json_text(json, 1) + "\n";
}

}  // namespace hpm
