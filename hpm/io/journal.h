// defines: Journal, WorkLog, WorkTimer, find_tensor()
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "hpm/core/text.h"
#include "hpm/io/tensors.h"

namespace hpm {

/// Finished pieces of work of a run. Each is written down when it is done, so that a run that was killed at any moment
/// can go on. There are two files that only grow: `events.jsonl` (a line of JSON for each piece, its CRC-32 last) and
/// `events.bin` (the tensors). A piece that a kill left half-written is cut off at the next start.
class Journal {
 public:
  /// Opens the journal of a run directory. `fingerprint` stands for everything that the work depends on. With `resume`
  /// the pieces there are kept, otherwise it starts empty. Throws Error if the journal belongs to a run with another
  /// fingerprint, or cannot be written. Only one process may write (FileLock).
  Journal(const std::string& folder, const std::string& fingerprint, bool resume);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  bool has(const std::string& key) const { return pieces_.contains(printable_utf8(key)); }
  /// The first reading of a piece that an earlier process wrote adds its seconds to earlier_seconds().
  NamedTensors read(const std::string& key);
  /// Returns when the piece is on the disk. A key that is there already is replaced.
  void write(const std::string& key, const NamedTensors& tensors, double seconds = 0);
  size_t size() const { return pieces_.size(); }
  /// What the pieces that were read took in the processes that wrote them, before this one.
  double earlier_seconds() const { return earlier_seconds_; }

 private:
  struct Part {
    std::string name;
    ScalarType type;
    std::vector<int64_t> shape;
  };
  struct Piece {
    uint64_t offset = 0;
    std::vector<Part> parts;
    double earlier_seconds = 0;  ///< not yet counted
  };
  void recover(const std::string& fingerprint);
  bool recover_line(std::string_view line, const std::string& fingerprint);
  void append(int descriptor, std::string_view bytes, uint64_t& size);
  [[noreturn]] void fail_to(const char* what) const;

  std::string lines_path_, data_path_;
  int lines_ = -1, data_ = -1;
  uint64_t lines_size_ = 0, data_size_ = 0;
  std::map<std::string, Piece> pieces_;
  double earlier_seconds_ = 0;
};

/// Where a protocol writes its finished work: a journal and a prefix of keys, or nowhere.
class WorkLog {
 public:
  WorkLog() = default;
  explicit WorkLog(Journal& journal) : journal_(&journal) {}
  /// The same journal, with keys below `name`.
  WorkLog below(const std::string& name) const;

  /// The tensors of a piece of work. If the journal has the piece for the same `rows` [M] int64, they are read;
  /// otherwise `work()` gives them, and they are written down.
  template <class F>
  NamedTensors once(const std::string& key, const at::Tensor& rows, F work) const {
    if (!journal_) return work();
    if (auto stored = recall(key, rows); !stored.empty()) return stored;
    const auto start = std::chrono::steady_clock::now();
    auto done = work();
    return remember(key, rows, std::move(done), std::chrono::steady_clock::now() - start);
  }
  double earlier_seconds() const { return journal_ ? journal_->earlier_seconds() : 0; }

 private:
  NamedTensors recall(const std::string& key, const at::Tensor& rows) const;
  NamedTensors remember(const std::string& key, const at::Tensor& rows, NamedTensors done,
                        std::chrono::duration<double> took) const;
  Journal* journal_ = nullptr;
  std::string prefix_;
};

/// The seconds that work took in all the parts of a run: since the start here, and what the pieces read back from the
/// journal took before.
class WorkTimer {
 public:
  explicit WorkTimer(const WorkLog& log) : log_(log), earlier_(log.earlier_seconds()) {}
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() + log_.earlier_seconds() -
           earlier_;
  }

 private:
  const WorkLog& log_;
  double earlier_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The tensor of that name; undefined where there is none.
at::Tensor find_tensor(const NamedTensors& tensors, const std::string& name);

}  // namespace hpm
