#include "hpm/gauntlet/results.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/distributed/crew.h"
#include "hpm/evaluation/checks/binarisation.h"
#include "hpm/report/html.h"
#include "hpm/report/svg.h"

namespace hpm {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GauntletResult::Flag, check, cause, detail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GauntletResult::Part, surrogate, without, with_own)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GauntletResult, name, mechanism, source, honest, n, clean, careless, autoattack, msa,
                                   truth, causes, flagged, msa_tells_the_truth, flagged_rightly, passed, planted, found,
                                   self_test_failed, own, own_alone, naive, alarms, parts, seconds)

namespace {

constexpr double kRow = 30, kLabel = 190, kRight = 30, kTop = 54;

/// One line a defence: from the careless figure to the truth, with AutoAttack and MSA between.
std::string claims_chart(const std::vector<GauntletResult>& rows, double width) {
  const bool narrow = width < kNarrow;
  const double left = narrow ? 16 : kLabel, row_height = narrow ? kRow + 18 : kRow;
  const double height = kTop + row_height * static_cast<double>(rows.size()) + 30;
  Svg svg({"Claimed against true",
           "Robust accuracy of each defence by a careless evaluation, by AutoAttack, by the "
           "Mixed Surrogate Attack, and by its adaptive attack",
           width},
          height);
  const auto x = [&](double percent) { return left + percent / 100 * (width - left - kRight); };
  for (const int tick : {0, 25, 50, 75, 100}) {
    svg.line(x(tick), kTop - 8, x(tick), height - 24, "grid");
    svg.text(x(tick), height - 8, std::to_string(tick), "soft small", Anchor::middle);
  }
  const std::pair<const char*, const char*> legend[] = {
      {"t-bad fill", "careless"}, {"t-control fill", "AutoAttack"}, {"t-hpm fill", "MSA"}, {"t-base fill", "truth"}};
  double at = left;
  for (const auto& [classes, text] : legend) {
    svg.circle(at + 5, 20, 5, classes);
    svg.text(at + 14, 24, text, "");
    at += 26 + text_width(text);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& r = rows[i];
    const double y = kTop + row_height * static_cast<double>(i) + row_height / 2 + (narrow ? 8 : 0);
    svg.open_group(r.name + ": careless " + std::to_string(std::lround(r.careless)) + " %, truth " +
                   std::to_string(std::lround(r.truth)) + " %");
    if (narrow) svg.text(left, y - 12, r.name, "");
    else svg.text(left - 10, y + 4, r.name, "", Anchor::end);
    svg.line(x(r.truth), y, x(std::max({r.careless, r.autoattack, r.msa, r.truth})), y, "axis");
    svg.circle(x(r.careless), y, 5, "t-bad fill");
    svg.circle(x(r.autoattack), y, 5, "t-control fill");
    svg.circle(x(r.msa), y, 5, "t-hpm fill");
    svg.circle(x(r.truth), y, 3, "t-base fill");
    svg.close_group();
  }
  return svg.inline_element();
}

std::string self_test_of(const GauntletResult& row) {
  if (row.planted == 0) return "–";
  return fmt::format("{} of {}", row.found, row.planted) + (row.self_test_failed ? "<small>failed</small>" : "");
}

std::string flags_of(const GauntletResult& row) {
  std::string out;
  for (const auto& flag : row.flagged)
    out += (out.empty() ? "" : "<br>") + escape_html(flag.check) +
           (flag.cause.empty() ? "" : "<small>" + escape_html(flag.cause) + "</small>");
  return out.empty() ? "–" : out;
}

}  // namespace

GauntletResult summary_of(const GauntletRow& row) {
  const auto rounded = [](const Tensor& flags) { return std::round(percent(flags) * 1e4) / 1e4; };
  GauntletResult out{row.entry->name, row.entry->mechanism, row.entry->source, row.entry->honest};
  out.n = row.clean.numel();
  out.clean = rounded(row.clean), out.careless = rounded(row.careless), out.autoattack = rounded(row.autoattack);
  out.msa = rounded(row.msa), out.truth = rounded(row.truth);
  for (const auto cause : row.entry->causes) out.causes.push_back(to_string(cause));
  for (const auto& check : row.flagged) out.flagged.push_back({check.name, to_string(check.cause), check.detail});
  out.msa_tells_the_truth = row.msa_tells_the_truth(), out.flagged_rightly = row.flagged_rightly();
  out.passed = row.passed();
  if (row.self_test) {
    const auto check = binarisation_check(*row.self_test);
    if (check.value) out.planted = row.self_test->tested(), out.found = row.self_test->found;
    out.self_test_failed = check.status == CheckOutcome::Status::failed;
  }
  out.own = row.own, out.own_alone = rounded(row.own_alone), out.naive = rounded(row.naive), out.alarms = row.alarms;
  for (const auto& part : row.parts)
    out.parts.push_back({part.surrogate, rounded(part.without), rounded(part.with_own)});
  out.seconds = std::round(row.seconds * 10) / 10;
  return out;
}

