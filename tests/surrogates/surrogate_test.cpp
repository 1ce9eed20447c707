#include "hpm/surrogates/hpm_surrogates.h"

#include <torch/csrc/jit/api/module.h>

#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/defences/attacked_defence.h"
#include "hpm/defences/function_defence.h"
#include "hpm/defences/hpm_defence.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/models/operations.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::close;
using test::tiny_images;
using test::tiny_model;

class Surrogates : public testing::Test {
 protected:
  Surrogates() {
    const auto out = model.run(clean);
    company = std::make_shared<Company>(*model.head, at::arange(24), out.features, out.logits, 10, 3);
    y = prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, at::arange(24)).argmax(1);
  }
  Context context(ContextKind kind) const { return {kind, company}; }
  Answer ask(const HpmSurrogate& surrogate, ContextKind kind, const Tensor& x, LossKind loss,
             const Tensor& targets = {}) {
    HpmAttackModel attacked(model, context(kind), surrogate);
    const Loss l{loss, y, targets};
    return attacked.ask({x, at::arange(24)}, &l);
  }
  Answer ask(const std::string& surrogate, ContextKind kind, const Tensor& x, LossKind loss) {
    return ask(hpm_surrogate(surrogate), kind, x, loss);
  }
  HpmModel model = tiny_model();
  Tensor clean = tiny_images(24, 1), x = (clean + .05 * (tiny_images(24, 2) - .5)).clamp(0, 1);
  std::shared_ptr<const Company> company;
  Tensor y;
  const std::vector<ContextKind> contexts{ContextKind::reference, ContextKind::alone, ContextKind::solo,
                                          ContextKind::joint};
};

TEST_F(Surrogates, AllHaveTheSameVerdictsWhateverTheirGradient) {
  for (auto kind : contexts) {
    const auto expected = ask("hard", kind, x, LossKind::ce).target_logits;
    for (const auto& row : hpm_surrogates()) {
      const auto surrogate = bound(row, *model.head, context(kind));
      if (!surrogate.unavailable.empty() || (row.objective && !surrogate.same_as.empty())) continue;
      const auto answer = ask(row, kind, x, row.objective ? LossKind::own : LossKind::ce, y);
      EXPECT_TRUE(close(answer.target_logits, expected, 1e-9)) << row.name << " in " << to_string(kind);
      EXPECT_TRUE(answer.gradient.isfinite().all().item<bool>()) << row.name;
      EXPECT_GT(answer.gradient.abs().max().item<double>(), 0) << row.name << " in " << to_string(kind);
    }
  }
}

TEST(HpmAttackModel, CountsNoBreakOfABatchThatPyTorchsOwnLayersDoNotShow) {
  HpmModel model{make_classifier("resnet14", 10, {3, 32, 32}, {}, 11), HpmHead{.lambda = .4}};
  model.head->means = test::fill_rule(640, 6).view({10, 64}).to(at::kFloat);
  model.head->log_tau = torch::tensor(std::log(.05f));
  const auto images = test::fill_rule(24 * 3072, 1).view({24, 3, 32, 32}).to(at::kFloat);
  const Loss loss{LossKind::ce, at::zeros({24}, at::kLong), {}};  // not all rows are right
  const Query query{images, at::arange(24)};
  const auto logits = [&](bool verdicts) {
    return HpmAttackModel(model, {ContextKind::joint}, hpm_surrogate("ste"), verdicts).ask(query, &loss).target_logits;
  };
  const auto expected = [&] {
    const ReferenceOperations exact(true);
    return logits(false);
  }();
  EXPECT_TRUE(logits(true).equal(expected));
  EXPECT_FALSE(logits(false).equal(expected)) << "the pass rounds as PyTorch's layers do, so the test shows nothing";
}

TEST_F(Surrogates, HardGradientIsThatOfFiniteDifferencesOfTheTruePrediction) {
  for (auto kind : contexts) {
    const auto answer = ask("hard", kind, x, LossKind::ce);
    for (int64_t pixel : {0, 77, 150}) {
      double numeric = 0;
      for (double sign : {1., -1.}) {
        auto moved = x.clone();
        moved.select(0, 4).flatten()[pixel] += sign * 1e-6;
        const auto loss = ask("hard", kind, moved, LossKind::ce).loss;
        numeric += sign * (kind == ContextKind::joint ? loss.sum() : loss[4]).item<double>() / 2e-6;
      }
      EXPECT_NEAR(answer.gradient[4].flatten()[pixel].item<double>(), numeric, 1e-4 * std::max(1., std::abs(numeric)))
          << to_string(kind);
    }
  }
}

