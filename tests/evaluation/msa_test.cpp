#include "hpm/evaluation/msa.h"

#include "evaluation/killer.h"
#include "hpm/attacks/apgd.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/models/network.h"
#include "hpm/surrogates/hpm_attack_model.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

using test::tiny_images;
using test::tiny_model;

class Msa : public testing::Test {
 protected:
  Msa() {
    images.x = tiny_images(18, 1, at::kFloat);
    images.index = at::arange(7, 25);
    const auto out = model.run(images.x);
    images.y =
        prediction_logits(*model.head, {ContextKind::reference}, out.features, out.logits, images.index).argmax(1);
    images.y[3] = (images.y[3] + 1) % 5;  // one image is misclassified
  }
  MsaOptions options(std::vector<std::string> contexts) {
    return {.contexts = std::move(contexts), .company_size = 7, .company_seed = 2, .batch_size = 16, .steps = 8};
  }
  HpmModel model = tiny_model(.4, at::kFloat);
  Images images;
  ThreatModel threat{Norm::linf, .03};
};

const std::vector<std::string> kAll{"reference", "solo", "alone", "joint"};

TEST_F(Msa, WorstCaseIsNoBetterThanAnySurrogateAloneNorThanClean) {
  const auto result = msa(model, {}, images, threat, options(kAll));
  ASSERT_EQ(result.contexts.size(), 4u);
  for (const auto& c : result.contexts) {
    EXPECT_LT(percent(c.robust), percent(c.clean_correct)) << c.context << ": nothing was broken, nothing is tested";
    for (const auto& s : c.surrogates)
      EXPECT_GE(s.accuracy.value_or(100) + 1e-9, percent(c.robust)) << c.context << " " << s.name;
    EXPECT_TRUE(c.ste_accuracy.has_value());
    EXPECT_TRUE(c.context == "joint" || !(c.robust & c.clean_correct.logical_not()).any().item<bool>());
  }
}

TEST_F(Msa, AdversarialImagesAreInBallAndBoxAndBreakTheHeadlinedContextAfresh) {
  const auto result = msa(model, {}, images, threat, options({"solo", "reference"}));
  EXPECT_LE(norm_of_rows(result.first().adversarial.all() - images.x, Norm::linf).max().item<double>(),
            .03 * (1 + 1e-6) + 1e-7);
  const ProtocolSubject subject{model, make_context(model, "solo", images, 7, 2, 16)};
  const auto right = predict_logits(subject, result.first().adversarial.set(), 5).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(right, result.first().robust));
}

TEST_F(Msa, FlagsDoNotDependOnBatchSizeThreadsOrOrder) {
  auto base = options({"reference", "solo", "alone"});
  const auto expected = msa(model, {}, images, threat, base);
  base.batch_size = 5;
  const auto other = msa(model, {}, images, threat, base);
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(expected.contexts[c].robust, other.contexts[c].robust)) << c;
  // Another order keeps everyone's company when the company order is drawn from image numbers; here: no shuffling, one
  // batch.
  base.company_seed = 0, base.company_size = 64;
  const auto straight = msa(model, {}, images, threat, base);
  const auto turned = msa(model, {}, images.select(at::arange(18).flip(0)), threat, base);
  for (size_t c = 0; c < 3; ++c)
    EXPECT_TRUE(at::equal(straight.contexts[c].robust, turned.contexts[c].robust.flip(0))) << c;
  const auto joint = msa(model, {}, images, threat, options(kAll));
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  const auto threaded = msa(model, {}, images, threat, options(kAll));
  at::set_num_threads(threads);
  for (size_t c = 0; c < 4; ++c)
    EXPECT_TRUE(at::equal(joint.contexts[c].robust, threaded.contexts[c].robust)) << kAll[c];
}

TEST_F(Msa, FullMatrixCompletesEverySurrogateWithoutChangingTheVerdictTowardsRobust) {
  auto o = options({"solo"});
  const auto survivors_only = msa(model, {}, images, threat, o);
  o.full_matrix = true;
  const auto full = msa(model, {}, images, threat, o);
  for (const auto& s : full.first().surrogates)
    EXPECT_TRUE(!s.same_as.empty() || !s.unavailable.empty() || (s.complete && s.accuracy)) << s.name;
  EXPECT_LE(percent(full.first().robust), percent(survivors_only.first().robust) + 1e-9);
  for (const auto& record : full.attacks) {
    ASSERT_TRUE(record.matrix.defined());
    EXPECT_LE(record.matrix.max().item<int64_t>(), 2);
  }
}

