// defines: Assignment, Assigned, hard_assignment(), assign(), class_statistics()
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace hpm {

using at::Tensor;

/// How samples are assigned to classes. `ste` and `hard` have the same values; their gradients differ.
enum class Assignment {
  ste,   ///< onehot(argmax o) + (Q - stop_gradient(Q)), Q = softmax(o / T): hard forward, soft backward
  hard,  ///< onehot(argmax o), a constant: the exact local gradient
  soft,  ///< Q itself
};

/// onehot(argmax o); the first index wins a tie. o [N,K] -> [N,K], without gradient. Verdicts, counts and the absence
/// of a class follow from this one, never from the rounded values of another assignment.
Tensor hard_assignment(const Tensor& o);

/// Samples assigned to classes.
struct Assigned {
  Tensor weights;  ///< A [N,K], with the gradient that its kind has
  Tensor hard;     ///< [N,K]: onehot(argmax o)
  Assignment kind = Assignment::hard;
};

/// The assignment of FC logits o [N,K] at temperature T.
Assigned assign(const Tensor& o, Assignment kind, double temperature = 1);

/// What a set of samples says about each class.
struct ClassStatistics {
  Tensor sums;    ///< [K,D]: sum of the samples' features, weighted by assignment
  Tensor counts;  ///< [K]
};

/// u = A^T h, n = sum_i A_i. A [N,K], h [N,D].
ClassStatistics class_statistics(const Tensor& assignment, const Tensor& h);

}  // namespace hpm
