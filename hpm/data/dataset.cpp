#include "hpm/data/dataset.h"

#include "hpm/core/error.h"
#include "hpm/core/fields.h"
#include "hpm/data/formats_impl.h"

namespace hpm {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kDigits{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};

}  // namespace

Tensor Dataset::images(const Tensor& index) const {
  return pixels.index_select(0, index.to(at::kCPU)).to(at::kFloat).div_(255);
}
Tensor Dataset::images(int64_t begin, int64_t end) const {
  return pixels.slice(0, begin, end).to(at::kFloat).div_(255);
}

const std::vector<DatasetFormat>& dataset_formats() {
  static const std::vector<DatasetFormat> table = {
      {"fashion-mnist",
       "fashion-mnist",
       "apt-get install dataset-fashion-mnist",
       {{"train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
        {"train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"}},
       {{"t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
        {"t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}},
       {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"},
       read_idx_files},
      {"mnist",
       "mnist",
       "the four IDX files of the MNIST database (train-images-idx3-ubyte.gz and so on) in <root>/mnist",
       {{"train-images-idx3-ubyte.gz", ""}, {"train-labels-idx1-ubyte.gz", ""}},
       {{"t10k-images-idx3-ubyte.gz", ""}, {"t10k-labels-idx1-ubyte.gz", ""}},
       kDigits,
       read_idx_files},
      {"cifar10",
       "cifar-10-batches-bin",
       "the binary version of CIFAR-10 (cifar-10-binary.tar.gz), unpacked",
       {{"data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
        {"data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
        {"data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
        {"data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
        {"data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"}},
       {{"test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"}},
       {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"},
       read_cifar10_files},
  };
  return table;
}

const DatasetFormat& dataset_format(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& format : dataset_formats()) {
    if (format.name == name) return format;
    names.push_back(format.name);
  }
  const auto nearest = nearest_name(name, names);
  fail_usage("data: needs one of {}, but got \"{}\"{}", fmt::join(names, ", "), name,
             nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

std::vector<std::string> data_roots(const std::string& root) {
  if (!root.empty()) return {root};
  std::vector<std::string> roots;
  if (const char* given = std::getenv("HPM_DATA")) roots.emplace_back(given);
  for (const char* place : {"data", "/usr/share/datasets", "/usr/local/share/datasets"}) roots.emplace_back(place);
  return roots;
}

std::string find_dataset(const DatasetFormat& format, const std::string& split, const std::string& root) {
  const auto& files = split == "train" ? format.train : format.test;
  for (const auto& place : data_roots(root))
    for (const auto& folder : {fs::path(place) / format.folder, fs::path(place)}) {
      const bool complete = std::all_of(files.begin(), files.end(), [&](const auto& file) {
        std::error_code ignored;
        return fs::exists(folder / file.name, ignored);
      });
      // A root that is itself the folder counts only when its name says so: MNIST and Fashion-MNIST share file names.
      if (complete && folder.filename() == format.folder) return folder.string();
    }
  return {};
}

Dataset load_dataset(const std::string& name, const std::string& split, const std::string& root) {
  const auto& format = dataset_format(name);
  require(split == "train" || split == "test", "split: needs train or test, but got \"{}\"", split);
  Dataset data{
      .name = name, .split = split, .folder = find_dataset(format, split, root), .class_names = format.class_names};
  if (data.folder.empty())
    fail(
        "data: {} ({}) was not found: looked for {}/{} in {}. To get it: {}; --data-root or HPM_DATA name the parent "
        "of {}",
        name, split, format.folder, (split == "train" ? format.train : format.test).front().name,
        fmt::join(data_roots(root), ", "), format.how_to_get, format.folder);
  format.read(data.folder, split == "train" ? format.train : format.test, data);
  return data;
}

}  // namespace hpm
