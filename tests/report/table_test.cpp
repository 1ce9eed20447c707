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

ReportedRun parsed(const Json& json, const std::string& folder) {
  auto run = parse_results(json, "results.json");
  run.folder = folder;
  return run;
}

std::string table(const std::string& extension, const std::vector<Json>& runs, const std::string& caption = {}) {
  std::vector<ReportedRun> all;
  for (const auto& json : runs) all.push_back(parsed(json, "run" + std::to_string(all.size())));
  return make_table(compare_runs(all), extension, caption);
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
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[1], "| model | context | n | clean % | robust %, worst case | leading alone minus worst case |");
  EXPECT_EQ(rows[2], "|---|---|---:|---:|---:|---:|");
  // Wilson's interval of 3 and 2 of 4, and of 1 of 4.
  EXPECT_EQ(rows[3], "| HPM | solo | 4 | 75.0 (30.1\u201395.4) | 50.0 (15.0\u201385.0) | 12.5 |");
  EXPECT_EQ(rows[4], "| HPM | alone | 4 | 75.0 (30.1\u201395.4) | 25.0 (4.6\u201369.9) | 50.0 |");
  EXPECT_EQ(rows[6].substr(0, 62), "cifar10 test, 4 images, Linf 8/255, msa quick, seed 3. Accurac");
}

/// A run of a plain model with a control that did better.
Json plain_run() {
  auto json = small_run();
  for (const char* field : {"contexts", "model_info"}) json.erase(field);
  json["role"] = "", json["model"] = "models/trades.pth", json["n"] = 500;
  json["control"] = {{"name", "control"},
                     {"file", "at.pth"},
                     {"clean_accuracy", 76.},
                     {"robust_accuracy", 54.},
                     {"difference", -4.},
                     {"difference_interval", {-6.2, -1.8}},
                     {"p", .002}};
  return json;
}

TEST(Table, HasNoColumnWithoutAnEntryAndCallsPlainModelsByTheirFiles) {
  const auto rows = lines(table(".md", {plain_run()}));
  EXPECT_EQ(rows[1], "| model | n | clean % | robust %, worst case | against the control |");
  EXPECT_EQ(rows[3].substr(0, 26), "| at.pth (control) | 500 |");
  EXPECT_EQ(rows[4],
            "| trades.pth | 500 | 75.0 (71.0\u201378.6) | 50.0 (45.6\u201354.4) | \u22124.0 (\u22126.2 to \u22121.8; p "
            "= .002), detectable |");
  auto clean = plain_run();
  clean["protocol"] = "clean", clean["robust_accuracy"] = nullptr, clean.erase("control");
  EXPECT_EQ(lines(table(".md", {clean}))[1], "| model | n | clean % |");
}

TEST(Table, InLatexIsATableWithCaptionLabelMinusSignsAndDashes) {
  const auto text = table(".tex", {plain_run()});
  EXPECT_NE(text.find("\\begin{tabular}{lrrrr}"), std::string::npos) << text;
  EXPECT_NE(
      text.find(
          "\\caption{Clean and robust accuracy (\\%) on cifar10 test, $\\ell_\\infty$ perturbations, $\\epsilon = "
          "8/255$ (msa quick).}\n\\label{tab:cifar10-linf-8-255}\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("trades.pth & 500 & 75.0 (71.0--78.6) & 50.0 (45.6--54.4) & $-$4.0 ($-$6.2 to $-$1.8; p = .002), "
                      "detectable \\\\\n"),
            std::string::npos)
      << text;
  EXPECT_NE(table(".tex", {plain_run()}, "Ours & theirs").find("\\caption{Ours \\& theirs}"), std::string::npos);
  EXPECT_NE(table(".md", {plain_run()}, "Ours").find("\nTable: Ours\n"), std::string::npos);
}

TEST(Table, IsCompiledByLatexWhereThereIsOne) {
  const auto latex = test::find_program("pdflatex lualatex");
  if (latex.empty()) GTEST_SKIP() << "needs pdflatex with booktabs (apt-get install texlive-latex-extra)";
  const test::TemporaryFolder folder;
  test::write_text(folder / "page.tex", "\\documentclass{article}\\usepackage{booktabs}\\begin{document}" +
                                            table(".tex", {plain_run(), small_run()}) + "\\end{document}");
  EXPECT_NE(test::output_of("cd '" + folder.path.string() + "' && '" + latex +
                            "' -interaction=nonstopmode -halt-on-error page.tex && echo compiled")
                .find("compiled"),
            std::string::npos);
}

TEST(Table, IsKnownAgainAndOthersFilesAreNot) {
  for (const char* extension : {".md", ".tex", ".csv"}) EXPECT_TRUE(is_table(table(extension, {small_run()})));
  for (const char* other : {"", "| model | n |\n", "% my table\n", "model,role\n"}) EXPECT_FALSE(is_table(other));
}

TEST(Table, NamesRowsByLabel) {
  auto run = parsed(small_run(), "run");
  run.label = "Ours, K-10";
  const auto text = make_table(compare_runs({run}), ".md");
  EXPECT_EQ(count(text, "| Ours, K-10 |"), 2u) << text;
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
  std::vector<ReportedRun> runs;
  for (const auto& file : files) runs.push_back(parse_results(file.results, "results.json"));
  const auto c = compare_runs(runs);
  const auto text = make_table(c, ".csv");
  EXPECT_NE(make_table(c, ".md").find("| FC, control | |"), std::string::npos);
  EXPECT_EQ(count(make_table(c, ".md"), "| 0 |\n"), 1u) << "the control against itself";
  const auto& row = c.rows.back();
  ASSERT_TRUE(row.control && row.control->difference && row.control->p) << text;
  EXPECT_NE(text.find(fmt::format(",{:.6g},{:.6g},", *row.control->difference, row.control->difference_interval->low)),
            std::string::npos)
      << text;
  EXPECT_NE(make_table(c, ".md").find(p_text(*row.control->p) + ")"), std::string::npos);
}

TEST(Table, OfASuspectRunShowsTheComparisonMarkedAsSuspect) {
  auto files = test::sample_runs();
  std::vector<ReportedRun> runs;
  for (auto& file : files) {
    if (file.results["role"] == "hpm") file.results["suspect"] = true;
    runs.push_back(parse_results(file.results, "results.json"));
  }
  const auto text = make_table(compare_runs(runs), ".tex");
  EXPECT_EQ(count(text, "HPM (suspect) & "), 4u) << text;
  EXPECT_EQ(count(text, "), suspect \\\\"), 4u) << text;
  EXPECT_EQ(count(text, ", detectable"), 1u) << "that of l2, which is not suspect: " << text;
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
  EXPECT_NE(table(".tex", {hostile}).find("50\\%\\_\\{x\\}|$<$b$>$\\textbackslash{}\\& & solo & 4 & 75.0 (30.1--95.4)"),
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
