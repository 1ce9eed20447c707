#include "hpm/report/html.h"

#include "hpm/core/text.h"
#include "hpm/report/table_script.h"

namespace hpm {
namespace {

constexpr const char* kSortable = "<table class=\"sortable\">";
constexpr size_t kManyRows = 8;  // fewer are seen at a glance

bool is_digit(std::string_view text, size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; }

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : printable_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F) out += "�";
    else if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += c;
  }
  return out;
}

std::string typeset(std::string_view text) {
  const auto escaped = escape_html(text);
  std::string out;
  for (size_t i = 0; i < escaped.size(); ++i) {
    const char c = escaped[i], before = i == 0 ? ' ' : escaped[i - 1];
    const bool number_follows = is_digit(escaped, i + 1) || (i + 1 < escaped.size() && escaped[i + 1] == '.');
    if (c == '-' && number_follows && (before == ' ' || before == '(' || before == '[')) out += "−";
    else if (c == '-' && is_digit(escaped, i + 1) && i > 0 && is_digit(escaped, i - 1)) out += "–";
    else if (c == ' ' && i > 0 && is_digit(escaped, i - 1) && escaped.compare(i + 1, 1, "%") == 0) out += "\u202F";
    else out += c;
  }
  return out;
}

std::string html_table(const HtmlTable& table) {
  const bool sortable = table.sortable && table.rows.size() >= kManyRows;
  std::string out = sortable                ? kSortable
                    : table.classes.empty() ? "<table>"
                                            : fmt::format(R"(<table class="{}">)", escape_html(table.classes));
  if (!table.caption.empty()) out += "<caption>" + table.caption + "</caption>";
  out += "\n<thead><tr>";
  const auto shown = [&](size_t c) {
    return c == 0 || table.rows.empty() || std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) {
             return c < row.size() && !row[c].empty() && row[c] != "–";
           });
  };
  for (size_t c = 0; c < table.columns.size(); ++c)
    if (shown(c))
      out += fmt::format(R"(<th scope="col"{}>{}</th>)", c < table.text_columns ? "" : R"( class="num")",
                         typeset(table.columns[c]));
  out += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const auto classes = r < table.row_classes.size() ? table.row_classes[r] : "";
    out += classes.empty() ? "<tr>" : fmt::format(R"(<tr class="{}">)", escape_html(classes));
    for (size_t c = 0; c < table.rows[r].size(); ++c) {
      const auto label = c < table.columns.size() ? escape_html(table.columns[c]) : "";
      if (c == 0) out += fmt::format(R"(<th scope="row">{}</th>)", table.rows[r][c]);
      else if (shown(c))
        out += fmt::format(R"(<td data-label="{}"{}><span>{}</span></td>)", label,
                           c < table.text_columns ? "" : R"( class="num")", table.rows[r][c]);
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

std::string responsive(const std::function<std::string(double width)>& chart) {
  return fmt::format("<div class=\"wide\">{}</div><div class=\"narrow\">{}</div>\n", chart(800), chart(336));
}

bool is_page(std::string_view beginning) {
  return beginning.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") &&
         beginning.find("<meta name=\"generator\" content=\"hpm\">") != std::string_view::npos;
}

std::string page_policy(bool with_script) {
  return "default-src 'none'; style-src 'unsafe-inline'; img-src data:" +
         (with_script ? "; " + table_script_policy() : "");
}

std::string html_page(const std::string& title, const std::string& body, int refresh) {
  const bool scripted = body.find(kSortable) != std::string::npos;
  return fmt::format(
      R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="hpm">
<meta http-equiv="Content-Security-Policy" content="{}">
{}<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{}</title>
<link rel="icon" href="data:,">
<style>
{}</style>
</head>
<body>
{}{}</body>
</html>
)",
      page_policy(scripted), refresh > 0 ? fmt::format("<meta http-equiv=\"refresh\" content=\"{}\">\n", refresh) : "",
      escape_html(title), page_style(), body, scripted ? "<script>" + table_script() + "</script>\n" : "");
}

}  // namespace hpm
