#include "hpm/io/journal_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/crc32.h"

namespace hpm {
namespace {

constexpr std::string_view kChecksum = ",\"crc\":\"";

uint32_t crc(uint32_t before, std::string_view bytes) { return crc32_of(std::as_bytes(std::span(bytes)), before); }

bool is_sealed(std::string_view line, std::string_view tensor_bytes) {
  const auto seal = line.rfind(kChecksum);
  return seal != std::string_view::npos &&
         sealed_journal_line(std::string(line.substr(0, seal)) + "}", tensor_bytes) == std::string(line) + "\n";
}

JournalTensor tensor_of(const nlohmann::json& json) {
  const auto type = scalar_type_of(json.at("dtype").get<std::string>());
  if (!type) fail("the journal has a tensor of an unknown type");
  JournalTensor tensor{json.at("name").get<std::string>(), *type, json.at("shape").get<std::vector<int64_t>>()};
  if (std::ranges::any_of(tensor.shape, [](int64_t size) { return size < 0; }))
    fail("the journal has a tensor of a negative size");
  return tensor;
}

}  // namespace

std::string sealed_journal_line(std::string line, std::string_view tensor_bytes) {
  line.pop_back();
  return fmt::format("{}{}{:08x}\"}}\n", line, kChecksum, crc(crc(0, line), tensor_bytes));
}

std::optional<std::string> read_journal_head(std::string_view line) {
  if (!is_sealed(line, "")) return std::nullopt;
  try {
    const auto json = parse_json_object(line, "the journal");
    const auto found = json.find("fingerprint");
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<JournalPiece> parse_journal_line(std::string_view line) {
  try {
    const auto json = parse_json_object(line, "the journal");
    JournalPiece piece{.key = json.at("key").get<std::string>(), .seconds = json.value("seconds", 0.), .tensors = {}};
    for (const auto& tensor : json.at("tensors")) {
      piece.tensors.push_back(tensor_of(tensor));
      piece.bytes = saturating_sum(piece.bytes, piece.tensors.back().bytes());
    }
    return piece;
  } catch (const Error&) {
    return std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::optional<JournalPiece> read_journal_piece(std::string_view line, const ByteSource& data, uint64_t offset) {
  auto piece = parse_journal_line(line);
  if (!piece || offset > data.size() || piece->bytes > data.size() - offset) return std::nullopt;
  if (!is_sealed(line, data.read(offset, piece->bytes).text())) return std::nullopt;
  return piece;
}

}  // namespace hpm
