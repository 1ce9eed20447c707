#include "hpm/io/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "hpm/core/json_impl.h"
#include "hpm/core/text.h"
#include "hpm/io/file.h"
#include "hpm/io/foreign_content.h"
#include "hpm/io/safetensors_impl.h"

namespace hpm {
namespace {

constexpr uint64_t header_limit = 100'000'000;

uint64_t read_header_size(const ByteSource& source) {
  if (!is_safetensors(source)) refuse_foreign_content(source);
  if (source.size() < 8)
    source.fail_at(0, "a safetensors file cannot be {} bytes long. Perhaps an incomplete download", source.size());
  const auto size = ByteReader(source).number<uint64_t>();
  if (size > header_limit)
    source.fail_at(0, "the header claims {} bytes; at most {} are read. Perhaps this is no safetensors file", size,
                   header_limit);
  if (size > source.size() - 8)
    source.fail_at(0,
                   "the header is {} bytes long but the file only {}. Perhaps an incomplete download or a corrupt file",
                   size, source.size());
  return size;
}

void check_entry(const ByteSource& source, const SafetensorsField& field, uint64_t data_size) {
  const auto& [name, type, shape, begin, end] = field;
  if (begin > end || end > data_size)
    source.fail_at(8, "tensor \"{}\" lies at {} to {}, outside the {} bytes of data. Perhaps an incomplete download",
                   name, begin, end, data_size);
  const uint64_t size = saturating_product(count_of(shape), item_size(type));
  if (size != end - begin)
    source.fail_at(8, "tensor \"{}\" of type {} and shape {} takes {} bytes, but its offsets {} and {} give {}", name,
                   name_of(type), text_of_shape(shape), size, begin, end, end - begin);
}

void check_layout(const ByteSource& source, const std::vector<SafetensorsField>& fields, uint64_t data_size) {
  std::vector<const SafetensorsField*> order;
  for (const auto& field : fields) order.push_back(&field);
  std::ranges::sort(order, {}, [](const auto* field) { return std::pair(field->begin, field->end); });
  uint64_t end = 0;
  for (const auto* field : order) {
    if (field->begin < end)
      source.fail_at(8, "tensor \"{}\" at {} overlaps the one before it, which ends at {}", field->name, field->begin,
                     end);
    if (field->begin > end)
      source.fail_at(8, "bytes {} to {} of the data, before tensor \"{}\", belong to no tensor", end, field->begin,
                     field->name);
    end = field->end;
  }
  if (end != data_size)
    source.fail_at(8, "the tensors end at byte {} of the data, but there are {}. Perhaps a corrupt file", end,
                   data_size);
}

struct Header {
  std::vector<SafetensorsField> fields;
  uint64_t data = 0;  // where the tensors' bytes begin
};

Header checked_header(const ByteSource& source, std::map<std::string, std::string>& metadata) {
  const uint64_t header_size = read_header_size(source), data_size = source.size() - 8 - header_size;
  Header header{parse_safetensors_header(source, source.read(8, header_size).text(), metadata), 8 + header_size};
  for (const auto& field : header.fields) check_entry(source, field, data_size);
  check_layout(source, header.fields, data_size);
  return header;
}

std::string header_of(const std::vector<SafetensorsEntry>& tensors, const std::vector<uint64_t>& begins,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (size_t i = 0; i < tensors.size(); ++i)
    header[tensors[i].name] = {{"dtype", safetensors_type_name(tensors[i].type)},
                               {"shape", tensors[i].shape},
                               {"data_offsets", {begins[i], begins[i] + tensors[i].bytes()}}};
  std::string text = json_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void check_names(const std::string& path, const std::vector<SafetensorsEntry>& tensors) {
  std::set<std::string_view> names;
  for (const auto& tensor : tensors) {
    if (tensor.name == "__metadata__") fail("{}: a tensor cannot be called __metadata__", path);
    if (!is_utf8(tensor.name)) fail("{}: the name of a tensor is not UTF-8", path);
    if (!names.insert(tensor.name).second) fail("{}: two tensors are called \"{}\"", path, tensor.name);
    if (!tensor.write && tensor.bytes() != tensor.data.size())
      fail("{}: tensor \"{}\" of shape {} has {} bytes", path, tensor.name, text_of_shape(tensor.shape),
           tensor.data.size());
  }
}

}  // namespace

bool is_safetensors(const ByteSource& source) {
  if (source.size() < 9) return false;
  ByteReader in(source);
  const auto size = in.number<uint64_t>();
  return size >= 2 && size <= header_limit && in.number<char>() == '{';
}

SafetensorsFile read_safetensors(const ByteSource& source) {
  SafetensorsFile out;
  const auto header = checked_header(source, out.metadata);
  for (const auto& field : header.fields) {
    Bytes data = source.read(header.data + field.begin, field.end - field.begin);
    out.tensors.emplace_back(field.name, StoredTensor{field.type, field.shape, std::move(data)});
  }
  return out;
}

StoredTensor read_safetensors_rows(const std::string& path, const std::string& name, std::span<const int64_t> rows) {
  const FileSource source(path);
  std::map<std::string, std::string> metadata;
  const auto header = checked_header(source, metadata);
  const auto field = std::ranges::find(header.fields, name, &SafetensorsField::name);
  if (field == header.fields.end() || field->shape.empty()) fail("{}: has no rows of a tensor \"{}\"", path, name);
  const auto count = field->shape.front();
  const uint64_t size = count ? (field->end - field->begin) / static_cast<uint64_t>(count) : 0;
  StoredTensor out{field->type, field->shape, Bytes(size * rows.size())};
  out.shape.front() = static_cast<int64_t>(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= count)
      fail("{}: \"{}\" has {} rows, but row {} was asked for", path, name, count, rows[i]);
    const auto row = source.read(header.data + field->begin + static_cast<uint64_t>(rows[i]) * size, size);
    std::ranges::copy(row, out.data.begin() + i * size);
  }
  return out;
}

SafetensorsFile read_safetensors(const std::string& path) { return read_safetensors(FileSource(path)); }

uint64_t SafetensorsEntry::bytes() const { return saturating_product(count_of(shape), item_size(type)); }

void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_names(path, tensors);
  for (const auto& [key, value] : metadata)
    if (!is_utf8(key) || !is_utf8(value)) fail("{}: the metadata \"{}\" are not UTF-8", path, is_utf8(key) ? key : "?");
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return item_size(tensors[i].type); });
  std::vector<uint64_t> begins(tensors.size());
  uint64_t end = 0;
  for (const size_t i : order) begins[i] = std::exchange(end, end + tensors[i].bytes());

  const std::string header = header_of(tensors, begins, metadata);
  const uint64_t size = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&size, 1)));
  file.write(header);
  for (const size_t i : order) {
    const auto& [name, type, shape, data, write] = tensors[i];
    if (write) write(file);
    else file.write(data);
    if (const auto due = 8 + size + begins[i] + tensors[i].bytes(); file.written() != due)
      fail("{}: \"{}\" of shape {} ends at byte {} instead of {}", path, name, text_of_shape(shape), file.written(),
           due);
  }
  file.commit();
}

void write_safetensors(const std::string& path, const NamedStoredTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back({name, tensor.type, tensor.shape, tensor.data});
  write_safetensors(path, entries, metadata);
}

}  // namespace hpm
