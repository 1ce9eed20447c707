#include "hpm/attacks/square_windows_impl.h"

#include "hpm/core/transfer.h"

namespace hpm {

Windows::Windows(const Tensor& corner, int64_t side, const Tensor& like) : corner_(corner), side_(side) {
  if (corner.size(0) == 1) {
    row_ = corner[0][0].item<int64_t>(), column_ = corner[0][1].item<int64_t>();
    return;
  }
  const auto step = at::arange(side_, corner_.options());
  const auto rows = corner_.select(1, 0).view({-1, 1, 1}) + step.view({1, -1, 1});
  const auto columns = corner_.select(1, 1).view({-1, 1, 1}) + step.view({1, 1, -1});
  places_ = (rows * like.size(3) + columns).view({-1, 1, side_ * side_}).expand({like.size(0), like.size(1), -1});
}

Tensor Windows::read(const Tensor& x) const {
  if (!places_.defined()) return x.slice(2, row_, row_ + side_).slice(3, column_, column_ + side_);
  return x.flatten(2).gather(2, places_).view({x.size(0), x.size(1), side_, side_});
}

void Windows::write(const Tensor& x, const Tensor& values) const {
  if (!places_.defined()) {
    read(x).copy_(values);
    return;
  }
  const auto full = values.expand({x.size(0), x.size(1), side_, side_}).reshape({x.size(0), x.size(1), -1});
  x.flatten(2).scatter_(2, places_, full);
}

Tensor Windows::mask(const Tensor& x) const {
  const auto row = at::arange(x.size(2), corner_.options()).view({1, 1, -1, 1});
  const auto column = at::arange(x.size(3), corner_.options()).view({1, 1, 1, -1});
  const auto top = corner_.select(1, 0).view({-1, 1, 1, 1}), left = corner_.select(1, 1).view({-1, 1, 1, 1});
  return row.ge(top) & row.lt(top + side_) & column.ge(left) & column.lt(left + side_);
}

void SquareDraws::begin(const Tensor& index, int64_t iteration, at::TensorOptions options) {
  index_ = index;
  iteration_ = iteration;
  position_ = 0;
  options_ = options;
}

Tensor SquareDraws::uniform(at::IntArrayRef tail, bool shared_by_rows) {
  const auto index = shared_ && shared_by_rows ? index_.slice(0, 0, 1) : index_;
  const auto u = streams_.uniform(index, {stream_, restart_, iteration_ + 1}, tail, position_);
  int64_t used = 1;
  for (auto size : tail) used *= size;
  position_ += (used + 3) / 4 * 4;
  return u;
}

Tensor SquareDraws::corner(int64_t free_rows, int64_t free_columns) {
  // In two draws if shared, as the authors' code makes them.
  const auto row = static_cast<double>(free_rows) * uniform({}, true);
  const auto column = static_cast<double>(free_columns) * uniform({}, true);
  return uploaded(at::stack({row, column}, 1).to(at::kLong), options_.device());
}

Tensor SquareDraws::transposed() { return uploaded(uniform({}, true).gt(.5), options_.device()); }

Tensor SquareDraws::signs(at::IntArrayRef tail, bool shared_by_rows) {
  return uploaded((2 * uniform(tail, shared_by_rows) - 1).sign(), options_);
}

namespace {

Tensor normalised(const Tensor& v, bool euclidean) { return v / (euclidean ? (v * v).sum().sqrt() : v.abs().sum()); }

/// A pyramid of nested rectangles around the middle of a rows x columns patch.
Tensor bump(int64_t rows, int64_t columns, bool euclidean, at::TensorOptions options) {
  auto delta = at::zeros({rows, columns}, options);
  const int64_t top = rows / 2, left = columns / 2;
  for (int64_t j = 0; j < std::max(rows / 2 + 1, columns / 2 + 1); ++j) {
    const auto height = at::full({}, static_cast<double>(j + 1), options).pow(euclidean ? 2 : 4).reciprocal();
    delta.slice(0, std::max<int64_t>(top - j, 0), std::min(top + j + 1, rows))
        .slice(1, std::max<int64_t>(left - j, 0), std::min(left + j + 1, columns))
        .add_(height);
  }
  return normalised(delta, euclidean);
}

}  // namespace

Tensor bump_pattern(int64_t side, bool euclidean, at::TensorOptions options) {
  const int64_t half = side / 2;
  return normalised(at::cat({bump(half, side, euclidean, options), -bump(side - half, side, euclidean, options)}),
                    euclidean);
}

}  // namespace hpm
