#include "hpm/evaluation/results/statistics.h"

#include <algorithm>
#include <cmath>

namespace hpm {
namespace {
constexpr double kZ95 = 1.959963984540054, kZ80 = .8416212335729143;
}

ConfidenceInterval wilson(int64_t k, int64_t n) {
  if (n == 0) return {0, 100};
  const double p = static_cast<double>(k) / static_cast<double>(n), m = static_cast<double>(n), zz = kZ95 * kZ95;
  const double centre = (p + zz / (2 * m)) / (1 + zz / m);
  const double half = kZ95 / (1 + zz / m) * std::sqrt(p * (1 - p) / m + zz / (4 * m * m));
  return {100 * std::max(0., centre - half), 100 * std::min(1., centre + half)};
}

double standard_error(double percent, int64_t n) {
  return n == 0 ? 0 : std::sqrt(percent * (100 - percent) / static_cast<double>(n));
}

double binomial_upper(int64_t k, int64_t n) {
  if (k >= n) return 100;
  // The largest p at which k or fewer of n still have a probability of 5 %.
  const auto at_most_k = [&](double p) {
    double sum = 0;
    for (int64_t i = 0; i <= k; ++i)
      sum += std::exp(std::lgamma(n + 1.) - std::lgamma(i + 1.) - std::lgamma(n - i + 1.) +
                      static_cast<double>(i) * std::log(p) + static_cast<double>(n - i) * std::log1p(-p));
    return sum;
  };
  double low = 0, high = 1;
  for (int i = 0; i < 60; ++i) {
    const double p = (low + high) / 2;
    (at_most_k(p) > .05 ? low : high) = p;
  }
  return 100 * high;
}

double mcnemar(int64_t wins, int64_t losses) {
  const int64_t n = wins + losses, k = std::min(wins, losses);
  double tail = 0;
  for (int64_t i = 0; i <= k; ++i)
    tail += std::exp(std::lgamma(n + 1.) - std::lgamma(i + 1.) - std::lgamma(n - i + 1.) -
                     static_cast<double>(n) * std::log(2.));
  return std::min(1., 2 * tail);
}

double smallest_detectable(int64_t n, double discordant) {
  if (n == 0) return 100;
  // n = (z_.975 sqrt(psi) + z_.8 sqrt(psi - delta^2))^2 / delta^2, solved for delta in (0, psi].
  double low = 0, high = discordant;
  for (int i = 0; i < 60; ++i) {
    const double delta = (low + high) / 2;
    const double root = kZ95 * std::sqrt(discordant) + kZ80 * std::sqrt(std::max(discordant - delta * delta, 0.));
    (root * root / (delta * delta) > static_cast<double>(n) ? low : high) = delta;
  }
  return 100 * std::max(high, 6 / static_cast<double>(n));
}

PairedComparison compare_paired(int64_t wins, int64_t losses, int64_t n) {
  PairedComparison c{.wins = wins, .losses = losses};
  if (n == 0) return c;
  const double w = static_cast<double>(wins), l = static_cast<double>(losses), m = static_cast<double>(n);
  const double middle = (w - l) / (m + 2), error = std::sqrt(w + l + 1 - (w - l) * (w - l) / (m + 2)) / (m + 2);
  c.difference = 100 * (w - l) / m;
  c.interval = {100 * (middle - kZ95 * error), 100 * (middle + kZ95 * error)};
  c.p = mcnemar(wins, losses);
  c.detectable = smallest_detectable(n, std::max(w + l, 1.) / m);
  return c;
}

}  // namespace hpm