TEST_F(Msa, LambdaOneGivesTheSameResultInEveryRowContext) {
  model.head->lambda = 1;
  const auto result = msa(model, {}, images, threat, options({"reference", "solo", "alone"}));
  EXPECT_TRUE(at::equal(result.contexts[0].robust, result.contexts[1].robust));
  EXPECT_TRUE(at::equal(result.contexts[0].robust, result.contexts[2].robust));
  // One run stands for all; that it may is seen from the images themselves, judged in each context.
  for (const char* name : {"solo", "alone", "joint"}) {
    const ProtocolSubject subject{model, make_context(model, name, images, 7, 2, 16)};
    EXPECT_TRUE(at::equal(predict_logits(subject, result.first().adversarial.set(), 16).argmax(1).eq(images.y),
                          result.first().robust))
        << name;
  }
}

TEST_F(Msa, JointCountsTheWorstComposedBatchAndTheExistentialFigureIsLower) {
  const auto result = msa(model, {}, images, threat, options({"joint"}));
  const auto& joint = result.first();
  ASSERT_TRUE(joint.joint_any.has_value());
  EXPECT_LT(*joint.joint_any, percent(joint.robust)) << "some image fell in a batch that is not its worst";
}

TEST_F(Msa, InOneContextTheMatrixSaysWhoWasAttackedAndWhatEachAttackBroke) {
  auto o = options({"solo"});
  o.surrogates = {"ste", "fc"};
  const auto result = msa(model, {}, images, threat, o);
  auto before = result.first().clean_correct, all = at::zeros({18}, at::kBool);
  for (const auto& record : result.attacks) {
    const auto broken = record.matrix.eq(2);
    const auto given = record.surrogate == "ste" ? result.first().clean_correct : before;
    EXPECT_FALSE((record.matrix.gt(0) & given.logical_not()).any().item<bool>()) << record.name;
    EXPECT_TRUE(at::equal(record.robust, before & broken.logical_not())) << record.surrogate << "/" << record.name;
    before = record.robust, all = all | broken;
  }
  EXPECT_TRUE(at::equal(result.attacks.front().matrix.gt(0), result.first().clean_correct));
  EXPECT_TRUE(at::equal(result.first().robust, result.first().clean_correct & all.logical_not()));
  EXPECT_GT(all.sum().item<int64_t>(), 0);
}

// What the official driver does: survivors are repacked into new batches, where other prototypes judge them. Its number
// is not what the batches say of the very images that it found.
TEST_F(Msa, RepackingSurvivorsOfJointBatchesCountsImagesThatTheirOwnBatchesGetWrong) {
  const ProtocolSubject fixed{model, make_context(model, "joint", images, 7, 2, 16)};
  HpmAttackModel attacked(model, {{ContextKind::joint, fixed.context.company}}, find_surrogate("ste"));
  const RandomStreams streams(1);
  const auto before = predict_logits(fixed, images, 16).argmax(1).eq(images.y);
  auto left = before.clone();
  auto found = images.x.clone();
  for (const std::string round : {"first", "second"}) {
    const auto rows = left.nonzero().squeeze(1);
    for (int64_t begin = 0; begin < rows.numel(); begin += 7) {
      const auto here = rows.slice(0, begin, begin + 7);
      const auto result = apgd(attacked, images.select(here), threat, {.steps = 8, .stream = round}, streams);
      found.index_copy_(0, here, result.images);
      left.index_fill_(0, here.index_select(0, result.broken.nonzero().squeeze(1)), false);
    }
  }
  auto composed = images;
  composed.x = at::where(left.view({-1, 1, 1, 1}), images.x, found);
  const auto faithful = predict_logits(fixed, composed, 16).argmax(1).eq(images.y);
  EXPECT_GT((before & left.logical_not()).sum().item<int64_t>(), 0) << "nothing was broken, nothing is tested";
  EXPECT_NE(left.sum().item<int64_t>(), faithful.sum().item<int64_t>());
  EXPECT_THROW(evaluate_autoattack(fixed, images, threat, {}), UsageError);
}

