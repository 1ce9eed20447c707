// What runs, how often, and what it is said to cost.
#include "evaluation/msa_fixture.h"
#include "hpm/core/error.h"
#include "hpm/evaluation/protocols.h"

namespace hpm {
namespace {

using test::tiny_model;

class MsaPlan : public test::MsaFixture {};

TEST_F(MsaPlan, SurrogatesComeInTheOrderOfTheirYieldThenTransferThenQueries) {
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

TEST_F(MsaPlan, NoContextGivesHpmFewerStartsThanAPlainModelGets) {
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

TEST_F(MsaPlan, APlainModelIsAskedByQueriesWhereHpmIs) {
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
  o.version = "standard", o.steps = 3;
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

TEST_F(MsaPlan, PlusBringsExpectationOverTheCompanyToSolo) {
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

TEST_F(MsaPlan, PassesStayWithinTheStatedBoundAndNearItWhereEveryImageSurvives) {
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

TEST_F(MsaPlan, StatedPassesCountTheTargetsOfTheSurrogatesRanking) {
  auto o = options({"solo"});
  o.surrogates = {"fc"}, o.steps = 10;
  // One start each of APGD-CE, APGD-DLR and for each target, of 10 steps and their start. Of five classes one is left
  // beside three targets; a joint batch may have another one for each.
  EXPECT_EQ(estimate_passes(model, {}, threat, o).backward, 11 * (1 + 1 + 3 + 1));
  o.contexts = {"joint"};
  EXPECT_EQ(estimate_passes(model, {}, threat, o).backward, 11 * (1 + 1 + 3 + 3));
}

TEST_F(MsaPlan, BadOptionsAreUsageErrors) {
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
