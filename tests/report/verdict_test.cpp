#include "hpm/report/verdict_impl.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/evaluation/checks/advice.h"
#include "hpm/report/comparison_impl.h"
#include "hpm/report/report_impl.h"
#include "report/sample.h"
#include "support/support.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

/// An HPM run with one context and the control's figures as evaluation would have recorded them.
Json hand_made(double robust, double control, double low, double high, double p) {
  return {{"schema", 1},
          {"n", 500},
          {"role", "hpm"},
          {"norm", "Linf"},
          {"eps", 8. / 255},
          {"protocol", "msa"},
          {"clean_accuracy", 86.4},
          {"robust_accuracy", robust},
          {"interval", {57., 65.4}},
          {"checks", {{{"name", "unbounded"}, {"status", "passed"}}}},
          {"control",
           {{"name", "control"},
            {"clean_accuracy", 86.6},
            {"robust_accuracy", control},
            {"difference", robust - control},
            {"difference_interval", {low, high}},
            {"p", p},
            {"wins", 12},
            {"losses", 10},
            {"smallest_detectable", 3.1}}}};
}

Verdict judged(const Json& json) { return verdict_of(parse_results(json, "results.json")); }

std::string all_remarks(const Verdict& v) {
  std::string out;
  for (const auto& remark : v.remarks) out += remark + "\n";
  return out;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Verdict, SaysThatADifferenceWithinTheNoiseIsNone) {
  const auto v = judged(hand_made(61.2, 61.0, -1.9, 2.3, .83));
  EXPECT_EQ(v.outcome, Outcome::no_difference);
  EXPECT_EQ(v.sentence,
            "HPM shows no detectable difference to the matched control: 61.2 % against 61.0 % (difference +0.2 "
            "points, 95 % interval -1.9 to 2.3, McNemar p = .83, n = 500).");
  EXPECT_TRUE(contains(v.remarks[0], "3.1 points or more")) << v.remarks[0];
  EXPECT_TRUE(contains(v.remarks[0], "a smaller gain or loss can go unseen")) << v.remarks[0];
}

TEST(Verdict, NamesAutoAttackAndWhetherItsSettingsWereChanged) {
  auto run = hand_made(61.2, 61.0, -1.9, 2.3, .83);
  run.erase("control");
  run["protocol"] = "autoattack", run["version"] = "standard", run["changed_settings"] = false;
  run["notes"] = {"a word of the user's own, instead of the usual one"};
  EXPECT_TRUE(contains(judged(run).sentence, "under AutoAttack (")) << judged(run).sentence;
  run["changed_settings"] = true, run["notes"] = Json::array();
  EXPECT_TRUE(contains(judged(run).sentence, "under AutoAttack with changed settings (")) << judged(run).sentence;
}

TEST(Verdict, CallsAGainWhatExcludesZeroBothWays) {
  const auto v = judged(hand_made(65.2, 61.0, 1.9, 6.5, .0004));
  EXPECT_EQ(v.outcome, Outcome::gain);
  EXPECT_EQ(v.sentence,
            "HPM is more robust than the matched control: 65.2 % against 61.0 % (difference +4.2 points, 95 % interval "
            "1.9 to 6.5, McNemar p < .001, n = 500).");
}

TEST(Verdict, DoesNotCallAGainWhatOnlyOneOfTheTwoTestsSupports) {
  const auto v = judged(hand_made(63, 61, .1, 3.9, .06));
  EXPECT_EQ(v.outcome, Outcome::no_difference);
  EXPECT_TRUE(contains(all_remarks(v), "interval excludes 0 and the exact test gives p = .06")) << all_remarks(v);
  EXPECT_EQ(judged(hand_made(63, 61, -.1, 4.1, .04)).outcome, Outcome::no_difference);
  auto bare = hand_made(70, 61, 0, 0, 0);
  for (const char* field : {"p", "difference_interval"}) bare["control"].erase(field);
  EXPECT_EQ(judged(bare).outcome, Outcome::not_tested);
}