TEST_F(Msa, WhatALaterContextBreaksCountsForTheFirstAndEveryImageThatStandsForABreakIsOne) {
  auto o = options({"reference", "alone", "joint"});
  o.surrogates = {"fc"}, o.joint_surrogates = {"ste", "hard"}, o.steps = 1;
  threat.eps = .02;
  const auto result = msa(model, {}, images, threat, o);
  const auto& by = result.first().broken_by;
  EXPECT_GT(std::count_if(by.begin(), by.end(),
                          [](const auto& b) { return b.ends_with(" in alone") || b.ends_with(" in joint"); }),
            0);
  EXPECT_EQ(std::count_if(by.begin(), by.end(), [](const auto& b) { return b.ends_with(" in reference"); }), 0);
  const ProtocolSubject subject{model, make_context(model, "reference", images, 7, 2, 16)};
  EXPECT_TRUE(at::equal(predict_logits(subject, result.first().adversarial.set(), 16).argmax(1).eq(images.y),
                        result.first().robust));
}

TEST_F(Msa, EveryAttackHasItsColumnOfTheMatrixInJointToo) {
  const auto result = msa(model, {}, images, threat, options({"joint", "alone"}));
  int64_t joint = 0;
  for (const auto& record : result.attacks) {
    ASSERT_TRUE(record.matrix.defined()) << record.name;
    const auto attacked = record.matrix.gt(0), broken = record.matrix.eq(2);
    const auto& context = result.contexts[record.context == "joint" ? 0 : 1];
    EXPECT_FALSE((attacked & context.clean_correct.logical_not()).any().item<bool>());
    if (record.context == "joint") {
      joint += broken.sum().item<int64_t>();
      EXPECT_TRUE(at::equal(attacked, context.clean_correct)) << "batches are attacked whole";
    }
  }
  EXPECT_GT(joint, 0);
}

TEST_F(Msa, ASweepJudgesTheSameIteratesByOtherMixingWeightsAndChangesNothingElse) {
  auto o = options({"reference", "solo", "joint"});
  const auto plain = msa(model, {}, images, threat, o);
  o.sweep = {.1, .4, 1};
  const auto swept = msa(model, {}, images, threat, o);
  ASSERT_EQ(swept.attacks.size(), plain.attacks.size());
  for (size_t i = 0; i < plain.attacks.size(); ++i) {
    EXPECT_EQ(swept.attacks[i].passes.forward, plain.attacks[i].passes.forward) << "more passes of the backbone";
    EXPECT_EQ(swept.attacks[i].passes.backward, plain.attacks[i].passes.backward);
  }
  for (size_t c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(swept.contexts[c].robust, plain.contexts[c].robust));
  ASSERT_EQ(swept.sweep.size(), 9u);
  std::map<std::string, int64_t> broken;
  for (const auto& s : swept.sweep) {
    EXPECT_EQ(s.attacked, s.lambda == .4);
    EXPECT_FALSE((s.robust & s.clean_correct.logical_not()).any().item<bool>());
    auto other = model.clone();
    other.head->lambda = s.lambda;
    const ProtocolSubject subject{other, make_context(other, s.context, images, 7, 2, 16)};
    EXPECT_TRUE(at::equal(s.clean_correct, predict_logits(subject, images, 16).argmax(1).eq(images.y)))
        << s.context << " " << s.lambda;
    broken[s.context] += (s.clean_correct & s.robust.logical_not()).sum().item<int64_t>() * (s.attacked ? 0 : 1);
  }
  for (const char* context : {"reference", "solo", "joint"})
    EXPECT_GT(broken[context], 0) << "nothing was broken, nothing is tested";
}

TEST_F(Msa, SoloEotIsTheMajorityOverDrawnCompaniesAndItsWorstDrawIsNoHigher) {
  const auto result = msa(model, {}, images, threat, options({"solo-eot", "solo"}));
  const auto& eot = result.first();
  ASSERT_TRUE(eot.worst_draw.has_value());
  EXPECT_LE(*eot.worst_draw, percent(eot.robust) + 1e-9);
  EXPECT_LT(percent(eot.robust), percent(eot.clean_correct));
  auto votes = at::zeros({18, 5}, at::kLong);
  auto unattacked = eot.robust.clone();
  for (uint64_t seed = 3; seed < 13; ++seed) {
    const ProtocolSubject draw{model, make_context(model, "solo", images, 7, seed, 16)};
    unattacked &= predict_logits(draw, images, 16).argmax(1).eq(images.y);
    votes += at::one_hot(predict_logits(draw, result.first().adversarial.set(), 16).argmax(1), 5);
  }
  EXPECT_LT(*eot.worst_draw, percent(unattacked)) << "a draw that an iterate broke counts";
  const auto top = std::get<0>(votes.topk(2, 1)).unbind(1);
  const auto clear = top[0].gt(top[1]);
  EXPECT_TRUE(at::equal((votes.argmax(1).eq(images.y) & clear), (eot.robust & clear)));
}

