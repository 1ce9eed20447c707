#include "hpm/data/image_folder.h"

#include <ATen/Parallel.h>

#include "hpm/core/error.h"
#include "hpm/core/text.h"
#include "hpm/io/file.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;

at::Tensor decode(const std::string& path, const ImageOptions& options) {
  return prepare_image(decode_image(FileSource(path)), options, path);
}

class FolderImages : public ImageReader {
 public:
  FolderImages(std::vector<std::string> paths, const ImageOptions& options)
      : paths_(std::move(paths)), options_(options), shape_(decode(paths_.front(), options).sizes().vec()) {}

  std::vector<int64_t> shape() const override { return shape_; }
  std::string path(int64_t number) const override { return paths_.at(static_cast<size_t>(number)); }

  Tensor read(const Tensor& index) const override {
    const auto count = index.numel();
    const auto numbers = index.contiguous();
    const auto* number = numbers.const_data_ptr<int64_t>();
    auto out = at::empty({count, shape_[0], shape_[1], shape_[2]}, at::kByte);
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        require(number[i] >= 0 && number[i] < static_cast<int64_t>(paths_.size()),
                "images: needs image numbers below {}, but got {}", paths_.size(), number[i]);
        const auto& path = paths_[static_cast<size_t>(number[i])];
        const auto image = decode(path, options_);
        if (image.sizes() != at::IntArrayRef(shape_))
          fail(
              "{}: is {}x{}, but {} is {}x{}; bring them to one size with --resize and --centre-crop (ImageNet: 256, "
              "224)",
              path, image.size(2), image.size(1), paths_.front(), shape_[2], shape_[1]);
        out[i].copy_(image);
      }
    });
    return out;
  }

 private:
  std::vector<std::string> paths_;
  ImageOptions options_;
  std::vector<int64_t> shape_;
};

/// Endings that torchvision's ImageFolder reads and this build does not. Leaving such a file out would shift the
/// numbers of all later images.
bool is_foreign_image(const std::string& name) {
  auto extension = fs::path(name).extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::array<std::string_view, 7> foreign{".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"};
  return std::ranges::find(foreign, extension) != foreign.end();
}

/// What systems and tools put beside images: hidden files (of macOS "._a.png", which has an image's name), caches.
bool is_hidden(const std::string& name) {
  const std::array<std::string_view, 6> tools{
      "__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"};
  return name.starts_with('.') || std::ranges::find(tools, name) != tools.end();
}

struct Contents {
  std::map<std::string, std::vector<std::string>> names;  ///< of images, by folder
  std::vector<std::string> hidden;                        ///< folders and images that were left out
};

/// Adds the images of a folder and of its sub-folders; `above` are the folders around it, without links.
void walk(const fs::path& folder, std::vector<fs::path> above, Contents& images) {
  std::error_code code;
  const auto here = fs::canonical(folder, code);
  if (std::ranges::find(above, here) != above.end())
    fail("{}: is a link to a folder that it lies in; take it out", folder.string());
  above.push_back(here);
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
    const auto name = entry->path().filename().string();
    std::error_code broken;
    const bool directory = entry->is_directory(broken);
    if (is_hidden(name)) {
      if (directory || has_image_extension(name)) images.hidden.push_back(entry->path().string());
    } else if (directory) walk(entry->path(), above, images);
    else if (has_image_extension(name)) images.names[folder.string()].push_back(name);
    else if (is_foreign_image(name))
      fail("{}: JPEG and PNG images can be read; convert it, or take it out", entry->path().string());
  }
  if (code) fail("{}: cannot be read: {}", folder.string(), code.message());
}

/// The images below a folder, sorted by folder, then by name; what was left out is added to `hidden`.
std::vector<std::string> images_below(const fs::path& folder, std::vector<std::string>& hidden) {
  Contents images;
  walk(folder, {}, images);
  hidden.insert(hidden.end(), images.hidden.begin(), images.hidden.end());
  std::vector<std::string> paths;
  for (auto& [parent, names] : images.names) {
    std::ranges::sort(names);
    for (const auto& name : names) paths.push_back(parent + "/" + name);
  }
  return paths;
}

void require_folder(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    fail("images:{}: there is no such folder; name one that holds images (JPEG, PNG)", folder);
}

/// Sorted by their bytes; hidden ones are added to `hidden`.
std::vector<std::string> subfolders(const std::string& folder, std::vector<std::string>& hidden) {
  std::vector<std::string> names;
  std::error_code code, ignored;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code))
    if (entry->is_directory(ignored)) {
      auto name = entry->path().filename().string();
      (is_hidden(name) ? hidden : names).push_back(is_hidden(name) ? entry->path().string() : std::move(name));
    }
  if (code) fail("{}: cannot be read: {}", folder, code.message());
  std::ranges::sort(names);
  return names;
}

/// Says what was left out: torchvision's ImageFolder takes hidden folders as classes, which moves the labels of all
/// others.
void note_hidden(Dataset& data, std::vector<std::string> hidden) {
  if (hidden.empty()) return;
  std::ranges::sort(hidden);
  const auto more = hidden.size() > 6 ? fmt::format(" and {} more", hidden.size() - 6) : "";
  hidden.resize(std::min<size_t>(hidden.size(), 6));
  data.notes.push_back(
      printable_utf8(fmt::format("{}: hidden folders and files are no classes or images and were left out: {}{}",
                                 data.folder, fmt::join(hidden, ", "), more)));
}

}  // namespace

Dataset load_image_folder(const std::string& folder, const ImageOptions& options) {
  require_folder(folder);
  std::vector<std::string> hidden;
  const auto classes = subfolders(folder, hidden);
  Dataset data{.split = "all", .folder = printable_utf8(folder)};
  if (classes.empty())
    fail("images:{}: needs one sub-folder with images for each class, as torchvision's ImageFolder, but has none",
         folder);
  std::vector<std::string> paths;
  std::vector<int64_t> labels;
  for (const auto& name : classes) {
    auto images = images_below(fs::path(folder) / name, hidden);
    if (images.empty())
      fail("images:{}: the class {} has no images (JPEG, PNG); fill the folder, or take it out", folder, name);
    paths.insert(paths.end(), std::make_move_iterator(images.begin()), std::make_move_iterator(images.end()));
    labels.resize(paths.size(), data.classes());
    data.class_names.push_back(printable_utf8(name));
  }
  note_hidden(data, std::move(hidden));
  data.labels = torch::tensor(labels, at::kLong);
  data.reader = std::make_shared<FolderImages>(std::move(paths), options);
  return data;
}

Dataset load_unlabelled_folder(const std::string& folder, const ImageOptions& options) {
  require_folder(folder);
  std::vector<std::string> hidden;
  auto paths = images_below(folder, hidden);
  if (paths.empty()) fail("images:{}: there are no images (JPEG, PNG) in the folder", folder);
  Dataset data{.split = "all", .folder = printable_utf8(folder)};
  note_hidden(data, std::move(hidden));
  data.labels = at::full({static_cast<int64_t>(paths.size())}, -1, at::kLong);
  data.reader = std::make_shared<FolderImages>(std::move(paths), options);
  return data;
}

}  // namespace hpm