TEST(Verdict, CallsALossALoss) {
  const auto v = judged(hand_made(57.0, 61.0, -6.2, -1.8, .002));
  EXPECT_EQ(v.outcome, Outcome::loss);
  EXPECT_TRUE(contains(v.sentence, "HPM is less robust than the matched control: 57.0 % against 61.0 %")) << v.sentence;
  EXPECT_TRUE(contains(v.sentence, "p = .002")) << v.sentence;
}

TEST(Verdict, WithoutAControlDoesNotSayThatTheDefenceHelped) {
  auto json = hand_made(61.2, 0, 0, 0, 1);
  json.erase("control");
  json["base"] = {{"name", "base"}, {"robust_accuracy", 50.}};
  const auto v = judged(json);
  EXPECT_EQ(v.outcome, Outcome::no_control);
  EXPECT_TRUE(contains(v.sentence, "no matched control, so it is not known whether HPM made it more robust"))
      << v.sentence;
  EXPECT_FALSE(contains(v.sentence, "more robust:")) << v.sentence;
  EXPECT_TRUE(contains(all_remarks(v), "+11.2 points. That contains what fine-tuning alone")) << all_remarks(v);
}

TEST(Verdict, OfASuspectResultComesBeforeAnyNumber) {
  auto json = hand_made(90, 61, 20, 38, 1e-9);
  json["suspect"] = true;
  json["checks"] = {{{"name", "unbounded"}, {"status", "failed"}, {"detail", "APGD-CE with eps = 1 left 40 images"}}};
  const auto v = judged(json);
  EXPECT_EQ(v.outcome, Outcome::suspect);
  EXPECT_EQ(v.sentence.rfind("Suspect result: ", 0), 0u) << v.sentence;
  EXPECT_TRUE(contains(v.sentence, "unbounded (APGD-CE with eps = 1 left 40 images)")) << v.sentence;
  EXPECT_FALSE(contains(v.sentence, "90")) << v.sentence;
  EXPECT_FALSE(contains(v.sentence, "more robust")) << v.sentence;
  const auto remarks = all_remarks(v);
  EXPECT_TRUE(contains(remarks, "What to do next (unbounded): " + advice_for("unbounded"))) << remarks;
  EXPECT_TRUE(contains(remarks, "For the record, suspect: HPM against the matched control: 90.0 % against 61.0 %"))
      << remarks;
}

TEST(Verdict, HeadlineBadgeTableAndChartSayTheSame) {
  struct Case {
    double low, high, p;
    const char *badge, *words, *cell;
    bool full;
  };
  for (const auto& [low, high, p, badge, words, cell, full] :
       {Case{1.9, 6.5, .0004, "More robust than the control", "is more robust than", "more robust", true},
        Case{-6.5, -1.9, .0004, "Less robust than the control", "is less robust than", "less robust", true},
        Case{-1.9, 2.3, .83, "No detectable difference", "no detectable difference", "not detectable", false},
        Case{.1, 3.9, .06, "No detectable difference", "no detectable difference", "not detectable", false},
        Case{-.1, 4.1, .04, "No detectable difference", "no detectable difference", "not detectable", false}}) {
    auto json = hand_made(61 + (low + high) / 2, 61, low, high, p);
    const auto page =
        make_report({{.directory = "run", .results = json, .environment = {}, .config = {}, .gallery = {}}});
    EXPECT_TRUE(contains(page, std::string("<span class=\"chip\">") + badge + "</span>")) << badge;
    EXPECT_TRUE(contains(page, std::string("<p class=\"say\">HPM ") + (cell[0] == 'n' ? "shows " : "") + words))
        << words;
    EXPECT_TRUE(contains(page, std::string("<small>") + cell + "</small>")) << cell;
    EXPECT_EQ(contains(page, "r=\"5\" class=\"t-hpm fill\""), full) << badge;
    EXPECT_EQ(contains(page, "r=\"5\" class=\"t-hpm ring\""), !full) << badge;
    json["suspect"] = true;
    const auto suspect =
        make_report({{.directory = "run", .results = json, .environment = {}, .config = {}, .gallery = {}}});
    EXPECT_TRUE(contains(suspect, "<small>suspect</small>")) << "the comparison is shown, and marked";
    EXPECT_FALSE(contains(suspect, "r=\"5\" class=\"t-hpm fill\""));
  }
}