TEST_F(Surrogates, HaveTheGradientOfTheOneThatTheTableCallsTheSame) {
  for (auto kind : contexts)
    for (double lambda : {.4, 1.}) {
      model.head->lambda = lambda;
      for (const auto& row : hpm_surrogates()) {
        const auto twin = bound(row, *model.head, context(kind)).same_as;
        if (twin.empty() || row.objective) continue;
        EXPECT_TRUE(
            close(ask(row, kind, x, LossKind::ce).gradient, ask(twin, kind, x, LossKind::ce).gradient, 1e-9, 1e-9))
            << row.name << " and " << twin << " in " << to_string(kind) << ", lambda " << lambda;
      }
    }
}

TEST_F(Surrogates, AreMarkedExactWhereTheirGradientIsThePredictionsOwn) {
  for (auto kind : contexts)
    for (double lambda : {.4, 1.}) {
      model.head->lambda = lambda;
      const auto exact = ask("hard", kind, x, LossKind::ce).gradient;  // of the true prediction, by finite differences
      for (const auto& row : hpm_surrogates())
        if (bound(row, *model.head, context(kind)).exact) {
          EXPECT_TRUE(close(ask(row, kind, x, LossKind::ce).gradient, exact, 1e-9, 1e-9))
              << row.name << " in " << to_string(kind);
        }
    }
  EXPECT_TRUE(bound(hpm_surrogate("ste"), *model.head, context(ContextKind::solo)).exact) << "at lambda = 1";
  model.head->lambda = .4;
  EXPECT_TRUE(bound(hpm_surrogate("ste"), *model.head, context(ContextKind::reference)).exact);
  EXPECT_FALSE(bound(hpm_surrogate("ste"), *model.head, context(ContextKind::solo)).exact);
}

TEST_F(Surrogates, SteAndHardDifferWhereTheHeadIsDynamic) {
  for (auto kind : {ContextKind::alone, ContextKind::solo, ContextKind::joint})
    EXPECT_FALSE(close(ask("ste", kind, x, LossKind::ce).gradient, ask("hard", kind, x, LossKind::ce).gradient, 1e-6))
        << to_string(kind);
}

TEST_F(Surrogates, RegionObjectiveIsWonExactlyWhenTheRegionAndTheMarginAre) {
  const auto out = model.run(x);
  const Context solo = context(ContextKind::solo);
  const auto index = at::arange(24);
  const HpmSurrogateInput in{*model.head, solo, x, out.features, out.logits, index, 1, 1};
  const auto assigned = out.logits.argmax(1);
  const auto value = hpm_surrogate("region").objective(in, {LossKind::own, y, assigned});
  EXPECT_LE(value.max().item<double>(), 0);
  const auto hpm = prediction_logits(*model.head, solo, out.features, out.logits, index);
  const auto won = (margin(out.logits, assigned) >= .02) & (margin(hpm, y) <= -.02);
  EXPECT_TRUE(at::equal(value.eq(0), won));
}

TEST_F(Surrogates, OneRowLeadsWhereverItStandsAndTwinsAreTheSameAsThatOne) {
  const auto& rows = hpm_surrogates();
  EXPECT_EQ(std::count_if(rows.begin(), rows.end(), [](const auto& row) { return row.leads; }), 1);
  EXPECT_EQ(leading_hpm_surrogate().name, "ste");
  for (const auto& row : rows) {
    const auto same = bound(row, *model.head, context(ContextKind::reference)).same_as;
    EXPECT_TRUE(same.empty() || same == leading_hpm_surrogate().name) << row.name;
    EXPECT_EQ(same.empty(), !row.same_as_ste.in_reference) << row.name;
  }
}

TEST_F(Surrogates, UnavailableOnesSayWhatTheyNeed) {
  EXPECT_EQ(transfer_surrogate("base", "", {}, "--base FILE").unavailable, "needs --base FILE");
  EXPECT_EQ(transfer_surrogate("base", "", model.classifier, "--base FILE").unavailable, "");
  EXPECT_NE(bound(hpm_surrogate("region"), *model.head, context(ContextKind::joint)).unavailable, "");
  EXPECT_NE(test::message_of<UsageError>([] { hpm_surrogate("steh"); }).find("did you mean ste"), std::string::npos);
  EXPECT_THROW(bound({.name = "neither logits nor an objective"}, *model.head, {}), UsageError);
}

