#include "man_page.h"

#include "hpm/core/version.h"

namespace hpm::app {
namespace {

/// Text as roff prints it: backslashes and hyphens as they are, no line that is taken for a request.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') out += "\\e";
    else if (c == '-') out += "\\-";
    else if (c == '\'') out += "\\(aq";
    else if (c == '`') out += "\\(ga";
    else if (c == '^') out += "\\(ha";
    else if (c == '~') out += "\\(ti";
    else out += c;
  }
  return (out.starts_with('.') ? "\\&" : "") + out;
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string header(const std::string& page, const std::string& one_line) {
  return fmt::format(".TH {} 1 \"{}\" \"hpm {}\" \"hpm manual\"\n.SH NAME\n{} \\- {}\n", upper(roff(page)),
                     this_build().date, this_build().version, roff(page), roff(one_line));
}

constexpr const char* kExitStatus = R"(.SH EXIT STATUS
0 done, 1 failure, 2 usage, 3 finished but suspect (a check of the evaluation failed), 130 interrupted.
)";

std::string option_text(const OptionDescription& option) {
  auto left = fmt::format("\\fB{}\\fP", roff(option.flag()));
  if (!option.type.empty()) left += fmt::format(" \\fI{}\\fP", roff(option.type));
  return fmt::format(".TP\n{}\n{}\n", left, roff(option.help));
}

}  // namespace

std::string program_man_page(const std::vector<VerbDescription>& verbs) {
  auto page =
      header("hpm", "adversarial robustness: attacks, evaluation, Hybrid Prototype Mixing") +
      ".SH SYNOPSIS\n\\fBhpm\\fP \\fIVERB\\fP [\\fIflags\\fP]\n.br\n\\fBhpm\\fP \\fIVERB\\fP \\fB\\-\\-help\\fP\n.br\n"
      "\\fBhpm \\-\\-version\\fP\n.SH DESCRIPTION\n"
      "Evaluates the adversarial robustness of image classifiers with PGD, AutoAttack and the Mixed Surrogate "
      "Attack, trains them, and attaches Hybrid Prototype Mixing heads. Each verb has a page of its own.\n"
      ".SH VERBS\n";
  std::string see_also;
  for (const auto& verb : verbs) {
    page += fmt::format(".TP\n\\fB{}\\fP\n{}\n", roff(verb.verb), roff(verb.one_line));
    see_also += fmt::format("{}.BR hpm\\-{} (1)", see_also.empty() ? "" : " ,\n", roff(verb.verb));
  }
  return page + kExitStatus +
         ".SH ENVIRONMENT\n.TP\n.B HPM_DATA\nparent of the data sets' folders, where \\fB\\-\\-data\\-root\\fP is not "
         "given\n"
         ".SH SEE ALSO\n" +
         see_also + "\n";
}

std::string verb_man_page(const VerbDescription& verb) {
  auto page = header("hpm-" + verb.verb, verb.one_line) + fmt::format(".SH SYNOPSIS\n\\fBhpm {}\\fP", roff(verb.verb));
  if (!verb.positional.empty()) page += fmt::format(" \\fI{}\\fP", roff(verb.positional));
  page += fmt::format(" [\\fIflags\\fP]\n.SH DESCRIPTION\n{}\n.SH OPTIONS\n", roff(verb.summary));
  std::string open;
  for (const auto& option : verb.options) {
    if (option.section != open) page += fmt::format(".SS {}\n", roff(open = option.section));
    page += option_text(option);
  }
  return page + kExitStatus + fmt::format(".SH EXAMPLE\n{}\n.SH SEE ALSO\n.BR hpm (1)\n", roff(verb.example));
}

}  // namespace hpm::app