TEST(Verdict, CallsAPlainModelByItsFileItsRoleOrItsLabelAndNotByHpmsWords) {
  auto json = hand_made(61.2, 61.0, -1.9, 2.3, .83);
  json["role"] = "", json["model"] = "models/trades.pth", json["control"]["file"] = "models/at.pth";
  const auto words = [&](const std::string& label = {}) {
    const auto page = make_report(
        {{.directory = "run", .results = json, .environment = {}, .config = {}, .gallery = {}, .label = label}});
    EXPECT_FALSE(contains(page.substr(page.find("<main>")), "HPM"));
    EXPECT_FALSE(contains(page, "FC,"));
    EXPECT_TRUE(contains(page, "</i>at.pth (control)"));
    return page;
  };
  EXPECT_TRUE(contains(words(), "<p class=\"say\">trades.pth shows no detectable"));
  json["model"] = "runs/trades/model.safetensors";
  EXPECT_TRUE(contains(words(), "<p class=\"say\">trades/model.safetensors shows"));
  json["role"] = "TRADES";
  EXPECT_TRUE(contains(words(), "<p class=\"say\">TRADES shows"));
  EXPECT_TRUE(contains(words("TRADES, beta 6"), "<p class=\"say\">TRADES, beta 6 shows"));
}

TEST(Verdict, IsSuspectWhenACheckFailedEvenIfNobodySetTheFlag) {
  auto json = hand_made(90, 61, 20, 38, 1e-9);
  json["checks"][0]["status"] = "failed";
  EXPECT_EQ(judged(json).outcome, Outcome::suspect);
}

TEST(Verdict, IsSuspectWhenTheControlsOwnRunIs) {
  const auto run = parse_results(hand_made(65.2, 61.0, 1.9, 6.5, .0004), "a");
  auto control = hand_made(61, 61, 0, 0, 1);
  control["suspect"] = true, control["reasons"] = {"convergence: 4.0 % more"};
  const auto other = parse_results(control, "b");
  const auto v = verdict_of(run, &other);
  EXPECT_EQ(v.outcome, Outcome::suspect);
  EXPECT_TRUE(contains(v.sentence, "the control's evaluation did not pass the checks: convergence: 4.0 % more"))
      << v.sentence;
}

TEST(Verdict, OnCleanAccuracyAloneSaysNothingAboutRobustness) {
  const auto v = judged({{"schema", 1},
                         {"n", 100},
                         {"role", "hpm"},
                         {"protocol", "clean"},
                         {"clean_accuracy", 86.4},
                         {"robust_accuracy", nullptr}});
  EXPECT_EQ(v.outcome, Outcome::no_attack);
  EXPECT_TRUE(contains(v.sentence, "says nothing about robustness")) << v.sentence;
}

TEST(Verdict, NamesTheContextsThatLoseBesideAHeadlineThatDoesNot) {
  auto json = hand_made(65.2, 61.0, 1.9, 6.5, .0004);
  auto first = json, second = hand_made(57, 61, -6.2, -1.8, .002);
  first["context"] = "reference", second["context"] = "solo";
  json["contexts"] = {first, second};
  const auto v = judged(json);
  EXPECT_EQ(v.outcome, Outcome::gain);
  EXPECT_TRUE(contains(v.sentence, "more robust than the matched control in context reference:")) << v.sentence;
  EXPECT_TRUE(contains(v.sentence, "It is less robust than the control in context solo (-4.0 points).")) << v.sentence;
}

