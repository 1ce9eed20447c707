#include "hpm/evaluation/analysis/analysis.h"

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

template <class T>
std::vector<T> rising(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

/// The points of both curves, in order.
Analysis planned(const ThreatModel& threat, const AnalysisOptions& options) {
  require(threat.eps > 0, "analyze: needs an eps over 0, but got {}", threat.eps);
  require(!options.iterations.empty(), "analyze: needs at least one number of iterations");
  Analysis plan{.iterations = rising(options.iterations)};
  require(plan.iterations.front() >= 1, "analyze: needs iterations of at least 1, but got {}", plan.iterations.front());
  plan.radii = options.radii;
  plan.radii.push_back(threat.eps);
  plan.radii = rising(plan.radii);
  require(plan.radii.front() > 0, "analyze: needs radii over 0 (0 is clean accuracy), but got {}", plan.radii.front());
  plan.own_radius =
      static_cast<size_t>(std::find(plan.radii.begin(), plan.radii.end(), threat.eps) - plan.radii.begin());
  return plan;
}

Norm dual(Norm norm) { return norm == Norm::linf ? Norm::l1 : norm == Norm::l1 ? Norm::linf : Norm::l2; }

/// One head on one chunk of images.
struct Setting {
  const HpmModel& model;
  const std::vector<LinearHead>& heads;
  const ThreatModel& threat;
  const AnalysisOptions& options;
  const Analysis& plan;  ///< its radii and iterations
};

class Study {
 public:
  Study(const Setting& setting, size_t head, const Images& chunk, Monitor& monitor)
      : model_(setting.model),
        heads_(setting.heads),
        head_(heads_[head]),
        attacked_(head_.attack_model(model_)),
        chunk_(chunk),
        threat_(setting.threat),
        options_(setting.options),
        plan_(setting.plan),
        monitor_(monitor),
        streams_(options_.seed) {}

  NamedTensors operator()() {
    z_ = features(chunk_.x);
    chunk_.clean_logits = head_.logits(z_);
    correct_ = chunk_.clean_logits.argmax(1).eq(chunk_.y);
    const auto boundary = head_.boundary(z_, chunk_.y);
    NamedTensors all{
        {"clean_correct", correct_}, {"distance", boundary.distance}, {"local_slope", local_slope(boundary)}};
    const auto held = strongest(all);
    all.emplace_back("robust_eps", against_eps(held));
    all.emplace_back("robust_iterations", against_iterations(held));
    for (auto& [name, tensor] : all) tensor = tensor.to(at::kCPU);
    return all;
  }

 private:
  Tensor features(const Tensor& x) const {
    torch::NoGradGuard guard;
    return model_.run(x).features;
  }

  Tensor local_slope(const BoundaryDistance& boundary) {
    const Loss difference{LossKind::difference, chunk_.y, boundary.nearest};
    const auto gradient = attacked_->ask({chunk_.x, chunk_.index}, &difference).gradient;
    return norm_of_rows(gradient.to(at::kDouble), dual(threat_.norm)) / boundary.slope;
  }

  ApgdOptions attack(int64_t steps) const { return {.loss = options_.loss, .steps = steps}; }

  /// Which of `rows` [m] int64 APGD does not break. A break stands when a fresh pass confirms it.
  Tensor held_against(const Tensor& rows, const ThreatModel& threat, int64_t steps) {
    const auto left = chunk_.select(rows);
    const auto found = apgd(*attacked_, left, threat, attack(steps), streams_, monitor_);
    return (found.broken & right(found.images, left).logical_not()).logical_not();
  }

  Tensor right(const Tensor& x, const Images& images) {
    return attacked_->ask({x, images.index}, nullptr).target_logits.argmax(1).eq(images.y);
  }

  /// The threat's radius with all steps, broken rows included to the end, so that the perturbations of largest loss
  /// compare. Which correct images it does not break [m].
  Tensor strongest(NamedTensors& all) {
    auto found = chunk_.x.clone();
    const auto rows = correct_.nonzero().squeeze(1);
    Tensor held = correct_.index_select(0, rows);
    if (rows.numel() > 0) {
      const auto left = chunk_.select(rows);
      auto options = attack(plan_.iterations.back());
      options.conformance = true;
      auto run = apgd_run(*attacked_, left, apgd_start(left, threat_, streams_, {options.stream}), {}, threat_, options,
                          monitor_);
      // The official L1 projection ends up to 5e-4 outside.
      if (threat_.norm == Norm::l1)
        for (auto* x : {&run.best, &run.adversarial}) *x = shrink_into(*x, left.x, threat_);
      held = run.correct | right(run.adversarial, left);
      found.index_copy_(0, rows, run.best);
    }
    measure(found, all);
    return held;
  }

  void measure(const Tensor& found, NamedTensors& all) const {
    const auto z = features(found);
    all.emplace_back("attacked_distance", head_.boundary(z, chunk_.y).distance);
    all.emplace_back("input_change", norm_of_rows((found - chunk_.x).to(at::kDouble), threat_.norm));
    all.emplace_back("feature_change", (z - z_).to(at::kDouble).norm(2, 1));
    std::vector<Tensor> transferred;
    for (const auto& other : heads_) transferred.push_back(other.logits(z).argmax(1).eq(chunk_.y));
    all.emplace_back("transferred", at::stack(transferred));
    all.emplace_back("features", z);
  }

  Tensor against_eps(const Tensor& held) {
    auto alive = correct_.clone();
    std::vector<Tensor> points;
    for (size_t e = 0; e < plan_.radii.size(); ++e) {
      if (e == plan_.own_radius) {
        alive = alive & at::zeros_like(correct_).index_copy_(0, correct_.nonzero().squeeze(1), held);
      } else if (const auto rows = alive.nonzero().squeeze(1); rows.numel() > 0) {
        const ThreatModel radius{threat_.norm, plan_.radii[e]};
        alive = at::zeros_like(alive).index_copy_(0, rows, held_against(rows, radius, plan_.iterations.back()));
      }
      points.push_back(alive.clone());
    }
    return at::stack(points);
  }

  Tensor against_iterations(const Tensor& held) {
    const auto rows = correct_.nonzero().squeeze(1);
    std::vector<Tensor> points;
    for (size_t s = 0; s < plan_.iterations.size(); ++s) {
      const bool last = s + 1 == plan_.iterations.size();
      const auto kept = last || rows.numel() == 0 ? held : held_against(rows, threat_, plan_.iterations[s]);
      points.push_back(at::zeros_like(correct_).index_copy_(0, rows, kept));
    }
    return at::stack(points);
  }

  const HpmModel& model_;
  const std::vector<LinearHead>& heads_;
  const LinearHead& head_;
  std::unique_ptr<AttackModel> attacked_;
  Images chunk_;
  const ThreatModel& threat_;
  const AnalysisOptions& options_;
  const Analysis& plan_;
  Monitor& monitor_;
  RandomStreams streams_;
  Tensor z_, correct_;
};

/// A result that grows chunk by chunk along its last dimension.
void append(Tensor& all, const Tensor& chunk) { all = all.defined() ? at::cat({all, chunk}, -1) : chunk; }

void append(HeadAnalysis& head, const NamedTensors& done) {
  const std::pair<const char*, Tensor*> members[] = {{"clean_correct", &head.clean_correct},
                                                     {"robust_eps", &head.robust_eps},
                                                     {"robust_iterations", &head.robust_iterations},
                                                     {"distance", &head.distance},
                                                     {"local_slope", &head.local_slope},
                                                     {"attacked_distance", &head.attacked_distance},
                                                     {"input_change", &head.input_change},
                                                     {"feature_change", &head.feature_change},
                                                     {"transferred", &head.transferred}};
  for (const auto& [name, member] : members) append(*member, find_tensor(done, name));
}

void add_scatter(ScatterRow& row, const HpmModel& model, const Tensor& z, const Tensor& y) {
  const auto classes = model.classifier.classes();
  row.z += class_scatter(z, y, classes);
  if (model.head && model.head->kind != MetricKind::none)
    row.h += class_scatter(model.head->embed(z.to(y.device())), y, classes);
}

}  // namespace

