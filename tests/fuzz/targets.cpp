#include "targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "hpm/data/cifar.h"
#include "hpm/data/idx.h"
#include "hpm/evaluation/results/run_results.h"
#include "hpm/evaluation/run/merge.h"
#include "hpm/io/archive.h"
#include "hpm/io/file.h"
#include "hpm/io/gzip.h"
#include "hpm/io/image.h"
#include "hpm/io/image_impl.h"
#include "hpm/io/journal_line.h"
#include "hpm/io/mat.h"
#include "hpm/io/npy.h"
#include "hpm/io/npz.h"
#include "hpm/io/pickle.h"
#include "hpm/io/safetensors.h"
#include "hpm/io/state_dict.h"
#include "hpm/io/torch_file.h"
#include "hpm/io/unpack.h"
#include "hpm/io/zip.h"
#include "hpm/models/card.h"

namespace hpm::test {
namespace {

using Input = std::span<const std::byte>;

void pickle(Input bytes) {
  const MemorySource source("fuzz.pkl", bytes);
  ByteReader in(source);
  // The storages' bytes lie outside a pickle: here they are made, up to a size.
  Pickle(in).value([](const StorageName&, ByteRange part) {
    if (part.size > 1 << 20) fail("fuzz.pkl: a tensor of {} bytes (at byte 0)", part.size);
    Bytes out(part.size);
    std::ranges::fill(out, std::byte{1});
    return out;
  });
}

void zip(Input bytes) {
  const MemorySource source("fuzz.zip", bytes);
  const ZipArchive archive(source);
  for (const auto& entry : archive.entries()) archive.read(entry);
}

void torch_file(Input bytes) {
  const MemorySource source("fuzz.pth", bytes);
  peel(read_torch_file(source).root, source.name());
}

void safetensors(Input bytes) { read_safetensors(MemorySource("fuzz.safetensors", bytes)); }

void npy(Input bytes) {
  const MemorySource source("fuzz.npy", bytes);
  if (ZipArchive::recognises(source)) read_npz(source);
  else read_npy(source);
}

// Two files, one behind the other: the first byte tells how many tenths are images.
void idx(Input bytes) {
  const size_t images = bytes.empty() ? 0 : 1 + (bytes.size() - 1) * (std::to_integer<size_t>(bytes[0]) % 11) / 10;
  const auto first = bytes.empty() ? bytes : bytes.subspan(1, images - 1);
  read_idx(MemorySource("fuzz.images", first), MemorySource("fuzz.labels", bytes.subspan(images)), 10);
}

void cifar(Input bytes) {
  const MemorySource source("fuzz.bin", bytes);
  read_cifar_binary(source, bytes.size() % 2 == 1 ? 1 : 2,
                    10);  // CIFAR-10's records have an odd size, CIFAR-100's an even one
}

void cifar_pickle(Input bytes) { read_cifar_pickle(MemorySource("fuzz.batch", bytes), 10); }

/// A file in memory, with a path.
constexpr const char* kPath = "/proc/self/fd/";
class MemoryFile {
 public:
  explicit MemoryFile(Input bytes) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("no memory file");
  }
  ~MemoryFile() { ::close(descriptor_); }
  std::string path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