TEST(Verdict, SaysWhatLimitsIt) {
  auto json = hand_made(61.2, 61.0, -1.9, 2.3, .83);
  json["ste_accuracy"] = 64.0;
  json["checks"] = Json::array();
  json["surrogates"] = {
      {{"name", "ste"}},
      {{"name", "fc"}},
      {{"name", "hard"}, {"same_as", "ste"}},
      {{"name", "base"}, {"unavailable", "needs --base FILE"}},
      {{"name", "region"}, {"unavailable", "the reference prototypes do not depend on the assignment"}}};
  json["base"] = {{"name", "base"}, {"robust_accuracy", 58.9}};
  const auto remarks = all_remarks(judged(json));
  EXPECT_TRUE(contains(remarks, "+2.3 points; the same fine-tuning without HPM (the control) brings +2.1.")) << remarks;
  EXPECT_TRUE(contains(remarks, "Not attacked through base (not available)")) << remarks;
  EXPECT_TRUE(contains(remarks, "No check of the attacks was run")) << remarks;
  EXPECT_TRUE(contains(remarks, "Clean accuracy: 86.4 % against 86.6 % for the control (-0.2 points)")) << remarks;
  json["protocol"] = "pgd";
  const auto weak = all_remarks(judged(json));
  EXPECT_TRUE(contains(weak, "Nothing but pgd was run; a stronger attack may break more")) << weak;
  EXPECT_TRUE(contains(weak, "A single surrogate flatters HPM")) << weak;
}

TEST(Verdict, ExplainsMaskedGradientsFromTheSteFigure) {
  const auto c = compare_runs({parse_results(test::sample_run("hpm").results, "hpm")});
  const auto remarks = all_remarks(verdict_of(c.runs[0]));
  EXPECT_TRUE(contains(remarks, "are no robustness")) << remarks;
  EXPECT_TRUE(contains(remarks, "in context alone")) << remarks;
  auto near = hand_made(61.2, 61.0, -1.9, 2.3, .83);
  near["ste_accuracy"] = 61.4, near["obfuscation_gap"] = .2;
  EXPECT_FALSE(contains(all_remarks(judged(near)), "ste alone")) << "one image is no evidence";
}

TEST(Comparison, PairsTheFlagsOfTwoRunsWhereNothingWasRecorded) {
  auto ours = test::sample_run("hpm").results, control = test::sample_run("control").results;
  const auto recorded = ours["contexts"][0]["control"];
  for (auto& context : ours["contexts"]) context.erase("control");
  ours.erase("control");
  const auto c = compare_runs({parse_results(ours, "hpm"), parse_results(control, "control")});
  ASSERT_EQ(c.runs[0].role, "control");
  const auto& paired = c.runs[1].headline().control;
  ASSERT_TRUE(paired.has_value());
  EXPECT_EQ(paired->wins, recorded["wins"].get<int64_t>());
  EXPECT_EQ(paired->losses, recorded["losses"].get<int64_t>());
  EXPECT_TRUE(c.warnings.empty());
}

TEST(Comparison, OfUnequalBudgetsComputesNoDifferenceAndSaysSo) {
  auto ours = test::sample_run("hpm").results, control = test::sample_run("control").results;
  for (auto& context : ours["contexts"]) context.erase("control");
  ours.erase("control");
  ours["budget"] = "pgd ce, 40 steps of eps / 4, 1 restarts";
  const auto c = compare_runs({parse_results(ours, "hpm"), parse_results(control, "control")});
  EXPECT_FALSE(c.runs[1].headline().control.has_value());
  ASSERT_EQ(c.warnings.size(), 1u);
  EXPECT_TRUE(contains(c.warnings[0], "no difference is computed")) << c.warnings[0];
}

TEST(Comparison, OfDifferentImagesComputesNoDifferenceAndSaysSo) {
  auto ours = test::sample_run("hpm").results, control = test::sample_run("control").results;
  for (auto& context : ours["contexts"]) context.erase("control");
  ours.erase("control");
  control["first_index"] = 500;
  const auto c = compare_runs({parse_results(ours, "hpm"), parse_results(control, "control")});
  EXPECT_FALSE(c.runs[1].headline().control.has_value());
  ASSERT_EQ(c.warnings.size(), 1u);
  EXPECT_TRUE(contains(c.warnings[0], "different images")) << c.warnings[0];
}

