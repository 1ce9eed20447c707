// What is looked at before and beside the attacks: peers, gradients, logits, the settings of a run.
#include "evaluation/msa_fixture.h"
#include "hpm/attacks/autoattack.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/checks/gradient_probe.h"
#include "hpm/evaluation/checks/input_warnings.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/results/fingerprint.h"
#include "hpm/evaluation/run/peers.h"
#include "hpm/models/network.h"
#include "hpm/models/normalisation.h"

namespace hpm {
namespace {

using Status = CheckOutcome::Status;

Tensor right(int64_t n, int64_t of) { return at::arange(of) < n; }

TEST(PeerAccuracy, OfAPeerFarBelowTheModelIsSuspectAndFarAboveIsReported) {
  EXPECT_EQ(peer_accuracy("base", right(60, 100), right(15, 100)).status, Status::failed);
  EXPECT_EQ(peer_accuracy("base", right(60, 100), right(52, 100)).status, Status::passed) << "8 points";
  EXPECT_EQ(peer_accuracy("base", right(6, 10), right(3, 10)).status, Status::passed) << "three images are chance";
  EXPECT_EQ(peer_accuracy("base", right(60, 100), right(78, 100)).status, Status::reported);
  const auto failed = peer_accuracy("control", right(60, 100), right(15, 100));
  EXPECT_EQ(failed.context, "control");
  EXPECT_NE(failed.detail.find("15.0 %"), std::string::npos);
}

/// The tiny model's classifier saved without a normalisation, and beside it one with.
class LoadedPeers : public testing::Test {
 protected:
  std::string save(const std::string& name, const Normalisation& normalisation, const std::string& arch = kArch) {
    const HpmModel model{make_classifier(arch, 5, {3, 8, 8}, normalisation, 3), std::nullopt};
    const auto path = (folder / name).string();
    save_model(model, path, "a test");
    return path;
  }
  Classifier model(const Normalisation& normalisation) {
    return make_classifier(kArch, 5, {3, 8, 8}, normalisation, 4);
  }
  static constexpr const char* kArch = "conv6k3s2p1-relu-flatten-fc8-relu-fc5";
  test::TemporaryFolder folder;
};

TEST_F(LoadedPeers, TakeTheirOwnNormalisationThenWhatIsGivenThenTheModels) {
  const auto bare = save("bare.safetensors", {}), own = save("own.safetensors", {{.5}, {.25}});
  const auto subject = model({{.1, .2, .3}, {.4, .5, .6}});
  const ModelCard given{.mean = {.7}, .std = {.8}};
  EXPECT_EQ(load_peer({"base", own, given}, subject).classifier.info().normalisation.std,
            (std::vector<double>{.25, .25, .25}));
  const auto flags = load_peer({"base", bare, given}, subject);
  EXPECT_EQ(flags.classifier.info().normalisation.mean, (std::vector<double>{.7, .7, .7}));
  const auto taken = load_peer({"base", bare}, subject);
  EXPECT_EQ(taken.classifier.info().normalisation.mean, subject.info().normalisation.mean);
  ASSERT_EQ(taken.findings.size(), 1u);
  EXPECT_NE(taken.findings[0].find("the same architecture"), std::string::npos);
  EXPECT_TRUE(taken.warnings.empty()) << taken.warnings[0];
  const auto other = save("other.safetensors", {}, "conv4k3s2p1-relu-flatten-fc8-relu-fc5");
  EXPECT_NE(test::message_of<UsageError>([&] {
              load_peer({"base", other}, subject);
            }).find("not known"),
            std::string::npos);
  // Not even the model's is known.
  EXPECT_NE(test::message_of<UsageError>([&] {
              load_peer({"base", bare}, model({}));
            }).find("not known"),
            std::string::npos);
}

TEST(NormalisationValues, OneValueStandsForEveryChannelAndNoneCanBeSaid) {
  const auto none = make_classifier("conv6k3s2p1-relu-flatten-fc5", 5, {3, 8, 8}, {{0}, {1}}, 4),
             unknown = make_classifier("conv6k3s2p1-relu-flatten-fc5", 5, {3, 8, 8}, {}, 4);
  EXPECT_TRUE(normalisation_known(none));
  EXPECT_FALSE(normalisation_known(unknown));
  const auto x = test::tiny_images(3, 1, at::kFloat);
  EXPECT_TRUE(at::equal(none.logits(x), unknown.logits(x)));
  EXPECT_EQ(none.info().normalisation.std, (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(unlikely_values({{125.3, 123, 113.9}, {63, 62, 67}}).size(), 2u);
  EXPECT_TRUE(unlikely_values({{.5}, {1}}).empty());
}

/// A network whose logits are some function of another one's.
class Wrapped : public Network {
 public:
  Wrapped(Classifier inner, std::function<Tensor(const Tensor&)> f) : inner_(std::move(inner)), f_(std::move(f)) {}
  NetworkOutput run(const Tensor& x) override { return {{}, f_(inner_.logits(x))}; }
  Tensor features(const Tensor&) override { return {}; }
  torch::nn::Linear head() override { return nullptr; }
  std::shared_ptr<Network> fresh() const override { return std::make_shared<Wrapped>(inner_, f_); }

 private:
  Classifier inner_;
  std::function<Tensor(const Tensor&)> f_;
};

class Probe : public testing::Test {
 protected:
  Classifier wrapped(std::function<Tensor(const Tensor&)> f) {
    return {std::make_shared<Wrapped>(model, std::move(f)), {"wrapped", 5, {3, 8, 8}, {}}};
  }
  GradientProbe::Kind kind(std::function<Tensor(const Tensor&)> f) {
    return probe_gradient(wrapped(std::move(f)), images).kind;
  }
  using Kind = GradientProbe::Kind;
  Classifier model = test::tiny_model(.4, at::kFloat).classifier;
  Images images = test::tiny_labelled_images(model, 8);
};

TEST_F(Probe, TellsBlackBoxesFromModelsWhoseGradientIsZeroAtSomeImages) {
  EXPECT_EQ(kind([](const Tensor& o) { return o; }), Kind::present);
  EXPECT_EQ(kind([](const Tensor& o) { return o.detach(); }), Kind::absent);
  EXPECT_EQ(kind([](const Tensor& o) { return at::one_hot(o.argmax(1), 5).to(at::kFloat); }), Kind::absent);
  EXPECT_EQ(kind([](const Tensor& o) -> Tensor {
              if (o.requires_grad()) throw std::runtime_error("no numpy on a tensor that requires grad");
              return o;
            }),
            Kind::absent);
  EXPECT_EQ(kind([](const Tensor& o) { return at::round(o); }), Kind::zero);
  // Saturated: the cross-entropy has no gradient, the margin has.
  EXPECT_EQ(kind([](const Tensor& o) { return o * 1e6; }), Kind::present);
  // Only one image has any.
  EXPECT_EQ(kind([](const Tensor& o) { return at::cat({o.slice(0, 0, 1), at::round(o.slice(0, 1))}); }), Kind::present);
}

TEST_F(Probe, LeavesARandomModelsDrawsAsTheyWere) {
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const auto before = generator.get_state();
  const auto noisy = wrapped([](const Tensor& o) { return o + at::randn_like(o); });
  probe_gradient(noisy, images);
  clean_fc_logits({noisy, std::nullopt}, images, 4);
  EXPECT_TRUE(at::equal(before, generator.get_state()));
}

TEST_F(Probe, LogitsTellOfProbabilitiesCoarseNumbersAndGuessing) {
  const auto y = at::arange(40) % 5;
  const auto logits = at::one_hot(y, 5).to(at::kFloat) * 3 + test::fill_rule(200, 3).view({40, 5}).to(at::kFloat);
  EXPECT_TRUE(logits_warnings(logits, y).empty());
  const auto expect = [&](const Tensor& given, const Tensor& labels, const char* part) {
    const auto lines = logits_warnings(given, labels);
    ASSERT_EQ(lines.size(), 1u) << part;
    EXPECT_NE(lines[0].find(part), std::string::npos) << lines[0];
  };
  expect(logits.softmax(1), y, "probabilities");
  expect(logits + 1e6, y, "float32 numbers");
  expect(logits, (y + 1) % 5, "hardly better than guessing");
  EXPECT_TRUE(logits_warnings(logits + 100, y).empty()) << "an offset that rounding bears";
  EXPECT_TRUE(logits_warnings(at::one_hot(y, 5).to(at::kFloat), y).empty()) << "labels are no probabilities";
  auto broken = logits.clone();
  broken[7][2] = std::numeric_limits<float>::quiet_NaN(), broken[9][0] = std::numeric_limits<float>::infinity();
  const auto found = not_finite(broken, at::arange(100, 140));
  ASSERT_TRUE(found.has_value());
  EXPECT_NE(found->text().find("image 107, class 2"), std::string::npos) << found->text();
  EXPECT_EQ(found->images, 2);
  EXPECT_FALSE(not_finite(logits, y).has_value());
  EXPECT_EQ(threat_warnings({{Norm::linf, 8}, {Norm::linf, .5}, {Norm::l2, 8}}).size(), 1u);
}

TEST(FingerprintTest, NamesEachSettingThatDiffers) {
  test::TemporaryFolder folder;
  Fingerprint first, second;
  first.set("--seed", "0"), first.set("--steps", ""), second.set("--seed", "3"), second.set("--steps", "");
  first.require_same(folder.path);  // nothing to compare
  first.write(folder.path);
  first.require_same(folder.path);
  EXPECT_NE(first.digest(), second.digest());
  const auto message = test::message_of<Error>([&] { second.require_same(folder.path); });
  EXPECT_NE(message.find("--seed was 0, is now 3"), std::string::npos) << message;
  EXPECT_EQ(message.find("--steps"), std::string::npos) << message;
}

TEST(FingerprintTest, RefusesAFileThatIsNoneAndSaysWhatToDo) {
  test::TemporaryFolder folder;
  Fingerprint settings;
  settings.set("--seed", "0");
  const std::string deep = "{\"--seed\": " + std::string(200000, '[') + std::string(200000, ']') + "}";
  for (const auto& text : {deep, std::string("[]"), std::string("{")}) {
    std::ofstream(folder / "fingerprint.json") << text;
    const auto message = test::message_of<Error>([&] { settings.require_same(folder.path); });
    EXPECT_NE(message.find("fingerprint.json: "), std::string::npos) << message;
    EXPECT_TRUE(message.ends_with("give --overwrite, or another --out")) << message;
  }
}

/// A model without a head, attacked through other networks.
class PlainMsa : public test::MsaFixture {
 protected:
  PlainMsa() {
    images.y = plain.classifier.logits(images.x).argmax(1);
    setting.settings.steps = 20, setting.batch_size = 16;
  }
  Evaluation run(const Peers& peers, bool differentiable, const ThreatModel& on, const WorkLog& log = {}) const {
    DefenceOptions options;
    options.peers = peers, options.differentiable = differentiable;
    return hpm::msa(*make_defence(plain, images, options), {images, on}, setting, {silent(), log});
  }
  HpmModel plain{test::tiny_model(.4, at::kFloat).classifier, std::nullopt};
  MsaOptions setting;
};

TEST_F(PlainMsa, IsAttackedThroughBaseAndControlAndEveryBreakIsTheModels) {
  const Peers peers{plain.classifier.clone(), test::tiny_model(.4, at::kFloat).classifier};
  const auto result = run(peers, false, {Norm::linf, .1});  // so that the peers have something left to break
  const auto& outcome = result.first();
  ASSERT_EQ(outcome.surrogates.size(), 3u);
  EXPECT_EQ(outcome.surrogates[0].unavailable, "the model has no gradient");
  EXPECT_EQ(outcome.surrogates[1].name, "base");
  EXPECT_EQ(outcome.surrogates[1].of, 18);
  EXPECT_GT(outcome.surrogates[1].broke, 0) << "the base is the model";
  EXPECT_EQ(outcome.surrogates[2].of, 18 - outcome.surrogates[1].broke) << "survivors alone";
  ASSERT_EQ(result.attacks.size(), 2u);
  EXPECT_TRUE(at::equal(result.attacks[1].robust, outcome.robust));
  const auto verdict = plain.classifier.logits(outcome.adversarial.all()).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(verdict, outcome.robust));
  for (int64_t i = 0; i < 18; ++i)
    EXPECT_NE(outcome.robust[i].item<bool>(), static_cast<bool>(outcome.broken_by[static_cast<size_t>(i)])) << i;
}

TEST_F(PlainMsa, ItsOwnGradientComesFirstAndPeersGetTheSurvivors) {
  const auto alone = run({}, true, threat), with = run({plain.classifier.clone(), {}}, true, threat);
  EXPECT_EQ(with.attacks.size(), alone.attacks.size() + 1);
  EXPECT_EQ(with.attacks.back().surrogate, "base");
  EXPECT_TRUE(with.attacks.front().own_gradient && !with.attacks.back().own_gradient);
  for (size_t i = 0; i < alone.attacks.size(); ++i)
    EXPECT_TRUE(at::equal(with.attacks[i].robust, alone.attacks[i].robust)) << i;
}

TEST_F(PlainMsa, ResumesFromTheJournal) {
  const Peers peers{plain.classifier.clone(), test::tiny_model(.9, at::kFloat).classifier};
  test::TemporaryFolder folder;
  Evaluation first;
  {
    Journal journal(folder.path, "a test", false);
    first = run(peers, false, {Norm::linf, .1}, WorkLog(journal));
  }
  Journal journal(folder.path, "a test", true);
  const auto before = peers.base.passes().backward;
  const auto again = run(peers, false, {Norm::linf, .1}, WorkLog(journal));
  EXPECT_EQ(peers.base.passes().backward, before);
  EXPECT_TRUE(at::equal(first.first().robust, again.first().robust));
  EXPECT_EQ(first.attacks[0].passes.forward, again.attacks[0].passes.forward);
}

TEST(FewClasses, AreNotedWhereARatioOfLogitsNeedsMore) {
  const HpmModel two{make_classifier("conv4k3s2p1-relu-flatten-fc2", 2, {3, 8, 8}, {}, 5), std::nullopt};
  const Images images = test::tiny_labelled_images(two.classifier, 6);
  test::MsaSetting setting;
  setting.settings.steps = 3;
  const auto result = test::msa(two, {}, images, {Norm::linf, .02}, setting);
  ASSERT_EQ(result.notes.size(), 2u) << "apgd-dlr and apgd-t";
  EXPECT_NE(result.notes[1].find("apgd-t uses the difference of two logits"), std::string::npos) << result.notes[1];
}

}  // namespace
}  // namespace hpm
