#include "hpm/defences/function_defence.h"

#include <algorithm>
#include <limits>
#include <set>

#include "hpm/attacks/votes.h"
#include "hpm/core/error.h"
#include "hpm/core/kept_generator_impl.h"
#include "hpm/core/random.h"
#include "hpm/surrogates/model_space.h"

namespace hpm {
namespace {

/// Whether anything has been drawn since from the generators of functions of tensors on this device.
class WatchedGenerators {
 public:
  explicit WatchedGenerators(at::Device device) : device_(device), before_(states()) {}
  bool moved() const {
    if (!device_.is_cpu() && !device_.is_cuda()) return true;  // not known
    const auto now = states();
    for (size_t i = 0; i < now.size(); ++i)
      if (!at::equal(now[i], before_[i])) return true;
    return false;
  }

 private:
  std::vector<Tensor> states() const {
    std::vector<Tensor> all{at::globalContext().defaultGenerator(at::kCPU).get_state()};
    if (device_.is_cuda()) all.push_back(at::globalContext().defaultGenerator(device_).get_state());
    return all;
  }
  at::Device device_;
  std::vector<Tensor> before_;
};

/// The mean of what `one` gives in so many draws, the same ones for every query. Where `watched` is given, what draws
/// nothing from the generators there is asked once.
Tensor mean_over_draws(uint64_t seed, int64_t draws, const std::function<Tensor()>& one,
                       const std::optional<at::Device>& watched = {}) {
  const KeptGenerator kept;
  std::vector<Tensor> all;
  for (int64_t draw = 0; draw < draws; ++draw) {
    torch::manual_seed(seed + 0x9aad + static_cast<uint64_t>(draw));
    const WatchedGenerators generators(watched.value_or(at::kCPU));
    all.push_back(one());
    if (draw == 0 && watched && !generators.moved()) break;
  }
  return all.size() == 1 ? all.front() : at::stack(all).mean(0);
}

}  // namespace

/// The fixed batches of solo and joint.
struct FunctionDefence::Company {
  ImageSet images;
  std::vector<Tensor> batches;         ///< places among the images, [B] int64 (CPU)
  Tensor batch, slot;                  ///< [n]: of each image
  Tensor place;                        ///< [largest number + 1]: of an image number
  mutable std::vector<Tensor> pixels;  ///< [B,C,H,W] of each batch, loaded when it is asked for

  Company(const ImageSet& all, const FunctionDefenceOptions& options) : images(all), pixels() {
    const int64_t n = all.size(), size = options.company_size;
    require(size >= 1, "FunctionDefence: needs batches of at least 1 image, but got {}", size);
    auto order =
        options.company_seed == 0 ? at::arange(n) : RandomStreams(options.company_seed).permutation(n, {"company"});
    if (options.by_class)
      order = order.index_select(
          0, std::get<1>(all.y.to(at::kCPU).index_select(0, order).sort(std::optional<bool>(true), 0, false)));
    batch = at::empty({n}, at::kLong), slot = at::empty({n}, at::kLong);
    for (int64_t begin = 0; begin < n; begin += size) {
      const auto rows = order.slice(0, begin, std::min(begin + size, n));
      batch.index_fill_(0, rows, static_cast<int64_t>(batches.size()));
      slot.index_copy_(0, rows, at::arange(rows.numel()));
      batches.push_back(rows);
    }
    pixels.resize(batches.size());
    place = at::full({n ? all.index.max().item<int64_t>() + 1 : 0}, -1, at::kLong);
    place.index_copy_(0, all.index, at::arange(n));
  }

