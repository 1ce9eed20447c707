#include "hpm/report/table_impl.h"

#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

using Json = nlohmann::json;

Json context(const std::string& name, double robust, double ste) {
  return {{"context", name}, {"clean_accuracy", 75.}, {"robust_accuracy", robust}, {"ste_accuracy", ste}};
}

/// An HPM run on four images: 75 % clean, 50 % robust.
Json small_run(double lambda = .9, const std::string& metric = "learned (R = 9)") {
  return {{"schema", 1},
          {"n", 4},
          {"role", "hpm"},
          {"norm", "Linf"},
          {"eps", 8. / 255},
          {"protocol", "msa"},
          {"version", "quick"},
          {"dataset", "cifar10"},
          {"split", "test"},
          {"seed", 3},
          {"model_info", {{"lambda", lambda}, {"metric", metric}}},
          {"clean_accuracy", 75.},
          {"robust_accuracy", 50.},
          {"contexts", {context("solo", 50, 62.5), context("alone", 25, 75)}}};
}

RunResults parsed(const Json& json, const std::string& folder) {
  auto run = parse_results(json, "results.json");
  run.folder = folder;
  return run;
}

std::string table(const std::string& extension, const std::vector<Json>& runs) {
  std::vector<RunResults> all;
  for (const auto& json : runs) all.push_back(parsed(json, "run" + std::to_string(all.size())));
  return make_table(compare_runs(all), extension);
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) out.push_back(line);
  return out;
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Table, HasALineForEachContextWithItsIntervalsAndItsMaskedGradients) {
  const auto rows = lines(table(".md", {small_run()}));
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[1], "|---|---|---|---|---|---|");
  // Wilson's interval of 3 and 2 of 4, and of 1 of 4.
  EXPECT_EQ(rows[2], "| HPM | solo | 75.0 (30.1-95.4) | 50.0 (15.0-85.0) | 12.5 | |");
  EXPECT_EQ(rows[3], "| HPM | alone | 75.0 (30.1-95.4) | 25.0 (4.6-69.9) | 50.0 | |");
  EXPECT_EQ(rows[5].substr(0, 62), "cifar10 test, 4 images, Linf 8/255, msa quick, seed 3. Accurac");
}

TEST(Table, ShowsEveryContextAsOneLineWhereNothingIsDynamic) {
  const auto text = table(".md", {small_run(1)});
  EXPECT_EQ(count(text, "| HPM |"), 1u);
  EXPECT_EQ(count(text, "| every context |"), 1u);
}

TEST(Table, TellsRunsOfOneRoleApartByTheirSettingsElseByTheirFolders) {
  const auto text = table(".csv", {small_run(.3), small_run(.3, "none"), small_run(.5), small_run(.5)});
  EXPECT_EQ(count(text, "\"HPM, metric learned, lambda 0.3\","), 2u) << text;
  EXPECT_EQ(count(text, "\"HPM, metric none, lambda 0.3\","), 2u);
  EXPECT_EQ(count(text, "\"HPM, metric learned, lambda 0.5, run2\","), 2u);
  EXPECT_EQ(count(text, "\"HPM, metric learned, lambda 0.5, run3\","), 2u);
}

TEST(Table, HoldsThePairedDifferenceToTheControlThatThePageShows) {
  auto files = test::sample_runs();
  std::vector<RunResults> runs;
  for (const auto& file : files) runs.push_back(parse_results(file.results, "results.json"));
  const auto c = compare_runs(runs);
  const auto text = make_table(c, ".md");
  EXPECT_NE(text.find("| FC, control | |"), std::string::npos) << text;
  EXPECT_EQ(count(text, "| 0 |\n"), 1u) << "the control against itself";
  const auto& row = c.rows.back();
  ASSERT_TRUE(row.control && row.control->difference && row.control->p) << text;
  EXPECT_NE(text.find(points(*row.control->difference)), std::string::npos);
  EXPECT_NE(text.find(p_text(*row.control->p) + ") |\n"), std::string::npos) << text;
}

TEST(Table, OfASuspectRunDrawsNoDifference) {
  auto files = test::sample_runs();
  std::vector<RunResults> runs;
  for (auto& file : files) {
    if (file.results["role"] == "hpm") file.results["suspect"] = true;
    runs.push_back(parse_results(file.results, "results.json"));
  }
  const auto text = make_table(compare_runs(runs), ".tex");
  EXPECT_EQ(count(text, "HPM & "), count(text, "suspect: not drawn"));
  EXPECT_GT(count(text, "HPM & "), 0u);
}

TEST(Table, AsCsvReadsBackWithEveryFigureInItsColumn) {
  auto hostile = small_run();
  hostile["role"] = "", hostile["model"] = "a \"b\",\nc.pth";
  const auto text = table(".csv", {hostile});
  HPM_NEED_PYTHON();
  const test::TemporaryFolder folder;
  test::write_text(folder / "table.csv", text);
  EXPECT_EQ(test::output_of(test::find_python() +
                            " -c 'import csv, sys\nfor r in csv.DictReader(open(sys.argv[1], "
                            "newline=\"\")): print(r[\"context\"], r[\"n\"], r[\"clean\"], "
                            "r[\"robust_low\"][:5], r[\"eps\"], r[\"lambda\"], r[\"p\"] == \"\", "
                            "len(r), None in r)' " +
                            (folder / "table.csv").string()),
            "solo 4 75 15.00 0.031372549 0.9 True 29 False\nalone 4 75 4.558 0.031372549 0.9 True 29 False\n");
}

TEST(Table, EscapesWhatMeansSomethingToLatexAndMarkdown) {
  auto hostile = small_run();
  hostile["role"] = "", hostile["model"] = "50%_{x}|<b>\\&";
  EXPECT_NE(table(".tex", {hostile}).find("50\\%\\_\\{x\\}|$<$b>\\textbackslash{}\\& & solo & 75.0 (30.1-95.4)"),
            std::string::npos)
      << table(".tex", {hostile});
  EXPECT_NE(table(".md", {hostile}).find("| 50%_{x}\\|&lt;b>\\& | solo |"), std::string::npos);
}

TEST(Table, NeedsAFormatThatItKnowsAndARunOfHpmEvaluate) {
  EXPECT_NE(
      test::message_of<UsageError>([&] { table(".xlsx", {small_run()}); }).find("needs to end in .md, .tex or .csv"),
      std::string::npos);
  EXPECT_NE(test::message_of<UsageError>([&] { write_table({}, "t.md"); }).find("needs at least one run"),
            std::string::npos);
}

}  // namespace
}  // namespace hpm