TEST(SelectedSurrogates, AreThoseOfTheVersionOrThoseNamedWithTransferAndQueriesLast) {
  std::vector<Surrogate> all{query_surrogate(), transfer_surrogate("base", "", {}, ""), {.name = "b"}, {.name = "a"}};
  all[3].quick = false;
  const auto names = [&](const SurrogateSelection& selection) {
    std::string text;
    for (const auto& s : selected(all, selection)) text += s.name + " ";
    return text;
  };
  EXPECT_EQ(names({}), "b base ");
  EXPECT_EQ(names({.quick = false}), "b a base query ");
  EXPECT_EQ(names({.names = {"base", "a", "b"}}), "a b base ");
  EXPECT_EQ(names({.names = {"b"}, .more = {"a", "b"}}), "b a ");
  EXPECT_THROW(names({.names = {"a", "a"}}), UsageError);
  EXPECT_NE(test::message_of<UsageError>([&] { names({.names = {"basf"}}); }).find("did you mean base"),
            std::string::npos);
}

TEST_F(Surrogates, TargetedAttacksOnABatchTryTheSurrogatesRankingToo) {
  const Images images{clean, y, at::arange(24)};
  const auto passes = [&](const std::string& surrogate) {
    model.classifier.reset_passes();
    HpmAttackModel attacked(model, context(ContextKind::joint), hpm_surrogate(surrogate));
    apgd(attacked, images, {Norm::linf, 1e-4}, {.loss = LossKind::dlr_targeted, .steps = 4, .targets = 1},
         RandomStreams(1));
    return attacked.passes().backward;
  };
  const auto same_ranking = passes("hard"), other_ranking = passes("fc");
  EXPECT_GT(same_ranking, 0);
  EXPECT_EQ(other_ranking, 2 * same_ranking);
}

TEST_F(Surrogates, SoloEotAveragesTheLogitsAndVotesWithThePredictionsOfItsDraws) {
  const auto out = model.run(clean);
  const auto index = at::arange(24);
  Context eot{ContextKind::solo_eot, nullptr, draw_companies(*model.head, index, out.features, out.logits, 6, 1, 3)};
  const auto moved = model.run((clean + .05 * tiny_images(24, 9)).clamp(0, 1));
  Tensor mean = at::zeros({24, 5}, at::kDouble), votes = at::zeros({24, 5}, at::kLong);
  for (const auto& company : eot.draws) {
    const auto logits =
        prediction_logits(*model.head, {ContextKind::solo, company}, moved.features, moved.logits, index);
    mean += logits / 3, votes += at::one_hot(logits.argmax(1), 5);
  }
  const auto hard = context_logits(*model.head, eot, model.head->embed(moved.features),
                                   assign(moved.logits, Assignment::hard), index);
  EXPECT_TRUE(close(hard, mean, 1e-9, 1e-9));
  EXPECT_TRUE(
      at::equal(prediction_logits(*model.head, eot, moved.features, moved.logits, index).floor().to(at::kLong), votes));
}

class OwnSurrogate : public Surrogates {
 protected:
  std::string file(const std::string& name, const std::string& forward, const std::string& arguments = "x, z, o") {
    torch::jit::Module module("own");
    module.define("def forward(self, " + arguments + "):\n    " + forward + "\n");
    const auto path = (folder.path / (name + ".pt")).string();
    module.save(path);
    return path;
  }
  test::TemporaryFolder folder;
};

TEST_F(OwnSurrogate, FromATorchScriptFileGivesLogitsOfFeaturesAndFcLogits) {
  const auto own = torchscript_surrogate(file("square_of_logits", "return o * o + z[:, :5]"), true);
  EXPECT_EQ(own.name, "square_of_logits");
  EXPECT_EQ(own.kind, SurrogateKind::white_box);
  const auto leaf = clean.detach().requires_grad_();
  const auto out = model.run(leaf);
  const auto index = at::arange(24);
  EXPECT_TRUE(close(own.logits({leaf, out.features, out.logits, index}),
                    out.logits * out.logits + out.features.slice(1, 0, 5), 1e-12, 1e-12));
}

