// defines: HpmHead, MetricKind, ContextKind, RowCompany, Neighbours, joint_logits(), row_logits(), reference_logits()
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hpm/prototypes/assignment.h"

namespace hpm {

/// The space in which distances are measured.
enum class MetricKind {
  none,     ///< h = z
  l2norm,   ///< h = z / |z|
  learned,  ///< h = P z, P [R,D]
};
MetricKind parse_metric(const std::string& name);
std::string to_string(MetricKind kind);

/// Where the dynamic prototypes come from: a named part of every evaluation.
enum class ContextKind {
  reference,  ///< statistics of a stored calibration set; deterministic, exactly an FC layer
  alone,      ///< the sample itself: a batch of one
  solo,       ///< the sample among the clean others of its batch
  solo_eot,   ///< solo in ten batches drawn at random: the attacker knows them, not which one it will be
  joint,      ///< the whole batch as it is, attacked together
};
ContextKind parse_context(const std::string& name);
std::string to_string(ContextKind kind);

/// The Hybrid Prototype Mixing head (K. Wang, "Sensitivity as a Double-Edged Sword: A Trade-off Between
/// Discriminability and Adversarial Robustness", arXiv:2606.01746, 2026): distances to prototypes that mix
/// dataset-level means (stable, moved by EMA) with batch-level ones (dynamic, made from the FC predictions).
///
///     m_k = lambda s_k + (1 - lambda) d_k,    logits_ik = -|h_i - m_k|^2 / tau
struct HpmHead {
  MetricKind kind = MetricKind::none;
  Tensor means;               ///< mu [K,D]: class means of the (l2norm: normalised) features; never differentiated
  Tensor metric;              ///< P [R,D]; learned metric alone
  Tensor calibration_sums;    ///< [K,D], over features as in `means`, assigned by FC
  Tensor calibration_counts;  ///< [K]
  Tensor log_tau;             ///< scalar; tau only scales the logits
  double lambda = .9;         ///< 1: stable only (the pure l2 classifier), 0: dynamic only
  double temperature = 1;     ///< T_a of the soft assignment
  double momentum = .99;      ///< beta of the EMA

  int64_t classes() const { return means.size(0); }
  /// The features that prototypes are means of: z, or z / |z| with l2norm. [N,D] -> [N,D].
  Tensor prepare(const Tensor& z) const;
  /// Prepared features in the space of the distances. [...,D] -> [...,R].
  Tensor project(const Tensor& prepared) const;
  /// z [N,D] -> h [N,R].
  Tensor embed(const Tensor& z) const { return project(prepare(z)); }
  /// s = P mu [K,R], inside the graph: gradients reach P, never mu. Kept while P is fixed.
  Tensor stable() const;
  Tensor tau() const;

  /// mu_k <- beta mu_k + (1 - beta) mean{z_i : y_i = k} for the classes present. z [N,D], y [N].
  void update_means(const Tensor& z, const Tensor& y);

  void to(at::Device device, at::ScalarType type = at::kFloat);
  HpmHead clone() const;
  /// Tensors under their checkpoint names: hpm.means, hpm.metric, hpm.calibration_sums, hpm.calibration_counts,
  /// hpm.log_tau, hpm.lambda.
  std::vector<std::pair<std::string, Tensor>> state() const;

  /// P times `fixed`, one of this head's tensors. Kept until either changes: at K = 1000 and D = 2048 this product
  /// costs more than everything else in the head.
  Tensor projected(const Tensor& fixed) const;
  struct Projections;
  mutable std::shared_ptr<Projections> kept = {};  ///< of projected(); copies share it
};

/// The clean neighbours of each of N rows: all that solo needs and no attack changes. A row's own clean version is
/// already subtracted from counts, uu and us; row_logits() subtracts it from h.U. U and h are measured from the mean of
/// the stable prototypes, because a large common offset would cost digits.
struct RowCompany {
  Tensor sums;            ///< U [B,K,R] of all batches
  Tensor touched;         ///< [b] int64: the batches that occur
  Tensor columns;         ///< [N,K] int64: which columns of h.U [N,bK] are those of a row's batch
  Tensor own_class;       ///< [N,1] int64: the class its clean version was assigned to
  Tensor own_features;    ///< [N,R]: its clean version's h
  Tensor counts, uu, us;  ///< [N,K]: c, U.U and U.s
};

/// The statistics of all clean batches, and what each of their n members adds to them. Valid for the head that they
/// were made with: lambda and tau may change later, means and metric may not.
struct Neighbours {
  Tensor centre;             ///< [1,R]: the mean of the stable prototypes
  Tensor sums;               ///< U [B,K,R], from the centre
  Tensor products;           ///< c, U.U and U.s [B,3,K], from the centre
  Tensor batch;              ///< [n] int64
  Tensor own_class;          ///< [n] int64
  Tensor own_features;       ///< [n,R]: their h, as given
  Tensor own_products;       ///< [n,3]: what a member adds to c, U.U and U.s of its class
  Tensor batch_on_cpu = {};  ///< `batch`, where make_neighbours() was given it on the CPU

  /// The company of N rows that are versions of the members `members` [N] int64 (repetitions and any order allowed).
  /// Where these are on the CPU, and `batch_on_cpu` is defined, nothing waits for a GPU.
  RowCompany of(const Tensor& members) const;
};
/// sums [B,K,R] of h and counts [B,K] as class_statistics() gives them, all members included; batch [n] and own_class
/// [n] int64, own_features [n,R] their clean h.
Neighbours make_neighbours(const HpmHead& head, const Tensor& sums, const Tensor& counts, const Tensor& batch,
                           const Tensor& own_class, const Tensor& own_features);

/// Variations of the head's logits.
struct HeadOptions {
  std::optional<double> lambda = {};  ///< in place of the head's
  std::vector<double> lambdas = {};   ///< several in its place: logits become [L,N,K], prototypes [L,K,R]
  bool detached = false;              ///< prototypes are constants in the gradient
};

/// The context joint: prototypes of the batch itself. h [N,R] -> [N,K].
Tensor joint_logits(const HpmHead& head, const Tensor& h, const Assigned& assigned, const HeadOptions& options = {});

/// The contexts alone (no company) and solo: each row has its own prototypes,
///     d_ik = (U_ik + A_ik h_i + r_ik s_k) / (n_ik + r_ik),
/// evaluated through inner products alone: nothing of size N x K x D is formed. h [N,R] -> [N,K].
Tensor row_logits(const HpmHead& head, const Tensor& h, const Assigned& assigned, const RowCompany* company = nullptr,
                  const HeadOptions& options = {});

/// The reference context's prototypes m [K,R]. Throws Error where the head has no calibration statistics.
Tensor reference_prototypes(const HpmHead& head, const HeadOptions& options = {});
/// The context reference. h [N,R] -> [N,K].
Tensor reference_logits(const HpmHead& head, const Tensor& h, const HeadOptions& options = {});
/// The pure l2 classifier: lambda = 1. h [N,R] -> [N,K].
Tensor stable_logits(const HpmHead& head, const Tensor& h);

/// The reference context as an FC layer on z: W' = (2/tau) M P [K,D], b' = -|m|^2/tau [K]; same argmax, softmax and
/// DLR. Throws UsageError for l2norm, which is not linear in z.
std::pair<Tensor, Tensor> fold(const HpmHead& head, const HeadOptions& options = {});

}  // namespace hpm
