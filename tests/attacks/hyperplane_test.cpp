#include "hpm/attacks/hyperplane.h"
#include "attacks/formula_net.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::close;
using test::fill_rule;
using test::tensor_of;

struct Case {
  Tensor points, w, b;
};

Case random_case(int64_t rows, int64_t dims, int64_t t, at::ScalarType type = at::kDouble) {
  const auto points = fill_rule(rows * dims, t).view({rows, dims});
  auto w = 2 * fill_rule(rows * dims, t + 1).view({rows, dims}) - 1;
  w = w * w.abs().gt(.1);  // some coordinates do not count
  // Hyperplanes through points of the box, near and far.
  const auto other = fill_rule(rows * dims, t + 2).view({rows, dims});
  const auto share = at::linspace(.01, 1, rows, at::kDouble).unsqueeze(1);
  const auto b = (w * (points + share * (other - points))).sum(1);
  return {points.to(type), w.to(type), b.to(type)};
}

TEST(Hyperplane, MatchesTheReferenceProjections) {
  const auto oracle = test::read_json(test::source_dir() / "tests/attacks/reference.json")["projections"];
  const auto points = fill_rule(120, 3).view({6, 20}), w = 2 * fill_rule(120, 4).view({6, 20}) - 1;
  const auto b = tensor_of(oracle["b"]);
  for (const auto& [name, norm] : {std::pair{"linf", Norm::linf}, {"l2", Norm::l2}, {"l1", Norm::l1}}) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(close(project_hyperplane_sorted(points, w, b, norm), tensor_of(oracle[name]), 1e-12));
    EXPECT_TRUE(close(project_hyperplane(points, w, b, norm), tensor_of(oracle[name]), 1e-12));
  }
}

TEST(Hyperplane, KernelsFindWhatSortingFinds) {
  for (int64_t dims : {1, 7, 48, 3072}) {
    const auto [points, w, b] = random_case(40, dims, 11);
    for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
      SCOPED_TRACE(to_string(norm) + " " + std::to_string(dims));
      const auto found = project_hyperplane(points.to(at::kFloat), w.to(at::kFloat), b.to(at::kFloat), norm);
      const auto exact = project_hyperplane_sorted(points, w, b, norm);
      EXPECT_TRUE(close(norm_of_rows(found, norm), norm_of_rows(exact, norm), 1e-4, 1e-4));
      if (norm != Norm::l1) {  // ties of |w| have several answers there
        EXPECT_TRUE(close(found, exact, 2e-4));
      }
      EXPECT_TRUE(close((w * (points + found)).sum(1), (w * (points + exact)).sum(1), 1e-4, 1e-4));
    }
  }
}

TEST(Hyperplane, StepOfTheKernelsIsTheStepOfTheOperations) {
  for (int64_t dims : {5, 192}) {
    const auto [points, w, b] = random_case(40, dims, 11, at::kFloat);
    const auto originals = fill_rule(40 * dims, 77).view({40, dims}).to(at::kFloat);
    for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
      const auto fast = boundary_step(points, originals, w, b, norm, {1.05, .1, false});
      const auto slow = boundary_step(points, originals, w, b, norm, {1.05, .1, true});
      EXPECT_TRUE(close(fast, slow, 3e-4)) << to_string(norm) << dims;
      EXPECT_FALSE(close(fast, points, 1e-2)) << "nothing moved";
    }
  }
}

TEST(Hyperplane, ReachesTheHyperplaneInsideTheBox) {
  const auto [points, w, b] = random_case(40, 192, 21);
  for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
    SCOPED_TRACE(to_string(norm));
    const auto end = points + project_hyperplane(points, w, b, norm);
    EXPECT_TRUE(close((w * end).sum(1), b, 1e-9));
    EXPECT_GE(end.min().item<double>(), -1e-12);
    EXPECT_LE(end.max().item<double>(), 1 + 1e-12);
  }
}

TEST(Hyperplane, NoOtherDirectionIsShorter) {
  // Any displacement onto the hyperplane inside the box, here towards 200 other points of it, is at least as long.
  const auto [points, w, b] = random_case(8, 30, 31);
  for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
    const auto length = norm_of_rows(project_hyperplane(points, w, b, norm), norm);
    for (int64_t t = 40; t < 240; ++t) {
      const auto from = fill_rule(8 * 30, t).view({8, 30});
      const auto other = from + project_hyperplane(from, w, b, norm);
      EXPECT_TRUE((norm_of_rows(other - points, norm) >= length - 1e-9).all().item<bool>());
    }
  }
}

TEST(Hyperplane, RefusesShapesThatDoNotFit) {
  const auto message = test::message_of<UsageError>([] {
    project_hyperplane(at::zeros({2, 3}), at::zeros({2, 4}), at::zeros({2}), Norm::linf);
  });
  EXPECT_NE(message.find("project_hyperplane: needs"), std::string::npos) << message;
}

}  // namespace
}  // namespace hpm
