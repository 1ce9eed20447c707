// defines: escape_html(), typeset(), HtmlTable, html_page(), page_policy(), is_page(), responsive(), page_style(),
// chart_style()
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hpm {

/// Text as HTML or SVG text or attribute value: & < > " ' escaped, control characters replaced, bytes that are not
/// UTF-8 written as printable_utf8 does.
std::string escape_html(std::string_view text);

/// escape_html, and minus signs, en dashes between numbers and thin no-break spaces before "%": "-1.9" and "57.0-65.4"
/// as a book would set them. For text that the library wrote; names of the user's go through escape_html.
std::string typeset(std::string_view text);

/// Table cells hold HTML. On a phone each row becomes a card that repeats the column titles. Columns in which every
/// cell is empty or a dash are left out.
struct HtmlTable {
  std::string caption = {};
  std::vector<std::string> columns = {};
  std::vector<std::vector<std::string>> rows = {};
  std::vector<std::string> row_classes = {};  ///< by row, may be shorter
  std::string classes = {};                   ///< "pairs": names and long values
  bool sortable = false;                      ///< a reader may sort and filter it, where it has many rows
  size_t text_columns = 1;                    ///< the first so many are text, the others numbers
};
std::string html_table(const HtmlTable& table);

/// A chart drawn twice, for wide and for narrow windows; the style sheet shows one of them.
std::string responsive(const std::function<std::string(double width)>& chart);

/// Whether a file that begins so was made by html_page.
bool is_page(std::string_view beginning);

/// A complete, self-contained document: no external resource, and no script but the one that sorts tables, where there
/// is one to be sorted. A content security policy forbids everything else. `refresh`: the browser loads the page anew
/// after so many seconds; 0: never.
std::string html_page(const std::string& title, const std::string& body, int refresh = 0);

/// The content security policy of a page, with or without the script that sorts tables.
std::string page_policy(bool with_script);

std::string page_style();   ///< the style sheet of the page, charts included
std::string chart_style();  ///< the part that an SVG file of its own needs

}  // namespace hpm
