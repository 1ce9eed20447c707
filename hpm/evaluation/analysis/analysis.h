// defines: AnalysisOptions, HeadAnalysis, Analysis, analyze()
#pragma once
#include <string>
#include <vector>

#include "hpm/evaluation/analysis/analysis_heads.h"
#include "hpm/evaluation/analysis/analysis_scatter.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {

/// The sensitivity study: the heads of one model on the same features, each attacked on its own with APGD.
struct AnalysisOptions {
  std::vector<double> radii = {};  ///< of the curve against eps, over 0; the threat's own is always a point of it
  /// Of the curve against iterations; the largest is the number of steps everywhere else.
  std::vector<int64_t> iterations = {1, 2, 5, 10, 20, 50, 100};
  LossKind loss = LossKind::ce;
  uint64_t seed = 0;
  int64_t batch_size = 256;
};

/// What is measured of one head. Rows of the curves are points, columns images.
struct HeadAnalysis {
  LinearHead head;
  Tensor clean_correct;      ///< [n] bool
  Tensor robust_eps;         ///< [E,n] bool: no attack broke it within this radius or a smaller one
  Tensor robust_iterations;  ///< [S,n] bool: not broken by APGD with so many steps at the threat's radius
  Tensor distance;           ///< [n] double: BoundaryDistance::distance of the image
  Tensor local_slope;  ///< [n] double: dual norm of its gradient, the local Lipschitz constant of image -> distance
  /// Of the perturbation of largest loss that APGD found at the threat's radius; images that were wrong already are not
  /// attacked and keep their distance, with 0 in the next two.
  Tensor attacked_distance;  ///< [n] double
  Tensor input_change;       ///< [n] double: its norm, in the threat's norm
  Tensor feature_change;     ///< [n] double: Euclidean norm of the change of z
  Tensor transferred;        ///< [H,n] bool: head h is right on these images

  Tensor robust(size_t radius) const { return robust_eps.select(0, static_cast<int64_t>(radius)); }
};

struct ScatterRow {
  std::string images;  ///< "clean", or the head against which they were made
  ClassScatter z, h;   ///< of the features, and of the space of the prototypes (undefined where that is z)
};

struct Analysis {
  std::vector<double> radii;        ///< rising, the threat's own among them
  std::vector<int64_t> iterations;  ///< rising
  size_t own_radius = 0;            ///< the place of the threat's radius
  std::vector<HeadAnalysis> heads;
  std::vector<ScatterRow> scatter;
  double seconds = 0;
};

/// Runs the study in chunks: what it holds besides is a few numbers an image. Throws UsageError for radii or iterations
/// that are not over 0, for no images, and for a black box.
Analysis analyze(const HpmModel& model, const ImageSet& images, const ThreatModel& threat,
                 const AnalysisOptions& options, const Work& work = {});

/// Passes for an image that survives everything, at most.
Passes analysis_passes(const HpmModel& model, const ThreatModel& threat, const AnalysisOptions& options);

}  // namespace hpm