TEST(Comparison, NotesThatTheRecordedControlIsAnotherOne) {
  auto control = test::sample_run("control").results;
  control["robust_accuracy"] = 50.;
  const auto c =
      compare_runs({parse_results(test::sample_run("hpm").results, "hpm"), parse_results(control, "control")});
  ASSERT_FALSE(c.warnings.empty());
  EXPECT_TRUE(contains(c.warnings[0], "they are not the same evaluation")) << c.warnings[0];
}

// Expected figures: the formulas in exact integer and double arithmetic, by a Python one-liner.
TEST(Comparison, HasTheTextbooksIntervalsAndExactTest) {
  Flags ours(500, 0), theirs(500, 0);
  for (size_t i = 0; i < 300; ++i) ours[i] = theirs[i] = 1;
  for (size_t i = 300; i < 312; ++i) ours[i] = 1;
  for (size_t i = 312; i < 322; ++i) theirs[i] = 1;
  const auto m = compare_flags(ours, theirs);
  EXPECT_EQ(m.wins, 12);
  EXPECT_EQ(m.losses, 10);
  EXPECT_NEAR(*m.difference, .4, 1e-12);
  EXPECT_NEAR(*m.p, .83181, 1e-5);
  EXPECT_NEAR(m.difference_interval->low, -1.47371, 1e-4);
  EXPECT_NEAR(m.difference_interval->high, 2.27052, 1e-4);
  EXPECT_NEAR(*m.smallest_detectable, 2.62, .02);  // Connor, by bisection in Python
}

TEST(Results, RejectsWhatItCannotRead) {
  const auto message = [](Json json) {
    return test::message_of<Error>([&] { parse_results(json, "run/results.json"); });
  };
  auto json = hand_made(61.2, 61, -1.9, 2.3, .83);
  json["schema"] = 2;
  EXPECT_TRUE(contains(message(json), "run/results.json: needs schema 1, but has schema 2"));
  json["schema"] = 1, json["robust"] = {1, 0};
  EXPECT_TRUE(contains(message(json), "one value for each of the 500 images, but has 2"));
  json["robust"] = Json::array(), json["eps"] = "8/255";
  EXPECT_TRUE(contains(message(json), "\"eps\" needs a number, but holds \"8/255\""));
  json["eps"] = .1, json["attacks"] = {1};
  EXPECT_TRUE(contains(message(json), "attacks[0]: needs a JSON object"));
  EXPECT_TRUE(contains(message(Json::array()), "needs a JSON object, but holds array"));
  json["attacks"] = Json::array();
  json.erase("n");
  EXPECT_TRUE(contains(message(json), "needs \"n\"; was the run finished?"));
}

TEST(Numbers, AreWrittenAsTheReportPromises) {
  EXPECT_EQ(percent(61.24), "61.2 %");
  EXPECT_EQ(percent(61.25), "61.3 %");
  EXPECT_EQ(one_decimal(-.04), "0.0");
  EXPECT_EQ(points(.2), "+0.2");
  EXPECT_EQ(points(-1.94), "-1.9");
  EXPECT_EQ(span_text({57, 65.4}), "57.0-65.4");
  EXPECT_EQ(p_text(.83), "p = .83");
  EXPECT_EQ(p_text(.0049), "p = .005");
  EXPECT_EQ(p_text(.0001), "p < .001");
  EXPECT_EQ(p_text(1), "p = 1");
  EXPECT_EQ(radius_text(8. / 255), "8/255");
  EXPECT_EQ(radius_text(.1), "0.1");
  EXPECT_EQ(radius_text(.2), "0.2");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(count_text(-123), "-123");
  EXPECT_EQ(duration_text(81.2), "1 min 21 s");
}

}  // namespace
}  // namespace hpm
