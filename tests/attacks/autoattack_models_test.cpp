// Attacks on models that are more, or less, than a network: near ties, coupled batches, random draws, a black box.
#include "attacks/autoattack_setting.h"
#include "hpm/attacks/apgd.h"
#include "hpm/attacks/square.h"
#include "hpm/attacks/votes.h"

namespace hpm {
namespace {

using test::all_attacks;
using test::kThreats;
using test::Setting;

/// All logits of some images nearly tie.
class NearlyTied : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    auto answer = ClassifierModel::ask(query, loss);
    const auto tied = query.index.lt(4).to(at::kFloat).unsqueeze(1);
    const auto nudge = at::one_hot(answer.target_logits.argmax(1), 10) * 1e-5;
    const auto flat = at::cat({at::full({query.x.size(0), 9}, 1.), at::zeros({query.x.size(0), 1})}, 1) + nudge;
    answer.target_logits = answer.target_logits * (1 - tied) + flat * tied;
    rows_of_tied_queries.push_back(query.x.size(0));
    return answer;
  }
  std::vector<int64_t> rows_of_tied_queries;
};

TEST(AutoAttack, JudgesBorderlineImagesAlone) {
  Setting s;
  NearlyTied model(s.net);
  const auto result =
      autoattack(model, s.images, kThreats[0],
                 {.version = "custom", .attacks = {"apgd-ce"}, .settings = {.steps = 2, .restarts = 1}});
  EXPECT_EQ(result.borderline, 4);
  EXPECT_GE(std::count(model.rows_of_tied_queries.begin(), model.rows_of_tied_queries.end(), 16), 4);
}

TEST(AutoAttack, AVerdictThatWasMadeAloneComesWithItsOwnLogits) {
  const Images images{at::rand({6, 1, 2, 2}), at::zeros({6}, at::kLong), at::arange(6)};
  // Nearly tied for the wrong class in a batch, right alone (repeated to 16 rows).
  const auto verdict = verify_rows(images, [](const Images& rows) {
    auto logits = at::zeros({rows.size(), 3});
    logits.select(1, 1).fill_(rows.size() == 16 ? -1e-6 : 1e-6), logits.select(1, 2).fill_(-1);
    return logits;
  });
  EXPECT_TRUE(verdict.close.all().item<bool>());
  EXPECT_FALSE(verdict.wrong.any().item<bool>());
  EXPECT_TRUE(verdict.logits.argmax(1).eq(0).all().item<bool>());
}

TEST(AutoAttack, AVoteThatIsANearTieIsJudgedAloneWhereTheMajorityIsClear) {
  const Images images{at::rand({4, 1, 2, 2}), at::zeros({4}, at::kLong), at::arange(4)};
  std::vector<Tensor> parts;
  int64_t alone = 0;
  const auto ask = [&](const Images& rows) {
    alone += rows.size() == 16 ? 1 : 0;
    // Three votes; the third one of images 1 and 2 is nearly a tie.
    parts.clear();
    for (double gap : {1., 1., 1e-6}) {
      const auto wide = rows.index.eq(1).logical_or(rows.index.eq(2)).to(at::kFloat);
      parts.push_back(at::stack({wide * gap + (1 - wide), at::zeros({rows.size()}), at::full({rows.size()}, -1.)}, 1));
    }
    return at::tensor({3., 0., 0.}).expand({rows.size(), 3}).contiguous();
  };
  EXPECT_FALSE(verify_rows(images, ask).close.any().item<bool>());
  const auto verdict = verify_rows(images, ask, &parts);
  EXPECT_TRUE(verdict.close.equal(torch::tensor({false, true, true, false})));
  EXPECT_EQ(alone, 2);
}

/// One object: each query must hold the same rows in the same order.
class Coupled : public ClassifierModel {
 public:
  Coupled(const Classifier& net, int64_t n) : ClassifierModel(net), n_(n) {}
  Coupling coupling() const override { return Coupling::batch; }
  Answer ask(const Query& query, const Loss* loss) override {
    EXPECT_TRUE(query.index.equal(at::arange(n_)));
    return ClassifierModel::ask(query, loss);
  }

 private:
  int64_t n_;
};

