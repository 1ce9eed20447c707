#include "commands/commands.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "options.h"

namespace hpm::app {
namespace {

int list(const std::string& root, bool json) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows{{"data set", "test", "train", "how to get it"}};
  for (const auto& format : dataset_formats()) {
    const auto test = find_dataset(format, "test", root), train = find_dataset(format, "train", root);
    all.push_back({{"name", format.name}, {"test", test}, {"train", train}, {"how_to_get", format.how_to_get}});
    rows.push_back({format.name, test.empty() ? "-" : test, train.empty() ? "-" : train, format.how_to_get});
  }
  if (json) fmt::print("{}\n", all.dump(1));
  else fmt::print("{}", table(rows));
  return 0;
}

/// Checksums of every file, and a full read of both splits.
int verify(const std::string& name, const std::string& root, bool json) {
  require(!name.empty(), "data verify: needs a data set's name (hpm data list)");
  const auto& format = dataset_format(name);
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  bool good = true;
  for (const std::string split : {"train", "test"}) {
    const auto data = load_dataset(name, split, root);
    for (const auto& file : split == "train" ? format.train : format.test) {
      const auto found = sha256_of_dataset_file(data.folder + "/" + file.name);
      const std::string verdict = file.sha256.empty() ? "no checksum known" : found == file.sha256 ? "ok" : "differs";
      good &= verdict != "differs";
      files.push_back({{"file", data.folder + "/" + file.name}, {"sha256", found}, {"verdict", verdict}});
      if (!json) fmt::print("{:<18} {}/{}\n", verdict, data.folder, file.name);
    }
    if (!json) fmt::print("{} {}: {} images, {}\n", name, split, data.size(), fmt::join(data.image_shape(), "x"));
  }
  if (json) fmt::print("{}\n", nlohmann::ordered_json{{"name", name}, {"ok", good}, {"files", files}}.dump(1));
  if (!good) fail("data verify: a file of {} differs from the published one; get it anew", name);
  return 0;
}

}  // namespace

int data(const Arguments& arguments) {
  CommandLine line("data", "list: the known data sets and where they are. verify NAME: checksums and a full read.",
                   "hpm data verify cifar10 --data-root DIR");
  std::vector<std::string> words;
  std::string root;
  line.positional("list|verify [NAME]", words);
  line.fields.section("data").add("data-root", root, "parent of the data set's folder");
  if (!line.parse(arguments)) return 0;
  const auto what = words.empty() ? "list" : words[0];
  require(words.size() <= 2, "data: too many arguments");
  if (what == "list") return list(root, line.json);
  if (what == "verify") return verify(words.size() > 1 ? words[1] : "", root, line.json);
  fail_usage("data: needs list or verify, but got \"{}\"", what);
}

}  // namespace hpm::app