TEST_F(Msa, NoContextGivesHpmFewerStartsThanAPlainModelGets) {
  const HpmModel plain{model.classifier, std::nullopt};
  const auto result = msa(plain, {}, images, threat, options({"reference"}));
  EXPECT_TRUE(result.first().context.empty());
  const auto quick = msa_plan(options({"reference"}), Norm::linf, 5, false);
  for (const auto& spec : quick.front().attacks) EXPECT_EQ(spec.restarts, 5) << spec.name;
  // HPM has five surrogates with logits, and region: in reference four of the six are one, the exact gradient. It gets
  // a plain model's five starts, fc and stable theirs beside them.
  const auto starts = [&](const MsaOptions& o, Norm norm, const HpmHead& head, const std::string& attack) {
    int64_t sum = 0;
    for (const auto& step : planned_steps(o, norm, head, {}, parse_context(o.contexts.front())))
      for (const auto& spec : step.attacks)
        if (step.runs() && spec.name == attack) sum += spec.restarts;
    return sum;
  };
  EXPECT_EQ(starts(options({"reference"}), Norm::linf, *model.head, "apgd-ce"), 7);
  EXPECT_EQ(starts(options({"alone"}), Norm::linf, *model.head, "apgd-ce"), 5);
  auto plus = options({"reference"});
  plus.version = "plus", plus.surrogates = {"ste", "fc", "hard", "soft", "stable", "region"};
  EXPECT_EQ(starts(plus, Norm::linf, *model.head, "apgd-ce"), 35) << "five times as many";
  auto thrice = options({"alone"});
  thrice.restarts = 3;
  EXPECT_EQ(starts(thrice, Norm::linf, *model.head, "apgd-ce"), 15);
  EXPECT_EQ(msa_plan(thrice, Norm::linf, 5, false).front().attacks.front().restarts, 15);
  auto l2 = *model.head;
  l2.lambda = 1;
  for (const char* version : {"quick", "standard", "plus"})
    for (const auto norm : {Norm::linf, Norm::l1})
      for (const char* context : {"reference", "alone", "solo", "joint"})
        for (const bool fewer_in_joint : {false, true}) {
          auto o = options({context});
          o.version = version;
          if (fewer_in_joint) o.joint_surrogates = {"ste", "fc"};
          const auto plan = msa_plan(o, norm, 5, false);
          for (const auto& spec : plan.front().attacks)
            for (const auto& head : {*model.head, l2})
              EXPECT_GE(starts(o, norm, head, spec.name), spec.restarts)
                  << version << " " << to_string(norm) << " " << context << " " << spec.name;
        }
}

TEST_F(Msa, SurrogatesComeInTheOrderOfTheirYieldThenTransferThenQueries) {
  auto o = options({"solo"});
  std::map<std::string, std::string> orders;
  for (const char* version : {"quick", "standard", "plus"}) {
    o.version = version;
    for (const auto& step : msa_plan(o, Norm::linf, 10, true)) orders[version] += step.surrogate + " ";
  }
  EXPECT_EQ(orders["quick"], "ste fc hard stable soft region base control ");
  EXPECT_EQ(orders["standard"], "ste fc hard stable soft region soft1 soft4 detached mean base control query ");
  EXPECT_EQ(orders["plus"], orders["standard"]);
}

TEST_F(Msa, APlainModelIsAskedByQueriesWhereHpmIs) {
  const auto surrogates = [&](const char* version, std::vector<std::string> named) {
    auto o = options({"solo"});
    o.version = version, o.surrogates = std::move(named);
    std::string plan;
    for (const auto& step : msa_plan(o, Norm::linf, 10, false)) plan += step.surrogate + " ";
    return plan;
  };
  EXPECT_EQ(surrogates("quick", {}), "fc ");
  EXPECT_EQ(surrogates("standard", {}), "fc query ");
  EXPECT_EQ(surrogates("quick", {"query"}), "query ");
  EXPECT_EQ(surrogates("standard", {"ste", "fc"}), "fc ");
  EXPECT_EQ(surrogates("quick", {"region"}), "fc ");
}

