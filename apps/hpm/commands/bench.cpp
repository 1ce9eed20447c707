#include <sys/resource.h>
#include <time.h>

#include <functional>

#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/attacks/autoattack.h"
#include "hpm/attacks/hyperplane.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/models/operations.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "options.h"

namespace hpm::app {
namespace {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  ModelOptions model;
  DataOptions data{.data = "", .count = 256};
  ThreatOptions threat;
  std::string input, version = "standard", format = "md", clock = "wall";
  std::vector<std::string> what{"passes", "kernels", "autoattack", "contexts"}, attacks;
  AttackSettings settings;
  int64_t repeats = 3, company = 128;
  uint64_t seed = 0;
  ComputeOptions compute;
};

void declare(Fields& f, BenchOptions& o) {
  fields(f, o.model);
  fields(f, o.data, "test");
  fields(f, o.threat, false);
  f.section("bench");
  f.add("what", o.what, "what to measure: passes, kernels, autoattack, contexts");
  f.add("input", o.input, "images of their own, x.npy or x.npz; the labels are the model's predictions");
  f.add("version", o.version, "of autoattack", {.choices = {"standard", "plus", "rand", "custom"}});
  f.add("attacks", o.attacks, "attacks of version custom");
  fields(f, o.settings);
  f.add("company", o.company, "company size of solo and joint", {.min = 1, .unit = "images"});
  f.add("repeats", o.repeats, "measurements of each; the median, least and largest are printed",
        {.min = 1, .max = 1000});
  f.add("clock", o.clock, "wall, or the CPU time of all threads (attacks one by one are always wall)",
        {.choices = {"wall", "cpu"}});
  f.add("format", o.format, "of the table", {.choices = {"md", "csv", "json"}});
  f.add("seed", o.seed, "of all random numbers");
  hpm::fields(f, o.compute);
}

struct Spread {
  double median = 0, least = 0, largest = 0;
};

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

double now(bool cpu) {
  timespec time{};
  clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class F>
double seconds_of(bool cpu, F f) {
  const double start = now(cpu);
  f();
  return now(cpu) - start;
}

/// One line of the table. `alone`: what its network passes cost by themselves.
struct Row {
  std::string name;
  Spread seconds;
  Passes passes;
  std::optional<double> alone;
  std::string note;
};

/// Seconds for an image: a forward pass, and a forward pass with the input's gradient, by PyTorch's layers and as the
/// attacks have it.
struct PassCost {
  Spread forward, gradient, own;
};

PassCost pass_cost(const Classifier& model, const Images& images, int64_t repeats, bool cpu) {
  const auto forward = [&] {
    torch::NoGradGuard guard;
    model.logits(images.x);
  };
  const auto gradient = [&] {
    const auto x = images.x.detach().requires_grad_();
    const auto own = model.logits(x).gather(1, images.y.unsqueeze(1)).sum();
    torch::autograd::grad({own}, {x});
  };
  const auto plain = [&] {
    const ReferenceOperations guard(true);
    gradient();
  };
  std::vector<double> forwards, gradients, own;
  forward(), plain(), gradient();
  for (int64_t i = 0; i < std::max<int64_t>(repeats, 5); ++i) {
    const auto n = static_cast<double>(images.size());
    forwards.push_back(seconds_of(cpu, forward) / n);
    gradients.push_back(seconds_of(cpu, plain) / n);
    own.push_back(seconds_of(cpu, gradient) / n);
  }
  return {spread_of(forwards), spread_of(gradients), spread_of(own)};
}

class Bench {
 public:
  Bench(CommandLine& line, BenchOptions& options) : line_(line), o_(options) {}

  int operator()() {
    configure_threads(o_.compute.threads);
    load_all();
    const auto part = images_.select(at::arange(std::min(o_.compute.batch_size, images_.size())));
    cost_ = pass_cost(model_.classifier, part, o_.repeats, cpu());
    for (const auto& what : o_.what) {
      if (what == "passes") passes(part);
      else if (what == "kernels") kernels(part);
      else if (what == "autoattack") attacks();
      else if (what == "contexts") contexts(part);
      else fail_usage("--what: needs passes, kernels, autoattack or contexts, but got \"{}\"", what);
    }
    print();
    return 0;
  }

 private:
  bool cpu() const { return o_.clock == "cpu"; }

  void load_all() {
    require(o_.input.empty() != o_.data.data.empty(), "bench: needs either --data or --input");
    const auto device = parse_device(o_.compute.device);
    if (o_.input.empty()) {
      const auto data = load(o_.data, line_);
      model_ = load(o_.model, o_.model.model, data.image_shape(), line_.monitor());
      images_ = images_of(data, image_numbers(o_.data, data));
    } else {
      const auto data = load_images(o_.input, o_.data.images);
      const auto x = data.images(0, data.size());
      model_ = load(o_.model, o_.model.model, x.sizes().slice(1).vec(), line_.monitor());
      torch::NoGradGuard guard;
      images_ = {x, model_.classifier.logits(x).argmax(1), at::arange(x.size(0))};
    }
    model_.to(device);
    images_.x = images_.x.to(device), images_.y = images_.y.to(device);
  }

  void passes(const Images& part) {
    const auto n = static_cast<double>(part.size());
    const auto add = [&](const char* what, const Spread& s, int64_t backward) {
      rows_.push_back({fmt::format("{}, batch of {}", what, part.size()),
                       {s.median * n, s.least * n, s.largest * n},
                       {part.size(), backward},
                       {},
                       fmt::format("{:.1f} us an image", 1e6 * s.median)});
    };
    add("forward", cost_.forward, 0);
    add("forward and gradient by PyTorch's layers", cost_.gradient, part.size());
    add("forward and gradient here", cost_.own, part.size());
  }

  /// The arithmetic between passes, on a batch of the images: a step of FAB, as it is and by the authors' sorts, and a
  /// projection onto ball and box. benchmarks/kernels.cpp has every inner loop beside what it replaces.
  void kernels(const Images& part) {
    const auto threat = threats(o_.threat).front();
    const auto generator = at::detail::createCPUGenerator(o_.seed);
    const auto near = (part.x + at::randn(part.x.sizes(), generator).to(part.x.options()) * threat.eps).clamp(0., 1.);
    const auto w = at::randn(part.x.sizes(), generator).to(part.x.options()).flatten(1);
    const auto b = (w * (near - .1 * (near - part.x)).flatten(1)).sum(1);
    const auto time = [&](const std::string& name, auto step) {
      std::vector<double> all;
      step();
      for (int64_t i = 0; i < std::max<int64_t>(o_.repeats, 5); ++i) all.push_back(seconds_of(cpu(), step));
      const auto spread = spread_of(all);
      rows_.push_back({fmt::format("{}, {} rows", name, part.size()),
                       spread,
                       {},
                       {},
                       fmt::format("{:.1f} us a row", 1e6 * spread.median / static_cast<double>(part.size()))});
    };
    for (const bool sorted : {false, true})
      time(sorted ? "FAB's step by sorting" : "FAB's step", [&] {
        boundary_step(near, part.x, w, b, threat.norm, {1.05, .1, sorted});
      });
    time("projection onto ball and box", [&] { project(near, part.x, threat); });
  }

  double alone(const Passes& passes) const {
    return cost_.gradient.median * static_cast<double>(passes.backward) +
           cost_.forward.median * static_cast<double>(std::max<int64_t>(passes.forward - passes.backward, 0));
  }

  void attacks() {
    AutoAttackOptions options{.version = o_.attacks.empty() ? o_.version : "custom",
                              .attacks = o_.attacks,
                              .seed = o_.seed,
                              .batch_size = o_.compute.batch_size,
                              .settings = o_.settings};
    const auto threat = threats(o_.threat).front();
    std::vector<std::vector<double>> seconds;
    std::vector<double> totals;
    AutoAttackResult result;
    for (int64_t i = 0; i < o_.repeats; ++i) {
      ClassifierModel attacked(model_.classifier);
      totals.push_back(
          seconds_of(cpu(), [&] { result = autoattack(attacked, images_, threat, options, line_.monitor()); }));
      seconds.resize(result.attacks.size());
      for (size_t a = 0; a < result.attacks.size(); ++a) seconds[a].push_back(result.attacks[a].seconds);
    }
    Passes all = result.clean_passes;
    for (size_t a = 0; a < result.attacks.size(); ++a) {
      const auto& attack = result.attacks[a];
      rows_.push_back({attack.spec.name, spread_of(seconds[a]), attack.passes, alone(attack.passes),
                       fmt::format("{} robust", attack.robust.sum().item<int64_t>())});
      all += attack.passes;
    }
    rows_.push_back({fmt::format("autoattack, {} images", images_.size()), spread_of(totals), all, alone(all),
                     fmt::format("{:.1f} % robust", result.robust_accuracy())});
    robust_ = result.robust();
  }

  /// A batch through the FC layer, and through the head in each context from statistics made before: a prediction, and
  /// what an attack asks for, loss and gradient of a surrogate with the verdict. In turns, each beside FC's of its
  /// turn.
  void contexts(const Images& part) {
    if (!model_.head) return;
    std::vector<std::pair<std::string, std::function<void()>>> predictions, searches;
    std::vector<std::shared_ptr<AttackModel>> attacked{std::make_shared<ClassifierModel>(model_.classifier)};
    const auto ask = [&part](AttackModel& model) {
      const SearchOperations faster;
      const Loss loss{LossKind::ce, part.y, {}};
      model.ask({part.x, part.index}, &loss);
    };
    predictions.emplace_back("FC", [&] { model_.classifier.logits(part.x); });
    searches.emplace_back("FC, with gradient", [&] { ask(*attacked.front()); });
    for (const auto* name : {"reference", "alone", "solo", "solo-eot", "joint"}) {
      DefenceOptions options;
      options.contexts = {name}, options.company_size = o_.company, options.batch_size = o_.compute.batch_size;
      const auto defence = std::make_shared<HpmDefence>(model_, part, options);
      predictions.emplace_back(name, [&part, defence] { predict_once(*defence, {part.x, part.index}, 0); });
      attacked.push_back(std::make_shared<HpmAttackModel>(model_, defence->context(0), hpm_surrogate("ste")));
      searches.emplace_back(fmt::format("{}, with gradient", name), [&ask, model = attacked.back()] { ask(*model); });
    }
    torch::NoGradGuard guard;
    in_turns(predictions, {part.size(), 0}, cost_.forward.median);
    in_turns(searches, {part.size(), part.size()}, cost_.own.median);
  }

  /// Lines of the table, the first one the peer. `each`: seconds of an image's passes alone.
  void in_turns(const std::vector<std::pair<std::string, std::function<void()>>>& all, const Passes& passes,
                double each) {
    std::vector<std::vector<double>> seconds(all.size()), ratios(all.size());
    for (int64_t turn = -1; turn < std::max<int64_t>(o_.repeats, 5); ++turn)
      for (size_t i = 0; i < all.size(); ++i) {
        const auto took = seconds_of(cpu(), all[i].second);
        if (turn < 0) continue;
        seconds[i].push_back(took);
        ratios[i].push_back(took / seconds[0].back());
      }
    const auto n = static_cast<double>(passes.forward);
    for (size_t i = 0; i < all.size(); ++i) {
      const auto spread = spread_of(seconds[i]);
      auto note = fmt::format("{:.1f} us an image", 1e6 * spread.median / n);
      if (i > 0) note += fmt::format(", {:.3f} of FC", spread_of(ratios[i]).median);
      rows_.push_back({all[i].first, spread, passes, each * n, note});
    }
  }

  void print() const {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
    if (o_.format == "json" || line_.json) {
      Json all{{"threads", at::get_num_threads()},
               {"batch_size", o_.compute.batch_size},
               {"peak_memory_mb", megabytes},
               {"forward_us", 1e6 * cost_.forward.median},
               {"gradient_us", 1e6 * cost_.gradient.median},
               {"own_gradient_us", 1e6 * cost_.own.median},
               {"rows", Json::array()}};
      for (const auto& r : rows_)
        all["rows"].push_back({{"name", r.name},
                               {"seconds", r.seconds.median},
                               {"least", r.seconds.least},
                               {"largest", r.seconds.largest},
                               {"forward_passes", r.passes.forward},
                               {"backward_passes", r.passes.backward},
                               {"passes_alone", r.alone ? Json(*r.alone) : Json()},
                               {"note", r.note}});
      if (robust_.defined()) {
        const auto flags = robust_.to(at::kLong).contiguous();
        all["robust"] =
            std::vector<int64_t>(flags.const_data_ptr<int64_t>(), flags.const_data_ptr<int64_t>() + flags.numel());
      }
      return fmt::print("{}\n", json_text(all, 1));
    }
    const bool csv = o_.format == "csv";
    const auto line = [&](const std::vector<std::string>& cells) {
      fmt::print("{0}{1}{0}\n", csv ? "" : "|", fmt::join(cells, csv ? "," : "|"));
    };
    line({"what", "seconds", "least", "largest", "forward", "gradients", "passes alone", "ratio", "note"});
    if (!csv) fmt::print("|---|---|---|---|---|---|---|---|---|\n");
    for (const auto& r : rows_) {
      const auto number = [](double v) { return fmt::format("{:.4g}", v); };
      const auto name = csv ? "\"" + r.name + "\"" : r.name;
      line({name, number(r.seconds.median), number(r.seconds.least), number(r.seconds.largest),
            fmt::format("{}", r.passes.forward), fmt::format("{}", r.passes.backward), r.alone ? number(*r.alone) : "",
            r.alone ? fmt::format("{:.2f}", r.seconds.median / *r.alone) : "", r.note});
    }
    if (!csv)
      fmt::print("\n{} threads, batches of {}, {} repeats, peak memory {:.0f} MB\n", at::get_num_threads(),
                 o_.compute.batch_size, o_.repeats, megabytes);
  }

  CommandLine& line_;
  BenchOptions& o_;
  HpmModel model_;
  Images images_;
  PassCost cost_;
  std::vector<Row> rows_;
  Tensor robust_;
};

}  // namespace

int bench(const Arguments& arguments) {
  CommandLine line(
      "bench",
      "Measures network passes, whole attacks beside the cost of their passes alone, and the latency of each context.",
      "hpm bench --model FILE --data cifar10 --eps 2/255 --count 200 --threads 1");
  BenchOptions options;
  declare(line.fields, options);
  if (!line.parse(arguments)) return 0;
  return Bench(line, options)();
}

}  // namespace hpm::app
