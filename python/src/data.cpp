#include "engine.h"
#include "hpm/core/error.h"
#include "hpm/data/catalogue.h"
#include "hpm/data/dataset.h"

namespace hpm::python {
namespace {

/// Images first .. first + count - 1 of a data set (count 0: all that follow), their labels and what is known of both.
py::tuple load(const std::string& name, const std::string& split, const std::string& root, int64_t first, int64_t count,
               const std::map<std::string, int64_t>& sizes) {
  Dataset data;
  Tensor images, labels;
  {
    const py::gil_scoped_release released;
    ImageOptions options;
    if (const auto found = sizes.find("resize"); found != sizes.end()) options.resize = found->second;
    if (const auto found = sizes.find("crop"); found != sizes.end()) options.crop = found->second;
    data = load_dataset(name, split, root, options);
    require(first >= 0 && first < data.size(), "data: first needs an image below {}, but is {}", data.size(), first);
    const auto wanted = count > 0 ? count : data.size() - first;
    require(wanted <= data.size() - first, "data: {} images from {} on go beyond the {} images of {} {}", wanted, first,
            data.size(), data.name, data.split);
    images = data.images(first, first + wanted);
    labels = data.labels.slice(0, first, first + wanted).clone();
  }
  py::dict about;
  about["name"] = data.name;
  about["split"] = data.split;
  about["folder"] = data.folder;
  about["class_names"] = data.class_names;
  about["notes"] = data.notes;
  return py::make_tuple(images, labels, about);
}

}  // namespace

void declare_data(py::module_& module) {
  module.def("load_dataset", load);
  module.def("dataset_names", [] {
    std::vector<std::string> names;
    for (const auto& format : dataset_formats()) names.push_back(format.name);
    return names;
  });
}

}  // namespace hpm::python
