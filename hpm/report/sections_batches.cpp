// What malicious neighbours, and other sizes and orders of the batches, do to a prediction.
#include "hpm/report/html.h"
#include "hpm/report/numbers.h"
#include "hpm/report/sections_impl.h"

namespace hpm::sections {

std::string benign_table(const ContextResult& c) {
  if (c.benign.empty()) return "";
  HtmlTable table{.columns = {"Malicious images a batch", "Untouched images", "Right without them", "Right"}};
  for (const auto& o : c.benign)
    table.rows.push_back({fmt::format("{}", o.malicious), fmt::format("{}", o.images),
                          typeset(percent(o.clean_accuracy)), typeset(percent(o.accuracy))});
  return paragraph(
             "Malicious neighbours: the accuracy of images that nobody touches, when others of their batch attack them "
             "all at once.") +
         html_table(table);
}

std::string composition_table(const ReportedRun& run) {
  if (run.compositions.empty()) return "";
  HtmlTable table{.columns = {"Batches", "Clean", "Robust"}};
  for (const auto& o : run.compositions)
    table.rows.push_back(
        {fmt::format("{} image{}{}", o.size, o.size == 1 ? "" : "s", o.order == "class" ? ", sorted by class" : ""),
         typeset(percent(o.clean_accuracy)), typeset(percent(o.robust_accuracy))});
  return paragraph(
             "Other batches: the whole batch attacked together through the defence's own gradient, in batches of other "
             "sizes and in the order of the classes.") +
         html_table(table);
}

}  // namespace hpm::sections