TEST_F(Msa, StandardHasAutoAttacksAttacksForEverySurrogateAndPlusFiveTimesTheStarts) {
  auto o = options({"solo", "joint"});
  o.version = "standard", o.steps = 3;
  o.surrogates = {"ste", "fc", "region", "query"};
  images = images.select(at::arange(7));
  const auto result = msa(model, {}, images, threat, o);
  std::map<std::string, std::set<std::string>> attacks;
  for (const auto& record : result.attacks) attacks[record.context].insert(record.surrogate + "/" + record.name);
  const std::set<std::string> expected{"ste/apgd-ce", "ste/apgd-t", "ste/fab-t",    "fc/apgd-ce",
                                       "fc/apgd-t",   "fc/fab-t",   "query/square", "region/region"};
  EXPECT_EQ(attacks["solo"], expected);
  auto in_joint = expected;
  in_joint.erase("region/region");
  EXPECT_EQ(attacks["joint"], in_joint);
  for (const auto& c : result.contexts) EXPECT_LT(percent(c.robust), percent(c.clean_correct)) << c.context;
  const ProtocolSubject subject{model, make_context(model, "solo", images, 7, 2, 16)};
  EXPECT_TRUE(at::equal(predict_logits(subject, result.first().adversarial.set(), 16).argmax(1).eq(images.y),
                        result.first().robust));
  const auto standard = msa_plan(o, Norm::l2, 10, true);
  o.version = "plus";
  const auto plus = msa_plan(o, Norm::l2, 10, true);
  for (size_t i = 0; i < plus.size(); ++i)
    for (size_t a = 0; a < plus[i].attacks.size(); ++a) {
      const auto& spec = plus[i].attacks[a];
      const bool once = spec.name == "fab-t" || spec.name == "square";
      EXPECT_EQ(spec.restarts, standard[i].attacks[a].restarts * (once ? 1 : 5)) << spec.name;
    }
}

TEST_F(Msa, ASurrogateWhoseTwinIsNotAskedForRunsItselfAndNoContextGoesUnattacked) {
  auto o = options({"reference"});
  o.surrogates = {"hard", "soft"};
  const auto result = msa(model, {}, images, threat, o);
  EXPECT_LT(percent(result.first().robust), percent(result.first().clean_correct));
  EXPECT_EQ(result.first().surrogates[1].same_as, "hard");
  o.surrogates = {"control"};
  EXPECT_NE(
      test::message_of<UsageError>([&] { msa(model, {}, images, threat, o); }).find("can attack the context reference"),
      std::string::npos);
  o = options({"joint"});
  o.surrogates = {"region"};
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
}

TEST_F(Msa, ContextsComeOutInTheOrderAskedAndTheFirstOnesImagesAreKept) {
  const auto result = msa(model, {}, images, threat, options({"joint", "reference", "solo"}));
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_EQ(result.first().context, "joint");
  EXPECT_EQ(result.contexts[2].context, "solo");
  // The kept images, judged as the joint batches that they are, give the flags.
  const ProtocolSubject joint{model, make_context(model, "joint", images, 7, 2, 16)};
  const auto right = predict_logits(joint, result.first().adversarial.set(), 16).argmax(1).eq(images.y);
  EXPECT_TRUE(at::equal(right, result.first().robust));
  for (size_t i = 0; i < 18; ++i) {
    const auto row = static_cast<int64_t>(i);
    EXPECT_EQ(!result.first().broken_by[i].empty(),
              result.first().clean_correct[row].item<bool>() && !right[row].item<bool>())
        << i;
  }
}

TEST_F(Msa, WithLambdaOneJointIsTheL2ClassifierToo) {
  model.head->lambda = 1;
  const auto together = msa(model, {}, images, threat, options({"reference", "joint"}));
  EXPECT_TRUE(at::equal(together.contexts[0].robust, together.contexts[1].robust));
  const auto alone = msa(model, {}, images, threat, options({"joint"}));
  EXPECT_EQ(alone.first().context, "joint");
  EXPECT_TRUE(at::equal(alone.first().robust, together.contexts[0].robust));
  // What attacked it is told under its name.
  for (const auto& record : alone.attacks) EXPECT_EQ(record.context, "joint");
  EXPECT_GT(alone.first().surrogates.front().of, 0);
  EXPECT_EQ(together.contexts[1].surrogates.front().same_as, "ste in reference");
  auto swept = options({"joint", "solo"});
  swept.sweep = {.5, 1};
  for (const auto& s : msa(model, {}, images, threat, swept).sweep)
    EXPECT_EQ(s.context, s.lambda == 1 ? "joint" : "solo") << "a neighbour's influence is not judged where none is";
}

