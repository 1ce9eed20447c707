#include "hpm/report/html.h"

namespace hpm {
namespace {

/// The length of the UTF-8 character at `i`, 0 when the bytes are none.
size_t utf8_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const unsigned lead = byte(i);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xC2 && lead < 0xE0 ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  for (size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  if ((lead == 0xE0 && byte(i + 1) < 0xA0) || (lead == 0xED && byte(i + 1) > 0x9F)) return 0;
  if ((lead == 0xF0 && byte(i + 1) < 0x90) || (lead == 0xF4 && byte(i + 1) > 0x8F)) return 0;
  return length;
}

bool is_digit(std::string_view text, size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; }

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    const char c = text[i];
    if (length == 0 || (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F) out += "�";
    else if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += text.substr(i, length);
    i += std::max<size_t>(length, 1);
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
  std::string out =
      table.classes.empty() ? "<table>" : fmt::format(R"(<table class="{}">)", escape_html(table.classes));
  if (!table.caption.empty()) out += "<caption>" + table.caption + "</caption>";
  out += "\n<thead><tr>";
  for (size_t c = 0; c < table.columns.size(); ++c)
    out += fmt::format(R"(<th scope="col"{}>{}</th>)", c < table.text_columns ? "" : R"( class="num")",
                       typeset(table.columns[c]));
  out += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const auto classes = r < table.row_classes.size() ? table.row_classes[r] : "";
    out += classes.empty() ? "<tr>" : fmt::format(R"(<tr class="{}">)", escape_html(classes));
    for (size_t c = 0; c < table.rows[r].size(); ++c) {
      const auto label = c < table.columns.size() ? escape_html(table.columns[c]) : "";
      if (c == 0) out += fmt::format(R"(<th scope="row">{}</th>)", table.rows[r][c]);
      else
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

std::string html_page(const std::string& title, const std::string& body) {
  return fmt::format(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{}</title>
<link rel="icon" href="data:,">
<style>
{}</style>
</head>
<body>
{}</body>
</html>
)",
                     escape_html(title), page_style(), body);
}

}  // namespace hpm