TEST(AutoAttack, AsksACoupledModelForWholeBatches) {
  Setting s;
  for (const auto& threat : kThreats) {
    Coupled model(s.net, 40);
    const auto result = autoattack(model, s.images, threat, all_attacks());
    EXPECT_LT(result.robust().sum().item<int64_t>(), 40);
    EXPECT_LE(result.norm_excess, 1e-5);
  }
}

TEST(Apgd, ACoupledBatchHasOneLossAndSoOneStepSize) {
  Setting s;
  Coupled coupled(s.net, 40);
  ClassifierModel rows(s.net);
  const auto run = [&](AttackModel& model) {
    return apgd_run(model, s.images, {s.images.x}, {}, kThreats[0], {.steps = 10});
  };
  const auto together = run(coupled).best_loss;
  EXPECT_TRUE(together.eq(together[0]).all().item<bool>());
  EXPECT_FALSE(run(rows).best_loss.eq(together[0]).all().item<bool>());
}

/// Two images; the first one's margin is -b, the second one's 2b, where b is the first image's mean.
class Opposed : public AttackModel {
 public:
  Answer ask(const Query& query, const Loss*) override {
    const auto b = query.x[0].mean();
    brightness.push_back(b.item<double>());
    return {at::stack({at::stack({-b, at::zeros({})}), at::stack({2 * b, at::zeros({})})}), {}, {}};
  }
  Coupling coupling() const override { return Coupling::batch; }
  int64_t classes() const override { return 2; }
  Passes passes() const override { return {}; }
  std::vector<double> brightness;
};

TEST(Square, ACoupledBatchIsAcceptedAsAWholeAndCountsByItsWrongPredictions) {
  Opposed model;
  const Images images{at::full({2, 1, 6, 6}, .5), at::zeros({2}, at::kLong), at::arange(2)};
  const auto run = square_run(model, images, {Norm::linf, .2}, {.queries = 200}, RandomStreams(0), 0);
  // The margins' sum is b: what the search accepts darkens the first image, though its own margin grows.
  EXPECT_LT(model.brightness.back(), .4);
  EXPECT_EQ(run.broken.sum().item<int64_t>(), 1) << "-b < 0 < 2b";
  // One that breaks more is kept whatever its margins.
  class Spike : public Opposed {
    Answer ask(const Query& query, const Loss* loss) override {
      auto answer = Opposed::ask(query, loss);
      if (brightness.size() == 5) answer.target_logits[1] = torch::tensor({-.001f, 0.f}), spike = query.x.clone();
      if (brightness.size() == 5) answer.target_logits[0] = torch::tensor({-.001f, 0.f});
      return answer;
    }

   public:
    Tensor spike;
  } spiked;
  const auto found = square_run(spiked, images, {Norm::linf, .2}, {.queries = 200}, RandomStreams(0), 0);
  EXPECT_EQ(found.broken.sum().item<int64_t>(), 2);
  EXPECT_TRUE(at::equal(found.best, spiked.spike));
}

TEST(AutoAttack, NumbersTheDrawsOfARandomModel) {
  class Random : public ClassifierModel {
   public:
    explicit Random(const Classifier& net) : ClassifierModel(net, true) {}
    Answer ask(const Query& query, const Loss* loss) override {
      draws.insert(query.draw);
      return ClassifierModel::ask(query, loss);
    }
    std::set<int64_t> draws;
  };
  Setting s;
  Random model(s.net);
  autoattack(model, s.images, {Norm::linf, 1e-7}, {.version = "rand", .settings = {.steps = 3}});
  EXPECT_EQ(model.draws.size(), 80u);  // 20 at the start and in each step
}

double percent_of(const Tensor& flags) { return 100 * flags.to(at::kDouble).mean().item<double>(); }

/// Logits with noise from LibTorch's generator.
class Noisy : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    return ClassifierModel::ask({query.x + .02 * at::randn_like(query.x), query.index, query.draw}, loss);
  }
};

