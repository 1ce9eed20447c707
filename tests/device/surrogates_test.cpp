// Every surrogate in every context: loss, gradient and prediction on the emulated device are those of the CPU.
#include <torch/csrc/jit/api/module.h>

#include "device/measured.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/models/torchscript_impl.h"
#include "hpm/surrogates/bpda.h"
#include "hpm/surrogates/hpm_surrogates.h"
#include "hpm/surrogates/smoothed.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "surrogates/tiny_model.h"

namespace hpm::test {
namespace {

const std::vector<std::string> kContexts{"reference", "alone", "solo", "solo-eot", "joint"};

struct Side {
  HpmModel model;
  Images images;
  Peers peers;
  std::vector<Surrogate> more;
};

class DeviceSurrogates : public testing::Test {
 protected:
  DeviceSurrogates() {
    const auto path = (folder / "tanh.pt").string();
    torch::jit::Module script("Tanh");
    script.define("def forward(self, x):\n    return x.flatten(1).tanh()[:, :5] * 3.\n");
    script.save(path);
    const auto model = tiny_model(.4, at::kFloat);
    auto images = tiny_labelled_images(model.classifier, 18);
    sides = {Side{model, images, {}, {}}, Side{on_device(model), on_device(images), {}, {}}};
    for (auto& side : sides) {
      auto peer = tiny_model(.9, at::kFloat).classifier;
      peer.to(side.images.x.device());
      side.peers = {peer, peer};
      side.more.push_back(torchscript_surrogate(path, true));
      side.more.push_back(smoothed_surrogate([net = side.model.classifier](const Tensor& x) { return net.logits(x); },
                                             {.sigma = .01, .samples = 3}));
    }
  }

  /// Asks both sides for one batch.
  void compare(const std::string& row, const std::function<std::unique_ptr<AttackModel>(Side&)>& make, LossKind kind) {
    SCOPED_TRACE(row);
    const auto ask = [&](Side& side) {
      const auto model = make(side);
      const auto& y = side.images.y;
      const Loss loss{kind, y, (y + 1).remainder(5)};
      model->ask({side.images.x, side.images.index}, &loss);  // what is kept from one query to the next
      return measured(row, [&](Monitor&) { return model->ask({side.images.x, side.images.index, 1}, &loss); });
    };
    Answer expected;
    {
      const auto model = make(sides[0]);
      const Loss loss{kind, sides[0].images.y, (sides[0].images.y + 1).remainder(5)};
      model->ask({sides[0].images.x, sides[0].images.index}, &loss);
      expected = model->ask({sides[0].images.x, sides[0].images.index, 1}, &loss);
    }
    const auto found = ask(sides[1]);
    EXPECT_EQ(found.gradient.device(), test_device());
    EXPECT_TRUE(close(found.target_logits.cpu(), expected.target_logits, 1e-5, 1e-4));
    EXPECT_TRUE(close(found.loss.cpu(), expected.loss, 1e-5, 1e-4));
    EXPECT_TRUE(close(found.gradient.cpu(), expected.gradient, 1e-5, 1e-3));
    EXPECT_GT(expected.gradient.abs().sum().item<double>(), 0);
  }

  TemporaryFolder folder;
  std::vector<Side> sides;
  std::vector<std::unique_ptr<PlainDefence>> defences;
};

TEST_F(DeviceSurrogates, OfAnHpmModelGiveTheGradientsOfTheCpuWithoutAWait) {
  int64_t compared = 0;
  for (const auto& context : kContexts) {
    std::vector<std::unique_ptr<HpmDefence>> defences;
    for (auto& side : sides)
      defences.push_back(std::make_unique<HpmDefence>(
          side.model, side.images,
          DefenceOptions{.peers = side.peers, .more_surrogates = side.more, .contexts = {context}, .company_size = 7}));
    std::vector<std::string> names{"base", "control", "tanh", "smoothed"};
    for (const auto& row : hpm_surrogates()) names.push_back(row.name);
    for (const auto& name : names) {
      const auto of = [&](size_t side) { return defences[side]->surrogates(0, {.names = {name}}).front(); };
      if (!of(0).unavailable.empty()) continue;
      const auto make = [&](Side& side) {
        const size_t which = &side == &sides[0] ? 0 : 1;
        return std::make_unique<AttackedDefence>(*defences[which], 0, of(which));
      };
      compare(name + " in " + context, make, of(0).logits ? LossKind::dlr : LossKind::own);
      EXPECT_EQ(synchronisation_table().at(name + " in " + context).synchronisations, 0) << name << " in " << context;
      ++compared;
    }
  }
  EXPECT_GT(compared, 45);
}

TEST_F(DeviceSurrogates, ThatStandInForALayerFollowTheModelsDevice) {
  torch::jit::Module layer("Steps"), model("Net");
  layer.define("def forward(self, x):\n    return (x * 8.).round() / 8.\n");
  model.register_module("pre", layer);
  model.define("def forward(self, x):\n    return self.pre.forward(x).flatten(1)[:, :5] * 3.\n");
  for (const bool twin : {false, true}) {
    const auto path = (folder / "twin.pt").string();
    torch::jit::Module soft("Soft");
    soft.define("def forward(self, x):\n    return x * 1.1\n");
    soft.save(path);
    const auto make = [&](Side& side) -> std::unique_ptr<AttackModel> {
      auto copy = model.clone();
      Classifier classifier(std::make_shared<ScriptNetwork>(copy, ""), {"script", 5, {3, 8, 8}});
      classifier.to(side.images.x.device());
      defences.push_back(std::make_unique<PlainDefence>(classifier, DefenceOptions{}));
      return std::make_unique<AttackedDefence>(*defences.back(), 0,
                                               bpda_surrogate(classifier, {{"pre", twin ? path : "identity"}}, true));
    };
    compare(twin ? "bpda with a twin" : "bpda", make, LossKind::dlr);
  }
}

}  // namespace
}  // namespace hpm::test
