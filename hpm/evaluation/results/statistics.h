// defines: ConfidenceInterval, wilson(), standard_error(), binomial_upper(), mcnemar(), PairedComparison,
// compare_paired(), smallest_detectable()
#pragma once
#include <cstdint>

namespace at {
class Tensor;
}

namespace hpm {

/// Both ends of a confidence interval, in percent or points.
struct ConfidenceInterval {
  double low = 0, high = 0;
  bool operator==(const ConfidenceInterval&) const = default;
};

/// Wilson's 95 % score interval of a proportion k / n, in percent (E. B. Wilson, JASA 1927). n = 0: 0 to 100.
ConfidenceInterval wilson(int64_t k, int64_t n);

/// The standard error of a share of n images, sqrt(p (1 - p) / n); share and error in percent. n = 0: 0.
double standard_error(double percent, int64_t n);

/// Exact one-sided 95 % upper bound of a proportion of which a random sample of n showed k, in percent (Clopper and
/// Pearson, Biometrika 1934). n = 0: 100.
double binomial_upper(int64_t k, int64_t n);

/// Two-sided exact McNemar test: the probability, were both equally good, of a split of the discordant images at least
/// as uneven as wins : losses. 1 where there are none.
double mcnemar(int64_t wins, int64_t losses);

/// The smallest difference, in points, that n paired images with this share of discordant ones (0..1) show with 80 %
/// power at the 5 % level (Connor, Biometrics 1987, normal approximation); at least six images, the fewest that the
/// exact test can call significant.
double smallest_detectable(int64_t n, double discordant);

/// Two methods on the same images.
struct PairedComparison {
  int64_t wins = 0, losses = 0;  ///< images that only the first, only the second has right
  double difference = 0;         ///< points
  ConfidenceInterval interval;  ///< of the difference, 95 %, points: half an image added to each cell (Agresti and Min,
                                ///< "Simple improved confidence intervals for comparing matched proportions", 2005)
  double p = 1;                 ///< mcnemar()
  double detectable = 0;        ///< smallest_detectable() at the discordance seen (at least one image's)
};
PairedComparison compare_paired(int64_t wins, int64_t losses, int64_t n);
/// a, b [n] bool: right or wrong, image by image.
PairedComparison compare_paired(const at::Tensor& a, const at::Tensor& b);

}  // namespace hpm
