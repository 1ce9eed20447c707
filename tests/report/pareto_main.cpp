// pareto FILE.svg: accuracy difference to AutoAttack against forward passes, of the evaluations that docs/fast.md
// compares. The numbers are those of its tables; published ones come from the papers named there.
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "hpm/core/text.h"
#include "hpm/io/file.h"
#include "hpm/report/svg.h"

namespace {

struct Point {
  const char *name, *tone;
  double ratio;       // how many times fewer forward passes than the official code takes
  double difference;  // points of robust accuracy above it
  bool published;     // on other models, by its authors
  double up = 0;      // of its label, in pixels
};

const std::vector<Point>& points() {
  static const std::vector<Point> all = {
      {"AutoAttack, official", "t-base", 1, 0, false, 12},
      {"AutoAttack, hpm", "t-control", 1.02, 0, false, -18},
      {"fast, 500 images, everything counted", "t-hpm", 37.9, 0, false, 12},
      {"its core (9 classes) alone", "t-l2", 45.9, -.095, false, -18},
      {"MALT", "t-other", 5, 0, true, 12},
      {"A3", "t-other", 10, 0, true, -18},
      {"CR", "t-other", 36, -.1, true, 14},
  };
  return all;
}

std::string drawn() {
  constexpr double kWidth = 720, kHeight = 340, kLeft = 60, kRight = 700, kTop = 40, kBottom = 280;
  constexpr double kLow = -.2, kHigh = .1, kMost = 64;
  const auto x = [](double ratio) {
    return kLeft + (kRight - kLeft) * std::log(ratio * 1.25) / std::log(kMost * 1.25);
  };
  const auto y = [](double d) { return kBottom - (kBottom - kTop) * (d - kLow) / (kHigh - kLow); };
  hpm::Svg svg({"Accuracy difference to AutoAttack against passes",
                "Robust accuracy above the official AutoAttack, in points, against how many times fewer forward passes "
                "an evaluation takes. Full dots are measured here, rings published by their authors on other models.",
                kWidth},
               kHeight);
  svg.text(0, 14, "points of robust accuracy above the official AutoAttack (lower: it broke more)", "soft small");
  for (const double d : {-.2, -.1, 0., .1}) {
    svg.line(kLeft, y(d), kRight, y(d), d == 0 ? "zero" : "grid");
    svg.text(kLeft - 8, y(d) + 4, fmt::format("{:+g}", d), "soft small", hpm::Anchor::end);
  }
  for (const double ratio : {1., 2., 4., 8., 16., 32., 64.}) {
    svg.line(x(ratio), kBottom, x(ratio), kBottom + 4, "axis");
    svg.text(x(ratio), kBottom + 18, fmt::format("{:g}", ratio), "soft small", hpm::Anchor::middle);
  }
  svg.text((kLeft + kRight) / 2, kBottom + 36, "times fewer forward passes", "soft small", hpm::Anchor::middle);
  for (const auto& p : points()) {
    svg.open_group(p.name);
    svg.circle(x(p.ratio), y(p.difference), 5, std::string(p.tone) + (p.published ? " ring" : " fill"));
    svg.text(x(p.ratio), y(p.difference) - p.up + (p.up > 0 ? 0 : 2), p.name, std::string("small named ") + p.tone,
             p.ratio < 2    ? hpm::Anchor::start
             : p.ratio > 30 ? hpm::Anchor::end
                            : hpm::Anchor::middle);
    svg.close_group();
  }
  svg.circle(kLeft + 6, kBottom + 50, 5, "t-hpm fill")
      .text(kLeft + 16, kBottom + 54, "measured here, Linf", "small soft");
  svg.circle(kLeft + 176, kBottom + 50, 5, "t-other ring")
      .text(kLeft + 186, kBottom + 54, "published, on other models", "small soft");
  return hpm::svg_file(svg.inline_element());
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: pareto FILE.svg");
  hpm::write_file_atomically(argv[1], drawn());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "pareto: %s\n", error.what());
  return 1;
}
