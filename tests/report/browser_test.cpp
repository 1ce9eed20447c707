// Opens the report in headless Chromium.
#include <sstream>

#include "hpm/report/html.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

struct Opened {
  std::string dom, log;
};

std::string find_browser() { return test::find_program("chromium chromium-browser google-chrome"); }

Opened open_page(const test::TemporaryFolder& folder, const std::string& html) {
  test::write_text(folder / "page.html", html);
  const auto log = folder / "log";
  const auto command = fmt::format(
      "timeout 240 '{}' --headless --hide-scrollbars --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--user-data-dir='{}' "
      "--enable-logging=stderr --dump-dom 'file://{}' 2>'{}'",
      find_browser(), (folder / "profile").string(), (folder / "page.html").string(), log.string());
  auto dom = test::output_of(command);
  return {dom, test::read_text(log)};
}

/// The lines that the page itself wrote to the console, violations of its security policy included.
std::string console(const std::string& log) {
  std::string out;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);)
    if (line.find("CONSOLE") != std::string::npos) out += line + "\n";
  return out;
}

/// A page that shows `html` in a frame and writes "WIDTH: SCROLLWIDTH, widest elements" for each width.
std::string measuring_page(const std::string& html, const std::string& widths) {
  return "<body><pre id=out></pre><iframe id=f style='border:0;height:900px' srcdoc=\"" + escape_html(html) +
         "\"></iframe><script>f.onload=()=>{for(const w of [" + widths + R"(]){f.style.width=w+'px';
const d=f.contentDocument,over=[...d.querySelectorAll('body *')].filter(e=>e.getBoundingClientRect().right>w+.5)
.map(e=>e.tagName+'.'+(e.className.baseVal??e.className)).slice(0,4).join(' ');
out.textContent+='['+w+': '+d.documentElement.scrollWidth+' '+over+']'}}</script>)";
}

#define HPM_NEED_BROWSER() \
  if (find_browser().empty()) GTEST_SKIP() << "needs chromium to open the page in, absent here (apt install chromium)"

TEST(Browser, ShowsTheTextAndLogsNothing) {
  HPM_NEED_BROWSER();
  const test::TemporaryFolder folder;
  const auto opened = open_page(folder, make_report(test::sample_runs(), "The report's title"));
  for (const char* text : {"The report's title", "HPM shows no detectable difference", "Side by side",
                           "What each surrogate broke", "perturbation ×5", "hpm evaluate --config"})
    EXPECT_NE(opened.dom.find(text), std::string::npos) << text;
  EXPECT_EQ(console(opened.log), "");
}

TEST(Browser, NeedsNoHorizontalScrollOnAPhone) {
  HPM_NEED_BROWSER();
  auto runs = test::sample_runs();
  runs[0].results["model_info"]["architecture"] = std::string(300, 'x');
  runs[0].results["class_names"][0] = "a class with a rather long name";
  const test::TemporaryFolder folder;
  const auto opened = open_page(folder, measuring_page(make_report(runs), "320,360,390,768,1280"));
  for (const char* width : {"[320: 320 ]", "[360: 360 ]", "[390: 390 ]", "[768: 768 ]", "[1280: 1280 ]"})
    EXPECT_NE(opened.dom.find(width), std::string::npos)
        << width << " in " << opened.dom.substr(0, opened.dom.find("</pre>"));
}

/// A page of many rows; a name of the user's tries to run a script of its own.
std::string sortable_page() {
  HtmlTable table{.columns = {"Model", "Robust"}, .sortable = true};
  for (const char* robust : {"41.2 (38-44)", "\u22121.5", "50.0", "7", "100.0", "–", "33.3", "9.9"})
    table.rows.push_back(
        {escape_html("<script>document.title = 'hostile'</script> m" + std::to_string(table.rows.size())), robust});
  return html_page("many", html_table(table) + "<script>document.title = 'injected'</script>");
}

TEST(Browser, RunsTheScriptThatSortsTablesAndNoOther) {
  HPM_NEED_BROWSER();
  const test::TemporaryFolder folder;
  const auto opened = open_page(folder, sortable_page());
  EXPECT_NE(opened.dom.find("<title>many</title>"), std::string::npos) << "another script ran";
  EXPECT_NE(opened.dom.find("<button type=\"button\">Robust</button>"), std::string::npos) << "the script did not run";
  EXPECT_NE(console(opened.log).find("Content Security Policy"), std::string::npos) << "nothing was refused";
}

TEST(Browser, SortsTheRowsByNumberAndShowsThoseWithTheWordsAskedFor) {
  HPM_NEED_BROWSER();
  // The policy would refuse the test's own script: it is taken out here.
  auto page = sortable_page();
  const auto begin = page.find("<meta http-equiv");
  page.erase(begin, page.find('\n', begin) - begin);
  page.insert(page.find("</body>"), R"(<script>
const order = () => [...document.querySelectorAll('tbody tr')].filter(r => getComputedStyle(r).display !== 'none').map(r => r.cells[0].textContent.slice(-2)).join(' ');
const button = document.querySelectorAll('thead button')[1];
button.click(); const up = order();
button.click(); const down = order();
const box = document.querySelector('input'); box.value = 'M3'; box.dispatchEvent(new Event('input'));
document.title = up + ' / ' + down + ' / ' + order() + ' / ' + button.parentNode.getAttribute('aria-sort');
</script>)");
  const test::TemporaryFolder folder;
  const auto dom = open_page(folder, page).dom;
  EXPECT_NE(dom.find("<title>m1 m3 m7 m6 m0 m2 m4 m5 / m5 m4 m2 m0 m6 m7 m3 m1 / m3 / descending</title>"),
            std::string::npos)
      << dom.substr(dom.find("<title>"), 200);
}

}  // namespace
}  // namespace hpm
