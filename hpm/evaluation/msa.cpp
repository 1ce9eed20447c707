#include "hpm/evaluation/msa.h"

#include <torch/torch.h>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/core/random.h"
#include "hpm/evaluation/msa_impl.h"

namespace hpm {
namespace {

/// The white-box surrogates that quick runs; a plain model gets as many restarts.
const std::vector<std::string> kQuick{"ste", "fc", "hard", "stable", "soft", "region"};
constexpr int64_t kPlainRestarts = 5;

std::vector<std::string> surrogates_of(const MsaOptions& options) {
  if (!options.surrogates.empty()) return options.surrogates;
  if (options.version == "quick") return kQuick;
  std::vector<std::string> all;
  for (const auto& surrogate : surrogates()) all.push_back(surrogate.name);
  return all;
}

std::vector<AttackSpec> attacks_of(const MsaOptions& options, Norm norm, int64_t classes, const std::string& surrogate, int64_t restarts) {
  const int64_t others = classes - 1;
  if (options.version == "quick") {
    if (surrogate == "region") return {{.name = "region", .steps = 50, .targets = 3}};
    if (surrogate == "query") return {{.name = "square", .queries = 1000}};
    std::vector<AttackSpec> all{{.name = "apgd-ce", .steps = 50, .restarts = restarts}, {.name = "apgd-dlr", .steps = 50, .restarts = restarts},
            {.name = "apgd-t", .steps = 50, .restarts = restarts, .targets = std::min<int64_t>(3, others)}};
    if (norm == Norm::l1) for (auto& spec : all) spec.large_radius = true;
    return all;
  }
  const int64_t factor = options.version == "plus" ? 5 : 1;
  if (surrogate == "region") return {{.name = "region", .steps = 100, .restarts = factor, .targets = std::min<int64_t>(4, classes)}};
  auto sequence = autoattack_sequence({.version = "standard", .norm = norm, .classes = classes}).attacks;
  if (surrogate == "query") return {sequence.back()};
  sequence.pop_back();  // Square is the query surrogate's: no other surrogate changes what it sees
  for (auto& spec : sequence) spec.restarts *= spec.name == "fab-t" ? 1 : factor * restarts;
  return sequence;
}

Evaluation attack_plain(const HpmModel& model, const Images& images, const ThreatModel& threat, const MsaOptions& options, Monitor& monitor) {
  Evaluation out;
  ClassifierModel attacked(model.classifier);
  const auto clean = clean_pass(model, images, options.batch_size);
  ContextOutcome context{.clean_prediction = clean.o.argmax(1)};
  context.clean_correct = context.clean_prediction.eq(images.y);
  auto correct = context.clean_correct.clone();
  out.adversarial = images.x.clone();
  out.broken_by.assign(static_cast<size_t>(images.size()), "");
  for (const auto& step : msa_plan(options, threat.norm, model.classifier.classes(), false))
    for (const auto& spec : step.attacks) {
      const auto start = std::chrono::steady_clock::now();
      const auto before = attacked.passes();
      const auto survivors = correct.nonzero().squeeze(1);
      monitor.begin(spec.name, survivors.numel(), "images");
      for_chunks(images.select(survivors), options.batch_size, [&](const Images& chunk, int64_t begin) {
        const auto found = attack_entry(spec.name).run(attacked, chunk, threat, spec, streams_of(options, step.surrogate), monitor);
        // A verdict is a fresh pass over what the attack returned.
        const auto wrong = attacked.ask({found.images, chunk.index}, nullptr).target_logits.argmax(1).ne(chunk.y) & found.broken;
        const auto hits = wrong.nonzero().squeeze(1);
        const auto rows = survivors.slice(0, begin, begin + chunk.size()).index_select(0, hits);
        out.adversarial.index_copy_(0, rows, found.images.index_select(0, hits));
        correct.index_fill_(0, rows, false);
        for (int64_t i = 0; i < rows.numel(); ++i) out.broken_by[static_cast<size_t>(rows[i].item<int64_t>())] = spec.name;
        monitor.step(begin + chunk.size(), fmt::format("survivors {}", correct.sum().item<int64_t>()));
      });
      monitor.end();
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      out.attacks.push_back({spec.name, "", "", correct.clone(), attacked.passes() - before, seconds, {}});
    }
  context.robust = correct;
  out.contexts.push_back(std::move(context));
  return out;
}

}  // namespace

RandomStreams streams_of(const MsaOptions& options, const std::string& surrogate) {
  uint64_t ordinal = 0;
  for (const auto& known : surrogates()) {
    ++ordinal;
    if (known.name == surrogate) break;
  }
  return RandomStreams(options.seed + (ordinal << 32));
}

std::vector<MsaStep> msa_plan(const MsaOptions& options, Norm norm, int64_t classes, bool has_head) {
  require(options.version == "quick" || options.version == "standard" || options.version == "plus",
          "msa: version needs to be quick, standard or plus, but got \"{}\"", options.version);
  std::vector<MsaStep> plan;
  if (!has_head) {
    plan.push_back({"fc", attacks_of(options, norm, classes, "fc", kPlainRestarts)});
    if (options.version != "quick") plan.push_back({"query", attacks_of(options, norm, classes, "query", 1)});
    return plan;
  }
  for (const auto& name : surrogates_of(options)) plan.push_back({find_surrogate(name).name, attacks_of(options, norm, classes, name, 1)});
  return plan;
}

AttackResult run_attack(AttackModel& model, const Images& images, const ThreatModel& threat, const AttackSpec& spec,
                        const RandomStreams& streams, Monitor& monitor) {
  if (spec.name != "region") return attack_entry(spec.name).run(model, images, threat, spec, streams, monitor);
  return apgd(model, images, threat, {.loss = LossKind::own, .steps = spec.steps, .restarts = spec.restarts, .targets = spec.targets,
                                      .stream = "region"}, streams, monitor);
}

Clean clean_pass(const HpmModel& model, const Images& images, int64_t batch_size) {
  torch::NoGradGuard guard;
  std::vector<Tensor> z, o;
  for_chunks(images, batch_size, [&](const Images& chunk, int64_t) {
    auto out = model.run(chunk.x);
    z.push_back(out.features), o.push_back(out.logits);
  });
  return {z.empty() || !z.front().defined() ? Tensor() : at::cat(z), at::cat(o)};
}

Passes estimate_passes(const HpmModel& model, const Peers& peers, const ThreatModel& threat, const MsaOptions& options) {
  Passes total{1, 0};
  const auto contexts = model.head ? options.contexts : std::vector<std::string>{"reference"};
  for (const auto& name : contexts)
    for (const auto& step : msa_plan(options, threat.norm, model.classifier.classes(), model.head.has_value())) {
      if (model.head && (!coincides_with(step.surrogate, *model.head, parse_context(name)).empty() ||
                         !unavailable(step.surrogate, parse_context(name), peers).empty())) continue;
      for (const auto& spec : step.attacks) {
        const bool targeted = spec.name == "apgd-t" || spec.name == "fab-t" || spec.name == "region";
        const int64_t runs = spec.restarts * (targeted ? spec.targets : 1);
        total.forward += spec.name == "square" ? spec.queries : runs * (spec.steps + 2) * (spec.name == "fab-t" ? 2 : 1);
        total.backward += spec.name == "square" ? 0 : runs * spec.steps;
      }
    }
  return total;
}

Evaluation msa(const HpmModel& model, const Peers& peers, const Images& images, const ThreatModel& threat,
               const MsaOptions& options, Monitor& monitor) {
  require(images.size() > 0, "msa: needs at least one image");
  const auto start = std::chrono::steady_clock::now();
  const auto before = model.classifier.passes();
  Evaluation out;
  if (!model.head) {
    out = attack_plain(model, images, threat, options, monitor);
  } else {
    require(!options.contexts.empty(), "msa: needs at least one context");
    const auto clean = clean_pass(model, images, options.batch_size);
    const auto company = std::make_shared<const Company>(*model.head, images.index, clean.z, clean.o, options.company_size, options.company_seed);
    const MsaRun run{model, peers, images, threat, options, clean, company, monitor, out, clean.o.std().item<double>()};
    std::vector<ContextKind> rows;
    bool joint = false;
    for (const auto& name : options.contexts) {
      const auto kind = parse_context(name);
      if (kind == ContextKind::joint) joint = true; else rows.push_back(kind);
    }
    if (!rows.empty()) msa_rows(run, rows);
    if (joint) msa_joint(run);
  }
  torch::NoGradGuard guard;
  out.passes = model.classifier.passes() - before;
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace hpm
