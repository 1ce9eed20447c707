#include "hpm/io/zip.h"

#include <zlib.h>

#include <algorithm>
#include <optional>
#include <span>

#include "hpm/io/crc32.h"

namespace hpm {
namespace {

constexpr uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50,
                   end64_signature = 0x06064b50, locator64_signature = 0x07064b50;
constexpr uint64_t end_size = 22, end64_size = 56, locator64_size = 20, central_size = 46, local_size = 30;

// The limit of an archive's decompressed size: this many bytes, or this many times its own size. Deflate reaches 1032
// times.
constexpr uint64_t free_expansion = uint64_t{64} << 20, allowed_ratio = 100;

struct Directory {
  uint64_t entries, size, offset;
};

// 4.3.16: the end record is followed by a comment of at most 65535 bytes and nothing else.
uint64_t find_end(const ByteSource& source) {
  if (source.size() < end_size)
    source.fail_at(0, "a zip file cannot be {} bytes long. Perhaps an incomplete download", source.size());
  const uint64_t tail = std::min<uint64_t>(source.size(), end_size + 65535), begin = source.size() - tail;
  const Bytes bytes = source.read(begin, tail);
  for (uint64_t i = tail - end_size + 1; i-- > 0;) {
    uint32_t signature;
    uint16_t comment;
    std::memcpy(&signature, bytes.data() + i, 4);
    std::memcpy(&comment, bytes.data() + i + 20, 2);
    if (signature == end_signature && i + end_size + comment == tail) return begin + i;
  }
  source.fail_at(source.size(),
                 "the zip directory at the end of the file is missing. Perhaps an incomplete download; fetch it again");
}

// 4.3.14 and 4.3.15, where the record at `end` has no room for the numbers.
Directory read_directory64(const ByteSource& source, uint64_t end) {
  if (end < locator64_size) source.fail_at(end, "the zip64 locator is missing");
  ByteReader locator(source, end - locator64_size);
  if (locator.number<uint32_t>() != locator64_signature) locator.fail("the zip64 locator is missing");
  if (locator.number<uint32_t>() != 0) locator.fail("archives of several parts cannot be read");
  const auto record = locator.number<uint64_t>();
  if (record > end - locator64_size || end - locator64_size - record < end64_size)
    locator.fail("the zip64 record lies outside the file");
  ByteReader in(source, record);
  if (in.number<uint32_t>() != end64_signature) in.fail("the zip64 record is missing");
  if (in.number<uint64_t>() != end - locator64_size - record - 12) in.fail("the zip64 record has a wrong size");
  in.skip(2 + 2 + 4 + 4 + 8);
  Directory out{};
  out.entries = in.number<uint64_t>();
  out.size = in.number<uint64_t>();
  out.offset = in.number<uint64_t>();
  if (saturating_sum(out.offset, out.size) != record) in.fail("the zip directory does not end where its records begin");
  return out;
}

Directory read_directory(const ByteSource& source) {
  const uint64_t end = find_end(source);
  ByteReader in(source, end + 4);
  const auto disk = in.number<uint16_t>(), directory_disk = in.number<uint16_t>(), here = in.number<uint16_t>();
  Directory out{};
  out.entries = in.number<uint16_t>();
  out.size = in.number<uint32_t>();
  out.offset = in.number<uint32_t>();
  if (out.entries == 0xFFFF || out.size == 0xFFFFFFFF || out.offset == 0xFFFFFFFF) return read_directory64(source, end);
  if (disk != 0 || directory_disk != 0 || here != out.entries) in.fail("archives of several parts cannot be read");
  // PyTorch writes the zip64 records also where the plain record suffices.
  if (out.offset + out.size == end) return out;
  if (out.offset + out.size < end && end - out.offset - out.size == end64_size + locator64_size)
    return read_directory64(source, end);
  in.fail("the zip directory should end at byte {} but its size gives {}. Perhaps a corrupt file", end,
          out.offset + out.size);
}

bool stays_in_folder(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos || name.find('\\') != std::string::npos) return false;
  if (name.front() == '/' || (name.size() > 1 && name[1] == ':')) return false;
  return ("/" + name + "/").find("/../") == std::string::npos;
}

// 4.5.3: 64-bit values in place of those that are all ones, in this order.
void read_zip64_extra(ByteReader& in, uint64_t extra_size, ZipEntry& entry) {
  const uint64_t end = in.offset() + extra_size;
  while (end - in.offset() >= 4) {
    const auto id = in.number<uint16_t>(), size = in.number<uint16_t>();
    if (size > end - in.offset()) in.fail("an extra field of \"{}\" is longer than its place", entry.name);
    const uint64_t next = in.offset() + size;
    if (id == 1) {
      for (uint64_t* value : {&entry.size, &entry.stored_size, &entry.header}) {
        if (*value != 0xFFFFFFFF) continue;
        if (next - in.offset() < 8) in.fail("the zip64 field of \"{}\" is too short", entry.name);
        *value = in.number<uint64_t>();
      }
    }
    in.skip(next - in.offset());
  }
  in.skip(end - in.offset());
}

ZipEntry read_central(ByteReader& in) {
  if (in.number<uint32_t>() != central_signature) in.fail("a zip directory entry was expected. Perhaps a corrupt file");
  in.skip(4);
  const auto flags = in.number<uint16_t>(), method = in.number<uint16_t>();
  in.skip(4);
  ZipEntry entry;
  entry.crc = in.number<uint32_t>();
  entry.stored_size = in.number<uint32_t>();
  entry.size = in.number<uint32_t>();
  const auto name = in.number<uint16_t>(), extra = in.number<uint16_t>(), comment = in.number<uint16_t>();
  in.skip(8);
  entry.header = in.number<uint32_t>();
  entry.name = in.text(name);
  if (!stays_in_folder(entry.name))
    in.fail("the zip entry \"{}\" has a name that leaves the archive's folder; it is refused", entry.name);
  if (flags & 0x2041) in.fail("the zip entry \"{}\" is encrypted", entry.name);
  if (method != 0 && method != 8)
    in.fail("the zip entry \"{}\" uses compression method {}; stored (0) and deflated (8) can be read", entry.name,
            method);
  entry.deflated = method == 8;
  read_zip64_extra(in, extra, entry);
  in.skip(comment);
  if (!entry.deflated && entry.stored_size != entry.size)
    in.fail("the zip entry \"{}\" is stored but has two sizes, {} and {}", entry.name, entry.stored_size, entry.size);
  return entry;
}

// The local header repeats the directory's fields. Only it tells where the data begin.
void read_local(const ByteSource& source, uint64_t directory, ZipEntry& entry) {
  if (entry.header > directory || directory - entry.header < local_size)
    source.fail_at(entry.header, "the zip entry \"{}\" lies outside the archive", entry.name);
  ByteReader in(source, entry.header, 128);
  if (in.number<uint32_t>() != local_signature)
    in.fail("the header of the zip entry \"{}\" is missing. Perhaps a corrupt file", entry.name);
  in.skip(2);
  const auto flags = in.number<uint16_t>(), method = in.number<uint16_t>();
  in.skip(4);
  const auto crc = in.number<uint32_t>(), stored_size = in.number<uint32_t>(), size = in.number<uint32_t>();
  const auto name = in.number<uint16_t>(), extra = in.number<uint16_t>();
  if (in.text(name) != entry.name || (method == 8) != entry.deflated || (flags & 0x2041))
    in.fail("the header of the zip entry \"{}\" disagrees with the directory", entry.name);
  const bool sizes_follow = flags & 8, zip64 = size == 0xFFFFFFFF || stored_size == 0xFFFFFFFF;
  if (!sizes_follow && (crc != entry.crc || (!zip64 && (size != entry.size || stored_size != entry.stored_size))))
    in.fail("the sizes of the zip entry \"{}\" disagree with the directory", entry.name);
  entry.data = in.offset() + extra;
  if (entry.data > directory || entry.stored_size > directory - entry.data)
    in.fail("the zip entry \"{}\" of {} bytes reaches beyond the archive", entry.name, entry.stored_size);
}

struct Inflater {
  z_stream stream{};
  Inflater() {
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) fail("zlib cannot start");
  }
  ~Inflater() { inflateEnd(&stream); }
};

