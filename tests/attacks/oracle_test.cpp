// The fast AutoAttack oracles and the default mode's promises on real checkpoints; all oracles: oracles.cpp.
#include "attacks/oracle_run.h"
#include "hpm/core/device.h"

namespace hpm {
namespace {

class FastOracle : public testing::TestWithParam<const char*> {};

TEST_P(FastOracle, ConformanceGivesTheOfficialFlags) {
  HPM_NEED_SHARED(path, std::string("oracles/autoattack/") + GetParam() + ".json");
  const auto c = test::run_oracle(test::read_json(path), true, 0);
  HPM_NEED_CHECKPOINT(c);
  test::print_row(GetParam(), *c);
  for (const auto& line : c->differences) ADD_FAILURE() << line;
  // Square's queries follow the last bits of the logits, so its passes are those of the oracle's processor
  // (docs/autoattack.md).
  const bool queries = c->result.attacks.empty() || c->result.attacks.back().spec.name == "square";
  if (!queries && c->oracle_forward > 0) {
    EXPECT_EQ(c->forward, c->oracle_forward) << "image passes";
  }
}

INSTANTIATE_TEST_SUITE_P(
    , FastOracle,
    testing::Values("cnn_a_adv4_Linf_0.01569_custom-apgd-dlr_40_bs40", "cnn_a_adv4_Linf_0.01569_custom-fab_40_bs40",
                    "cnn_a_adv4_Linf_0.01569_custom-fab-t_100_bs100", "cnn_a_adv4_Linf_0.01569_custom-square_100_bs100",
                    "cnn_a_adv4_L2_0.30000_custom-fab-t_100_bs100", "cnn_a_adv4_noise_Linf_0.00784_rand_50_bs50",
                    "cnn_a_adv4_L1_12.00000_standard_100", "resnet20_Linf_0.03137_standard_100"),
    [](const auto& info) {
      std::string name = info.param;
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      return name;
    });

TEST(DefaultMode, BreaksWhatTheOfficialCodeBreaks) {
  int64_t broken = 0, missed = 0;
  for (const std::string name :
       {"cnn_a_adv4_Linf_0.01569_custom-apgd-dlr_40_bs40", "cnn_a_adv4_Linf_0.01569_custom-fab_40_bs40",
        "cnn_a_adv4_Linf_0.01569_custom-fab-t_100_bs100", "cnn_a_adv4_Linf_0.01569_custom-square_100_bs100",
        "cnn_a_adv4_L1_12.00000_standard_100"}) {
    HPM_NEED_SHARED(path, "oracles/autoattack/" + name + ".json");
    const auto c = test::run_oracle(test::read_json(path), false, 0);
    HPM_NEED_CHECKPOINT(c);
    test::print_row(name, *c);
    for (const auto& line : c->differences) fmt::print("        {}\n", line);
    broken += c->oracle_broken, missed += c->missed;
  }
  EXPECT_GT(broken, 100);
  EXPECT_LE(missed, 1);
}

TEST(DefaultMode, FlagsDependOnNeitherBatchNorOrderNorThreads) {
  for (const auto& [name, threat] : {std::pair{"cnn_a_adv4", ThreatModel{Norm::linf, 4. / 255}},
                                     {"cnn_a_adv4", {Norm::l2, .4}},
                                     {"cnn_a_adv4", {Norm::l1, 4}},
                                     {"resnet14_at8", {Norm::linf, 8. / 255}}}) {
    const auto classifier = test::real_model(name);
    const auto all = test::cifar_images(48);
    HPM_NEED_CHECKPOINT(classifier && all);
    SCOPED_TRACE(name + (" " + to_string(threat.norm)));
    ClassifierModel model(*classifier);
    AutoAttackOptions options{.version = "custom",
                              .attacks = {"apgd-ce", "apgd-t", "fab-t", "square"},
                              .batch_size = 48,
                              .settings = {.steps = 15, .restarts = 1, .targets = 3, .queries = 150}};
    const auto expected = autoattack(model, *all, threat, options);
    EXPECT_LT(expected.robust_accuracy(), expected.clean_accuracy());
    const auto compare = [&](const AutoAttackResult& other, const Tensor& places) {
      for (size_t i = 0; i < expected.attacks.size(); ++i)
        EXPECT_TRUE(other.attacks[i].robust.index_select(0, places).equal(expected.attacks[i].robust))
            << expected.attacks[i].spec.name;
    };
    const auto order = RandomStreams(5).permutation(48, {"order"});
    compare(autoattack(model, all->select(order), threat, options), order.argsort());
    options.batch_size = 11;
    compare(autoattack(model, *all, threat, options), at::arange(48));
    const ScopedThreads two(2);
    compare(autoattack(model, *all, threat, options), at::arange(48));
  }
}

}  // namespace
}  // namespace hpm
