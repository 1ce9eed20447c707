// The protocol fast on the shared checkpoints: honest ones raise no alarm, masked versions of one of them do.
// HPM_IMAGES=N takes N images in place of few, and prints the rows of the table in docs/fast.md.
#include <fmt/ranges.h>

#include "attacks/oracle_run.h"
#include "evaluation/masked_models.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/fast/fast.h"

namespace hpm {
namespace {

int64_t images_of(int64_t few) {
  const char* text = std::getenv("HPM_IMAGES");
  return text ? std::atoll(text) : few;
}

Evaluation fast(const Classifier& model, const Images& images, double eps, FastOptions options = {}) {
  PlainDefence defence(model, {});
  return evaluate_fast(defence, {images, {Norm::linf, eps}}, options, {});
}

/// Model, radius, what the stages broke, their passes, AutoAttack's, the ratio; then every alarm.
void print(const std::string& model, double pixels, const Evaluation& e, Passes all) {
  std::vector<int64_t> broke, passes;
  for (const auto& stage : e.fast->stages) broke.push_back(stage.broke), passes.push_back(stage.passes);
  fmt::print("| {} | {}/255 | {} | {} | {} | {} | {:.1f} |\n", model, pixels, fmt::join(broke, ", "),
             fmt::join(passes, " | "), all.forward, e.fast->autoattack_passes,
             static_cast<double>(e.fast->autoattack_passes) / static_cast<double>(all.forward));
  for (const auto& alarm : e.fast->alarms)
    fmt::print("  {}: {} ({})\n", alarm.name, alarm.value.value_or(-1), alarm.evidence);
}

class HonestCheckpoints : public testing::TestWithParam<const char*> {};

TEST_P(HonestCheckpoints, RaiseNoAlarm) {
  const auto model = test::real_model(GetParam());
  const auto images = test::cifar_images(images_of(24));
  HPM_NEED_CHECKPOINT(model && images);
  for (const double pixels : {2., 8.}) {
    auto counted = *model;
    counted.reset_passes();
    const auto e = fast(counted, *images, pixels / 255,
                        {.alarms = {.sample = std::getenv("HPM_IMAGES") ? std::optional<int64_t>() : 2}});
    EXPECT_EQ(e.fast->fired(), std::vector<std::string>{}) << pixels;
    if (std::getenv("HPM_IMAGES")) print(GetParam(), pixels, e, counted.passes());
    EXPECT_FALSE(e.suspect());
  }
}

INSTANTIATE_TEST_SUITE_P(, HonestCheckpoints,
                         testing::Values("cnn_a_adv4", "conv_small_pgd", "madry_8px", "resnet4b", "resnet20",
                                         "resnet14_at8"),
                         [](const auto& info) { return std::string(info.param); });

struct Masked {
  const char* name;
  std::function<Classifier(const Classifier&)> make;
};

class MaskedCheckpoint : public testing::TestWithParam<Masked> {};

TEST_P(MaskedCheckpoint, EscalatesAndThenStandsNotAboveAutoAttack) {
  const auto honest = test::real_model("cnn_a_adv4");
  const auto images = test::cifar_images(images_of(10));
  HPM_NEED_CHECKPOINT(honest && images);
  const auto model = GetParam().make(*honest);
  torch::manual_seed(1);
  const auto e = fast(model, *images, 4. / 255);
  for (const auto& alarm : e.fast->alarms)
    if (alarm.fired) fmt::print("{}: {} ({})\n", GetParam().name, alarm.name, alarm.evidence);
  EXPECT_TRUE(e.fast->escalated);
  torch::manual_seed(1);
  PlainDefence defence(model, {});
  const auto reference = evaluate_autoattack(defence, {*images, {Norm::linf, 4. / 255}}, {});
  EXPECT_LE(e.first().robust.sum().item<int64_t>(), reference.first().robust.sum().item<int64_t>() + 1);
}

INSTANTIATE_TEST_SUITE_P(
    , MaskedCheckpoint,
    testing::Values(Masked{"ScaledLogits", [](const Classifier& c) { return test::scaled_logits(c, 1e5); }},
                    Masked{"QuantisedInput", [](const Classifier& c) { return test::quantised_input(c, 16); }},
                    Masked{"RandomNoise", [](const Classifier& c) { return test::noisy_logits(c, .05); }},
                    Masked{"Probabilities", [](const Classifier& c) { return test::probabilities(c); }},
                    Masked{"WinnersTakeAll", [](const Classifier& c) { return test::winning_pixels(c, .5); }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(FastOnACheckpoint, TheScaleOfTheLogitsChangesNoVerdict) {
  const auto model = test::real_model("cnn_a_adv4");
  const auto images = test::cifar_images(images_of(40));
  HPM_NEED_CHECKPOINT(model && images);
  const auto expected = fast(*model, *images, 4. / 255, {.alarms = {.sample = 2}});
  for (const double factor : {1e-3, 1e3})
    EXPECT_TRUE(
        fast(test::scaled_logits(*model, factor), *images, 4. / 255, {.alarms = {.sample = 2, .no_escalate = true}})
            .first()
            .robust.equal(expected.first().robust))
        << factor;
}

}  // namespace
}  // namespace hpm
