// Opens the report in headless Chromium.
#include <cstdio>
#include <sstream>

#include "hpm/report/html.h"
#include "report/hostile.h"
#include "report/many.h"
#include "report/sample.h"
#include "report/tools.h"

namespace hpm {
namespace {

struct Opened {
  std::string dom, log;
};

std::string find_browser() { return test::find_program("chromium chromium-browser google-chrome"); }

/// `flags`: further ones of the browser's.
Opened open_page(const test::TemporaryFolder& folder, const std::string& html, const std::string& flags = "") {
  test::write_text(folder / "page.html", html);
  const auto log = folder / "log";
  const auto command = fmt::format(
      "timeout 240 '{}' --headless --hide-scrollbars --no-sandbox --disable-gpu --disable-dev-shm-usage "
      "--user-data-dir='{}' "
      "--enable-logging=stderr {} --dump-dom 'file://{}' 2>'{}'",
      find_browser(), (folder / "profile").string(), flags, (folder / "page.html").string(), log.string());
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

/// What stands between <title> and </title>.
std::string title_of(const std::string& dom) {
  const auto begin = dom.find("<title>") + 7;
  return dom.substr(begin, dom.find("</title>", begin) - begin);
}

/// Without the policy, which would refuse a test's own script too.
std::string without_policy(std::string page) {
  const auto begin = page.find("<meta http-equiv=\"Content-Security-Policy\"");
  page.erase(begin, page.find('\n', begin) - begin);
  return page;
}

/// The page with a script of the test's at its end, and without the policy.
std::string with_script(const std::string& page, const std::string& script) {
  auto out = without_policy(page);
  out.insert(out.find("</body>"), "<script>" + script + "</script>\n");
  return out;
}

/// A page that shows `html` in a frame and writes "WIDTH: SCROLLWIDTH, widest elements" for each width. `prepare`: a
/// script that does something to the frame's document d first.
std::string measuring_page(const std::string& html, const std::string& widths, const std::string& prepare = "") {
  return "<body><pre id=out></pre><iframe id=f style='border:0;height:900px' srcdoc=\"" + escape_html(html) +
         "\"></iframe><script>f.onload=()=>{const d=f.contentDocument;" + prepare + "for(const w of [" + widths +
         R"(]){f.style.width=w+'px';
const over=[...d.querySelectorAll('body *')].filter(e=>e.getBoundingClientRect().right>w+.5)
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
  const auto page = with_script(sortable_page(), R"(
const order = () => [...document.querySelectorAll('tbody tr')].filter(r => getComputedStyle(r).display !== 'none').map(r => r.cells[0].textContent.slice(-2)).join(' ');
const button = document.querySelectorAll('thead button')[1];
button.click(); const up = order();
button.click(); const down = order();
const box = document.querySelector('input'); box.value = 'M3'; box.dispatchEvent(new Event('input'));
document.title = up + ' / ' + down + ' / ' + order() + ' / ' + button.parentNode.getAttribute('aria-sort');
)");
  const test::TemporaryFolder folder;
  const auto dom = open_page(folder, page).dom;
  EXPECT_EQ(title_of(dom), "m1 m3 m7 m6 m0 m2 m4 m5 / m5 m4 m2 m0 m6 m7 m3 m1 / m3 / descending");
}

/// Each of these would change the title, were it ever markup.
constexpr const char* kOwned =
    "\"'><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><svg "
    "onload=\"document.title='owned'\"></title></style><body onload=\"document.title='owned'\">&";

TEST(Browser, RunsNothingOfAPageThatIsPoisonedEverywhere) {
  HPM_NEED_BROWSER();
  auto many = test::many_runs(9, 40);
  for (size_t i = 0; i < many.size(); ++i) {
    test::poison(many[i], fmt::format("{}{}", i, kOwned));
    many[i].results["role"] = fmt::format("{}{}", i, kOwned);
  }
  for (const auto& page : {make_report(test::poisoned_runs(kOwned), "harmless"), make_report(many, "harmless")}) {
    const test::TemporaryFolder folder;
    const auto opened = open_page(folder, page);
    EXPECT_EQ(title_of(opened.dom), "harmless");
    EXPECT_EQ(console(opened.log), "") << "the policy had nothing to refuse";
    EXPECT_NE(opened.dom.find("document.title='owned'"), std::string::npos) << "it is shown as text";
    const test::TemporaryFolder other;
    EXPECT_EQ(title_of(open_page(other, without_policy(page)).dom), "harmless") << "nor does it need the policy";
  }
}

/// The page of two hundred runs, made once.
const std::string& two_hundred() {
  static const auto page = make_report(test::many_runs(200, 1000));
  return page;
}

TEST(Browser, LaysOutTwoHundredRunsInAboutASecond) {
  HPM_NEED_BROWSER();
  const auto text_area = [](const char* id, const std::string& html) {
    return fmt::format("<textarea id={} hidden>\n{}</textarea>", id, escape_html(html));
  };
  // From handing the page over to its first layout, for an empty page and for the large one, in one browser.
  const auto page = "<body><pre id=out></pre><iframe id=f style='border:0;width:1280px;height:900px'></iframe>" +
                    text_area("p0", html_page("small", "<p>small</p>")) + text_area("p1", two_hundred()) +
                    R"(<script>let k=0;const next=()=>{const source=document.getElementById('p'+k);if(!source)return;
const begin=performance.now();f.onload=()=>{const height=f.contentDocument.documentElement.scrollHeight;
out.textContent+=`page ${k}: ${Math.round(performance.now()-begin)} ms, ${height} px; `;k++;next()};f.srcdoc=source.value};
next()</script>)";
  const test::TemporaryFolder folder;
  const auto dom = open_page(folder, page).dom;
  int small = 0, large = 0, height = 0;
  const auto measured = dom.substr(std::min(dom.find("page 0: "), dom.size()), 200);
  ASSERT_EQ(std::sscanf(measured.c_str(), "page 0: %d ms, %*d px; page 1: %d ms, %d px", &small, &large, &height), 3)
      << dom.substr(0, 300);
  std::printf("an empty page takes %d ms, two hundred runs take %d ms\n", small, large);
  EXPECT_GT(height, 5000) << "the table was laid out";
  // A second on a machine that does nothing else; one that is busy is slow with the empty page too.
  EXPECT_LT(large, 1000 + 40 * small);
}

TEST(Browser, ShowsTwoHundredRunsWithoutHorizontalScroll) {
  HPM_NEED_BROWSER();
  const test::TemporaryFolder folder;
  const auto opened = open_page(folder, measuring_page(two_hundred(), "320,641,768,1280,1600"));
  for (const char* width : {"[320: 320 ]", "[641: 641 ]", "[768: 768 ]", "[1280: 1280 ]", "[1600: 1600 ]"})
    EXPECT_NE(opened.dom.find(width), std::string::npos)
        << width << " in " << opened.dom.substr(0, opened.dom.find("</pre>"));
}

TEST(Browser, ShowsTheOpenedPartsOfManyRunsWithoutHorizontalScroll) {
  HPM_NEED_BROWSER();
  std::vector<RunFiles> runs(9, test::sample_run("hpm", 60));
  for (size_t i = 0; i < runs.size(); ++i) runs[i].directory = fmt::format("runs/{}-{}", std::string(60, 'x'), i);
  const test::TemporaryFolder folder;
  const auto opened =
      open_page(folder, measuring_page(make_report(runs), "320,1280,1600",
                                       "for(const part of d.querySelectorAll('details'))part.open=true;"));
  for (const char* width : {"[320: 320 ]", "[1280: 1280 ]", "[1600: 1600 ]"})
    EXPECT_NE(opened.dom.find(width), std::string::npos)
        << width << " in " << opened.dom.substr(0, opened.dom.find("</pre>"));
}

TEST(Browser, ReachesEverySortButtonAndTheFilterByTab) {
  HPM_NEED_BROWSER();
  const auto page = with_script(two_hundred(), R"(
const reached = element => { element.focus(); return document.activeElement === element && element.tabIndex === 0; };
const titles = [...document.querySelectorAll('table.sortable thead th')], buttons = titles.map(t => t.querySelector('button'));
const box = document.querySelector('.filter input');
document.title = [titles.length, buttons.filter(b => b && b.type === 'button' && b.textContent && reached(b)).length,
  reached(box) && box.labels.length].join(' ');
)");
  const test::TemporaryFolder folder;
  EXPECT_EQ(title_of(open_page(folder, page, "--window-size=1280,900").dom), "5 5 1")
      << "titles, buttons in them, and labels of the filter";
}

TEST(Browser, ShowsChartsAndTablesInTheDarkToo) {
  HPM_NEED_BROWSER();
  const auto page = with_script(two_hundred(), R"(
const colour = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
document.title = [matchMedia('(prefers-color-scheme: dark)').matches, colour('body', 'backgroundColor'),
  colour('svg circle.t-1', 'fill'), colour('svg circle.t-8', 'fill')].join(' ');
)");
  const test::TemporaryFolder folder, other;
  EXPECT_EQ(title_of(open_page(folder, page).dom), "false rgb(253, 252, 249) rgb(37, 87, 167) rgb(30, 34, 39)");
  const auto dark = title_of(open_page(other, page, "--force-dark-mode").dom);
  if (dark.starts_with("false")) GTEST_SKIP() << "needs a chromium that knows --force-dark-mode: apt install chromium";
  EXPECT_EQ(dark, "true rgb(21, 24, 28) rgb(124, 170, 242) rgb(231, 230, 226)");
}

TEST(Browser, PrintsTheOverviewAndWhatIsOpen) {
  HPM_NEED_BROWSER();
  std::vector<RunFiles> runs(9, test::sample_run("hpm", 60));
  for (size_t i = 0; i < runs.size(); ++i) runs[i].directory = fmt::format("runs/{}", i);
  // The rules for print are made those of the screen: what they hide and show can be asked then.
  const auto page = with_script(make_report(runs), R"(
for (const sheet of document.styleSheets) for (const rule of sheet.cssRules)
  if (rule.media && rule.media.mediaText === 'print') rule.media.mediaText = 'all';
document.querySelector('#run-1').parentNode.open = true;
const shown = selector => [...document.querySelectorAll(selector)].some(e => e.checkVisibility());
document.title = [shown('nav'), shown('.filter'), shown('table.sortable tbody td'), shown('#run-1 h3'), shown('#run-2 h3'),
  shown('#run-1 details pre')].join(' ');
)");
  const test::TemporaryFolder folder;
  EXPECT_EQ(title_of(open_page(folder, page).dom), "false false true true false true")
      << "no navigation, no filter; the table, the run that is open with its folded configuration, no other";
}

}  // namespace
}  // namespace hpm
