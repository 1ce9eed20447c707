#include "commands/commands.h"

#include <nlohmann/json.hpp>
#include <regex>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/core/text.h"
#include "hpm/defences/defence_options.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/run/dataset_images.h"
#include "hpm/io/file.h"
#include "hpm/io/npy.h"
#include "options.h"

namespace hpm::app {
namespace {

Dataset load_input(const std::string& input, const DataOptions& options, CommandLine& line) {
  for (const char* name : {"count", "first", "indices", "split", "data-root"})
    line.warn_unused(name, "--input gives the images");
  if (!input.starts_with("images:"))
    for (const char* name : {"resize", "centre-crop", "interpolation"}) line.warn_unused(name, "it is for images:DIR");
  auto data = load_images(input, options.images);
  say_notes(data, line.monitor());
  return data;
}

/// "index,label", and the file of an image that has its own.
std::string labels_csv(const Dataset& data, const Tensor& index, const Tensor& labels) {
  const bool files = data.reader && !data.reader->path(0).empty();
  std::string csv = files ? "index,label,file\n" : "index,label\n";
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const auto number = index[i].item<int64_t>();
    csv += fmt::format("{},{}", number, labels[i].item<int64_t>());
    if (files)
      csv += ",\"" + std::regex_replace(printable_utf8(data.reader->path(number)), std::regex("\""), "\"\"") + "\"";
    csv += "\n";
  }
  return csv;
}

}  // namespace

int predict(const Arguments& arguments) {
  CommandLine line("predict", "Writes logits.npy, labels.npy and labels.csv for images.",
                   "hpm predict --model FILE --input x.npy --out DIR");
  ModelOptions model_options;
  DataOptions data_options{.data = ""};
  ComputeOptions compute;
  std::string input, context = "reference";
  int64_t company = 128;
  fields(line.fields, model_options);
  fields(line.fields, data_options, "test");
  line.fields.section("input").add("input", input, "x.npy, x.npz or images:DIR (docs/data.md)");
  line.fields.add("context", context, "of an HPM model",
                  {.choices = {"reference", "alone", "solo", "solo-eot", "joint"}});
  line.fields.add("company", company, "company size of solo and joint", {.min = 1, .unit = "images"});
  hpm::fields(line.fields, compute);
  line.with_run_directory(false);
  if (!line.parse(arguments)) return 0;
  require(input.empty() != data_options.data.empty(), "predict: needs either --input or --data");
  configure_threads(compute.threads);
  const auto data = input.empty() ? load(data_options, line) : load_input(input, data_options, line);
  const auto index = input.empty() ? image_numbers(data_options, data) : at::arange(data.size());
  auto model = load(model_options, model_options.model, data.image_shape(), line.monitor());
  const auto device = parse_device(compute.device);
  model.to(device);
  const auto run = open_run(line, "predict", compute, 0);
  const auto images = image_set(data, index, device, "");
  DefenceOptions options;
  options.contexts = {context}, options.company_size = company, options.batch_size = compute.batch_size;
  const auto defence = make_defence(model, images, options);
  const auto logits = predict_logits(*defence, 0, images, compute.batch_size).to(at::kCPU);
  // A row with NaN has no largest logit.
  const auto labels = logits.argmax(1).masked_fill(logits.isnan().any(1), -1);
  write_npy(run.file("logits.npy"), to_stored(logits));
  write_npy(run.file("labels.npy"), to_stored(labels));
  run.write("labels.csv", labels_csv(data, index, labels));
  if (line.json) fmt::print("{}\n", json_text(nlohmann::ordered_json{{"out", run.path()}, {"n", labels.numel()}}));
  else fmt::print("{} images: {}\n", labels.numel(), run.path());
  if (const auto bad = not_finite(logits, index)) {
    line.monitor().warn(fmt::format("{}: {}; the label of a row with NaN is -1", model_options.model, bad->text()));
    return 3;
  }
  return 0;
}

}  // namespace hpm::app
