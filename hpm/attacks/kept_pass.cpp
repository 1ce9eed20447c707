#include "hpm/attacks/kept_pass.h"

namespace hpm {
namespace {

constexpr const char* kRows = "rows";  // what a log adds to a piece

/// Batches that make a piece of work, and the places of all their images.
struct Group {
  size_t begin = 0, end = 0;
  Tensor places;
};

/// Groups of consecutive batches, each with at least as many images as the log asks for.
std::vector<Group> groups_of(const std::vector<Tensor>& batches, int64_t least) {
  std::vector<Group> all;
  for (size_t begin = 0; begin < batches.size();) {
    int64_t images = 0;
    auto end = begin;
    while (end < batches.size() && images < least) images += batches[end++].numel();
    const auto first = batches.begin() + static_cast<std::ptrdiff_t>(begin);
    all.push_back({begin, end, at::cat(std::vector<Tensor>(first, first + static_cast<std::ptrdiff_t>(end - begin)))});
    begin = end;
  }
  return all;
}

/// The parts one after the other, by name.
NamedTensors joined(const std::vector<NamedTensors>& parts) {
  NamedTensors all;
  if (parts.empty()) return all;
  for (const auto& [name, first] : parts.front()) {
    if (name == kRows) continue;
    std::vector<Tensor> tensors;
    for (const auto& part : parts) tensors.push_back(find_tensor(part, name));
    all.emplace_back(name, at::cat(tensors));
  }
  return all;
}

}  // namespace

std::vector<Tensor> consecutive_batches(int64_t n, int64_t size) {
  std::vector<Tensor> all;
  for (int64_t begin = 0; begin < n; begin += size) all.push_back(at::arange(begin, std::min(begin + size, n)));
  return all;
}

NamedTensors kept_pass(const WorkLog& log, const std::string& name, const ImageSet& images,
                       const std::vector<Tensor>& batches,
                       const std::function<NamedTensors(const Images& batch)>& pass) {
  const auto groups = groups_of(batches, log.piece_size(images.size(), images.size()));
  std::vector<PieceOfWork> pieces;
  for (const auto& group : groups)
    pieces.push_back({groups.size() == 1 ? name : fmt::format("{}/{}", name, group.begin),
                      images.index.index_select(0, group.places)});
  const auto work = [&](size_t i) {
    std::vector<NamedTensors> parts;
    for (auto b = groups[i].begin; b < groups[i].end; ++b) parts.push_back(pass(images.select(batches[b])));
    return joined(parts);
  };
  std::vector<NamedTensors> parts;
  log.each(pieces, work, [&](size_t, const NamedTensors& done) { parts.push_back(done); });
  auto all = joined(parts);
  const auto places = batches.empty() ? at::arange(0) : at::cat(batches);
  if (places.equal(at::arange(images.size()))) return all;
  for (auto& [key, tensor] : all) {
    auto sizes = tensor.sizes().vec();
    sizes.front() = images.size();
    tensor = at::zeros(sizes, tensor.options()).index_copy_(0, places.to(tensor.device()), tensor);
  }
  return all;
}

}  // namespace hpm