Analysis analyze(const HpmModel& model, const ImageSet& images, const ThreatModel& threat,
                 const AnalysisOptions& options, const Work& work) {
  auto& [monitor, log, deadline] = work;
  const WorkTimer timer(log);
  require(images.size() > 0, "analyze: needs at least one image");
  auto out = planned(threat, options);
  const auto heads = linear_heads(model);
  out.scatter.push_back({"clean"});
  for (const auto& head : heads) {
    out.heads.push_back({head});
    out.scatter.push_back({head.name});
  }
  for_chunks(images, options.batch_size, [&](const Images& chunk, int64_t) {
    torch::NoGradGuard guard;
    add_scatter(out.scatter.front(), model, model.run(chunk.x).features, chunk.y);
  });
  std::vector<PieceOfWork> pieces;
  std::vector<size_t> head_of;
  for (size_t h = 0; h < heads.size(); ++h)
    for (auto& piece : log.pieces(heads[h].name, at::arange(images.size()), options.batch_size))
      pieces.push_back(std::move(piece)), head_of.push_back(h);
  int64_t begun = 0, studied = 0;
  monitor.begin("analyze", images.size() * static_cast<int64_t>(heads.size()), "images x heads");
  log.each(
      pieces,
      [&](size_t i) {
        auto found = Study({model, heads, threat, options, out}, head_of[i], images.select(pieces[i].rows), monitor)();
        monitor.step(begun += pieces[i].rows.numel(), heads[head_of[i]].name);
        return found;
      },
      [&](size_t i, const NamedTensors& done) {
        const auto h = head_of[i];
        append(out.heads[h], done);
        add_scatter(out.scatter[h + 1], model, find_tensor(done, "features"),
                    images.y.index_select(0, pieces[i].rows.to(images.y.device())));
        begun = studied += pieces[i].rows.numel();
        monitor.step(studied, heads[h].name);
      });
  monitor.end();
  out.seconds = timer.seconds();
  return out;
}

Passes analysis_passes(const HpmModel& model, const ThreatModel& threat, const AnalysisOptions& options) {
  const auto plan = planned(threat, options);
  Passes each{4, 1};  // clean, its gradient, the strongest run's confirmation and features
  const auto add_run = [&](int64_t steps, bool confirmed) {
    each += budget_of(ApgdOptions{.steps = steps}).passes + Passes{confirmed ? 1 : 0, 0};
  };
  for (size_t e = 0; e < plan.radii.size(); ++e) add_run(plan.iterations.back(), e != plan.own_radius);
  for (size_t s = 0; s + 1 < plan.iterations.size(); ++s) add_run(plan.iterations[s], true);
  return Passes{1, 0} + each * static_cast<int64_t>(linear_heads(model).size());
}

}  // namespace hpm