  /// The batch of the image numbered `number`, with `x` [C,H,W] in its place, and which row that is.
  std::pair<Tensor, int64_t> with(const Tensor& x, int64_t number) const {
    const auto at = place[number].item<int64_t>();
    const auto b = static_cast<size_t>(batch[at].item<int64_t>());
    if (!pixels[b].defined()) pixels[b] = images.select(batches[b]).x;
    const auto row = slot[at].item<int64_t>();
    const auto rows = at::tensor({row}, at::kLong).to(x.device());
    return {pixels[b].to(x.options()).index_copy(0, rows, x.unsqueeze(0)), row};
  }
};

FunctionDefence::FunctionDefence(PredictionFunction function, const ImageSet& images, FunctionDefenceOptions options)
    : function_(std::move(function)), options_(std::move(options)) {
  require(function_.logits != nullptr, "FunctionDefence: needs a function of images");
  require(function_.classes >= 2, "FunctionDefence: needs at least 2 classes, but got {}", function_.classes);
  by_images_ = function_.random || function_.coupling == Coupling::batch;
  if (function_.coupling == Coupling::rows) {
    targets_.emplace_back();
    return;
  }
  const auto& names = options_.contexts;
  require(!names.empty() && std::set<std::string>(names.begin(), names.end()).size() == names.size(),
          "FunctionDefence: needs contexts, each once, but got \"{}\"", fmt::join(names, ","));
  for (const auto& name : names) {
    require(name == "alone" || name == "solo" || name == "joint",
            "FunctionDefence: a batch-dependent model has the contexts alone, solo and joint, but got \"{}\"", name);
    targets_.push_back(
        {.name = name, .coupling = name == "joint" ? Coupling::batch : Coupling::rows, .has_company = name != "alone"});
  }
  company_ = std::make_shared<const Company>(images, options_);
}

/// The function itself, its passes counted.
Tensor FunctionDefence::logits(const Tensor& x) const {
  const auto out = function_.logits(x);
  if (out.dim() != 2 || out.size(0) != x.size(0) || out.size(1) != function_.classes)
    fail("FunctionDefence: the function needs to give logits [{},{}], but gives [{}]", x.size(0), function_.classes,
         fmt::join(out.sizes(), ","));
  passes_->forward += x.size(0);
  if (out.requires_grad())
    out.register_hook([passes = passes_, n = x.size(0)](const Tensor&) { passes->backward += n; });
  return out;
}

/// One draw's logits [N,K] of the rows, in the context of the target.
Tensor FunctionDefence::in_context(const Tensor& x, const Tensor& index, size_t target) const {
  const auto& name = targets_[target].name;
  if (name.empty() || name == "joint") return logits(x);
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < x.size(0); ++i) {
    if (name == "alone") {
      rows.push_back(logits(x.slice(0, i, i + 1)));
      continue;
    }
    const auto [batch, row] = company_->with(x[i], index[i].item<int64_t>());
    rows.push_back(logits(batch).slice(0, row, row + 1));
  }
  return rows.empty() ? at::empty({0, function_.classes}, x.options()) : at::cat(rows);
}

/// Of a random function.
Tensor FunctionDefence::votes(const Tensor& x, const Tensor& index, size_t target) const {
  return votes_of_draws(options_.seed, options_.draws, [&](int64_t) { return in_context(x, index, target); }).counts;
}

/// If a prediction needs other images or random draws, run() makes no pass: it returns the images as features and NaN
/// as logits. predict() then calls the function.
Output FunctionDefence::run(const Tensor& x) {
  if (!by_images_) return {{}, logits(x)};
  return {x, at::full({x.size(0), function_.classes}, std::numeric_limits<float>::quiet_NaN(), x.options())};
}

Tensor FunctionDefence::predict(const Output& pass, const Tensor& index, size_t target) {
  if (!by_images_) return pass.logits;
  return function_.random ? votes(pass.features, index, target) : in_context(pass.features, index, target);
}

std::vector<Tensor> FunctionDefence::predict_all(const Output& pass, const Tensor& index, bool whole_batch) {
  std::vector<Tensor> all;
  for (size_t t = 0; t < targets_.size(); ++t)
    all.push_back(targets_[t].coupling == Coupling::batch && !whole_batch ? Tensor() : predict(pass, index, t));
  return all;
}

