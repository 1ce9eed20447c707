// What runs, how often, and what it is said to cost.
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"

namespace hpm {
namespace {

using test::logits_in;
using test::msa;

using test::tiny_model;

class MsaPlan : public test::MsaFixture {
 protected:
  /// What would attack the model in the first of the contexts.
  std::vector<PlannedStep> plan(const HpmModel& of, const test::MsaSetting& o, Norm norm = Norm::linf) const {
    return msa_plan(*test::defence_of(of, {}, images, o), 0, norm, o);
  }
  static std::string names(const std::vector<PlannedStep>& steps) {
    std::string all;
    for (const auto& step : steps) all += step.surrogate.name + " ";
    return all;
  }
  /// The starts of an attack, over the white-box surrogates that run.
  static int64_t starts(const std::vector<PlannedStep>& steps, const std::string& attack) {
    int64_t sum = 0;
    for (const auto& step : steps)
      for (const auto& spec : step.attacks)
        if (step.runs() && step.surrogate.kind == SurrogateKind::white_box && spec.name == attack) sum += spec.restarts;
    return sum;
  }
  HpmModel plain{model.classifier, std::nullopt};
};

TEST_F(MsaPlan, SurrogatesComeInTheOrderOfTheirYieldThenTransferThenQueries) {
  auto o = options({"solo"});
  EXPECT_EQ(names(plan(model, o)), "ste fc hard stable soft region base control ");
  for (const char* version : {"standard", "plus"}) {
    o.version = version;
    EXPECT_EQ(names(plan(model, o)), "ste fc hard stable soft region soft1 soft4 detached mean base control query ");
  }
}

TEST_F(MsaPlan, ARandomModelIsAttackedThroughItsSmoothedSelfToo) {
  const auto o = options({"reference"});
  DefenceOptions defence{.random = true, .by_votes = true};
  const auto random = make_defence(plain, images, defence);
  EXPECT_EQ(names(msa_plan(*random, 0, Norm::linf, o)), "eot smoothed base control ");
  // 50 steps and the start, in three attacks; eot takes ten passes for each gradient, smoothed twice eight.
  auto one = o, other = o;
  one.surrogates = {"eot"}, other.surrogates = {"smoothed"};
  const auto eot = msa_passes(*random, Norm::linf, one), smoothed = msa_passes(*random, Norm::linf, other);
  EXPECT_GT(smoothed.backward, eot.backward * 3 / 2);
  EXPECT_LT(smoothed.backward, eot.backward * 2);
  defence.coupling = Coupling::batch, defence.contexts = {"joint"};
  EXPECT_EQ(names(msa_plan(*make_defence(plain, images, defence), 0, Norm::linf, o)), "eot base control ")
      << "whole batches of a random model cost enough";
}

TEST_F(MsaPlan, NoContextGivesHpmFewerStartsThanAPlainModelGets) {
  const auto result = msa(plain, {}, images, threat, options({"reference"}));
  EXPECT_TRUE(result.first().context.empty());
  const auto quick = plan(plain, options({"reference"}));
  for (const auto& spec : quick.front().attacks) EXPECT_EQ(spec.restarts, 5) << spec.name;
  // HPM has five surrogates with logits, and region: in reference four of the six are one, the exact gradient. It gets
  // a plain model's five starts, fc and stable theirs beside them.
  EXPECT_EQ(starts(plan(model, options({"reference"})), "apgd-ce"), 7);
  EXPECT_EQ(starts(plan(model, options({"alone"})), "apgd-ce"), 5);
  auto plus = options({"reference"});
  plus.version = "plus", plus.surrogates = {"ste", "fc", "hard", "soft", "stable", "region"};
  EXPECT_EQ(starts(plan(model, plus), "apgd-ce"), 35) << "five times as many";
  auto thrice = options({"alone"});
  thrice.settings.restarts = 3;
  EXPECT_EQ(starts(plan(model, thrice), "apgd-ce"), 15);
  EXPECT_EQ(starts(plan(plain, thrice), "apgd-ce"), 15);
  auto l2 = model.clone();
  l2.head->lambda = 1;
  for (const char* version : {"quick", "standard", "plus"})
    for (const auto norm : {Norm::linf, Norm::l1})
      for (const char* context : {"reference", "alone", "solo", "joint"})
        for (const bool fewer_in_joint : {false, true}) {
          auto o = options({context});
          o.version = version;
          if (fewer_in_joint) o.joint_surrogates = {"ste", "fc"};
          const auto undefended = plan(plain, o, norm);
          for (const auto& spec : undefended.front().attacks)
            for (const auto& hpm : {model, l2})
              EXPECT_GE(starts(plan(hpm, o, norm), spec.name), spec.restarts)
                  << version << " " << to_string(norm) << " " << context << " " << spec.name;
        }
}

TEST_F(MsaPlan, APlainModelIsAskedByQueriesWhereHpmIs) {
  const auto surrogates = [&](const char* version, std::vector<std::string> named) {
    auto o = options({"solo"});
    o.version = version, o.surrogates = std::move(named);
    std::string all;
    for (const auto& step : plan(plain, o))
      if (step.runs()) all += step.surrogate.name + " ";
    return all;
  };
  EXPECT_EQ(surrogates("quick", {}), "self ");
  EXPECT_EQ(surrogates("standard", {}), "self query ");
  EXPECT_EQ(surrogates("quick", {"query"}), "query ");
  EXPECT_EQ(surrogates("standard", {"ste", "fc"}), "self ");
  EXPECT_EQ(surrogates("quick", {"region"}), "self ");
}

TEST_F(MsaPlan, SeedsComeFromNamesAlone) {
  const auto o = options({"solo"});
  EXPECT_NE(seed_of(o, "ste", "solo"), seed_of(o, "ste", "alone"));
  EXPECT_NE(seed_of(o, "ste", "solo"), seed_of(o, "fc", "solo"));
  EXPECT_EQ(seed_of(o, "ste", "solo"), 0x97393c83d8cea752ull) << "FNV-1a of \"ste\\nsolo\"";
}

TEST_F(MsaPlan, ASurrogateWhoseTwinIsNotAskedForRunsItselfAndNoContextGoesUnattacked) {
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

TEST_F(MsaPlan, StandardHasAutoAttacksAttacksForEverySurrogateAndPlusFiveTimesTheStarts) {
  auto o = options({"solo", "joint"});
  o.version = "standard", o.settings.steps = 3;
  o.surrogates = {"ste", "fc", "region", "query"};
  images = images.select(at::arange(7));
  const auto result = msa(model, {}, images, threat, o);
  std::map<std::string, std::set<std::string>> attacks;
  for (const auto& record : result.attacks) attacks[record.context].insert(record.surrogate + "/" + record.name);
  const std::set<std::string> expected{"ste/apgd-ce", "ste/apgd-t", "ste/fab-t",    "fc/apgd-ce",
                                       "fc/apgd-t",   "fc/fab-t",   "query/square", "region/apgd-own"};
  EXPECT_EQ(attacks["solo"], expected);
  auto in_joint = expected;
  in_joint.erase("region/apgd-own");
  EXPECT_EQ(attacks["joint"], in_joint);
  for (const auto& c : result.contexts) EXPECT_LT(percent(c.robust), percent(c.clean_correct)) << c.context;
  EXPECT_TRUE(at::equal(logits_in(model, "solo", images, result.first().adversarial.set()).argmax(1).eq(images.y),
                        result.first().robust));
  const auto standard = plan(model, o, Norm::l2);
  o.version = "plus";
  const auto plus = plan(model, o, Norm::l2);
  for (size_t i = 0; i < plus.size(); ++i)
    for (size_t a = 0; a < plus[i].attacks.size(); ++a) {
      const auto& spec = plus[i].attacks[a];
      const bool once = !attack_entry(spec.name).repeats;
      EXPECT_EQ(spec.restarts, standard[i].attacks[a].restarts * (once ? 1 : 5)) << spec.name;
    }
}

TEST_F(MsaPlan, PlusBringsExpectationOverTheCompanyToSolo) {
  auto o = options({"solo", "alone"});
  EXPECT_EQ(msa_contexts(o.contexts, o.version), o.contexts);
  o.version = "plus", o.settings.steps = 1, o.surrogates = {"ste"};
  EXPECT_EQ(msa_contexts(o.contexts, o.version), (std::vector<std::string>{"solo", "alone", "solo-eot"}));
  const auto result = msa(model, {}, images, threat, o);
  ASSERT_EQ(result.contexts.size(), 3u);
  EXPECT_TRUE(result.contexts[2].worst_draw.has_value());
  o.contexts = {"alone"};
  EXPECT_EQ(msa_contexts(o.contexts, o.version), o.contexts) << "nobody's company is drawn";
}

TEST_F(MsaPlan, PassesStayWithinTheStatedBoundAndNearItWhereEveryImageSurvives) {
  auto o = options({"reference", "solo", "joint"});
  o.sweep = {.2, 1};
  const Peers peers{model.classifier.clone(), tiny_model(.4, at::kFloat).classifier};
  const std::vector<Classifier> networks{model.classifier, peers.base, peers.control};  // handles
  for (const double eps : {.03, 1e-5})
    for (const auto& surrogates : {std::vector<std::string>{}, {"base", "control"}}) {
      o.surrogates = surrogates;
      const auto bound = msa_passes(*test::defence_of(model, peers, images, o), Norm::linf, o);
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

TEST_F(MsaPlan, StatedPassesCountTheTargetsOfTheSurrogatesRanking) {
  auto o = options({"solo"});
  o.surrogates = {"fc"}, o.settings.steps = 10;
  // One start each of APGD-CE, APGD-DLR and for each target, of 10 steps and their start. Of five classes one is left
  // beside three targets; a joint batch may have another one for each.
  EXPECT_EQ(msa_passes(*test::defence_of(model, {}, images, o), Norm::linf, o).backward, 11 * (1 + 1 + 3 + 1));
  o.contexts = {"joint"};
  EXPECT_EQ(msa_passes(*test::defence_of(model, {}, images, o), Norm::linf, o).backward, 11 * (1 + 1 + 3 + 3));
}

TEST_F(MsaPlan, BadOptionsAreUsageErrors) {
  EXPECT_THROW(msa(model, {}, images, threat, options({"group"})), UsageError);
  auto o = options({"solo"});
  o.version = "quickest";
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
