#include "run_folder.h"

#include <sys/stat.h>

#include <array>
#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/text.h"
#include "hpm/report/analysis_impl.h"
#include "hpm/report/html.h"
#include "hpm/report/numbers.h"
#include "hpm/report/report_impl.h"
#include "hpm/report/results_impl.h"

namespace hpm::app {
namespace {

namespace fs = std::filesystem;

constexpr int kRefresh = 3;                      // seconds between two looks at runs that go on
constexpr size_t kMostPages = size_t{64} << 20;  // bytes of reports that are kept

/// Every file that a page reads.
constexpr std::array kFiles = {"results.json", "analysis.json",       "gauntlet.json", "environment.json",
                               "config.toml",  "gallery.safetensors", "progress.json", "model.safetensors"};

bool has(const fs::path& folder, const char* name) {
  std::error_code none;
  return fs::is_regular_file(folder / name, none);
}

bool is_run(const fs::path& folder) {
  return has(folder, "config.toml") || has(folder, "results.json") || has(folder, "analysis.json");
}

/// Size, time and number of each file: another text where one of them has changed.
std::string stamp_of(const fs::path& folder) {
  std::string out;
  for (const auto* name : kFiles) {
    struct stat file {};
    if (::stat((folder / name).c_str(), &file) == 0)
      out += fmt::format("{} {} {} {}.{};", name, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
  }
  return out;
}

std::string encoded(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

/// The state's word and the chip's class.
std::pair<const char*, const char*> words_of(RunState state) {
  switch (state) {
    case RunState::finished: return {"finished", "passed"};
    case RunState::running: return {"running", "reported"};
    case RunState::stopped: return {"stopped", "not-run"};
    case RunState::broken: break;
  }
  return {"broken", "failed"};
}

std::string age_text(int64_t time) {
  const auto now = now_in_seconds();
  const auto age = time > now || time < 0 ? 0 : now - time;
  return duration_text(static_cast<double>(age)) + " ago";
}

std::string progress_text(const Progress& progress) {
  auto text = progress.words();
  if (text.empty()) text = "it has begun";
  return (progress.verb.empty() ? "" : progress.verb + ": ") + text + "; " + age_text(progress.time);
}

std::string state_cell(RunState state, const std::string& words, const std::optional<Progress>& progress) {
  const auto [word, chip] = words_of(state);
  const auto percent = state == RunState::running && progress ? progress->percent() : std::nullopt;
  return fmt::format("<span class=\"chip s-{}\">{}{}</span>", chip, word,
                     percent ? fmt::format(" {}\u202F%", *percent) : "") +
         (words.empty() ? "" : "<small>" + typeset(words) + "</small>");
}

/// What a finished run is and says that has no report of this kind; empty texts for any other.
std::pair<const char*, const char*> without_report(const fs::path& folder) {
  if (has(folder, "gauntlet.json")) return {"gauntlet", "its page is report.html in its folder"};
  if (has(folder, "model.safetensors")) return {"training", "a model; it has no report"};
  if (has(folder, "labels.csv")) return {"predictions", "a table; it has no report"};
  return {"", ""};
}

std::string page_of(const std::string& title, const std::string& body, bool live) {
  return html_page(title, fmt::format("<header><h1>{}</h1></header>\n<main>\n{}</main>\n", escape_html(title), body),
                   live ? kRefresh : 0);
}

}  // namespace

RunFolder::RunFolder(const std::string& path) {
  std::error_code error;
  root_ = fs::canonical(path, error);
  if (error || !fs::is_directory(root_, error)) fail_usage("--serve: needs a folder of runs, but there is no {}", path);
  if (is_run(root_))
    fail_usage("--serve: {} is one run; give the folder that holds it, or hpm report {} for its page", path, path);
  if (names().empty())
    fail_usage("--serve: {} holds no run: no folder in it has a results.json, an analysis.json or a config.toml", path);
}

bool RunFolder::leads_out(const fs::path& path) const {
  std::error_code error;
  const auto real = fs::canonical(path, error);
  if (error) return fs::is_symlink(fs::symlink_status(path, error));  // a link to nothing
  return std::mismatch(root_.begin(), root_.end(), real.begin(), real.end()).first != root_.end();
}

std::vector<std::string> RunFolder::names() const {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator at(root_, fs::directory_options::skip_permission_denied, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code none;
    if (at->is_directory(none) && !leads_out(at->path()) && is_run(at->path()))
      out.push_back(at->path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

RunFolder::Kept& RunFolder::kept(const std::string& name) {
  auto& kept = kept_[name];
  if (auto stamp = stamp_of(folder_of(name)); stamp != kept.stamp) kept = {.stamp = std::move(stamp)};
  return kept;
}

RunFolder::Row RunFolder::finished_row(const fs::path& folder) const {
  const auto files = read_run(folder.string(), false);
  const bool study = is_analysis(files);
  const auto run = parse_results(files.results, study ? "analysis.json" : "results.json");
  Row row{.state = RunState::finished, .words = {}, .what = run.protocol, .n = run.n};
  if (!run.version.empty()) row.what += " " + run.version;
  row.what += " on " + (run.dataset.empty() ? "its data" : run.dataset);
  if (run.protocol != "clean") row.what += fmt::format(", {} {}", run.norm, radius_text(run.eps));
  if (!study) row.clean = run.headline().clean_accuracy, row.robust = run.headline().robust_accuracy;
  row.suspect = is_suspect(run), row.has_report = true;
  return row;
}

RunFolder::Row RunFolder::broken_row(const fs::path& folder, const std::exception& error) {
  std::string words = error.what();
  const auto before = folder.string() + "/";  // the row stands under the run's name
  for (auto at = words.find(before); at != std::string::npos; at = words.find(before)) words.erase(at, before.size());
  return {.state = RunState::broken, .words = printable(words)};
}

/// A run that was begun anew over an old one may have both its results and progress: what goes on comes first.
RunFolder::Row RunFolder::row_of(const std::string& name) {
  const auto folder = folder_of(name);
  for (const auto* file : kFiles)
    if (leads_out(folder / file))
      return {.state = RunState::broken, .words = fmt::format("{} is a link that leads out of the folder", file)};
  const auto progress = read_progress(folder.string());
  if (progress && is_alive(*progress)) return {.state = RunState::running, .words = progress_text(*progress)};
  auto& kept = this->kept(name);
  if (kept.row) return *kept.row;
  Row row;
  try {
    if (has(folder, "results.json") || has(folder, "analysis.json")) row = finished_row(folder);
    else if (const auto [what, words] = without_report(folder); *what)
      row = {.state = RunState::finished, .words = words, .what = what};
    else row.words = progress ? progress_text(*progress) : "it says nothing of its progress";
  } catch (const std::exception& error) {
    row = broken_row(folder, error);
  }
  // How long ago a run stopped changes from look to look.
  if (row.state != RunState::stopped) kept.row = row;
  return row;
}

std::string RunFolder::index_page() {
  HtmlTable table{
      .columns = {"Run", "State", "What", "n", "Clean", "Robust, worst case"}, .classes = "runs", .text_columns = 3};
  std::map<RunState, int> counts;
  for (const auto& name : names()) {
    const auto row = row_of(name);
    ++counts[row.state];
    const auto progress = row.state == RunState::running ? read_progress(folder_of(name).string()) : std::nullopt;
    const auto shown = [](const std::optional<double>& value) { return value ? typeset(percent(*value)) : "–"; };
    table.rows.push_back({fmt::format("<a href=\"/run/{}\">{}</a>{}", encoded(name), escape_html(name),
                                      row.suspect ? " <span class=\"chip s-failed\">suspect</span>" : ""),
                          state_cell(row.state, row.words, progress), typeset(row.what),
                          row.n ? count_text(*row.n) : "–", shown(row.clean), shown(row.robust)});
  }
  std::string summary;
  for (const auto& [state, count] : counts)
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, words_of(state).first);
  const bool live = counts.contains(RunState::running);
  // A page that is loaded anew would forget what a reader sorted and searched.
  table.sortable = !live;
  return page_of(
      "Runs in " + printable_utf8(root_.string()),
      "<p class=\"meta\">" + escape_html(summary.empty() ? "no run" : summary) + "</p>\n" +
          (table.rows.empty() ? "" : html_table(table)) +
          (live ? fmt::format("<p class=\"note\">Loaded anew every {} seconds while a run goes on.</p>\n", kRefresh)
                : ""),
      live);
}

const std::string& RunFolder::report_of(const std::string& name) {
  auto& kept = this->kept(name);
  if (!kept.page.empty()) return kept.page;
  auto page = make_report({read_run(folder_of(name).string())});
  size_t bytes = page.size();
  for (const auto& [other, of_other] : kept_) bytes += of_other.page.size();
  if (bytes > kMostPages)
    for (auto& [other, of_other] : kept_) of_other.page.clear();
  return kept.page = std::move(page);
}

std::string RunFolder::run_page(const std::string& name) {
  auto row = row_of(name);
  if (row.has_report) try {
      return report_of(name);
    } catch (const std::exception& error) {
      row = broken_row(folder_of(name), error);
    }
  const bool live = row.state == RunState::running;
  const auto progress = live ? read_progress(folder_of(name).string()) : std::nullopt;
  auto body = "<p>" + state_cell(row.state, "", progress) + "</p>\n";
  if (!row.words.empty()) body += "<p>" + typeset(row.words) + "</p>\n";
  if (row.state == RunState::stopped)
    body += "<p>" + typeset("Its own command with --resume goes on with it, if it can be resumed.") + "</p>\n";
  return page_of(printable_utf8(name), body + "<p><a href=\"/\">All runs</a></p>\n", live);
}

HttpResponse RunFolder::answer(const HttpRequest& request) {
  if (request.path == "/") return {.body = index_page()};
  constexpr std::string_view kRun = "/run/";
  if (request.path.starts_with(kRun)) {
    const auto asked = std::string_view(request.path).substr(kRun.size());
    for (const auto& name : names())
      if (asked == encoded(name) || asked == name) return {.body = run_page(name)};
  }
  return {404, "404 Not Found: there is / with all runs, and /run/NAME for each of them\n",
          "text/plain; charset=utf-8"};
}

}  // namespace hpm::app
