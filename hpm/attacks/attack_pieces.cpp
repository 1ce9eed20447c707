#include "hpm/attacks/attack_pieces.h"

#include <algorithm>

namespace hpm {
namespace {

/// The monitor of a piece, rows [begin, begin + rows) of the task: ticks become fractions of the rows, by the budget.
class PieceMonitor : public Monitor {
 public:
  PieceMonitor(Monitor& outer, const AttackBudget& budget, int64_t begin, int64_t rows, std::string note)
      : outer_(outer),
        begin_(begin),
        rows_(rows),
        expected_(std::max<int64_t>(budget.ticks, 1)),
        note_(std::move(note)) {}
  void tick() override {
    ++ticks_;
    outer_.step(begin_ + rows_ * std::min(ticks_, expected_) / expected_, note_);
  }
  void warn(const std::string& line) override { outer_.warn(line); }

 private:
  Monitor& outer_;
  int64_t begin_, rows_, expected_, ticks_ = 0;
  std::string note_;
};

}  // namespace

void attack_in_pieces(const AttackInPieces& attack, Monitor& monitor, const WorkLog& log) {
  const auto& pieces = attack.pieces;
  int64_t total = 0, begun = 0, taken = 0;
  for (const auto& piece : pieces) total += piece.rows.numel();
  monitor.begin(attack.task, total, "images");
  const auto work = [&](size_t i) {
    const auto& rows = pieces[i].rows;
    PieceMonitor progress(monitor, attack.budget, begun, rows.numel(), attack.note());
    begun += rows.numel();
    return attack.work(rows, progress);
  };
  const auto take = [&](size_t i, const NamedTensors& done) {
    attack.take(pieces[i].rows, done);
    begun = taken += pieces[i].rows.numel();
    monitor.step(taken, attack.note());
  };
  if (attack.in_order)
    for (size_t i = 0; i < pieces.size(); ++i)
      take(i, log.once(pieces[i].key, pieces[i].rows, [&] { return work(i); }));
  else log.each(pieces, work, take);
  monitor.end();
}

}  // namespace hpm
