// The sections of the page, in its order. Each gives HTML, empty when the runs hold nothing for it.
#pragma once
#include <string>
#include <vector>

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

// Pieces that several sections share.
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
