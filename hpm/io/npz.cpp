#include "hpm/io/npz.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/npy.h"
#include "hpm/io/zip.h"

namespace hpm {
namespace {

ZipArchive open(const ByteSource& source) {
  if (!ZipArchive::recognises(source)) {
    refuse_foreign_content(source);
    source.fail_at(0, "this is no .npz file: it is no zip archive");
  }
  return ZipArchive(source);
}

}  // namespace

std::vector<std::string> npz_names(const ByteSource& source) {
  std::vector<std::string> names;
  const auto zip = open(source);
  for (const auto& entry : zip.entries())
    if (entry.name.ends_with(".npy")) names.push_back(entry.name.substr(0, entry.name.size() - 4));
  return names;
}

NamedStoredTensors read_npz(const ByteSource& source, const std::vector<std::string>& names) {
  const auto zip = open(source);
  const auto present = npz_names(source);
  for (const auto& name : names)
    if (std::ranges::find(present, name) == present.end())
      source.fail_at(0, "there is no array \"{}\" in the file; it holds: {}", name, fmt::join(present, ", "));
  NamedStoredTensors out;
  for (const auto& name : present) {
    if (!names.empty() && std::ranges::find(names, name) == names.end()) continue;
    const auto& entry = *zip.find(name + ".npy");
    const Bytes bytes = zip.read(entry);
    out.emplace_back(name, read_npy(MemorySource(source.name() + "/" + entry.name, bytes)));
  }
  return out;
}

NamedStoredTensors read_npz(const std::string& path, const std::vector<std::string>& names) {
  return read_npz(FileSource(path), names);
}

}  // namespace hpm
