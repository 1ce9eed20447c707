#include "hpm/training/trainer.h"

#include "hpm/core/error.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

void save_state(const std::string& path, Objective& objective, const Optimizer& optimizer, int64_t epochs_done,
                const std::string& fingerprint) {
  auto tensors = objective.model().state();
  tensors.emplace_back("optimizer", optimizer.state());
  write_safetensors(path, tensors, {{"epochs", std::to_string(epochs_done)}, {"fingerprint", fingerprint}});
}

/// Copies a stored state into objective and optimiser; returns the number of finished epochs.
int64_t restore_state(const std::string& path, Objective& objective, Optimizer& optimizer,
                      const std::string& fingerprint) {
  const auto file = read_checkpoint(path);
  const auto metadata = [&](const std::string& key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail("{}: is no training state: its metadata has no \"{}\"", path, key);
    return found->second;
  };
  if (metadata("fingerprint") != fingerprint)
    fail("{}: belongs to a run with other settings, data or model; give --overwrite, or another --out", path);
  const std::map<std::string, Tensor> stored(file.tensors.begin(), file.tensors.end());
  const auto stored_tensor = [&](const std::string& name) {
    const auto found = stored.find(name);
    if (found == stored.end()) fail("{}: has no tensor {}", path, name);
    return found->second;
  };
  torch::NoGradGuard guard;
  for (auto& [name, tensor] : objective.model().state())
    if (name != "hpm.lambda") tensor.copy_(stored_tensor(name));
  optimizer.restore(stored_tensor("optimizer"));
  return std::stoll(metadata("epochs"));
}

}  // namespace

void train(Objective& objective, const Dataset& data, const TrainOptions& options, Monitor& monitor,
           const std::function<void(const EpochReport&)>& after_epoch) {
  require(options.epochs >= 0 && options.batch >= 1, "train: needs epochs >= 0 and batch >= 1, but got {} and {}",
          options.epochs, options.batch);
  const int64_t n = options.images > 0 ? std::min(options.images, data.size()) : data.size();
  const int64_t steps = (n + options.batch - 1) / options.batch, total = steps * options.epochs;
  const auto device = objective.model().classifier.device();
  const RandomStreams streams(options.seed);
  Optimizer optimizer(options.optimizer, objective.parameters());
  int64_t first = 0;
  if (options.resume && std::filesystem::exists(options.state_file))
    first = restore_state(options.state_file, objective, optimizer, options.fingerprint);

  for (int64_t epoch = first; epoch < options.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    const auto order = streams.permutation(n, {"order", epoch});
    monitor.begin(fmt::format("epoch {}/{}", epoch + 1, options.epochs), n, "images");
    auto loss_sum = at::zeros({}, at::TensorOptions(device)),
         correct_sum = at::zeros({}, at::TensorOptions(device).dtype(at::kLong));
    for (int64_t step = 0; step < steps; ++step) {
      const auto index = order.slice(0, step * options.batch, std::min((step + 1) * options.batch, n));
      const auto x = augment(data.images(index), index, options.augment, streams, epoch).to(device);
      const auto y = data.labels.index_select(0, index).to(device);
      const auto report = objective.loss({x, y, index, epoch});
      optimizer.step(report.loss, epoch * steps + step, total);
      objective.after_step();
      loss_sum += report.loss.detach() * index.size(0);
      correct_sum += report.correct_adversarial;
      monitor.step(std::min((step + 1) * options.batch, n));
    }
    monitor.end();
    const double mean_loss = loss_sum.item<double>() / static_cast<double>(n);
    if (!std::isfinite(mean_loss)) fail("train: the loss is not finite in epoch {}; a lower --lr may help", epoch + 1);
    if (!options.state_file.empty())
      save_state(options.state_file, objective, optimizer, epoch + 1, options.fingerprint);
    if (after_epoch) {
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      after_epoch({epoch + 1, mean_loss, 100. * correct_sum.item<double>() / static_cast<double>(n), seconds});
    }
  }
}

}  // namespace hpm
