// defines: AttackInPieces, attack_in_pieces()
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/attacks/sequence.h"
#include "hpm/io/journal.h"

namespace hpm {

/// One attack on images that are cut into pieces of work. Whoever keeps the verdicts says what a piece does and what is
/// done with its result.
struct AttackInPieces {
  std::string task;     ///< what the progress calls it
  AttackBudget budget;  ///< for an image that survives
  std::vector<PieceOfWork> pieces;
  bool in_order = false;  ///< a piece depends on what was taken from those before: a random model's draws go on
  /// Attacks the rows [M] and gives what the log is to keep.
  std::function<NamedTensors(const Tensor& rows, Monitor& progress)> work;
  /// Told what work() gave for the rows: here, in an earlier part of the run, or in another process. In the pieces'
  /// order.
  std::function<void(const Tensor& rows, const NamedTensors& done)> take;
  std::function<std::string()> note;  ///< shown beside the progress, e.g. "12 left"
};

/// Attacks piece after piece, or takes from the log what was done before. What work() and take() throw passes through;
/// Monitor::end() is then left to the caller.
void attack_in_pieces(const AttackInPieces& attack, Monitor& monitor, const WorkLog& log);

}  // namespace hpm