void inflate_entry(const ByteSource& source, const ZipEntry& entry, std::span<std::byte> out) {
  constexpr uint64_t piece = uint64_t{1} << 18;
  Inflater inflater;
  auto& stream = inflater.stream;
  std::byte spare;  // one byte more than declared shows data that are too long
  uint64_t read = 0, made = 0;
  Bytes input(std::min(piece, entry.stored_size));
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      const uint64_t count = std::min(piece, entry.stored_size - read);
      if (count == 0) source.fail_at(entry.data + read, "the zip entry \"{}\" ends early", entry.name);
      source.read(entry.data + read, std::span(input).first(count));
      read += count;
      stream.next_in = reinterpret_cast<Bytef*>(input.data());
      stream.avail_in = static_cast<uInt>(count);
    }
    const bool full = made == out.size();
    const uInt room = full ? 1 : static_cast<uInt>(std::min<uint64_t>(out.size() - made, 1u << 30));
    stream.next_out = reinterpret_cast<Bytef*>(full ? &spare : out.data() + made);
    stream.avail_out = room;
    status = inflate(&stream, Z_NO_FLUSH);
    made += room - stream.avail_out;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      source.fail_at(entry.data, "the zip entry \"{}\" cannot be decompressed: {}", entry.name,
                     stream.msg ? stream.msg : "corrupt data");
    if (made > out.size())
      source.fail_at(entry.data, "the zip entry \"{}\" is longer than the {} bytes it declares", entry.name,
                     out.size());
  }
  if (made != out.size())
    source.fail_at(entry.data, "the zip entry \"{}\" gives {} bytes but declares {}", entry.name, made, out.size());
}