 private:
  int descriptor_;
};

void card(Input bytes) {
  const MemoryFile file(bytes);
  read_card_file(file.path());
}

void gzip(Input bytes) {
  const MemoryFile file(bytes);
  gunzip_file(file.path(), 1 << 22);
}

void archive(Input bytes) {
  const MemoryFile file(bytes);
  std::string folder = "/dev/shm/hpm-fuzz-XXXXXX";
  if (!::mkdtemp(folder.data())) throw std::runtime_error("no scratch folder");
  const std::unique_ptr<std::string, void (*)(std::string*)> removed(
      &folder, [](std::string* f) { std::filesystem::remove_all(*f); });
  unpack_archive(file.path(), folder, {.bytes = 1 << 20, .free_bytes = 1 << 18, .entries = 200});
}

void mat(Input bytes) { read_mat(MemorySource("fuzz.mat", bytes), {"X", "y"}, 1 << 22); }

void image(Input bytes) { decode_image(MemorySource("fuzz.image", bytes)); }

std::string_view text_of(Input bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// What was read is written, and read again to the same text.
void results(Input bytes) {
  const auto text = results_text(read_results(text_of(bytes), "fuzz.results.json"));
  if (results_text(read_results(text, "fuzz.results.json")) != text)
    throw std::logic_error("results change their text");
}

/// How much of the lines the journal of a run reads; the rest is cut off.
size_t whole_lines(std::string_view lines, const ByteSource& data) {
  size_t done = 0, offset = 0;
  for (size_t end; (end = lines.find('\n', done)) != std::string_view::npos; done = end + 1) {
    const auto line = lines.substr(done, end - done);
    parse_journal_line(line);  // also behind a wrong checksum, of which a fuzzer guesses none
    if (done == 0 && !read_journal_head(line)) break;
    if (done == 0) continue;
    const auto piece = read_journal_piece(line, data, offset);
    if (!piece) break;
    for (const auto& tensor : piece->tensors) {
      if (StoredTensor{tensor.type, tensor.shape, data.read(offset, tensor.bytes())}.count() != count_of(tensor.shape))
        throw std::logic_error("a tensor without all its values");
      offset += tensor.bytes();
    }
  }
  return done;
}

// The lines, a byte 0, the bytes of the tensors. A journal is never refused: it ends at its first broken line.
void journal(Input bytes) {
  const auto text = text_of(bytes);
  const auto lines = text.substr(0, text.find('\0'));
  const MemorySource data("fuzz.bin", bytes.subspan(std::min(lines.size() + 1, bytes.size())));
  const auto read = whole_lines(lines, data);
  if (lines.empty() || read < lines.size()) fail("fuzz.jsonl: the journal is broken (at byte {})", read);
}

// results.json and fingerprint.json of one shard, then of another, with a byte 30 between them.
void merge(Input bytes) {
  std::array<std::string_view, 4> texts;
  auto rest = text_of(bytes);
  for (auto& text : texts) {
    text = rest.substr(0, rest.find('\x1e'));
    rest.remove_prefix(std::min(text.size() + 1, rest.size()));
  }
  const auto merged =
      merge_shards({parse_shard("fuzz.1", texts[0], texts[1]), parse_shard("fuzz.2", texts[2], texts[3])});
  results_text(merged.results);
}

// What the metadata of a checkpoint say of its model.
void card_keys(Input bytes) {
  const MemorySource source("fuzz.safetensors", bytes);
  card_of_metadata(read_safetensors(source).metadata, source.name());
}

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> table = {
      {"pickle", pickle},
      {"zip", zip},
      {"torch_file", torch_file},
      {"safetensors", safetensors},
      {"npy", npy},
      {"idx", idx},
      {"cifar", cifar},
      {"cifar_pickle", cifar_pickle},
      {"card", card, kPath, ""},
      {"gzip", gzip, kPath},
      {"mat", mat},
      {"results", results, "fuzz.", ""},
      {"journal", journal},
      {"merge", merge, "fuzz.", ""},
      {"card_keys", card_keys, "fuzz.", ""},
  };
  static const std::vector<FuzzTarget> all = [] {
    auto targets = table;
    // Readers that stand on a library: where this build has it.
    if (!Archive::library().empty()) targets.push_back({"archive", archive, kPath});
    if (!jpeg_library().empty() && !png_library().empty()) targets.push_back({"image", image});
    return targets;
  }();
  return all;
}

void run_fuzz_target(const FuzzTarget& target, Input bytes) {
  try {
    target.run(bytes);
  } catch (const Error&) {
  }
}

}  // namespace hpm::test
