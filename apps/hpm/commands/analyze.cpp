#include "commands/commands.h"
#include "cost.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/analysis/analysis_results.h"
#include "hpm/evaluation/analysis/analysis_summary.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/evaluation/run/shared_run.h"
#include "options.h"
#include "outputs.h"
#include "workers.h"

namespace hpm::app {
namespace {

struct AnalyzeFlags {
  ModelOptions model;
  DataOptions data;
  ThreatOptions threat;
  std::vector<double> iterations{1, 2, 5, 10, 20, 50, 100};
  std::string loss = "ce";
  uint64_t seed = 0;
  ComputeOptions compute;
  int64_t workers = 1;
};

void declare(Fields& f, AnalyzeFlags& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  fields(f, o.threat, true);
  f.section("attack");
  f.add("iterations", o.iterations,
        "steps of APGD for the curve against iterations; the largest number holds everywhere else",
        {.min = 1, .max = 1000000});
  f.add("loss", o.loss, "loss of APGD", {.choices = {"ce", "dlr"}});
  f.section("run");
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
  declare_workers(f, o.workers);
}

AnalysisOptions analysis_options(const AnalyzeFlags& o, const std::vector<ThreatModel>& radii) {
  AnalysisOptions options{
      .iterations = {}, .loss = parse_loss(o.loss), .seed = o.seed, .batch_size = o.compute.batch_size};
  for (double steps : o.iterations) {
    require(steps == std::floor(steps), "--iterations: needs whole numbers, but got {}", steps);
    options.iterations.push_back(static_cast<int64_t>(steps));
  }
  for (const auto& radius : radii) options.radii.push_back(radius.eps);
  if (radii.size() == 1)
    for (double part : {.25, .5, .75, 1.5, 2.}) options.radii.push_back(part * radii.front().eps);
  return options;
}

/// Everything the result depends on but the way of computing.
Fingerprint fingerprint(const CommandLine& line, const std::vector<ThreatModel>& radii, const HpmModel& model,
                        const Dataset& data, const Tensor& index) {
  Fingerprint all;
  all.add_options(line.fields, {"model", "data", "compute", "eps", "workers"});
  std::vector<double> eps;
  for (const auto& radius : radii) eps.push_back(radius.eps);
  all.set("--eps", fmt::format("{}", fmt::join(eps, ",")));
  all.set("--device", model.classifier.device().is_cuda() ? "cuda" : "cpu");
  all.set("SHA-256 of the images and labels", sha256_of_images(data, index));
  all.add_model("the model", model.classifier);
  return all;
}

std::string title_of(const std::string& head) { return head == "fc" ? "FC" : head == "hpm" ? "HPM" : head; }

void print(const Analysis& a, const ThreatModel& threat, const RunDirectory& run) {
  std::vector<std::vector<std::string>> rows{
      {"", "clean %", "under APGD %", "distance", "lost to APGD", "slope of model"}};
  const auto common = common_images(a);
  for (const auto& h : a.heads) {
    std::vector<std::string> row{title_of(h.head.name), fmt::format("{:.1f}", percent(h.clean_correct)),
                                 fmt::format("{:.1f}", percent(h.robust(a.own_radius)))};
    for (const auto& [name, values] : measures(h))
      if (name == "distance" || name == "change" || name == "model_slope")
        row.push_back(fmt::format("{:.4g}", quantiles(values.index({common})).median));
    rows.push_back(std::move(row));
  }
  const auto& clean = a.scatter.front().z;
  fmt::print(
      "{} eps {:.6g}, {} steps, {} images ({} that every head has right give the medians of distance, loss and "
      "slope), {:.1f} s\n{}scatter of the features, within over between classes: {:.3g}\nreport: {}\n",
      to_string(threat.norm), threat.eps, a.iterations.back(), a.heads.front().clean_correct.numel(),
      common.sum().item<int64_t>(), a.seconds, table(rows), clean.within() / clean.between(), run.file("report.html"));
}

}  // namespace

int analyze(const Arguments& arguments) {
  CommandLine line("analyze",
                   "The sensitivity study: the FC layer, l2 and HPM of one model on the same features, under APGD.",
                   "hpm analyze --model runs/hpm/model.safetensors --data cifar10 --eps 8/255 --count 500");
  AnalyzeFlags o;
  declare(line.fields, o);
  line.with_run_directory(true);
  line.with_dry_run();
  if (!line.parse(arguments)) return 0;
  Workers workers(o.workers, line);
  workers.share_machine(o.compute, line.monitor());
  configure_threads(o.compute.threads);
  line.warn_unused("precision", "the study runs in float32");
  const auto radii = threats(o.threat);
  const auto& threat = radii.front();
  for (const auto& warning : threat_warnings(radii)) line.monitor().warn(warning);
  const auto options = analysis_options(o, radii);
  const auto data = load(o.data, line);
  const auto index = image_numbers(o.data, data);
  auto model = load(o.model, o.model.model, data.image_shape(), line.monitor());
  require_classes(model, data);
  if (!model.head)
    line.monitor().warn("the model has no HPM head, so FC alone is studied; hpm finetune --epochs 0 attaches one");
  const auto device = parse_device(o.compute.device);
  model.to(device);
  const auto images = image_set(data, index, device);
  const auto passes = analysis_passes(model, threat, options);  // refuses bad options before a folder is made
  if (line.dry_run) {
    if (!workers.first()) return 0;
    auto cost = cost_of(model.classifier, images.slice(0, std::min<int64_t>(images.size(), 64)), passes, images.size());
    cost.workers = workers.size();
    cost.print(line);
    return 0;
  }

  const auto settings = fingerprint(line, radii, model, data, index);
  const auto studied = [&](const RunPlace& place) {
    SharedRun shared(settings, place, line.monitor());
    auto analysis = hpm::analyze(model, images, threat, options, {line.monitor(), shared.log()});
    shared.end();
    return analysis;
  };
  const auto first = [&](Crew* crew) {
    const auto run = open_run(line, "analyze", o.compute, o.seed);
    workers.opened(run);
    const auto analysis = studied({run, line.resume, crew, options.batch_size});
    AnalysisInput input{model, data, images.y, index, threat, options, analysis};
    input.first_index = o.data.first, input.indices_given = !o.data.indices.empty();
    input.config = line.fields.json();
    input.started = run.environment("started");
    write_analysis(run, input);
    const bool reported = write_run_report(run, RunKind::study);
    if (line.json) fmt::print("{}", analysis_json(input));
    else print(analysis, threat, run);
    return reported ? 0 : 1;
  };
  return workers.share(arguments, first, [&](const RunDirectory& run, Crew& crew) {
    studied({run, line.resume, &crew, options.batch_size});
  });
}

}  // namespace hpm::app