namespace {

Tensor bytes_of(const std::string& text) {
  return torch::tensor(std::vector<uint8_t>(text.begin(), text.end()), at::kByte);
}

std::string text_of(const Tensor& bytes) {
  const auto whole = bytes.contiguous();
  return {reinterpret_cast<const char*>(whole.const_data_ptr<uint8_t>()), static_cast<size_t>(whole.numel())};
}

/// "row" or "failure".
NamedTensors row_of(const std::string& name, const GauntletSetting& setting, GauntletOptions options,
                    Monitor& monitor) {
  options.only = {name};
  try {
    return {{"row", bytes_of(gauntlet_json({summary_of(run_gauntlet(setting, options, monitor).front())}))}};
  } catch (const Interrupted&) {
    throw;
  } catch (const Abandoned&) {
    throw;
  } catch (const CrewLost&) {  // of the run, not of this row
    throw;
  } catch (const std::exception& error) {  // LibTorch's too
    return {{"failure", bytes_of(name + ": " + error.what())}};
  }
}

}  // namespace

GauntletResults gauntlet_results(const GauntletSetting& setting, const GauntletOptions& options, const Work& work) {
  require_possible(setting, options);
  std::vector<PieceOfWork> pieces;
  for (const auto& entry : chosen_entries(options)) pieces.push_back({entry->name, setting.images.index});
  GauntletResults results;
  std::set<size_t> tried;
  const auto run = [&](size_t i) {
    tried.insert(i);
    return row_of(pieces[i].key, setting, options, work.monitor);
  };
  work.log.each(pieces, run, [&](size_t i, const NamedTensors& found) {
    auto done = found;
    if (find_tensor(done, "failure").defined() && !tried.contains(i)) done = run(i);
    if (const auto failure = find_tensor(done, "failure"); failure.defined())
      return results.failures.push_back(text_of(failure));
    for (auto& row : read_gauntlet(text_of(find_tensor(done, "row")), "the journal's row of " + pieces[i].key))
      results.rows.push_back(std::move(row));
  });
  return results;
}

std::string gauntlet_json(const std::vector<GauntletResult>& rows) {
  return json_text(nlohmann::ordered_json{{"schema", 1}, {"rows", nlohmann::json(rows)}}, 1) + "\n";
}

std::vector<GauntletResult> read_gauntlet(std::string_view json, const std::string& where) {
  try {
    const auto all = parse_json(json, where);
    if (all.at("schema") != 1) fail("{}: needs schema 1 of the gauntlet", where);
    return all.at("rows").get<std::vector<GauntletResult>>();
  } catch (const nlohmann::json::exception& error) {
    fail("{}: is no result of hpm gauntlet: {}", where, error.what());
  }
}

std::string gauntlet_page(const std::vector<GauntletResult>& rows, const std::string& setting) {
  HtmlTable table{.caption =
                      "Robust accuracy in percent. MSA is to be at most one point above the truth, or a check is "
                      "to flag the defence with the right cause; no check may flag an honest one.",
                  .columns = {"Defence", "Why it seems robust", "Flagged", "Clean", "Careless", "AutoAttack", "MSA",
                              "Truth", "Self-test", "Verdict"},
                  .sortable = true,
                  .text_columns = 3};
  int64_t passed = 0;
  for (const auto& r : rows) {
    passed += r.passed;
    const auto number = [](double value) { return fmt::format("{:.1f}", value); };
    table.rows.push_back({escape_html(r.name) + (r.honest ? "<small>honest</small>" : ""),
                          escape_html(r.mechanism) + "<small>" + escape_html(r.source) + "</small>", flags_of(r),
                          number(r.clean), number(r.careless), number(r.autoattack), number(r.msa), number(r.truth),
                          self_test_of(r),
                          fmt::format("<span class=\"chip s-{}\">{}</span>", r.passed ? "passed" : "failed",
                                      r.passed ? "passed" : "failed")});
  }
  const auto chart = responsive([&](double width) { return claims_chart(rows, width); });
  return html_page("The gauntlet",
                   "<h1>The gauntlet</h1>\n<p>" + escape_html(setting) + "</p>\n<p>" +
                       fmt::format("{} of {} rows passed.", passed, rows.size()) + "</p>\n<figure>" + chart +
                       "<figcaption>Claimed against true: the further right of the truth a mark lies, the more an "
                       "evaluation flatters the defence.</figcaption></figure>\n" +
                       html_table(table));
}

}  // namespace hpm
