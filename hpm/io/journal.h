// defines: Journal, WorkLog, find_tensor()
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "hpm/io/tensors.h"

namespace hpm {

/// Finished pieces of work of a run, each written down when it is done, so that a run that was killed at any moment
/// goes on where it was. Two files that only grow: `events.jsonl` (a line of JSON for each piece, its CRC-32 last) and
/// `events.bin` (the tensors). What a kill left half-written at the end is cut off at the next start.
class Journal {
 public:
  /// Opens the journal of a run directory. `fingerprint` stands for everything that the work depends on. With `resume`
  /// the pieces there are kept; otherwise it starts empty. Throws Error where it belongs to a run with another
  /// fingerprint, or cannot be written. One writer at a time (FileLock).
  Journal(const std::string& folder, const std::string& fingerprint, bool resume);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  bool has(const std::string& key) const { return pieces_.contains(key); }
  NamedTensors read(const std::string& key) const;
  /// On the disk when it returns. A key that is there already is replaced.
  void write(const std::string& key, const NamedTensors& tensors);
  size_t size() const { return pieces_.size(); }

 private:
  struct Part {
    std::string name;
    ScalarType type;
    std::vector<int64_t> shape;
  };
  struct Piece {
    uint64_t offset = 0;
    std::vector<Part> parts;
  };
  void recover(const std::string& fingerprint);
  bool recover_line(std::string_view line, const std::string& fingerprint);
  void append(int descriptor, std::string_view bytes, uint64_t& size);
  [[noreturn]] void fail_to(const char* what) const;

  std::string lines_path_, data_path_;
  int lines_ = -1, data_ = -1;
  uint64_t lines_size_ = 0, data_size_ = 0;
  std::map<std::string, Piece> pieces_;
};

/// Where a protocol writes its work down: a journal and a prefix of keys, or nowhere.
class WorkLog {
 public:
  WorkLog() = default;
  explicit WorkLog(Journal& journal) : journal_(&journal) {}
  /// The same journal, with keys below `name`.
  WorkLog below(const std::string& name) const;

  /// The tensors of a piece of work: from the journal where it is there for the same `rows` [M] int64, otherwise from
  /// `work()`, and then written down.
  template <class F>
  NamedTensors once(const std::string& key, const at::Tensor& rows, F work) const {
    if (!journal_) return work();
    if (auto stored = recall(key, rows); !stored.empty()) return stored;
    return remember(key, rows, work());
  }

 private:
  NamedTensors recall(const std::string& key, const at::Tensor& rows) const;
  NamedTensors remember(const std::string& key, const at::Tensor& rows, NamedTensors done) const;
  Journal* journal_ = nullptr;
  std::string prefix_;
};

/// The tensor of that name; undefined where there is none.
at::Tensor find_tensor(const NamedTensors& tensors, const std::string& name);

}  // namespace hpm