TEST_F(Msa, ColludersAreWarnedOfWhereNoPredictionDependsOnANeighbour) {
  struct Warnings : Monitor {
    void warn(const std::string& line) override { all += line; }
    std::string all;
  } warnings;
  auto o = options({"joint"});
  o.collusion.colluders = {2};
  model.head->lambda = 1;
  EXPECT_TRUE(msa(model, {}, images, threat, o, warnings).first().collusion.empty());
  EXPECT_NE(warnings.all.find("colluders"), std::string::npos);
}

TEST_F(Msa, JointIsNoMoreRobustThanWhatTheOtherContextsFoundWouldLeaveOfItsBatches) {
  const auto both = msa(model, {}, images, threat, options({"solo", "joint"}));
  const ProtocolSubject joint{model, make_context(model, "joint", images, 7, 2, 16)};
  const auto right = predict_logits(joint, both.first().adversarial.set(), 16).argmax(1).eq(images.y);
  EXPECT_LE(percent(both.contexts[1].robust), percent(right) + 1e-9);
}

TEST_F(Msa, GoesOnFromItsJournalToTheResultOfAnUndisturbedRun) {
  const auto o = options({"reference", "solo", "joint"});
  const auto expected = msa(model, {}, images, threat, o);
  test::TemporaryFolder folder;
  int64_t starts = 0;
  for (bool done = false; !done; ++starts) {
    Journal journal(folder.path, "a test", starts > 0);
    test::Killer monitor(150);
    try {
      const auto result = msa(model, {}, images, threat, o, monitor, WorkLog(journal));
      done = true;
      EXPECT_TRUE(journal.has("clean")) << "the company is not computed anew";
      for (size_t c = 0; c < 3; ++c)
        EXPECT_TRUE(at::equal(result.contexts[c].robust, expected.contexts[c].robust)) << c;
      EXPECT_TRUE(at::equal(result.first().adversarial.all(), expected.first().adversarial.all()));
      EXPECT_EQ(result.first().broken_by, expected.first().broken_by);
      ASSERT_EQ(result.attacks.size(), expected.attacks.size());
      for (size_t i = 0; i < result.attacks.size(); ++i)
        EXPECT_EQ(result.attacks[i].passes.backward, expected.attacks[i].passes.backward) << result.attacks[i].name;
      EXPECT_EQ(*result.contexts[2].joint_any, *expected.contexts[2].joint_any);
    } catch (const Interrupted&) {
      ASSERT_LT(starts, 100);
    }
  }
  EXPECT_GT(starts, 2);
}

TEST_F(Msa, AnUnconfirmedBreakIsForgottenAndTheImageAttackedOn) {
  Judge judge(images, threat, {{{ContextKind::reference}}});
  judge.note({images.x, images.index}, at::ones({1, 18}, at::kBool));
  EXPECT_EQ(judge.broken(0).sum().item<int64_t>(), 18);
  judge.forget(0, at::arange(5));
  EXPECT_EQ(judge.broken(0).sum().item<int64_t>(), 13);
  judge.note({images.x.slice(0, 0, 2), images.index.slice(0, 0, 2)}, at::ones({1, 2}, at::kBool));
  EXPECT_EQ(judge.broken(0).sum().item<int64_t>(), 15);
}

TEST_F(Msa, ImagesLoadedInPartsGiveTheSameAndNeverMoreThanABatchOfThem) {
  int64_t most = 0;
  const ImageSet lazy(
      [&](const Tensor& places) {
        most = std::max(most, places.numel());
        return images.x.index_select(0, places);
      },
      images.x.sizes().slice(1).vec(), images.y, images.index, "");
  auto o = options(kAll);
  o.batch_size = 7;
  const auto expected = msa(model, {}, images, threat, o), found = msa(model, {}, lazy, threat, o);
  for (size_t c = 0; c < kAll.size(); ++c)
    EXPECT_TRUE(at::equal(found.contexts[c].robust, expected.contexts[c].robust)) << kAll[c];
  EXPECT_LE(most, 7);
  EXPECT_TRUE(at::equal(found.first().adversarial.all(), expected.first().adversarial.all()));
}

