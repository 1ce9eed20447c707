#include "hpm/data/catalogue.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/io/file.h"
#include "hpm/io/gzip.h"
#include "hpm/io/md5.h"
#include "hpm/io/sha256.h"
#include "hpm/io/tensors.h"
#include "hpm/io/unpack.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kLargestFile = uint64_t{512} << 20;  // decompressed; the largest of these data sets has 182 MB

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// The file, or without its .gz; "" where neither is there.
std::string resolve(const fs::path& folder, const std::string& name) {
  if (is_file(folder / name)) return (folder / name).string();
  if (name.ends_with(".gz"))
    if (const auto plain = folder / name.substr(0, name.size() - 3); is_file(plain)) return plain.string();
  return {};
}

bool complete(const fs::path& folder, const std::vector<DatasetFile>& files) {
  return std::ranges::all_of(files, [&](const auto& file) { return !resolve(folder, file.name).empty(); });
}

/// The root itself counts as a data set's folder only when its name says so: MNIST and Fashion-MNIST share file names.
std::vector<fs::path> candidates(const fs::path& root, const DatasetLayout& layout) {
  std::vector<fs::path> out;
  for (const auto& folder : layout.folders) {
    out.push_back(folder == "." ? root : root / folder);
    const auto given = root.has_filename() ? root : root.parent_path();
    if (given.filename() == folder) out.push_back(root);
  }
  return out;
}

std::unique_ptr<ByteSource> open_file(const std::string& path) {
  if (path.ends_with(".gz")) return std::make_unique<BytesSource>(path, gunzip_file(path, kLargestFile));
  auto file = std::make_unique<FileSource>(path);
  if (file->size() > kLargestFile)
    fail("{}: has {} bytes; no file of the known data sets has over {}", path, file->size(), kLargestFile);
  return file;
}

Sources open_files(const FoundDataset& found, const std::vector<DatasetFile>& files) {
  Sources out;
  if (!found.archive) {
    for (const auto& file : files) out.push_back(open_file(found.path(file)));
    return out;
  }
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(found.layout->folders.front() + "/" + file.name);
  auto members = read_members(found.place, names, kLargestFile);
  for (size_t i = 0; i < names.size(); ++i)
    out.push_back(std::make_unique<BytesSource>(found.place + "/" + names[i], std::move(members[i])));
  return out;
}

}  // namespace

const DatasetFormat& dataset_format(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& format : dataset_formats()) {
    if (format.name == name) return format;
    names.push_back(format.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("data: needs one of {}, images:DIR, npz:FILE or npy:FILE, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

std::vector<std::string> data_roots(const std::string& root) {
  if (!root.empty()) return {root};
  std::vector<std::string> roots;
  if (const char* given = std::getenv("HPM_DATA"); given && *given) roots.emplace_back(given);
  for (const char* place : {"data", "/usr/share/datasets", "/usr/local/share/datasets"}) roots.emplace_back(place);
  return roots;
}

std::string FoundDataset::path(const DatasetFile& file) const { return resolve(place, file.name); }

FoundDataset find_dataset(const DatasetFormat& format, const std::string& split, const std::string& root) {
  for (const auto& place : data_roots(root)) {
    for (const auto& layout : format.layouts)
      for (const auto& folder : candidates(place, layout))
        if (complete(folder, layout.files(split))) return {&layout, folder.string(), false};
    for (const auto& layout : format.layouts)
      if (!layout.archive.name.empty() && is_file(fs::path(place) / layout.archive.name))
        return {&layout, (fs::path(place) / layout.archive.name).string(), true};
  }
  return {};
}

std::string checksum_of(const std::string& path, const DatasetFile& expected) {
  if (path.ends_with(".tar.gz")) return sha256_of_file(path);
  const auto file = open_file(path);
  return expected.checksum.size() == 32 ? md5(file->read(0, file->size())) : sha256_of(*file);
}

Dataset load_catalogued(const std::string& name, const std::string& split, const std::string& root) {
  const auto& format = dataset_format(name);
  const auto found = find_dataset(format, split, root);
  if (!found) {
    std::vector<std::string> wanted;
    for (const auto& layout : format.layouts) {
      wanted.push_back(layout.folders.front() + "/" + layout.files(split).front().name);
      if (!layout.archive.name.empty()) wanted.push_back(layout.archive.name);
    }
    fail(
        "data: {} ({}) was not found: looked for {} in {}. To get it: {}; --data-root or HPM_DATA name the folder "
        "<root>",
        name, split, fmt::join(wanted, ", "), fmt::join(data_roots(root), ", "), format.how_to_get);
  }
  Dataset data{.name = name, .split = split, .folder = printable_utf8(found.place), .class_names = format.class_names};
  std::vector<Tensor> pixels, labels;
  for (auto& part : found.layout->read(open_files(found, found.layout->files(split)), data.classes())) {
    pixels.push_back(to_tensor(std::move(part.images)));
    labels.push_back(torch::tensor(part.labels, at::kLong));
  }
  data.pixels = pixels.size() == 1 ? pixels[0] : at::cat(pixels);
  data.labels = at::cat(labels);
  return data;
}

}  // namespace hpm
