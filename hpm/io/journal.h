// defines: Journal, PieceOfWork, Team, WorkLog, WorkTimer, find_tensor()
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hpm/core/text.h"
#include "hpm/io/journal_line.h"
#include "hpm/io/tensors.h"

namespace hpm {

/// Finished pieces of work of a run. Each is written down when it is done, so that a run that was killed at any moment
/// can go on. There are two files that only grow: `events.jsonl` (a line of JSON for each piece, its CRC-32 last) and
/// `events.bin` (the tensors). A piece that a kill left half-written is cut off at the next start.
/// Where several processes work on one run, each writes files of its own (`events.1.jsonl`, ...) and reads all.
class Journal {
 public:
  /// Opens the journal of a run directory. `fingerprint` stands for everything that the work depends on. With `resume`
  /// the pieces there are kept, otherwise it starts empty. Throws Error if the journal belongs to a run with another
  /// fingerprint, or cannot be written. Only one process may write (FileLock), or one as each `worker`.
  Journal(const std::string& folder, const std::string& fingerprint, bool resume, int64_t worker = 0);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  bool has(const std::string& key) const { return holder(key) != nullptr; }
  /// The first reading of a piece that an earlier process wrote adds its seconds to earlier_seconds().
  NamedTensors read(const std::string& key);
  /// Returns when the piece is on the disk. A key that is there already is replaced.
  void write(const std::string& key, const NamedTensors& tensors, double seconds = 0);
  /// Pieces of this worker's own, and of all that were there when it was opened.
  size_t size() const;
  int64_t worker() const { return worker_; }
  /// From now on the piece is the one that `worker` wrote. Reads what that worker has written since; false where its
  /// line is not there yet.
  bool take_from(int64_t worker, const std::string& key);
  /// What the pieces that were read took in the processes that wrote them, before this one.
  double earlier_seconds() const { return earlier_seconds_; }

 private:
  struct Piece {
    uint64_t offset = 0;
    std::vector<JournalTensor> tensors;
    mutable double earlier_seconds = 0;  ///< not yet counted
    bool was_there = false;              ///< when the journal was opened
  };
  struct Reader {  // opens the files of another worker to read them
    bool opening;  // together with this worker's own
  };
  Journal(const std::string& folder, const std::string& fingerprint, int64_t worker, Reader reader);
  Journal& other(int64_t worker);
  const Journal* holder(const std::string& key) const;
  void open(bool resume);
  void close();
  void recover(const std::string& fingerprint);
  bool recover_line(std::string_view line, const std::string& fingerprint);
  void append(int descriptor, std::string_view bytes, uint64_t& size);
  [[noreturn]] void fail_to(const char* what) const;

  std::string folder_, fingerprint_, lines_path_, data_path_;
  int64_t worker_ = 0;
  bool opening_ = true;
  std::map<int64_t, std::unique_ptr<Journal>> others_;  // by worker
  std::map<std::string, int64_t> taken_from_;           // a key: whose piece counts
  int lines_ = -1, data_ = -1;
  uint64_t lines_size_ = 0, data_size_ = 0;
  std::map<std::string, Piece> pieces_;
  double earlier_seconds_ = 0;
};

/// A piece of work that depends on no other: its key, and the rows [M] int64 that it is about.
struct PieceOfWork {
  std::string key;
  at::Tensor rows;
};

/// Several processes that do the pieces of one run together. All of them run the same protocol; a piece is done by one.
class Team {
 public:
  virtual ~Team() = default;
  /// Returns when each piece is in the journal: done here by `write(i)`, or by another process.
  virtual void finish(const std::vector<std::string>& keys, const std::function<void(size_t)>& write) = 0;
};

/// Where a protocol writes its finished work: a journal and a prefix of keys, or nowhere.
class WorkLog {
 public:
  WorkLog() = default;
  explicit WorkLog(Journal& journal) : journal_(&journal) {}
  /// `workers`: how many the run was begun with; pieces are cut so that each has several.
  WorkLog(Journal& journal, Team* team, int64_t workers) : journal_(&journal), team_(team), workers_(workers) {}
  /// The same journal, with keys below `name`.
  WorkLog below(const std::string& name) const;

  /// The tensors of a piece of work. If the journal has the piece for the same `rows` [M] int64, they are read;
  /// otherwise `work()` gives them, and they are written down.
  template <class F>
  NamedTensors once(const std::string& key, const at::Tensor& rows, F work) const {
    if (!journal_) return work();
    if (team_) {
      share({{key, rows}}, [&](size_t) { return work(); });
      return recall(key, rows);
    }
    if (auto stored = recall(key, rows); !stored.empty()) return stored;
    const auto start = std::chrono::steady_clock::now();
    auto done = work();
    return remember(key, rows, std::move(done), std::chrono::steady_clock::now() - start);
  }
  /// `take(i, tensors)` for each of `pieces` in their order, with what `work(i)` gave: here, in an earlier part of the
  /// run, or in another process. No piece's work may depend on what was taken from another one of them.
  template <class Work, class Take>
  void each(const std::vector<PieceOfWork>& pieces, Work work, Take take) const {
    if (team_) share(pieces, work);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto& [key, rows] = pieces[i];
      take(i, team_ ? recall(key, rows) : once(key, rows, [&] { return work(i); }));
    }
  }
  /// How many of `count` rows make a piece: `most`, or fewer where several processes work on them.
  int64_t piece_size(int64_t count, int64_t most) const;
  /// The same for the rows [N]: pieces of consecutive ones, with keys `name`/first.
  std::vector<PieceOfWork> pieces(const std::string& name, const at::Tensor& rows, int64_t most) const;

  double earlier_seconds() const { return journal_ ? journal_->earlier_seconds() : 0; }

 private:
  void share(const std::vector<PieceOfWork>& pieces, const std::function<NamedTensors(size_t)>& work) const;
  std::string full_key(const std::string& key, const at::Tensor& rows) const;
  NamedTensors recall(const std::string& key, const at::Tensor& rows) const;
  NamedTensors remember(const std::string& key, const at::Tensor& rows, NamedTensors done,
                        std::chrono::duration<double> took) const;
  Journal* journal_ = nullptr;
  Team* team_ = nullptr;
  int64_t workers_ = 1;
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
