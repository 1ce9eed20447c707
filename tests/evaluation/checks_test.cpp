#include "hpm/evaluation/checks/checks.h"

#include <set>

#include "evaluation/checks_fixture.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/fast/fast.h"

namespace hpm {
namespace {

using test::ChecksTest;
using test::kSquare;
using test::kSte;
using test::kTransfer;
using test::Spoiled;
using test::tiny_model;

TEST_F(ChecksTest, HonestModelPassesWhatDoesNotDependOnTraining) {
  const auto checks = run(honest, evaluation.first().adversarial.set());
  for (const char* name : {"zero gradients", "NaN or infinite", "ball and box", "determinism", "consistency", "reload"})
    EXPECT_EQ(checks.at(name).status, Status::passed) << name << ": " << checks.at(name).detail;
}

TEST_F(ChecksTest, MaskedGradientsAreFlagged) {
  Spoiled masked(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  const auto checks = run(masked);
  EXPECT_EQ(checks.at("zero gradients").status, Status::failed);
  EXPECT_EQ(checks.at("unbounded").status, Status::failed);
}

/// A function whose value and gradient are given apart.
FunctionModel backward_through(std::function<Tensor(const Tensor&)> value, std::function<Tensor(const Tensor&)> twin) {
  return {[value, twin](const Tensor& x) {
            const auto soft = twin(x);
            return value(x).detach() + soft - soft.detach();
          },
          5};
}

TEST_F(ChecksTest, AGradientThatIsNotThePredictionsIsFlaggedWithItsCause) {
  const auto& net = model.classifier;
  const auto own = [&](const Tensor& x) { return net.logits(x); };
  const auto rounded = [&](const Tensor& x) { return net.logits(at::round(x * 8) / 8); };
  const auto other = [&](const Tensor& x) { return net.logits(.5 * x) + 3 * net.logits(x.flip({3})); };
  const auto honest_check = run(honest).at("gradient fidelity");
  EXPECT_EQ(honest_check.status, Status::passed) << honest_check.detail;
  EXPECT_EQ(honest_check.cause, Cause::none);
  auto steps = backward_through(rounded, own), elsewhere = backward_through(other, own);
  const auto shattered = run(steps).at("gradient fidelity"), detached = run(elsewhere).at("gradient fidelity");
  EXPECT_EQ(shattered.status, Status::failed) << shattered.detail;
  EXPECT_EQ(shattered.cause, Cause::shattered);
  EXPECT_EQ(detached.status, Status::failed) << detached.detail;
  EXPECT_EQ(detached.cause, Cause::other_gradient);
  // The scale of the logits does not matter.
  for (const double scale : {1e-3, 1e3}) {
    FunctionModel scaled([&](const Tensor& x) { return scale * net.logits(x); }, 5);
    EXPECT_EQ(run(scaled).at("gradient fidelity").status, Status::passed) << scale;
  }
}

TEST_F(ChecksTest, CausesAreThoseOfTheFailure) {
  Spoiled zero(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  EXPECT_EQ(run(zero).at("zero gradients").cause, Cause::zero);
  FunctionModel large([&](const Tensor& x) { return 1e4 * model.classifier.logits(x); }, 5);
  EXPECT_EQ(run(large).at("zero gradients").cause, Cause::scale);
  FunctionModel coupled(
      [&](const Tensor& x) {
        const auto z = model.classifier.logits(x);
        return z - 3 * z.mean(0, true);
      },
      5);
  EXPECT_EQ(run(coupled).at("consistency").cause, Cause::batch);
}

TEST_F(ChecksTest, AGradientOfExactlyZeroIsNoMatterOfScaleWithTwoClassesEither) {
  const auto two = [&](const Tensor& x) { return model.classifier.logits(x).slice(1, 0, 2); };
  FunctionModel rounded([&](const Tensor& x) { return two((x * 16).round() / 16); }, 2);
  FunctionModel large([&](const Tensor& x) { return 1e4 * two(x); }, 2);
  images.y = two(images.x).argmax(1);
  EXPECT_EQ(run(rounded).at("zero gradients").cause, Cause::zero);
  EXPECT_EQ(run(large).at("zero gradients").cause, Cause::scale);
}

TEST_F(ChecksTest, AGradientThatIsTrueOfAPointAndOfNothingBesideItIsFlagged) {
  // A wave of a period far below the radius: its slope is true, and leads nowhere.
  const double period = 2e-3, height = 4e-3;
  FunctionModel ripple(
      [&](const Tensor& x) { return model.classifier.logits(x + height * (x * (2 * M_PI / period)).sin()); }, 5);
  const auto checks = run(ripple);
  const auto& still = checks.at("loss that does not move");
  EXPECT_EQ(still.status, Status::failed) << still.detail;
  EXPECT_EQ(still.cause, Cause::shattered);
  EXPECT_EQ(run(honest).at("loss that does not move").status, Status::passed);
}

TEST_F(ChecksTest, AGradientThatIsTrueOfTheImagesAloneIsFlagged) {
  Spoiled elsewhere(honest, [&](Answer& a, const Query& q) {
    if (!a.gradient.defined()) return;
    const auto moved = (q.x - images.x.index_select(0, q.index)).abs().flatten(1).amax(1).gt(0);
    a.gradient.index_put_({moved}, -a.gradient.index({moved}));
  });
  const auto check = run(elsewhere).at("gradient fidelity");
  EXPECT_EQ(check.status, Status::failed) << check.detail;
  EXPECT_NE(check.detail.find("at a random start"), std::string::npos) << check.detail;
}

TEST_F(ChecksTest, AnOptimiserInsideIsNamedAsTheCause) {
  const auto& net = model.classifier;
  FunctionModel inside(
      [&](const Tensor& x) {
        const at::AutoGradMode on(true);
        const auto leaf = x.detach().requires_grad_();
        const auto surest = std::get<0>(net.logits(leaf).max(1)).sum();
        return net.logits(x.detach() + .1 * torch::autograd::grad({surest}, {leaf})[0].sign()) + 0 * x.flatten(1).sum(1, true);
      },
      5);
  EXPECT_EQ(run(inside).at("zero gradients").cause, Cause::optimiser);
  FunctionModel quantised([&](const Tensor& x) { return net.logits((x * 16).round() / 16); }, 5);
  EXPECT_EQ(run(quantised).at("zero gradients").cause, Cause::zero);
}

TEST_F(ChecksTest, ABatchThatReactsToAdversarialImagesAloneIsFlagged) {
  // The unbounded attack drives pixels to 1, where none of the images has one.
  images.x.clamp_(0, .99);
  FunctionModel reacts(
      [&](const Tensor& x) {
        const auto z = model.classifier.logits(x);
        return z + 100 * x.eq(1).to(at::kFloat).mean() * z.roll(1, 1).detach();
      },
      5);
  const auto check = run(reacts).at("consistency");
  EXPECT_EQ(check.status, Status::failed) << check.detail;
  EXPECT_EQ(check.cause, Cause::batch);
  EXPECT_EQ(run(honest).at("consistency").status, Status::passed);
}

TEST_F(ChecksTest, ARandomModelThatAlsoLooksAtItsBatchIsFlagged) {
  ClassifierModel declared(model.classifier, true);
  const auto consistency = [&](auto logits) {
    const auto predict = [&, logits](const Tensor& x, const Tensor&) {
      torch::manual_seed(5);
      return logits(x, at::rand({x.size(0), 1}));
    };
    for (const auto& c : run_checks({declared, false, predict}, {images, threat}, evaluation, {}))
      if (c.name == "consistency") return c;
    return CheckOutcome{};
  };
  const auto of_rows = consistency([&](const Tensor& x, const Tensor& draw) {
    return 1e3 * model.classifier.logits(x + .01 * draw.view({-1, 1, 1, 1}));
  });
  EXPECT_EQ(of_rows.status, Status::passed) << of_rows.detail;
  // Each image is answered for the one behind it.
  const auto of_batch = consistency([&](const Tensor& x, const Tensor& draw) {
    return 1e3 * model.classifier.logits(x.roll(1, 0) + .01 * draw.view({-1, 1, 1, 1}));
  });
  EXPECT_EQ(of_batch.status, Status::failed) << of_batch.detail;
  EXPECT_EQ(of_batch.cause, Cause::batch);
}

TEST_F(ChecksTest, WhatDrawsRandomNumbersIsNotAlsoCalledAnotherFunctionOrDependentOnItsBatch) {
  FunctionModel random([&](const Tensor& x) { return model.classifier.logits(x) + 5 * at::rand({x.size(0), 5}); }, 5);
  const auto checks = run(random);
  EXPECT_EQ(checks.at("determinism").cause, Cause::random);
  for (const char* name : {"consistency", "gradient fidelity", "loss that does not move"})
    EXPECT_EQ(checks.at(name).status, Status::not_run) << name;
}

TEST_F(ChecksTest, AStandInExcusesABlindGradientOnlyWhereItBrokeImages) {
  FunctionModel quantised([&](const Tensor& x) { return model.classifier.logits((x * 16).round() / 16); }, 5);
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits((x * 16).round() / 16); };
  const auto status = [&](bool helps, AttackModel& stand_in) {
    CheckSubject subject{quantised, false, predict, {{"bpda", &stand_in, true}}};
    subject.stand_ins_help = helps;
    for (const auto& c : run_checks(subject, {images, threat}, evaluation, {}))
      if (c.name == "zero gradients") return c.status;
    return Status::not_run;
  };
  EXPECT_EQ(status(true, honest), Status::reported);
  EXPECT_EQ(status(false, honest), Status::failed) << "it has a gradient, but broke nothing";
  EXPECT_EQ(status(true, quantised), Status::failed) << "the stand-in is as blind";
}

TEST_F(ChecksTest, AreOfTheContextAskedForWithItsOwnImages) {
  evaluation.contexts[0].context = "reference";
  evaluation.contexts.push_back(evaluation.contexts[0]);
  auto& alone = evaluation.contexts[1];
  alone.context = "alone";
  alone.surrogates = {{.name = "control", .kind = SurrogateKind::transfer, .of = 40}};
  alone.broken_by.assign(40, {"control", SurrogateKind::transfer, "apgd-ce", "reference"});
  alone.adversarial = ImageStore(images);
  alone.adversarial.put(at::arange(1), images.x.slice(0, 0, 1) + 1);
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  std::map<std::string, CheckOutcome> first, second;
  for (auto& c : run_checks({honest, false, predict, {}, 0}, {images, threat}, evaluation, {})) first[c.name] = c;
  for (auto& c : run_checks({honest, false, predict, {}, 1}, {images, threat}, evaluation, {})) second[c.name] = c;
  EXPECT_EQ(first.at("unbounded").context, "reference");
  EXPECT_EQ(second.at("unbounded").context, "alone");
  EXPECT_EQ(first.at("ball and box").status, Status::passed);
  EXPECT_EQ(second.at("ball and box").status, Status::failed);
  EXPECT_TRUE(first.contains("reload") && !second.contains("reload"));
  EXPECT_EQ(first.at("transfer").status, Status::not_run);
  EXPECT_EQ(second.at("transfer").status, Status::failed) << "aimed at another context, and broken by transfer alone";
  evaluation.checks = {second.at("transfer")};
  ASSERT_TRUE(evaluation.suspect());
  EXPECT_EQ(evaluation.reasons().front().substr(0, 18), "transfer in alone:");
  // Where ste breaks the image here itself, transfer was not needed.
  alone.surrogates.push_back({.name = "ste", .leads = true});
  evaluation.attacks.push_back({"apgd-ce", "ste", "alone", alone.robust, {}, 0, at::full({40}, 2, at::kChar)});
  for (auto& c : run_checks({honest, false, predict, {}, 1}, {images, threat}, evaluation, {})) second[c.name] = c;
  EXPECT_EQ(second.at("transfer").status, Status::passed);
}

TEST_F(ChecksTest, LimitsAreThoseOfTheProtocolAndNoWider) {
  const auto held = evaluation.first().robust.nonzero().squeeze(1);
  ASSERT_GE(held.numel(), 3);
  // Zero gradients: 2 of 40 images are 5 %, which passes; 3 do not.
  std::set<double> seen;
  for (int64_t masked_images = 0; masked_images < 4; ++masked_images) {
    const auto chosen = held.slice(0, 0, masked_images);
    Spoiled masked(honest, [&](Answer& a, const Query& q) {
      if (a.gradient.defined()) a.gradient.index_fill_(0, at::isin(q.index, chosen).nonzero().squeeze(1), 0);
    });
    const auto check = run(masked).at("zero gradients");
    EXPECT_EQ(check.status, *check.value <= 5 ? Status::passed : Status::failed) << check.detail;
    seen.insert(*check.value);
  }
  EXPECT_TRUE(seen.contains(5) && seen.contains(7.5)) << "the limit was not tried";
  // Ball: eps (1 + 1e-6) + 1e-7.
  for (const double excess : {8e-8, 4e-7}) {
    auto& store = evaluation.contexts.front().adversarial;
    const auto darkest = images.x.flatten(1)[0].argmin().item<int64_t>();
    auto moved = images.x.slice(0, 0, 1).clone();
    moved.flatten()[darkest] += .03 + excess;
    store.put(at::arange(1), moved);
    EXPECT_EQ(run(honest).at("ball and box").status, excess < 1e-7 ? Status::passed : Status::failed) << excess;
  }
}

TEST_F(ChecksTest, FabOnASampleFailsWhereTheEvaluationLeftMuchAndNotWhereItLeftLittle) {
  const auto predict = [&](const Tensor& x, const Tensor&) { return model.classifier.logits(x); };
  const auto check = [&](double eps) {
    for (const auto& c : run_checks({honest, false, predict}, {images, {Norm::linf, eps}}, evaluation, {}))
      if (c.name == "FAB on a sample") return c;
    return CheckOutcome{};
  };
  PlainDefence plain(model.classifier);
  evaluation =
      evaluate_fast(plain, {images, threat}, {.batch_size = 40, .alarms = {.sample = 0, .no_escalate = true}}, {});
  EXPECT_EQ(check(.03).status, Status::passed) << check(.03).detail;
  // An evaluation that left everything at a radius where everything falls.
  auto& outcome = evaluation.contexts.front();
  outcome.robust = outcome.clean_correct.clone();
  const auto missed = check(.3);
  EXPECT_EQ(missed.status, Status::failed) << missed.detail;
  EXPECT_EQ(missed.cause, Cause::masked);
  // Two survivors of 40 are no more than 5 points: a short attack leaves so many on an honest model too.
  outcome.robust.index_fill_(0, outcome.robust.nonzero().squeeze(1).slice(0, 2), false);
  EXPECT_EQ(check(.3).status, Status::passed) << check(.3).detail;
  evaluation.attacks.push_back({"fab-t", "", outcome.context, outcome.robust, {10, 10}});
  EXPECT_TRUE(check(.3).name.empty()) << "FAB attacked in the evaluation";
}

TEST_F(ChecksTest, WhatIsExpectedOfBatchesAndConformanceIsReportedNotJudged) {
  Spoiled coupled(honest, [](Answer& a, const Query& q) {
    a.target_logits = a.target_logits + 50 * (q.x.size(0) % 2) * at::rand({5});
  });
  const auto predict = [&](const Tensor& x, const Tensor& index) {
    return coupled.ask({x, index}, nullptr).target_logits;
  };
  evaluation.contexts.front().adversarial.put(at::arange(1), images.x.slice(0, 0, 1) + 1);
  std::map<std::string, CheckOutcome> all;
  for (auto& c : run_checks({coupled, true, predict}, {images, threat}, evaluation, {.conformance = true}))
    all[c.name] = c;
  EXPECT_EQ(all.at("consistency").status, Status::reported);
  EXPECT_EQ(all.at("ball and box").status, Status::reported);
  ClassifierModel declared(model.classifier, true);
  EXPECT_EQ(run(declared).at("determinism").status, Status::reported);
}

TEST_F(ChecksTest, ConsistencySeesEachWayToChangeABatch) {
  using Change = std::function<bool(const Query&)>;
  const auto ends_with_its_start = [](const Query& q) { return q.index.size(0) == 45; };
  const std::map<std::string, Change> changes{
      {"permuted", [](const Query& q) { return q.index[0].item<int64_t>() == 39; }},
      {"split", [](const Query& q) { return q.index.size(0) == 20; }},
      {"duplicated", [](const Query& q) { return q.index.size(0) == 80; }},
      {"padded", ends_with_its_start}};
  for (const auto& [name, changed] : changes) {
    Spoiled coupled(honest, [&, seen = changed](Answer& a, const Query& q) {
      if (seen(q)) a.target_logits = a.target_logits.roll(1, 1);
    });
    EXPECT_EQ(run(coupled).at("consistency").status, Status::failed) << name;
  }
}

TEST_F(ChecksTest, AGradientThatVanishesInOneOfTheLossesIsFlagged) {
  class WithoutDlr : public ClassifierModel {
   public:
    using ClassifierModel::ClassifierModel;
    Answer ask(const Query& query, const Loss* loss) override {
      auto answer = ClassifierModel::ask(query, loss);
      if (loss && loss->kind == LossKind::dlr) answer.gradient.zero_();
      return answer;
    }
  };
  WithoutDlr masked(model.classifier);
  EXPECT_EQ(run(masked).at("zero gradients").status, Status::failed);
  EXPECT_EQ(run(honest).at("zero gradients").status, Status::passed);
}

TEST_F(ChecksTest, ImagesThatAreWrongNeedNoGradient) {
  images.y = std::get<1>(model.classifier.logits(images.x).topk(3)).select(1, 2).contiguous();  // here DLR is 1
  EXPECT_EQ(run(honest).at("zero gradients").value, 0);
}

TEST_F(ChecksTest, ASurrogateThatIsWrongThereNeedsNoGradientEither) {
  class WrongSurrogate : public Spoiled {
   public:
    using Spoiled::Spoiled;
    Tensor surrogate_logits(const Query& query) override { return ask(query, nullptr).target_logits.roll(1, 1); }
  };
  WrongSurrogate wrong(honest, [](Answer& a, const Query&) {
    if (a.gradient.defined()) a.gradient.zero_();
  });
  EXPECT_EQ(*run(wrong).at("zero gradients").value, 0);
}

TEST_F(ChecksTest, LogitsScaledUntilFloat32GradientsVanishAreFlagged) {
  FunctionModel scaled([&](const Tensor& x) { return model.classifier.logits(x) * 1e6; }, 5);
  EXPECT_EQ(run(scaled).at("zero gradients").status, Status::failed);
}

TEST_F(ChecksTest, AQuantisedInputIsFlagged) {
  FunctionModel quantised([&](const Tensor& x) { return model.classifier.logits((x * 16).round() / 16); }, 5);
  const auto checks = run(quantised);
  EXPECT_EQ(checks.at("zero gradients").status, Status::failed);
  EXPECT_EQ(checks.at("unbounded").status, Status::failed);
}

TEST_F(ChecksTest, NanLogitsAreFlagged) {
  Spoiled nan(honest, [](Answer& a, const Query&) { a.target_logits[0][0] = std::nan(""); });
  EXPECT_EQ(run(nan).at("NaN or infinite").status, Status::failed);
  EXPECT_EQ(run(honest).at("NaN or infinite").status, Status::passed);
  evaluation.not_finite = 1;  // beyond the sample
  EXPECT_EQ(run(honest).at("NaN or infinite").status, Status::failed);
}

TEST_F(ChecksTest, BatchDependenceAndRandomnessAreFlagged) {
  Spoiled coupled(honest, [](Answer& a, const Query& q) {
    a.target_logits = a.target_logits + 50 * (q.x.size(0) % 2) * at::rand({5});
  });
  EXPECT_EQ(run(coupled).at("consistency").status, Status::failed);
  int64_t calls = 0;
  Spoiled random(honest, [&](Answer& a, const Query&) { a.target_logits = a.target_logits.roll(++calls % 5, 1); });
  EXPECT_EQ(run(random).at("determinism").status, Status::failed);
}

TEST_F(ChecksTest, ImagesOutsideBallOrBoxAreFlagged) {
  EXPECT_EQ(run(honest).at("ball and box").status, Status::passed);
  const auto first = at::arange(1);
  const auto good = evaluation.first().adversarial.select(first);
  evaluation.contexts.front().adversarial.put(
      first, images.x.slice(0, 0, 1) + .0302 * (images.x.slice(0, 0, 1) < .5).to(at::kFloat));
  EXPECT_EQ(run(honest).at("ball and box").status, Status::failed);
  evaluation.contexts.front().adversarial.put(first, good);
  EXPECT_EQ(run(honest).at("ball and box").status, Status::passed);
  auto below = good.clone();
  below[0][0][0][0] = -.001;
  evaluation.contexts.front().adversarial.put(first, below);
  EXPECT_EQ(run(honest).at("ball and box").status, Status::failed);
}

TEST_F(ChecksTest, SavedImagesThatPredictOtherwiseAreFlagged) {
  EXPECT_EQ(run(honest).at("reload").status, Status::not_run);
  EXPECT_EQ(run(honest, evaluation.first().adversarial.set()).at("reload").status, Status::passed);
  EXPECT_EQ(
      run(honest, Images{evaluation.first().adversarial.all().flip(0), images.y, images.index}).at("reload").status,
      Status::failed);
}

TEST_F(ChecksTest, NoneRunsNothingAndAnUnknownLevelIsAnError) {
  EXPECT_TRUE(run(honest, {}, "none").empty());
  EXPECT_THROW(run(honest, {}, "some"), UsageError);
}

}  // namespace
}  // namespace hpm
