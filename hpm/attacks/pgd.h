// defines: PgdOptions, pgd(), fgsm(), pgd_training_images(), steepest_direction(), point_in_ball()
#pragma once
#include <optional>

#include "hpm/attacks/attack_model.h"
#include "hpm/attacks/budget.h"
#include "hpm/core/norms.h"
#include "hpm/core/progress.h"
#include "hpm/core/random.h"

namespace hpm {

class Fields;

/// Projected gradient descent (Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR
/// 2018, arXiv:1706.06083).
struct PgdOptions {
  int64_t steps = 40;                    ///< gradient steps per restart
  std::optional<double> step_size = {};  ///< input range; none: eps / 4
  int64_t restarts = 1;                  ///< random starts
  std::string loss = "ce";               ///< ce or dlr
};
void fields(Fields& f, PgdOptions& o);  ///< step-size, loss; steps and restarts are AttackSettings'
/// What pgd() takes for an image that it does not break.
AttackBudget budget_of(const PgdOptions& options);

/// Steps along the sign (Linf), the normalised gradient (L2) or the signs of its top 1 % coordinates (L1; Tramer and
/// Boneh, arXiv:1904.13000), from a random point of the ball, projected onto ball and box. Every iterate is judged; the
/// image returned is the last misclassified one. Restarts are those of attack_in_runs.
AttackResult pgd(AttackModel& model, const Images& images, const ThreatModel& threat, const PgdOptions& options,
                 const RandomStreams& streams, Monitor& monitor = silent());

/// The step of length 1 that raises a linear function most: the signs (Linf), the normalised gradient (L2), the signs
/// of the top 1 % of the coordinates (L1). [N,...] -> [N,...].
Tensor steepest_direction(const Tensor& gradient, Norm norm);

/// The fast gradient sign method (Goodfellow et al., arXiv:1412.6572): one step of length eps from the image itself;
/// for L2 and L1 the steepest step of that norm.
AttackResult fgsm(AttackModel& model, const Images& images, const ThreatModel& threat, LossKind loss = LossKind::ce);

/// A random point of the ball around each image, inside the box: uniform for Linf; on a sphere of uniform radius for L2
/// and L1.
Tensor point_in_ball(const Images& images, const ThreatModel& threat, const RandomStreams& streams,
                     const Purpose& purpose);

/// PGD for training: no verdicts are kept, all rows take all steps, the last iterate comes back. `epoch` chooses the
/// start.
Tensor pgd_training_images(AttackModel& model, const Images& images, const ThreatModel& threat, int64_t steps,
                           double step_size, const RandomStreams& streams, int64_t epoch);

}  // namespace hpm
