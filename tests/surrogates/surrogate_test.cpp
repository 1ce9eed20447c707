#include "hpm/surrogates/surrogate.h"

#include <torch/csrc/jit/api/module.h>

#include "hpm/attacks/apgd.h"
#include "hpm/attacks/square.h"
#include "hpm/core/error.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "hpm/surrogates/torchscript_surrogate.h"
#include "hpm/surrogates/transfer_model.h"
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
  Answer ask(const std::string& surrogate, ContextKind kind, const Tensor& x, LossKind loss,
             const Tensor& targets = {}) {
    HpmAttackModel attacked(model, {context(kind)}, find_surrogate(surrogate), peers);
    const Loss l{loss, y, targets};
    return attacked.ask({x, at::arange(24)}, &l);
  }
  HpmModel model = tiny_model();
  Tensor clean = tiny_images(24, 1), x = (clean + .05 * (tiny_images(24, 2) - .5)).clamp(0, 1);
  std::shared_ptr<const Company> company;
  Tensor y;
  Peers peers{tiny_model().classifier, tiny_model(.9).classifier};
  const std::vector<ContextKind> contexts{ContextKind::reference, ContextKind::alone, ContextKind::solo,
                                          ContextKind::joint};
};

TEST_F(Surrogates, AllHaveTheSameVerdictsWhateverTheirGradient) {
  for (auto kind : contexts) {
    const auto expected = ask("hard", kind, x, LossKind::ce).target_logits;
    for (const auto& s : surrogates()) {
      if (!unavailable(s.name, kind, peers).empty() || s.name == "query" ||
          (s.objective && kind == ContextKind::reference))
        continue;
      const auto answer = ask(s.name, kind, x, s.objective ? LossKind::own : LossKind::ce, y);
      EXPECT_TRUE(close(answer.target_logits, expected, 1e-9)) << s.name << " in " << to_string(kind);
      EXPECT_TRUE(answer.gradient.isfinite().all().item<bool>()) << s.name;
      EXPECT_GT(answer.gradient.abs().max().item<double>(), 0) << s.name << " in " << to_string(kind);
    }
  }
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

TEST_F(Surrogates, CoincideWhereTheTableSaysSo) {
  for (auto kind : contexts)
    for (double lambda : {.4, 1.}) {
      model.head->lambda = lambda;
      for (const auto& s : surrogates()) {
        const auto twin = coincides_with(s.name, *model.head, kind);
        if (twin.empty() || s.objective) continue;
        EXPECT_TRUE(
            close(ask(s.name, kind, x, LossKind::ce).gradient, ask(twin, kind, x, LossKind::ce).gradient, 1e-9, 1e-9))
            << s.name << " and " << twin << " in " << to_string(kind) << ", lambda " << lambda;
      }
    }
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
  const SurrogateInput in{*model.head, solo, peers, x, out.features, out.logits, index, 1, 1};
  const auto assigned = out.logits.argmax(1);
  const auto value = find_surrogate("region").objective(in, {LossKind::own, y, assigned});
  EXPECT_LE(value.max().item<double>(), 0);
  const auto hpm = prediction_logits(*model.head, solo, out.features, out.logits, index);
  const auto won = (margin(out.logits, assigned) >= .02) & (margin(hpm, y) <= -.02);
  EXPECT_TRUE(at::equal(value.eq(0), won));
}

TEST_F(Surrogates, UnavailableOnesSayWhatTheyNeed) {
  EXPECT_NE(unavailable("base", ContextKind::solo, {}).find("--base"), std::string::npos);
  EXPECT_EQ(unavailable("base", ContextKind::solo, peers), "");
  EXPECT_NE(test::message_of<UsageError>([] { find_surrogate("steh"); }).find("did you mean ste"), std::string::npos);
}

TEST_F(Surrogates, JudgeGivesEachTargetTheLogitsOfItsOwnContextAndLambda) {
  const auto solo = context(ContextKind::solo), reference = context(ContextKind::reference);
  const std::vector<JudgedTarget> targets{{solo, {}}, {reference, {}}, {solo, .2}, {reference, .2}, {solo, 1.}};
  Judge judge({clean, y, at::arange(24)}, {Norm::linf, .1}, targets);
  const auto x = (clean + .05 * tiny_images(24, 9)).clamp(0, 1);
  const auto out = model.run(x);
  const auto seen = judge.see({x, at::arange(24)}, *model.head, out.features, out.logits);
  ASSERT_EQ(seen.size(), targets.size());
  for (size_t t = 0; t < targets.size(); ++t) {
    const auto logits = prediction_logits(*model.head, targets[t].context, out.features, out.logits, at::arange(24),
                                          {.lambda = targets[t].lambda});
    EXPECT_TRUE(close(seen[t], logits, 1e-6)) << t;
    EXPECT_TRUE(at::equal(judge.broken(t), logits.argmax(1).ne(y))) << t;
    EXPECT_EQ(judge.find(targets[t]), t);
  }
  EXPECT_EQ(judge.find({solo, .3}), std::nullopt);
}

TEST_F(Surrogates, JudgeFindsFreshWhatAnyTargetCallsWrongAndNobodyNotedYet) {
  const auto reference = context(ContextKind::reference), alone = context(ContextKind::alone);
  Judge judge({clean, y, at::arange(24)}, {Norm::linf, .1}, {{reference, {}}, {alone, {}}});
  const auto x = (clean + .05 * tiny_images(24, 9)).clamp(0, 1);
  const auto out = model.run(x);
  const Query query{x, at::arange(24)};
  const auto logits = judge.logits(query, *model.head, out.features, out.logits, false);
  const auto wrong = logits[0].argmax(1).ne(y) | logits[1].argmax(1).ne(y);
  ASSERT_TRUE(wrong.any().item<bool>() && logits[0].argmax(1).ne(logits[1].argmax(1)).any().item<bool>());
  EXPECT_TRUE(at::equal(judge.fresh(query, logits).any(0), wrong));
  EXPECT_TRUE(at::equal(judge.fresh(query, logits)[1], logits[1].argmax(1).ne(y)));
  judge.see(query, *model.head, out.features, out.logits);
  EXPECT_FALSE(judge.fresh(query, logits).any().item<bool>());
}

TEST_F(Surrogates, ABfloat16SearchCountsWhatFloat32ConfirmsAndASweepDoesNotChangeIt) {
  auto single = tiny_model(.4, at::kFloat);
  const Images images{clean.to(at::kFloat), y, at::arange(24)};
  const auto reference = context(ContextKind::reference);
  single.classifier.set_search_precision(at::kBFloat16);
  const auto x = (images.x + .05 * tiny_images(24, 9, at::kFloat)).clamp(0, 1);
  const Loss loss{LossKind::ce, y, {}};
  std::vector<Tensor> answers;
  for (const bool swept : {false, true}) {
    std::vector<JudgedTarget> targets{{reference, {}}};
    if (swept) targets.push_back({reference, 0.}), targets.push_back({reference, 1.});
    Judge judge(images, {Norm::linf, .1}, targets);
    HpmAttackModel attacked(single, {reference}, find_surrogate("ste"), {}, &judge);
    answers.push_back(attacked.ask({x, images.index}, &loss).target_logits);
    const auto out = single.run(x);
    for (size_t t = 0; t < targets.size(); ++t) {
      const auto wrong = prediction_logits(*single.head, reference, out.features, out.logits, images.index,
                                           {.lambda = targets[t].lambda})
                             .argmax(1)
                             .ne(y);
      EXPECT_FALSE((judge.broken(t) & wrong.logical_not()).any().item<bool>()) << "float32 calls it right";
      EXPECT_TRUE(judge.broken(t).any().item<bool>()) << "nothing was broken, nothing is tested";
    }
  }
  // To the last bits of a pass with other rows; a row that bfloat16 and float32 see apart would show.
  EXPECT_TRUE(at::allclose(answers[0], answers[1], 1e-5, 1e-5));
}

TEST_F(Surrogates, JudgeAsksJointOnlyAboutWholeBatches) {
  Judge judge({clean, y, at::arange(24)}, {Norm::linf, .1},
              {{context(ContextKind::joint), {}}, {context(ContextKind::alone), {}}});
  const auto out = model.run(x);
  const auto in_joint = prediction_logits(*model.head, {ContextKind::joint}, out.features, out.logits, at::arange(24));
  ASSERT_TRUE(in_joint.argmax(1).ne(y).any().item<bool>());
  EXPECT_FALSE(judge.see({x, at::arange(24)}, *model.head, out.features, out.logits)[0].defined());
  EXPECT_FALSE(judge.broken(0).any().item<bool>());
  judge.see({x, at::arange(24)}, *model.head, out.features, out.logits, true);
  EXPECT_TRUE(at::equal(judge.broken(0), in_joint.argmax(1).ne(y)));
}

TEST_F(Surrogates, TargetedAttacksOnABatchTryTheSurrogatesRankingToo) {
  const Images images{clean, y, at::arange(24)};
  const auto passes = [&](const std::string& surrogate) {
    model.classifier.reset_passes();
    HpmAttackModel attacked(model, {context(ContextKind::joint)}, find_surrogate(surrogate));
    apgd(attacked, images, {Norm::linf, 1e-4}, {.loss = LossKind::dlr_targeted, .steps = 4, .targets = 1},
         RandomStreams(1));
    return attacked.passes().backward;
  };
  const auto same_ranking = passes("hard"), other_ranking = passes("fc");
  EXPECT_GT(same_ranking, 0);
  EXPECT_EQ(other_ranking, 2 * same_ranking);
}

TEST_F(Surrogates, JudgeKeepsTheFirstIterateThatBreaksEachImageForEveryTarget) {
  Judge judge({clean, y, at::arange(24)}, {Norm::linf, .1},
              {{context(ContextKind::reference)}, {context(ContextKind::solo)}});
  HpmAttackModel attacked(model, {context(ContextKind::reference)}, find_surrogate("ste"), {}, &judge);
  apgd(attacked, {clean, y, at::arange(24)}, {Norm::linf, .1}, {.steps = 10}, RandomStreams(1));
  ASSERT_TRUE(judge.broken(0).any().item<bool>());
  for (size_t t : {0u, 1u}) {
    const auto rows = judge.broken(t).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    const auto kept = judge.images(t).select(rows).to(at::kDouble);
    const auto out = model.run(kept);
    const auto logits = prediction_logits(*model.head, judge.targets()[t].context, out.features, out.logits, rows);
    EXPECT_TRUE(logits.argmax(1).ne(y.index_select(0, rows)).all().item<bool>()) << "target " << t;
  }
}

TEST_F(Surrogates, AJudgeThatPutsItsLooksOffNotesTheSame) {
  const Images images{clean, y, at::arange(24)};
  const std::vector<JudgedTarget> targets{{context(ContextKind::reference)}, {context(ContextKind::solo)}};
  Judge prompt(images, {Norm::linf, .1}, targets, 1), late(images, {Norm::linf, .1}, targets, 8);
  for (auto* judge : {&prompt, &late}) {
    HpmAttackModel attacked(model, {context(ContextKind::reference)}, find_surrogate("ste"), {}, judge);
    square(attacked, images, {Norm::linf, .1}, {.queries = 60}, RandomStreams(1));
  }
  for (size_t t : {0u, 1u}) {
    EXPECT_TRUE(prompt.broken(t).any().item<bool>());
    EXPECT_TRUE(at::equal(late.broken(t), prompt.broken(t)));
    EXPECT_TRUE(at::equal(late.images(t).all(), prompt.images(t).all()));
  }
}

TEST_F(Surrogates, JudgeCountsNoIterateOutsideTheBallOrTheBoxAndInJointNoBatchWithOne) {
  const Images images{clean, y, at::arange(24)};
  Judge judge(images, {Norm::linf, .1}, {{context(ContextKind::reference)}, {context(ContextKind::joint)}});
  const auto wrong = at::ones({2, 24}, at::kBool);
  auto far = clean.clone();
  far[0] += .2;         // outside the ball
  far[1].fill_(-1e-3);  // outside the box (and, wherever a pixel is bright, the ball)
  judge.note({far, images.index}, wrong);
  EXPECT_EQ(judge.broken(0).sum().item<int64_t>(), 22);
  EXPECT_FALSE(judge.broken(0)[0].item<bool>() || judge.broken(0)[1].item<bool>());
  EXPECT_EQ(judge.broken(1).sum().item<int64_t>(), 0);
  judge.note({clean, images.index}, wrong);
  EXPECT_EQ(judge.broken(1).sum().item<int64_t>(), 24);
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

TEST_F(OwnSurrogate, FromATorchScriptFileGivesGradientsWhileTheVerdictStaysTheHardPrediction) {
  const auto path = file("square_of_logits", "return o * o + z[:, :5]");
  const auto own = torchscript_surrogate(path, true);
  EXPECT_EQ(own.name, "square_of_logits");
  HpmAttackModel attacked(model, {context(ContextKind::solo)}, own);
  const Loss loss{LossKind::ce, y, {}};
  const auto answer = attacked.ask({clean, at::arange(24)}, &loss);
  const auto leaf = clean.detach().requires_grad_();
  const auto out = model.run(leaf);
  Answer expected;
  differentiate(leaf, out.logits * out.logits + out.features.slice(1, 0, 5), loss, expected);
  EXPECT_TRUE(close(answer.gradient, expected.gradient, 1e-12, 1e-12));
  EXPECT_TRUE(
      close(answer.target_logits,
            prediction_logits(*model.head, context(ContextKind::solo), out.features, out.logits, at::arange(24)), 1e-12,
            1e-12));
}

TEST_F(OwnSurrogate, OfImagesAloneIsAnyModelAndAttacksOneWithAHeadAndOneWithout) {
  const Loss loss{LossKind::ce, y, {}};
  const auto leaf = clean.detach().requires_grad_();
  Answer expected;
  differentiate(leaf, 3 * leaf.flatten(1).slice(1, 0, 5), loss, expected);
  for (const auto& [name, forward] : {std::pair{"plain", "return 3 * x.flatten(1)[:, :5]"},
                                      {"pair", "return (x.flatten(1), 3 * x.flatten(1)[:, :5])"}}) {
    const auto own = torchscript_surrogate(file(name, forward, "x"), true);
    EXPECT_FALSE(own.own_backbone);
    HpmAttackModel with_head(model, {context(ContextKind::solo)}, own);
    TransferModel without(model.classifier, own, {}, false);
    for (AttackModel* attacked : std::initializer_list<AttackModel*>{&with_head, &without})
      EXPECT_TRUE(close(attacked->ask({clean, at::arange(24)}, &loss).gradient, expected.gradient, 1e-12, 1e-12))
          << name;
    EXPECT_TRUE(
        close(without.ask({clean, at::arange(24)}, &loss).target_logits, model.classifier.logits(clean), 1e-12));
    EXPECT_EQ(without.passes().backward, 0) << "the model itself is not differentiated";
  }
  const auto four = file("four", "return x", "x, z, o, w");
  EXPECT_NE(test::message_of<Error>([&] { torchscript_surrogate(four, true); }).find("takes 4 arguments"),
            std::string::npos);
  TransferModel constant(model.classifier,
                         torchscript_surrogate(file("constant", "return x.detach().flatten(1)[:, :5]", "x"), true), {});
  EXPECT_NE(test::message_of<Error>([&] {
              constant.ask({clean, at::arange(24)}, &loss);
            }).find("no gradient"),
            std::string::npos);
}

TEST_F(OwnSurrogate, IsRefusedUnlessTrustedReadableAndOfTheRightShape) {
  const auto path = file("narrow", "return o[:, :3]");
  EXPECT_NE(test::message_of<UsageError>([&] { torchscript_surrogate(path, false); }).find("--allow-torchscript"),
            std::string::npos);
  HpmAttackModel attacked(model, {context(ContextKind::solo)}, torchscript_surrogate(path, true));
  const Loss loss{LossKind::ce, y, {}};
  EXPECT_NE(test::message_of<Error>([&] {
              attacked.ask({clean, at::arange(24)}, &loss);
            }).find("[24,5], but gives"),
            std::string::npos);
  EXPECT_THROW(torchscript_surrogate((folder.path / "none.pt").string(), true), Error);
}

TEST_F(OwnSurrogate, AddedToTheTableIsFoundByNameAndNeverTwice) {
  add_surrogate({.name = "a test's own", .logits = [](const SurrogateInput& in) { return -in.o; }});
  EXPECT_EQ(surrogates().back().name, "a test's own");
  EXPECT_TRUE(find_surrogate("a test's own").logits != nullptr);
  EXPECT_THROW(add_surrogate(find_surrogate("a test's own")), UsageError);
  EXPECT_THROW(add_surrogate({.name = "empty"}), UsageError);
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