/// A stand-in where the pass is the images. A random defence may be attacked through one that is as random: averaged
/// over as many draws as its own gradient. Another network keeps one draw.
Surrogate FunctionDefence::of_images(Surrogate surrogate) const {
  if (!surrogate.logits && !surrogate.objective) return surrogate;  // it only queries
  const bool averaged = function_.random && surrogate.kind != SurrogateKind::transfer;
  const int64_t draws = averaged ? (options_.draws + surrogate.averages - 1) / surrogate.averages : 1;
  const auto in_draws = [draws, random = function_.random, seed = options_.seed](const Tensor& x, const auto& ask) {
    return random ? mean_over_draws(seed, draws, ask, x.device()) : ask();
  };
  const Tensor none;
  if (surrogate.logits)
    surrogate.logits = [one = std::move(surrogate.logits), in_draws, none](const SurrogateInput& in) {
      return in_draws(in.x, [&] { return one({in.x, none, none, in.index}); });
    };
  if (surrogate.objective)
    surrogate.objective = [one = std::move(surrogate.objective), in_draws, none](const SurrogateInput& in,
                                                                                 const Loss& loss) {
      return in_draws(in.x, [&] { return one({in.x, none, none, in.index}, loss); });
    };
  surrogate.own_passes = draws * std::max<int64_t>(surrogate.own_passes, 1);
  return surrogate;
}

Surrogate FunctionDefence::own_gradient(size_t target) const {
  auto own = own_surrogate("its own gradient");
  if (function_.random) own.name = "eot", own.summary = "its own gradient, averaged over draws";
  own.own_passes = by_images_ ? passes_per_row(target) : 0;
  own.exact = !function_.random && function_.exact_gradient;
  own.in_crowds = true;
  if (!function_.differentiable) own.unavailable = "the model has no gradient";
  // The pass of a defence that shares it is what the gradient goes through; otherwise its images are.
  if (by_images_)
    own.logits = [*this, target](const SurrogateInput& in) {
      // The pass holds the images: those of the rows, or of a whole batch of which some rows are attacked.
      const auto& x = in.z;
      const auto ask = [&] { return in_context(x, in.index, target); };
      return function_.random ? mean_over_draws(options_.seed, options_.draws, ask) : ask();
    };
  return own;
}

std::vector<Surrogate> FunctionDefence::surrogates(size_t target, const SurrogateSelection& selection) const {
  std::vector<Surrogate> all{own_gradient(target)};
  if (function_.coupling == Coupling::batch)
    for (auto& surrogate : model_space_surrogates(all.front(), targets_[target].coupling == Coupling::batch))
      all.push_back(std::move(surrogate));
  for (const auto& surrogate : options_.surrogates) all.push_back(by_images_ ? of_images(surrogate) : surrogate);
  const auto has = [&](SurrogateKind kind) {
    return std::any_of(all.begin(), all.end(), [&](const auto& s) { return s.kind == kind; });
  };
  if (!has(SurrogateKind::query)) all.push_back(query_surrogate());
  if (!has(SurrogateKind::decision)) all.push_back(decision_surrogate());
  for (auto& surrogate : all)
    if (surrogate.kind == SurrogateKind::decision && targets_[target].coupling == Coupling::batch)
      surrogate.unavailable = "it follows single images";
  auto asked = selection;
  asked.more.insert(asked.more.end(), options_.always.begin(), options_.always.end());
  return selected(all, asked);
}

int64_t FunctionDefence::passes_per_row(size_t target) const {
  const int64_t rows = targets_[target].name == "solo" ? options_.company_size : 1;
  return rows * (function_.random ? options_.draws : 1);
}

int64_t FunctionDefence::starts(const SurrogateSelection& selection) const {
  return std::max<int64_t>(white_box_count(surrogates(0, selection)), 1);
}

std::vector<Tensor> FunctionDefence::batches() const {
  std::vector<Tensor> all;
  if (company_)
    for (const auto& rows : company_->batches) all.push_back(company_->images.index.index_select(0, rows));
  return all;
}

}  // namespace hpm
