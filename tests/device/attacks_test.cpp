// Every attack on the emulated device.
#include "attacks/autoattack_setting.h"
#include "device/measured.h"
#include "hpm/attacks/finite_answers.h"
#include "hpm/attacks/pgd.h"
#include "hpm/attacks/sequence.h"

namespace hpm::test {
namespace {

using Attack = std::function<AttackResult(AttackModel&, const Images&, const ThreatModel&, Monitor&)>;

const RandomStreams streams(0);

/// Every attack; in the first norm with enough steps to tell what a step costs.
std::map<std::string, Attack> attacks(bool of_full_length) {
  std::map<std::string, Attack> all;
  all["pgd"] = [](auto& m, auto& i, auto& t, auto& w) { return pgd(m, i, t, {.steps = 16}, streams, w); };
  all["fgsm"] = [](auto& m, auto& i, auto& t, auto&) { return fgsm(m, i, t, LossKind::ce); };
  for (const auto& entry : attack_table()) {
    if (entry.name == "apgd-own") continue;  // needs a surrogate with an objective: surrogates_test.cpp
    AttackSpec spec{.name = entry.name, .steps = of_full_length ? 100 : 24, .targets = 2, .queries = 60};
    if (entry.name.starts_with("fab")) spec.steps = 16;
    if (entry.name == "square" && of_full_length) spec.queries = 400;
    const auto attack = [run = entry.run](const AttackSpec& with) {
      return [with, run](auto& m, auto& i, auto& t, auto& w) { return run(m, i, t, with, streams, w); };
    };
    all[entry.name] = attack(spec);
    spec.at_once = 1000, spec.restarts = 2;
    if (entry.name == "apgd-t" || entry.name == "fab-t" || entry.name == "relaxation")
      all[entry.name + " at once"] = attack(spec);
  }
  return all;
}

void expect_the_same_flags(const ThreatModel& threat) {
  const Setting setting;
  const auto net = on_device(setting.net);
  const auto images = on_device(setting.images);
  for (const auto& [name, attack] : attacks(threat.norm == Norm::linf)) {
    const auto row = name + " " + to_string(threat.norm);
    SCOPED_TRACE(row);
    ClassifierModel on_cpu(setting.net), elsewhere(net);
    const auto expected = attack(on_cpu, setting.images, threat, silent());
    const auto found = measured(row, [&](Monitor& monitor) { return attack(elsewhere, images, threat, monitor); });
    EXPECT_EQ(found.images.device(), test_device());
    EXPECT_TRUE(at::equal(found.broken.cpu(), expected.broken));
    EXPECT_TRUE(at::equal(setting.net.logits(found.images.cpu()).argmax(1).ne(setting.images.y), expected.broken));
    if (row == "rays L1") continue;  // needs more queries than a test has time for
    EXPECT_GT(expected.broken.sum().item<int64_t>(), 0) << "nothing was broken, nothing is tested";
    EXPECT_LT(expected.broken.sum().item<int64_t>(), 40);
  }
}

TEST(DeviceAttacks, BreakTheImagesThatTheyBreakOnTheCpuInLinf) { expect_the_same_flags(kThreats[0]); }
TEST(DeviceAttacks, BreakTheImagesThatTheyBreakOnTheCpuInL2) { expect_the_same_flags(kThreats[1]); }
TEST(DeviceAttacks, BreakTheImagesThatTheyBreakOnTheCpuInL1) { expect_the_same_flags(kThreats[2]); }

TEST(DeviceAttacks, WaitForTheDeviceAtMostOnceInEightSteps) {
  const auto table = synchronisation_table();
  for (const auto* name : {"apgd-ce", "apgd-dlr", "apgd-t", "relaxation", "square"}) {
    const auto& row = table.at(std::string(name) + " Linf");
    EXPECT_LE(8 * row.synchronisations, row.steps) << name;
  }
}

TEST(DeviceAttacks, NameTheImageWithNanWhenTheyLookAtTheEnd) {
  auto setting = Setting();
  const auto net = on_device(setting.net);
  setting.images.x[7].fill_(std::numeric_limits<float>::quiet_NaN());
  ClassifierModel model(net);
  const auto images = on_device(setting.images);
  const auto message = message_of<NotFinite>([&] { pgd(model, images, kThreats[0], {.steps = 3}, streams); });
  EXPECT_NE(message.find("pgd: the model's logits are NaN or infinite at a version of image 7;"), std::string::npos)
      << message;
}

}  // namespace
}  // namespace hpm::test
