// The sections of the page, in its order. Each gives HTML, empty when the runs hold nothing for it.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hpm/report/charts.h"
#include "hpm/report/comparison_impl.h"
#include "hpm/report/report_impl.h"

namespace hpm::sections {

std::string verdicts(const Comparison& c);
std::string side_by_side(const Comparison& c);
std::string faces(const Comparison& c);
std::string surrogates(const Comparison& c);
std::string attacks(const Comparison& c);
std::string fast(const Comparison& c);
std::string curves(const Comparison& c);
std::string sweeps(const Comparison& c);
std::string classes(const Comparison& c);
std::string gallery(const Comparison& c, const std::vector<RunFiles>& files);
std::string checks(const Comparison& c);
std::string provenance(const Comparison& c, const std::vector<RunFiles>& files);

// The overview of many runs (is_overview).
std::string overview_summary(const Comparison& c);  ///< what stands before everything else
/// Table, scatter of the accuracies, curves, differences to the reference, and the runs, each folded away.
std::string overview(const Comparison& c, const std::vector<RunFiles>& files);
std::string run_list(const Comparison& c, const std::vector<RunFiles>& files);  ///< its last part

// The parts of one run, which the sections above and the list of runs are made of; "" where it has nothing for them.
/// `title`: HTML. Without the tiles it is the sentence and the remarks.
std::string verdict_of_run(const Comparison& c, size_t run, const std::string& title, bool with_tiles = true);
std::string faces_of(const ReportedRun& run);
std::string surrogates_of(const ReportedRun& run);
std::string attacks_of(const ReportedRun& run);
std::string fast_of(const ReportedRun& run);
std::string sweep_of(const ReportedRun& run);
std::string classes_of(const Comparison& c, size_t run);
std::string gallery_of(const ReportedRun& run, const RunFiles& files);
std::string checks_of(const ReportedRun& run);
std::string provenance_of(const ReportedRun& run, const RunFiles& files);

// Pieces that several sections share.
std::string models_table(const Comparison& c);
std::string figures_text(const ReportedRun& run);  ///< "clean 86.2 %, robust 61.2 %", of the first context
/// Differences to the reference. `tone_of`: a row's colour class; "" leaves it out.
std::string reference_chart(const Comparison& c, const std::function<std::string(const ModelRow&)>& tone_of);
LineSeries curve_of(const ReportedRun& run, bool intervals);  ///< accuracy against eps
std::string surrogate_key(const Comparison& c,
                          const std::vector<size_t>& runs);              ///< colours, and what the surrogates are
std::string check_summary(const ReportedRun& run);                       ///< "8 passed, 1 not run"; "" without checks
std::string settings_of(const ReportedRun& run, const RunFiles& files);  ///< a table, and the command that repeats it
std::string shell_word(const std::string& word);                         ///< as a POSIX shell reads it back
/// `title`, HTML, with `content` folded away under it; "" where there is none.
std::string folded(const std::string& title, const std::string& content);
std::string heading(const std::string& id, const std::string& text);
std::string paragraph(const std::string& text);              ///< `text` is typeset
std::string subject_title(const Comparison& c, size_t run);  ///< <h3>, only when several runs are judged
std::string key_entry(const std::string& tone, const std::string& text, bool pale = false);
std::string collusion_table(const ContextResult& c);    ///< "" where none was studied
std::string benign_table(const ContextResult& c);       ///< likewise
std::string composition_table(const ReportedRun& run);  ///< likewise
std::string class_name(const ReportedRun& run, int64_t label);
std::string with_interval(const std::optional<double>& value, const std::optional<Interval>& interval);  ///< table cell

}  // namespace hpm::sections
