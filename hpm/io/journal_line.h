// defines: JournalTensor, JournalPiece, sealed_journal_line(), read_journal_head(), parse_journal_line(),
// read_journal_piece()
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hpm/io/bytes.h"
#include "hpm/io/stored_tensor.h"

namespace hpm {

/// A tensor of a piece; its bytes lie behind those of the tensors before it.
struct JournalTensor {
  std::string name;
  ScalarType type = ScalarType::float32;
  std::vector<int64_t> shape;
  uint64_t bytes() const { return saturating_product(count_of(shape), item_size(type)); }
};

/// A finished piece of work, as its line in the journal tells it.
struct JournalPiece {
  std::string key;
  double seconds = 0;
  std::vector<JournalTensor> tensors;
  uint64_t bytes = 0;  ///< of all tensors; the largest number where no file is so large
};

/// {...} -> {...,"crc":"0123abcd"} and the line's end: the CRC-32 of the line up to there, continued over the bytes of
/// its tensors.
std::string sealed_journal_line(std::string line, std::string_view tensor_bytes);

// Readers of lines without their end. All give nothing for a broken line: there the journal was cut off.

/// The fingerprint that the first line holds.
std::optional<std::string> read_journal_head(std::string_view line);
/// What any other line says, its checksum unseen.
std::optional<JournalPiece> parse_journal_line(std::string_view line);
/// The same for a line whose tensors begin at `offset` of `data`, with all their bytes and the right checksum.
std::optional<JournalPiece> read_journal_piece(std::string_view line, const ByteSource& data, uint64_t offset);

}  // namespace hpm
