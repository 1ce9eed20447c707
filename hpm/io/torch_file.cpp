#include "hpm/io/torch_file.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/pickle.h"
#include "hpm/io/zip.h"

namespace hpm {
namespace {

// MAGIC_NUMBER of torch/serialization.py as a pickled integer holds it; Pickle gives integers beyond 64 bits as text.
constexpr std::string_view magic_bytes = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                           magic_text = "0x1950a86a20f9469cfc6c";

constexpr const char *kZip = "PyTorch zip", *kLegacy = "PyTorch legacy pickle";

bool is_legacy(const ByteSource& source) {
  const Bytes head = source.read(0, std::min<uint64_t>(source.size(), 32));
  return head.text().find(magic_bytes) != std::string_view::npos;
}

// The folder in the archive that holds everything: "archive/", or the stem of the file's first name.
std::string folder_of(const ZipArchive& zip, std::string_view file) {
  for (const auto& entry : zip.entries()) {
    const auto slash = entry.name.find('/');
    if (slash != std::string::npos && std::string_view(entry.name).substr(slash + 1) == file)
      return entry.name.substr(0, slash + 1);
  }
  return {};
}

bool is_torchscript(const ZipArchive& zip, const std::string& folder) {
  return zip.find(folder + "constants.pkl") || std::ranges::any_of(zip.entries(), [&](const ZipEntry& entry) {
           return entry.name.starts_with(folder + "code/");
         });
}

std::string data_folder(const ZipArchive& zip) {
  const std::string folder = folder_of(zip, "data.pkl");
  if (folder.empty()) zip.source().fail_at(0, "this zip file is no PyTorch checkpoint: it holds no data.pkl");
  return folder;
}

// The storages of an archive, whole or in parts. The checksum of each is compared once.
class ZipStorages {
 public:
  ZipStorages(const ZipArchive& zip, std::string folder) : zip_(zip), folder_(std::move(folder)) {}

  Bytes read(const StorageName& name, ByteRange part) {
    const ZipEntry& entry = entry_of(name);
    if (part.size == entry.size) return zip_.read(entry);
    if (entry.deflated) {  // PyTorch stores; what is deflated can be had only whole
      auto& whole = inflated_[name.key];
      if (whole.empty()) whole = zip_.read(entry);
      return Bytes(std::span<const std::byte>(whole).subspan(part.begin, part.size));
    }
    if (checked_.insert(name.key).second) zip_.check(entry);
    return zip_.source().read(entry.data + part.begin, part.size);
  }

 private:
  const ZipEntry& entry_of(const StorageName& name) const {
    const auto* entry = zip_.find(folder_ + name.key);
    if (!entry) zip_.source().fail_at(0, "the checkpoint names storage \"{}\" but does not hold it", name.key);
    if (entry->size != name.size())
      zip_.source().fail_at(entry->data, "storage \"{}\" should hold {} {}, {} bytes, but has {}", name.key, name.count,
                            name.type, name.size(), entry->size);
    return *entry;
  }

  const ZipArchive& zip_;
  std::string folder_;
  std::unordered_map<std::string, Bytes> inflated_;
  std::unordered_set<std::string> checked_;
};

TorchFile read_zip(const ByteSource& source) {
  const ZipArchive zip(source);
  const std::string folder = data_folder(zip);
  if (is_torchscript(zip, folder)) return {kTorchScript, {}};
  if (const auto* order = zip.find(folder + "byteorder");
      order && (order->size > 16 || zip.read(*order).text() != "little"))
    source.fail_at(order->data,
                   "the checkpoint was saved on a big-endian machine; save it again on a little-endian one");

  const Bytes stream = zip.read(*zip.find(folder + "data.pkl"));
  const MemorySource pickle_source(source.name() + "/" + folder + "data.pkl", stream);
  ByteReader in(pickle_source);
  const Pickle pickle(in);
  ZipStorages storages(zip, folder + "data/");
  return {kZip, pickle.value([&](const StorageName& name, ByteRange part) { return storages.read(name, part); })};
}

void check_preamble(ByteReader& in) {
  const Value magic = Pickle(in).value(), version = Pickle(in).value(), system = Pickle(in).value();
  if (const auto* text = magic.as<std::string>(); !text || *text != magic_text)
    in.fail("the magic number of PyTorch's files is wrong");
  if (const auto* number = version.as<int64_t>(); !number || *number != 1001)
    in.fail("PyTorch file version {} is not known; 1001 is", version.scalar_text());
  const auto* little = system.find("little_endian");
  if (!little || !little->as<bool>()) in.fail("the file does not say its byte order. Perhaps a corrupt file");
  if (!*little->as<bool>())
    in.fail("the checkpoint was saved on a big-endian machine; save it again on a little-endian one");
}

// Where each storage's bytes begin: the file ends with a list of keys and, in its order, counts and bytes.
std::unordered_map<std::string, uint64_t> locate_storages(ByteReader& in, const Pickle& pickle) {
  const Value keys = Pickle(in).value();
  if (!keys.items()) in.fail("the list of storages is missing. Perhaps a corrupt file");
  std::unordered_map<std::string, const StorageName*> names;
  for (const auto& storage : pickle.storages()) names.emplace(storage.key, &storage);
  std::unordered_map<std::string, uint64_t> out;
  for (const auto& item : *keys.items()) {
    const std::string key = item.scalar_text();
    const auto name = names.find(key);
    if (name == names.end()) in.fail("storage \"{}\" belongs to no tensor", key.substr(0, 200));
    const auto count = in.number<uint64_t>();
    if (count != name->second->count)
      in.fail("storage \"{}\" should hold {} elements but has {}", key, name->second->count, count);
    if (name->second->item == 0 && count > 0)
      in.fail("storage \"{}\" is a {}, of which hpm does not know the size; what lies behind it cannot be read", key,
              name->second->type);
    if (!out.emplace(key, in.offset()).second) in.fail("storage \"{}\" is listed twice", key);
    in.skip(name->second->size());
  }
  return out;
}

TorchFile read_legacy(const ByteSource& source) {
  ByteReader in(source);
  check_preamble(in);
  const Pickle pickle(in);
  const auto places = locate_storages(in, pickle);
  const auto load = [&](const StorageName& name, ByteRange part) {
    const auto place = places.find(name.key);
    if (place == places.end())
      source.fail_at(in.offset(), "the checkpoint names storage \"{}\" but does not hold it", name.key);
    return source.read(place->second + part.begin, part.size);
  };
  return {kLegacy, pickle.value(load)};
}

}  // namespace

bool is_torch_file(const ByteSource& source) { return ZipArchive::recognises(source) || is_legacy(source); }

std::string container_of_torch_file(const ByteSource& source) {
  if (!ZipArchive::recognises(source)) return kLegacy;
  const ZipArchive zip(source);
  return is_torchscript(zip, data_folder(zip)) ? kTorchScript : kZip;
}

TorchFile read_torch_file(const ByteSource& source) {
  if (ZipArchive::recognises(source)) return read_zip(source);
  if (is_legacy(source)) return read_legacy(source);
  refuse_foreign_content(source);
  source.fail_at(0, "this is no PyTorch checkpoint: neither a zip file nor a pickle that torch.save wrote");
}

TorchFile read_torch_file(const std::string& path) { return read_torch_file(FileSource(path)); }

}  // namespace hpm