void compare_checksum(const ByteSource& source, const ZipEntry& entry, uint32_t found) {
  if (found != entry.crc)
    source.fail_at(entry.data, "the checksum of the zip entry \"{}\" is wrong: the file is corrupt; fetch it again",
                   entry.name);
}

}  // namespace

bool ZipArchive::recognises(const ByteSource& source) {
  if (source.size() < 4) return false;
  const auto signature = ByteReader(source).number<uint32_t>();
  return signature == local_signature || signature == end_signature;
}

ZipArchive::ZipArchive(const ByteSource& source) : source_(source) {
  const Directory directory = read_directory(source);
  if (directory.entries > directory.size / central_size)
    source.fail_at(directory.offset, "the zip directory declares {} entries in {} bytes", directory.entries,
                   directory.size);
  ByteReader in(source, directory.offset);
  entries_.reserve(directory.entries);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    entries_.push_back(read_central(in));
    if (!by_name_.emplace(entries_.back().name, i).second)
      in.fail("the zip entry \"{}\" is there twice", entries_.back().name);
  }
  if (in.offset() != directory.offset + directory.size)
    in.fail("the zip directory should be {} bytes long but its entries take {}", directory.size,
            in.offset() - directory.offset);
  for (auto& entry : entries_) read_local(source, directory.offset, entry);
  check_layout(directory.offset);
}

void ZipArchive::check_layout(uint64_t directory) const {
  std::vector<const ZipEntry*> order;
  uint64_t total = 0;
  for (const auto& entry : entries_) {
    order.push_back(&entry);
    total = saturating_sum(total, entry.size);
    if (entry.size > saturating_sum(saturating_product(entry.stored_size, 1100), 1024))
      source_.fail_at(entry.header, "the zip entry \"{}\" declares {} bytes, more than {} compressed bytes can hold",
                      entry.name, entry.size, entry.stored_size);
  }
  std::ranges::sort(order, {}, &ZipEntry::header);
  for (size_t i = 0; i < order.size(); ++i) {
    const uint64_t next = i + 1 < order.size() ? order[i + 1]->header : directory;
    if (order[i]->data + order[i]->stored_size > next)
      source_.fail_at(order[i]->header, "the zip entry \"{}\" overlaps what follows it", order[i]->name);
  }
  if (total > saturating_sum(free_expansion, saturating_product(allowed_ratio, source_.size())))
    source_.fail_at(directory, "the archive of {} bytes would decompress to {}: refused as a zip bomb", source_.size(),
                    total);
}

const ZipEntry* ZipArchive::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

Bytes ZipArchive::read(const ZipEntry& entry) const {
  Bytes out;
  if (entry.deflated) inflate_entry(source_, entry, out = Bytes(entry.size));
  else out = source_.read(entry.data, entry.size);
  compare_checksum(source_, entry, crc32_of(out));
  return out;
}

void ZipArchive::check(const ZipEntry& entry) const {
  Bytes piece(std::min<uint64_t>(entry.size, 1 << 18));
  uint32_t found = crc32_of({});
  for (uint64_t done = 0; done < entry.size; done += piece.size()) {
    const auto next = std::span(piece).first(std::min<uint64_t>(piece.size(), entry.size - done));
    source_.read(entry.data + done, next);
    found = crc32_of(next, found);
  }
  compare_checksum(source_, entry, found);
}

}  // namespace hpm
