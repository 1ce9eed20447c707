#include "commands/commands.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/io/file.h"
#include "hpm/io/npy.h"
#include "options.h"

namespace hpm::app {

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
  line.fields.section("input").add("input", input, "x.npy or x.npz, images [N,C,H,W] in [0,1] or uint8");
  line.fields.add("context", context, "of an HPM model", {.choices = {"reference", "alone", "solo", "joint"}});
  line.fields.add("company", company, "company size of solo and joint", {.min = 1, .unit = "images"});
  hpm::fields(line.fields, compute);
  line.with_run_directory(false);
  if (!line.parse(arguments)) return 0;
  require(input.empty() != data_options.data.empty(), "predict: needs either --input or --data");
  configure_threads(compute.threads);
  if (!input.empty())
    for (const char* name : {"count", "first", "indices", "split", "data-root"})
      line.warn_unused(name, "--input gives the images");

  Images images;
  if (!input.empty()) {
    images.x = read_images(input);
    images.y = at::zeros({images.x.size(0)}, at::kLong);
    images.index = at::arange(images.x.size(0));
  } else {
    const auto data = load_dataset(data_options.data, data_options.split, data_options.root);
    images = images_of(data, image_numbers(data_options, data));
  }
  auto model = load(model_options, model_options.model, images.x.sizes().slice(1).vec(), line.monitor());
  const auto device = parse_device(compute.device);
  model.to(device);
  images.x = images.x.to(device);
  const auto run = open_run(line, "predict", compute, 0);
  const auto logits = predict_logits({model, make_context(model, context, images, company, 0, compute.batch_size)},
                                     images, compute.batch_size)
                          .to(at::kCPU);
  const auto labels = logits.argmax(1);
  write_npy(run.file("logits.npy"), to_stored(logits));
  write_npy(run.file("labels.npy"), to_stored(labels));
  std::string csv = "index,label\n";
  for (int64_t i = 0; i < labels.numel(); ++i)
    csv += fmt::format("{},{}\n", images.index[i].item<int64_t>(), labels[i].item<int64_t>());
  run.write("labels.csv", csv);
  if (line.json) fmt::print("{}\n", nlohmann::ordered_json{{"out", run.path()}, {"n", labels.numel()}}.dump());
  else fmt::print("{} images: {}\n", labels.numel(), run.path());
  return 0;
}

}  // namespace hpm::app
