// defines: FeatureSet, MetricFit, class_means(), lda_directions(), fit_tau(), fit_metric(), require_every_class(),
// require_rank()
#pragma once
#include "hpm/core/progress.h"
#include "hpm/prototypes/head.h"

namespace hpm {

/// Cached penultimate features of training images.
struct FeatureSet {
  Tensor z;  ///< [M,D]
  Tensor y;  ///< [M] int64
};

/// Throws Error where a class has no image; counts [K].
void require_every_class(const Tensor& counts);
/// Throws UsageError for a metric of more rows than features, or of none.
void require_rank(int64_t rank, int64_t features);

/// The mean of each class's prepared features: z [M,D], y [M] -> [K,D]. Throws Error for a class without images.
Tensor class_means(const HpmHead& head, const FeatureSet& features, int64_t classes);

/// The R leading discriminant directions after within-class whitening (Fisher's linear discriminant analysis): P [R,D]
/// such that P z has within-class covariance of about the identity. features z [M,D], R <= min(D, K-1) are informative.
Tensor lda_directions(const FeatureSet& features, int64_t classes, int64_t rank);

/// How the metric is fitted on cached features.
struct MetricFit {
  int64_t rank = 0;     ///< R; 0: K - 1
  int64_t steps = 400;  ///< of Adam on the stable head's cross-entropy
  double lr = 3e-3;
  int64_t batch = 2048;  ///< features a step
};

/// Sets tau by the stable head's cross-entropy on a grid.
void fit_tau(HpmHead& head, const FeatureSet& features);

/// Fits the metric P (kind `learned`; from `head.metric` where it is set, else from lda_directions) and tau on the
/// cross-entropy of the stable head (lambda = 1). Other kinds: tau alone. The means must be set.
void fit_metric(HpmHead& head, const FeatureSet& features, const MetricFit& options, uint64_t seed,
                Monitor& monitor = silent());

}  // namespace hpm