TEST_F(Msa, PassesStayWithinTheStatedBoundAndNearItWhereEveryImageSurvives) {
  auto o = options({"reference", "solo", "joint"});
  o.sweep = {.2, 1};
  const Peers peers{model.classifier.clone(), tiny_model(.4, at::kFloat).classifier};
  const std::vector<Classifier> networks{model.classifier, peers.base, peers.control};  // handles
  for (const double eps : {.03, 1e-5})
    for (const auto& surrogates : {std::vector<std::string>{}, {"base", "control"}}) {
      o.surrogates = surrogates;
      const auto bound = estimate_passes(model, peers, {Norm::linf, eps}, o, false);
      Passes used;
      for (const auto& network : networks) Classifier(network).reset_passes();
      const auto result = msa(model, peers, images, {Norm::linf, eps}, o);
      for (const auto& network : networks)
        used.forward += network.passes().forward, used.backward += network.passes().backward;
      EXPECT_LE(used.backward, bound.backward * 18) << eps;
      // What confirms a break is a pass more for each context.
      EXPECT_LE(used.forward, bound.forward * 18 + (eps < .01 ? 0 : 18 * 9) + 16 * 9 * result.borderline) << eps;
      if (eps < .01) {
        EXPECT_GE(used.backward, .6 * static_cast<double>(bound.backward) * 18);
        EXPECT_GE(used.forward, .6 * static_cast<double>(bound.forward) * 18);
      }
    }
}

TEST_F(Msa, PlusBringsExpectationOverTheCompanyToSolo) {
  auto o = options({"solo", "alone"});
  EXPECT_EQ(msa_contexts(o), o.contexts);
  o.version = "plus", o.steps = 1, o.surrogates = {"ste"};
  EXPECT_EQ(msa_contexts(o), (std::vector<std::string>{"solo", "alone", "solo-eot"}));
  const auto result = msa(model, {}, images, threat, o);
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_TRUE(result.contexts[2].worst_draw.has_value());
  o.contexts = {"alone"};
  EXPECT_EQ(msa_contexts(o), o.contexts) << "nobody's company is drawn";
}

TEST_F(Msa, NeighboursThatNoBatchHasAreRefusedBeforeAnythingRuns) {
  auto o = options({"joint"});
  o.collusion.colluders = {1, 7};
  model.classifier.reset_passes();
  EXPECT_NE(test::message_of<UsageError>([&] { msa(model, {}, images, threat, o); }).find("0 to 6"), std::string::npos);
  EXPECT_EQ(model.classifier.passes().forward, 0);
}

TEST_F(Msa, AJudgeKeepsWhoFoundWhatAndTakesTheImageThatStands) {
  Judge judge(images, threat, {{{ContextKind::reference}}, {{ContextKind::alone}}});
  EXPECT_EQ(judge.source(0, 3), "");
  judge.name_source("ste/apgd-ce in reference");
  const auto rows = at::arange(2);
  const auto moved = (images.x.slice(0, 0, 2) + .01).clamp(0, 1);
  auto wrong = at::zeros({2, 2}, at::kBool);
  wrong[0].fill_(true);
  judge.note({moved, images.index.slice(0, 0, 2)}, wrong);
  judge.name_source("fc/apgd-t in alone");
  judge.note({images.x, images.index}, at::ones({2, 18}, at::kBool));
  EXPECT_EQ(judge.source(0, 0), "ste/apgd-ce in reference");
  EXPECT_EQ(judge.source(1, 0), "fc/apgd-t in alone");
  EXPECT_EQ(judge.source(0, 5), "fc/apgd-t in alone");
  EXPECT_TRUE(at::equal(judge.images(0).select(rows), moved));
  const auto returned = (moved + .005).clamp(0, 1);
  judge.restore(0, rows, returned);
  EXPECT_TRUE(at::equal(judge.images(0).select(rows), returned));
  judge.forget(0, rows);
  EXPECT_EQ(judge.source(0, 0), "");
}

/// In its first pass with a gradient it takes the first image for another one: what a rounding may do at a near tie.
class FalseAlarm : public Network {
 public:
  FalseAlarm(std::shared_ptr<Network> inner, Tensor other) : inner_(std::move(inner)), other_(std::move(other)) {}
  Tensor features(const Tensor& x) override {
    auto z = inner_->features(x);
    if (!x.requires_grad() || std::exchange(given_, true)) return z;
    return at::cat({other_.unsqueeze(0), z.slice(0, 1)});
  }
  std::shared_ptr<Network> fresh() const override { return inner_->fresh(); }
  torch::nn::Linear head() override { return inner_->head(); }