TEST(AutoAttack, ARandomModelIsJudgedByMostOfTenDrawsWithTheWorstBeside) {
  Setting s;
  const auto run = [&] {
    Noisy model(s.net, true);
    return autoattack(model, s.images, kThreats[0], {.version = "rand", .seed = 4, .settings = {.steps = 4}});
  };
  torch::manual_seed(1);
  const auto expected = at::rand({1}).item<float>();
  torch::manual_seed(1);
  const auto once = run();
  EXPECT_EQ(at::rand({1}).item<float>(), expected) << "the caller's generator is where it was";
  const auto again = run();
  EXPECT_TRUE(once.robust().equal(again.robust())) << "the verdicts' draws come from the seed";
  EXPECT_LT(percent_of(once.worst_draw & once.robust()), once.robust_accuracy())
      << "some draw is wrong where most are right";
  EXPECT_LT(percent_of(once.worst_draw), 100);
  EXPECT_EQ(once.clean_passes.forward, 10 * 40);
}

TEST(Votes, AreWhatMostDrawsSayAndTheirMeanWhereTwoClassesHaveEquallyMany) {
  const std::vector<Tensor> said = {at::tensor({2., 1., 0., 3., 0., 0.}), at::tensor({2., 1., 0., 3., 0., 0.}),
                                    at::tensor({0., 1., 2., 0., 3., 0.}), at::tensor({0., 1., 9., 0., 2., 3.}),
                                    at::tensor({0., 3., 0., 0., 1., 2.})};
  std::vector<Tensor> random;
  torch::manual_seed(1);
  const auto expected = at::rand({2});
  torch::manual_seed(1);
  const auto votes = votes_of_draws(7, 5, [&](int64_t draw) {
    random.push_back(at::rand({2}));
    return said[static_cast<size_t>(draw)].view({2, 3});
  });
  EXPECT_TRUE(at::equal(at::rand({2}), expected)) << "the caller's generator is where it was";
  // 2, 1, 2 votes: the mean of class 2 is larger; and 2, 1, 2 votes: that of class 0 is.
  EXPECT_TRUE(at::equal(votes.counts.floor(), at::tensor({2., 1., 2., 2., 1., 2.}).view({2, 3})));
  EXPECT_TRUE(at::equal(votes.counts.argmax(1), torch::tensor({2, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(votes.draws[3], said[3].view({2, 3})));
  for (size_t draw = 1; draw < random.size(); ++draw) EXPECT_FALSE(at::equal(random[0], random[draw])) << draw;
}

/// Says class 0 in four of ten draws, 1 in three and 2 in three, whatever the image.
class Undecided : public AttackModel {
 public:
  Answer ask(const Query& query, const Loss*) override {
    const int64_t said = query.draw < 4 ? 0 : query.draw < 7 ? 1 : 2;
    return {at::one_hot(at::full({query.x.size(0)}, said, at::kLong), 4).to(at::kFloat), {}, {}};
  }
  bool random() const override { return true; }
  int64_t classes() const override { return 4; }
  Passes passes() const override { return {}; }
};

TEST(AutoAttack, ARandomModelPredictsTheClassThatMostDrawsPredict) {
  Undecided model;
  const Images images{at::full({2, 1, 8, 8}, .5), at::tensor({0, 1}, at::kLong), at::arange(2)};
  const auto result = autoattack(model, images, {Norm::linf, .1},
                                 {.version = "custom", .attacks = {"square"}, .settings = {.queries = 2}});
  EXPECT_TRUE(result.clean_correct.equal(torch::tensor({true, false}))) << "no other class has four votes";
  EXPECT_TRUE(result.clean_prediction.equal(at::zeros({2}, at::kLong)));
  EXPECT_FALSE(result.worst_draw.any().item<bool>()) << "every label is missed in some draw";
}

/// A model that gives predictions and nothing else.
class BlackBox : public ClassifierModel {
 public:
  using ClassifierModel::ClassifierModel;
  Answer ask(const Query& query, const Loss* loss) override {
    if (loss) throw std::logic_error("a black box was asked for a gradient");
    return ClassifierModel::ask(query, nullptr);
  }
};

TEST(AutoAttack, SquareAloneAsksABlackBoxForPredictionsOnly) {
  Setting s;
  for (const auto& threat : kThreats)
    for (bool conformance : {false, true}) {
      BlackBox model(s.net);
      const auto result = autoattack(
          model, s.images, {threat.norm, 1.5 * threat.eps},
          {.version = "custom", .attacks = {"square"}, .conformance = conformance, .settings = {.queries = 150}});
      EXPECT_LT(result.robust_accuracy(), result.clean_accuracy()) << to_string(threat.norm);
    }
}

}  // namespace
}  // namespace hpm
