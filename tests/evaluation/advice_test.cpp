#include "hpm/evaluation/checks/advice.h"

#include <regex>
#include <set>

#include "hpm/attacks/function_model.h"
#include "hpm/defences/plain_defence.h"
#include "hpm/evaluation/checks/binarisation.h"
#include "hpm/evaluation/checks/checks.h"
#include "hpm/evaluation/fast/fast.h"
#include "hpm/evaluation/protocols.h"
#include "hpm/evaluation/run/peers.h"
#include "hpm/surrogates/smoothed.h"
#include "surrogates/tiny_model.h"

namespace hpm {
namespace {

TEST(Advice, KnowsEveryCheckThatCanFailAndNoOther) {
  const HpmModel model{test::tiny_model(.4, at::kFloat).classifier, std::nullopt};
  const Images images = test::tiny_labelled_images(model.classifier, 10);
  const ThreatModel threat{Norm::linf, .03};
  PlainDefence plain(model.classifier, {});
  const auto evaluation = evaluate_pgd(plain, {images, threat}, {.steps = 2}, {.batch_size = 10});
  ClassifierModel attacked{model.classifier};
  const auto predict = [&](const Tensor& x, const Tensor& index) {
    return attacked.ask({x, index}, nullptr).target_logits;
  };
  std::set<std::string> run, known;
  CheckSubject subject{attacked, false, predict};
  subject.saved = evaluation.first().adversarial.set();
  for (const auto& check : run_checks(subject, {images, threat}, evaluation, {.level = "full"})) {
    run.insert(check.name);
    EXPECT_FALSE(advice_for(check.name).empty()) << check.name;
    EXPECT_FALSE(meaning_of_check(check.name).empty()) << check.name;
  }
  for (const auto& check : run_checks(subject, {images, threat}, evaluation, {.level = "basic"}))
    run.insert(check.name);
  run.insert(peer_accuracy("base", evaluation.first().clean_correct, evaluation.first().clean_correct).name);
  run.insert(alarms_check({}).name), run.insert(time_check({}).name);
  run.insert(binarisation_check({}).name);
  for (const auto& guide : check_guides())
    EXPECT_TRUE(known.insert(guide.name).second) << guide.name << " is there twice";
  EXPECT_EQ(run, known);
  EXPECT_EQ(advice_for("no such check"), "");
}

TEST(Advice, NamesSurrogatesThatThereAre) {
  const auto model = test::tiny_model(.4, at::kFloat).classifier;
  const PlainDefence plain(model);
  int64_t lists = 0;
  for (const auto& guide : check_guides()) {
    const std::string advice = guide.advice;
    static const std::regex list("--surrogates ([a-z,-]*[a-z])");
    for (std::sregex_iterator i(advice.begin(), advice.end(), list), end; i != end; ++i, ++lists) {
      std::stringstream names((*i)[1]);
      for (std::string name; std::getline(names, name, ',');) {
        const SurrogateSelection one{.names = {name}};
        EXPECT_NO_THROW(plain.surrogates(0, one)) << guide.name;
      }
    }
  }
  EXPECT_GE(lists, 2);
  for (const auto cause : {Cause::shattered, Cause::masked})
    for (const auto& name : {smoothed_surrogate({}, {}).name, query_surrogate().name})
      EXPECT_NE(surrogates_for(cause).find(name), std::string::npos) << name;
}

TEST(Advice, IsTheSameOnTheDocsPage) {
  std::stringstream page;
  page << std::ifstream(test::source_dir() / "docs/checks.md").rdbuf();
  for (const auto& guide : check_guides())
    EXPECT_NE(page.str().find(fmt::format("| {} | {} | {} |\n", guide.name, guide.meaning, guide.advice)),
              std::string::npos)
        << "docs/checks.md needs the row of " << guide.name;
}

}  // namespace
}  // namespace hpm