TEST_F(OwnSurrogate, OfImagesAloneIsAnyModelAndAttacksOneWithAHeadAndOneWithout) {
  const Loss loss{LossKind::ce, y, {}};
  const auto leaf = clean.detach().requires_grad_();
  Answer expected;
  differentiate(leaf, 3 * leaf.flatten(1).slice(1, 0, 5), loss, expected);
  HpmDefence with_head(model, Images{clean, y, at::arange(24)}, {.contexts = {"solo"}, .company_size = 10});
  PlainDefence black_box(model.classifier, {.differentiable = false});
  for (const auto& [name, forward] : {std::pair{"plain", "return 3 * x.flatten(1)[:, :5]"},
                                      {"pair", "return (x.flatten(1), 3 * x.flatten(1)[:, :5])"}}) {
    const auto own = torchscript_surrogate(file(name, forward, "x"), true);
    EXPECT_FALSE(own.through_network);
    for (Defence* defence : std::initializer_list<Defence*>{&with_head, &black_box}) {
      AttackedDefence attacked(*defence, 0, own);
      const auto answer = attacked.ask({clean, at::arange(24)}, &loss);
      EXPECT_TRUE(close(answer.gradient, expected.gradient, 1e-12, 1e-12)) << name;
      EXPECT_TRUE(close(answer.target_logits, predict_once(*defence, {clean, at::arange(24)}, 0), 1e-12));
    }
  }
  EXPECT_EQ(model.classifier.passes().backward, 0) << "the model itself is not differentiated";
  const auto four = file("four", "return x", "x, z, o, w");
  EXPECT_NE(test::message_of<Error>([&] { torchscript_surrogate(four, true); }).find("takes 4 arguments"),
            std::string::npos);
  AttackedDefence constant(black_box, 0,
                           torchscript_surrogate(file("constant", "return x.detach().flatten(1)[:, :5]", "x"), true));
  EXPECT_NE(test::message_of<Error>([&] {
              constant.ask({clean, at::arange(24)}, &loss);
            }).find("no gradient"),
            std::string::npos);
}

TEST_F(OwnSurrogate, OfFeaturesIsRefusedWhereTheModelHasNoPassOfItsOwn) {
  const auto own = torchscript_surrogate(file("of_features", "return o + z[:, :5]"), true);
  const auto logits = [this](const Tensor& images) { return model.classifier.logits(images); };
  const Loss loss{LossKind::ce, y, {}};
  for (const bool random : {false, true}) {
    const PredictionFunction function{
        .logits = logits, .classes = 5, .coupling = random ? Coupling::rows : Coupling::batch, .random = random};
    FunctionDefence defence(function, Images{clean, y, at::arange(24)}, {.surrogates = {own}});
    AttackedDefence attacked(defence, 0, defence.surrogates(0, {.names = {own.name}}).front());
    const auto message = test::message_of<Error>([&] { attacked.ask({clean, at::arange(24)}, &loss); });
    EXPECT_NE(message.find("give one that takes images alone"), std::string::npos) << message;
  }
}

TEST_F(OwnSurrogate, IsRefusedUnlessTrustedReadableAndOfTheRightShape) {
  const auto path = file("narrow", "return o[:, :3]");
  EXPECT_NE(test::message_of<UsageError>([&] { torchscript_surrogate(path, false); }).find("--allow-torchscript"),
            std::string::npos);
  const auto narrow = torchscript_surrogate(path, true);
  const auto out = model.run(clean);
  const auto index = at::arange(24);
  EXPECT_NE(test::message_of<Error>([&] {
              narrow.logits({clean, out.features, out.logits, index});
            }).find("[24,5], but gives"),
            std::string::npos);
  const auto other_shape = torchscript_surrogate(file("other_shape", "return x.view(-1, 7)[:, :5]", "x"), true);
  const auto message = test::message_of<Error>([&] { other_shape.logits({clean, out.features, out.logits, index}); });
  EXPECT_NE(message.find("failed on images [24,3,8,8]: shape '[-1, 7]' is invalid"), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << "one line, without the script's traceback: " << message;
  EXPECT_THROW(torchscript_surrogate((folder.path / "none.pt").string(), true), Error);
}

TEST(Company, BatchesAreAPartitionInSeededOrderAndTheLastIsShort) {
  const auto model = tiny_model();
  const auto x = tiny_images(25, 8);
  const auto out = model.run(x);
  const auto index = at::arange(100, 125);
  const Company company(*model.head, index, out.features, out.logits, 10, 4),
      same(*model.head, index, out.features, out.logits, 10, 4);
  ASSERT_EQ(company.batches().size(), 3u);
  EXPECT_EQ(company.batches()[2].numel(), 5);
  const auto all = at::cat(company.batches());
  EXPECT_TRUE(at::equal(std::get<0>(all.sort()), index));
  EXPECT_FALSE(at::equal(all, index));
  EXPECT_TRUE(at::equal(all, at::cat(same.batches())));
  EXPECT_THROW(company.rows(torch::tensor({99}, at::kLong)), Error);
  EXPECT_THROW(company.rows(torch::tensor({500}, at::kLong)), Error);
}

}  // namespace
}  // namespace hpm
