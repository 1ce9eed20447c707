// What the tests of AutoAttack run: short attacks on a small network and the images it has right.
#pragma once
#include "attacks/formula_net.h"
#include "hpm/attacks/autoattack.h"

namespace hpm::test {

inline const std::vector<ThreatModel> kThreats = {{Norm::linf, .03}, {Norm::l2, .3}, {Norm::l1, 1.5}};

/// Short versions of all six attacks.
inline AutoAttackOptions all_attacks(bool conformance = false) {
  return {.version = "custom",
          .attacks = {"apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"},
          .batch_size = 7,
          .conformance = conformance,
          .settings = {.steps = 10, .restarts = 2, .targets = 3, .queries = 60}};
}

struct Setting {
  Classifier net = formula_net(at::kFloat);
  Images images = own_images(net, 40);
};

}  // namespace hpm::test
