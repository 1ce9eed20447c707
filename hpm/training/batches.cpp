#include "hpm/training/batches.h"

#include "hpm/core/error.h"
#include "hpm/core/transfer.h"

namespace hpm {

TrainingSplit split_images(int64_t size, int64_t images, int64_t held_out, uint64_t seed) {
  const int64_t n = images > 0 ? std::min(images, size) : size;
  if (held_out == 0) return {at::arange(n), at::arange(0)};
  require(held_out > 0 && held_out < n,
          "train: the validation part needs fewer images than the {} there are to train on, but {} are asked for", n,
          held_out);
  const auto order = RandomStreams(seed).permutation(n, {"held out"});
  return {std::get<0>(order.slice(0, held_out).sort()), std::get<0>(order.slice(0, 0, held_out).sort())};
}

TrainingBatches::TrainingBatches(const Dataset& data, Tensor training, int64_t batch, const AugmentOptions& augment,
                                 ExtraImages extra, int64_t classes, uint64_t seed)
    : data_(data),
      training_(std::move(training)),
      augment_(augment),
      extra_(std::move(extra)),
      classes_(classes),
      own_(batch),
      from_extra_(0),
      streams_(seed) {
  if (extra_.data) {
    require(extra_.share > 0 && extra_.share < 1, "train: extra images need a share over 0 and below 1, but got {}",
            extra_.share);
    require(extra_.data->image_shape() == data.image_shape(),
            "train: extra images need the shape [{}] of {}, but {} has [{}]", fmt::join(data.image_shape(), ","),
            data.name, extra_.data->name, fmt::join(extra_.data->image_shape(), ","));
    const auto low = extra_.data->labels.min().item<int64_t>(), high = extra_.data->labels.max().item<int64_t>();
    require(low >= 0 && high < classes, "train: extra images need labels from 0 to {}, but {} has {} to {}",
            classes - 1, extra_.data->name, low, high);
    require(batch >= 2, "train: extra images need batches of at least 2, but got {}", batch);
    from_extra_ = std::clamp<int64_t>(std::llround(extra_.share * static_cast<double>(batch)), 1, batch - 1);
    own_ -= from_extra_;
  }
  steps_ = (training_.size(0) + own_ - 1) / own_;
}

int64_t TrainingBatches::images_of(int64_t step) const {
  return std::min(own_, training_.size(0) - step * own_) + from_extra_;
}
int64_t TrainingBatches::images() const { return training_.size(0) + steps_ * from_extra_; }

/// The extra images are read pass after pass, each in an order of its own, whatever the epochs.
Tensor TrainingBatches::extra_numbers(int64_t epoch, int64_t step) {
  const int64_t size = extra_.data->size(), first = (epoch * steps_ + step) * from_extra_;
  std::vector<Tensor> parts;
  for (int64_t at = first; at < first + from_extra_;) {
    const int64_t pass = at / size, begin = at % size, end = std::min(size, begin + first + from_extra_ - at);
    if (pass != extra_pass_) extra_order_ = streams_.permutation(size, {"extra order", pass}), extra_pass_ = pass;
    parts.push_back(extra_order_.slice(0, begin, end));
    at += end - begin;
  }
  return at::cat(parts);
}

TrainingBatch TrainingBatches::made(int64_t epoch, int64_t step) {
  if (epoch != order_epoch_)
    order_ = training_.index_select(0, streams_.permutation(training_.size(0), {"order", epoch})), order_epoch_ = epoch;
  auto index = order_.slice(0, step * own_, std::min((step + 1) * own_, order_.size(0)));
  auto x = data_.images(index), y = data_.labels.index_select(0, index);
  if (extra_.data) {
    const auto extra = extra_numbers(epoch, step);
    x = at::cat({x, extra_.data->images(extra)});
    y = at::cat({y, extra_.data->labels.index_select(0, extra)});
    index = at::cat({index, extra + data_.size()});
  }
  TrainingBatch batch{augment(x, index, augment_, streams_, epoch), y, index, epoch};
  if (augment_.cutmix > 0) {
    auto mixed = cutmix(batch.x, y, index, augment_.cutmix, classes_, streams_, epoch);
    batch.x = mixed.x, batch.y = mixed.y, batch.targets = mixed.targets;
  }
  return batch;
}

TrainingBatch TrainingBatches::get(int64_t epoch, int64_t step, at::Device device) {
  if (device.is_cpu()) return made(epoch, step);
  const bool there = ahead_.valid() && ahead_epoch_ == epoch && ahead_step_ == step;
  if (!there && ahead_.valid()) ahead_.wait();
  auto batch = there ? ahead_.get() : made(epoch, step);
  if (step + 1 < steps_) {
    ahead_epoch_ = epoch, ahead_step_ = step + 1;
    ahead_ = std::async(std::launch::async, [this, epoch, step] { return made(epoch, step + 1); });
  }
  for (auto* t : {&batch.x, &batch.y, &batch.targets})
    if (t->defined()) *t = uploaded(*t, device);
  return batch;
}

}  // namespace hpm