 private:
  std::shared_ptr<Network> inner_;
  Tensor other_;
  bool given_ = false;
};

TEST_F(Msa, AFalseAlarmDoesNotHideWhatTheAttackWentOnToFind) {
  auto o = options({"reference"});
  o.surrogates = {"ste"};
  threat.eps = .01;
  const auto plain = msa(model, {}, images, threat, o).first();
  const auto broken = (plain.clean_correct & plain.robust.logical_not()).nonzero().squeeze(1),
             held = plain.robust.nonzero().squeeze(1);
  ASSERT_GE(broken.numel(), 1);
  ASSERT_GE(held.numel(), 8) << "with an eighth of the rows broken they would leave";
  const auto victim = broken.slice(0, 0, 1);
  const auto attacked = images.select(at::cat({victim, held}));
  const auto strangers = images.y.ne(images.y[victim.item<int64_t>()]) & plain.clean_correct;
  ASSERT_TRUE(strangers.any().item<bool>());
  const auto other = model.run(images.select(strangers.nonzero().squeeze(1).slice(0, 0, 1)).x).features[0];
  HpmModel alarmed{Classifier(std::make_shared<FalseAlarm>(model.classifier.network(), other), model.classifier.info()),
                   model.head};
  const auto result = msa(alarmed, {}, attacked, threat, o);
  EXPECT_FALSE(result.first().robust[0].item<bool>()) << "APGD returned an image that breaks it";
  const ProtocolSubject subject{model, {ContextKind::reference}};
  EXPECT_TRUE(at::equal(predict_logits(subject, result.first().adversarial.set(), 16).argmax(1).eq(attacked.y),
                        result.first().robust));
}

TEST_F(Msa, EveryImageThatTheMatrixCallsBrokenIsBrokenInTheOutcome) {
  const auto result = msa(model, {}, images, threat, options({"reference", "solo", "alone"}));
  for (const auto& record : result.attacks)
    for (const auto& context : result.contexts)
      if (record.context == context.context) {
        EXPECT_FALSE((record.matrix.eq(2) & context.robust).any().item<bool>()) << record.surrogate << record.name;
      }
  for (const auto& context : result.contexts) {
    const ProtocolSubject subject{model, make_context(model, context.context, images, 7, 2, 16)};
    EXPECT_TRUE(
        at::equal(predict_logits(subject, context.adversarial.set(), 16).argmax(1).eq(images.y), context.robust))
        << context.context << ": each context keeps its own images";
  }
}

TEST_F(Msa, StatedPassesCountTheTargetsOfTheSurrogatesRanking) {
  auto o = options({"solo"});
  o.surrogates = {"fc"}, o.steps = 10;
  // One start each of APGD-CE, APGD-DLR and for each target, of 10 steps and their start. Of five classes one is left
  // beside three targets; a joint batch may have another one for each.
  EXPECT_EQ(estimate_passes(model, {}, threat, o).backward, 11 * (1 + 1 + 3 + 1));
  o.contexts = {"joint"};
  EXPECT_EQ(estimate_passes(model, {}, threat, o).backward, 11 * (1 + 1 + 3 + 3));
}

TEST_F(Msa, EvaluationMovesNeitherMeansNorWeights) {
  std::vector<Tensor> before;
  for (const auto& [name, tensor] : model.state()) before.push_back(tensor.clone());
  msa(model, {}, images, threat, options(kAll));
  const auto after = model.state();
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(at::equal(after[i].second, before[i])) << after[i].first;
}

TEST_F(Msa, BadOptionsAreUsageErrors) {
  EXPECT_THROW(msa(model, {}, images, threat, options({"group"})), UsageError);
  auto o = options({"solo"});
  o.version = "fast";
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
  EXPECT_THROW(msa(model, {}, images, threat, options({"solo", "solo"})), UsageError);
  o = options({"solo"});
  o.surrogates = {"ste", "ste"};
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
  auto twice = images;
  twice.index = images.index.clone();
  twice.index[1] = twice.index[0];
  EXPECT_THROW(msa(model, {}, twice, threat, options({"solo"})), UsageError);
  o = options({"solo"});
  o.surrogates = {"steh"};
  EXPECT_THROW(msa(model, {}, images, threat, o), UsageError);
  EXPECT_THROW(msa(model, {}, images.select(at::arange(0)), threat, options({"solo"})), UsageError);
}

}  // namespace
}  // namespace hpm
