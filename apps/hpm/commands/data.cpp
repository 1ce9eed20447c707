#include <nlohmann/json.hpp>

#include "commands/commands.h"
#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/data/catalogue.h"
#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/unpack.h"
#include "options.h"

namespace hpm::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

int list(const std::string& root, bool json) {
  Json all = Json::array();
  std::vector<std::vector<std::string>> rows{{"data set", "test", "train", "how to get it"}};
  for (const auto& format : dataset_formats()) {
    const auto test = find_dataset(format, "test", root), train = find_dataset(format, "train", root);
    all.push_back(
        {{"name", format.name}, {"test", test.place}, {"train", train.place}, {"how_to_get", format.how_to_get}});
    rows.push_back({format.name, test ? test.place : "-", train ? train.place : "-", format.how_to_get});
  }
  if (json) fmt::print("{}\n", json_text(all, 1));
  else fmt::print("{}", table(rows));
  return 0;
}

/// Checksums of the files of a data set, each of them once, and a full read of the splits that are there.
class Verification {
 public:
  Verification(const std::string& name, const std::string& root, bool json)
      : format_(dataset_format(name)), root_(root), json_(json) {}

  int run() {
    bool any = false;
    for (const std::string split : {"train", "test"}) {
      const auto found = find_dataset(format_, split, root_);
      if (!found) {
        say("{:<18} the {} split", "not found", split);
        continue;
      }
      any = true;
      if (found.archive) check(found.place, found.layout->archive);
      else
        for (const auto& file : found.layout->files(split)) check(found.path(file), file);
      if (!good_) continue;
      const auto data = load_dataset(format_.name, split, root_);
      say("{} {}: {} images, {}", format_.name, split, data.size(),
          fmt::format("{}", fmt::join(data.image_shape(), "x")));
    }
    if (!any) load_dataset(format_.name, "test", root_);  // says where it was looked for
    if (json_) fmt::print("{}\n", json_text(Json{{"name", format_.name}, {"ok", good_}, {"files", files_}}, 1));
    if (!good_) fail("data verify: a file of {} differs from the published one; get it anew", format_.name);
    return 0;
  }

 private:
  void check(const std::string& path, const DatasetFile& expected) {
    for (const auto& file : files_)
      if (file["file"] == path) return;
    const auto found = checksum_of(path, expected);
    const bool same = found == expected.checksum;
    good_ &= same;
    if (!same) refuse_foreign_content(FileSource(path), true);  // with what it is, and what to do
    files_.push_back({{"file", path}, {"checksum", found}, {"verdict", same ? "ok" : "differs"}});
    say("{:<18} {}", same ? "ok" : "differs", path);
  }
  template <class... A>
  void say(fmt::format_string<A...> format, A&&... arguments) const {
    if (!json_) fmt::print("{}\n", fmt::format(format, std::forward<A>(arguments)...));
  }

  const DatasetFormat& format_;
  std::string root_;
  bool json_, good_ = true;
  Json files_ = Json::array();
};

/// The archive that `what` names: a file, or a data set of which an archive lies in a data root.
fs::path archive_of(const std::string& what, const std::string& root) {
  std::error_code ignored;
  if (fs::is_regular_file(what, ignored)) return what;
  require(what.find_first_of("./") == std::string::npos, "data unpack: there is no file {}", what);
  std::vector<std::string> names;
  for (const auto& layout : dataset_format(what).layouts) {
    if (layout.archive.name.empty()) continue;
    names.push_back(layout.archive.name);
    for (const fs::path place : data_roots(root))
      if (fs::is_regular_file(place / names.back(), ignored)) return place / names.back();
  }
  require(!names.empty(), "data unpack: {} is not published as an archive", what);
  fail("data unpack: found no {} in {}; to get it: {}", fmt::join(names, " or "), fmt::join(data_roots(root), ", "),
       dataset_format(what).how_to_get);
}

int unpack(const std::string& what, const std::string& root, bool json) {
  require(!what.empty(), "data unpack: needs an archive, or a data set's name (hpm data list)");
  const auto archive = archive_of(what, root);
  for (const auto& format : dataset_formats())
    for (const auto& layout : format.layouts)
      if (layout.archive.name == archive.filename().string() &&
          checksum_of(archive.string(), layout.archive) != layout.archive.checksum)
        fail("{}: differs from the published file of this name (SHA-256); get it anew", archive.string());
  const auto folder = root.empty() ? archive.parent_path().string() : root;
  const auto done = unpack_archive(archive.string(), folder);
  if (json)
    fmt::print("{}\n",
               json_text(Json{{"folder", folder}, {"made", done.top}, {"files", done.files}, {"bytes", done.bytes}}));
  else
    fmt::print("{} files, {} bytes: {} in {}\n", done.files, done.bytes, fmt::join(done.top, ", "),
               folder.empty() ? "." : folder);
  return 0;
}

}  // namespace

int data(const Arguments& arguments) {
  CommandLine line("data",
                   "list: the known data sets and where they are. verify NAME: checksums and a full read. unpack "
                   "NAME|FILE: an archive, into --data-root or beside it.",
                   "hpm data verify cifar10 --data-root DIR");
  std::vector<std::string> words;
  std::string root;
  line.positional("list|verify|unpack [NAME|FILE]", words, {.suggestions = {"list", "verify", "unpack"}});
  line.fields.section("data").add("data-root", root, "parent of the data sets' folders", {.place = Place::folder});
  if (!line.parse(arguments)) return 0;
  const auto what = words.empty() ? "list" : words[0], name = words.size() > 1 ? words[1] : "";
  require(words.size() <= 2, "data: too many arguments");
  if (what == "list") return list(root, line.json);
  if (what == "unpack") return unpack(name, root, line.json);
  require(what == "verify", "data: needs list, verify or unpack, but got \"{}\"", what);
  require(!name.empty(), "data verify: needs a data set's name (hpm data list)");
  return Verification(name, root, line.json).run();
}

}  // namespace hpm::app
