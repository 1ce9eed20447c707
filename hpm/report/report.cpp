#include "hpm/report/report_impl.h"

#include <nlohmann/json.hpp>

#include <cstring>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/file.h"
#include "hpm/io/safetensors.h"
#include "hpm/report/analysis_impl.h"
#include "hpm/report/html.h"
#include "hpm/report/overview_impl.h"
#include "hpm/report/sections_impl.h"
#include "hpm/report/table_impl.h"

namespace hpm {
namespace sections {

std::string heading(const std::string& id, const std::string& text) {
  return fmt::format("<h2 id=\"{}\">{}</h2>\n", id, typeset(text));
}

std::string paragraph(const std::string& text) { return "<p>" + typeset(text) + "</p>\n"; }

std::string subject_title(const Comparison& c, size_t run) {
  return c.subjects.size() < 2 ? "" : "<h3>" + escape_html(c.runs[run].title) + "</h3>\n";
}

std::string figures_text(const ReportedRun& run) {
  const auto& figures = run.headline();
  std::string out;
  if (figures.clean_accuracy) out = "clean " + percent(*figures.clean_accuracy);
  if (figures.robust_accuracy) out += (out.empty() ? "" : ", ") + ("robust " + percent(*figures.robust_accuracy));
  return out;
}

std::string key_entry(const std::string& tone, const std::string& text, bool pale) {
  return fmt::format("<span><i class=\"{}{}\"></i>{}</span>", tone, pale ? " pale" : "", typeset(text));
}

std::string class_name(const ReportedRun& run, int64_t label) {
  const auto i = static_cast<size_t>(label);
  return label >= 0 && i < run.class_names.size() ? run.class_names[i] : fmt::format("class {}", label);
}

std::string with_interval(const std::optional<double>& value, const std::optional<Interval>& interval) {
  if (!value) return "–";
  return typeset(percent(*value)) + (interval ? "<small>" + typeset(span_text(*interval)) + "</small>" : "");
}

}  // namespace sections

namespace {

std::string read_text(const std::filesystem::path& path) { return std::string(read_file(path.string()).text()); }

nlohmann::json read_json(const std::filesystem::path& path) { return parse_json(read_text(path), path.string()); }

/// gallery.safetensors: "original" and "adversarial", float32 [G,C,H,W].
GalleryImages read_gallery(const std::string& path) {
  const auto file = read_safetensors(path);
  GalleryImages out;
  std::vector<int64_t> shape;
  for (const auto& [name, tensor] : file.tensors) {
    auto* images = name == "original" ? &out.original : name == "adversarial" ? &out.adversarial : nullptr;
    if (!images) continue;
    if (tensor.type != ScalarType::float32 || tensor.shape.size() != 4)
      fail("{}: \"{}\" needs float32 [G,C,H,W], but is {} {}", path, name, name_of(tensor.type),
           text_of_shape(tensor.shape));
    if (!shape.empty() && tensor.shape != shape)
      fail("{}: needs \"original\" and \"adversarial\" of one shape, but they have {} and {}", path,
           text_of_shape(shape), text_of_shape(tensor.shape));
    shape = tensor.shape;
    out.count = tensor.shape[0], out.channels = tensor.shape[1], out.height = tensor.shape[2],
    out.width = tensor.shape[3];
    images->resize(tensor.count());
    if (!images->empty()) std::memcpy(images->data(), tensor.data.data(), tensor.data.size());
  }
  if (out.original.size() != out.adversarial.size())
    fail("{}: needs both \"original\" and \"adversarial\", but they hold {} and {} values", path, out.original.size(),
         out.adversarial.size());
  return out;
}

bool alike(const ReportedRun& a, const ReportedRun& b) {
  return a.dataset == b.dataset && a.split == b.split && a.n == b.n && a.norm == b.norm && a.eps == b.eps &&
         a.budget == b.budget;
}

/// The run that title and data of the page are taken from.
const ReportedRun& shown_run(const Comparison& c) { return c.runs[c.reference.value_or(c.subjects.front())]; }

bool all_alike(const Comparison& c) {
  return std::all_of(c.runs.begin(), c.runs.end(), [&](const auto& run) { return alike(run, shown_run(c)); });
}

std::string overview_title(const Comparison& c) {
  const auto& run = shown_run(c);
  auto title = fmt::format("{} runs", c.runs.size());
  if (!all_alike(c)) return title;
  title += " on " + (run.dataset.empty() ? "their data" : run.dataset);
  return run.protocol == "clean" ? title : title + fmt::format(", {} {}", run.norm, radius_text(run.eps));
}

std::string default_title(const Comparison& c) {
  const auto& run = c.runs[c.subjects.front()];
  const auto threat = run.protocol == "clean" ? "" : fmt::format(", {} {}", run.norm, radius_text(run.eps));
  return fmt::format("{} on {}{}", run.title, run.dataset.empty() ? "its data" : run.dataset, threat);
}

std::string meta_line(const ReportedRun& run) {
  std::string out;
  const auto add = [&](const std::string& part) {
    if (!part.empty()) out += (out.empty() ? "" : " · ") + part;
  };
  add(run.dataset + (run.split.empty() ? "" : " " + run.split));
  add(count_text(run.n) + " images");
  if (run.protocol != "clean") add(fmt::format("{} eps {}", run.norm, radius_text(run.eps)));
  add(run.protocol + (run.version.empty() ? "" : " " + run.version));
  add(run.started.substr(0, run.started.find('T')));
  return escape_html(out);
}

std::string results_path(const RunFiles& files) {
  return files.directory + (is_analysis(files) ? "/analysis.json" : "/results.json");
}

struct ParsedRuns {
  std::vector<ReportedRun> runs, studies;  ///< of hpm evaluate, of hpm analyze
};

ParsedRuns parse_runs(const std::vector<RunFiles>& files) {
  ParsedRuns out;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto path = results_path(files[i]);
    check_document(files[i].results, path);
    check_document(files[i].environment, files[i].directory + "/environment.json");
    auto run = parse_results(files[i].results, path);
    run.source = i;
    run.directory = files[i].directory;
    run.folder = printable_utf8(std::filesystem::path(files[i].directory).filename().string());
    run.label = printable_utf8(files[i].label);
    (is_analysis(files[i]) ? out.studies : out.runs).push_back(std::move(run));
  }
  return out;
}

void write_text(const std::string& path, const std::string& text) {
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder);
  write_file_atomically(path, text);
}

std::vector<RunFiles> read_runs(const std::vector<std::string>& directories, const std::vector<std::string>& labels) {
  require(labels.empty() || labels.size() == directories.size(),
          "report: needs one label for each of the {} runs, but got {}", directories.size(), labels.size());
  std::vector<RunFiles> runs;
  const bool galleries = directories.size() <= kMostGalleries;
  for (const auto& directory : directories) runs.push_back(read_run(directory, galleries));
  for (size_t i = 0; i < labels.size(); ++i) runs[i].label = labels[i];
  return runs;
}

struct StudySections {
  std::string summaries, parts;
};

/// The runs of hpm analyze; where there are several, each under its folder's name.
StudySections study_sections(const std::vector<RunFiles>& files, std::vector<ReportedRun>& studies) {
  StudySections out;
  for (size_t i = 0; i < studies.size(); ++i) {
    auto& run = studies[i];
    run.title = "Sensitivity study, " + (run.label.empty() ? run.folder : run.label);
    const auto a = parse_analysis(files[run.source].results, results_path(files[run.source]));
    out.summaries += sections::analysis_summary(a);
    out.parts += sections::analysis_parts(a,
                                          studies.size() < 2  ? ""
                                          : run.label.empty() ? run.folder
                                                              : run.label,
                                          i ? fmt::format("-{}", i + 1) : "");
  }
  return out;
}

std::string navigation(const std::string& body) {
  std::string out;
  for (size_t at = body.find("<h2 id=\""); at != std::string::npos; at = body.find("<h2 id=\"", at + 1)) {
    const auto id = at + 8, id_end = body.find('"', id), text = body.find('>', id) + 1, text_end = body.find('<', text);
    out += fmt::format("<a href=\"#{}\">{}</a>\n", body.substr(id, id_end - id), body.substr(text, text_end - text));
  }
  return "<nav aria-label=\"Sections\">\n" + out + "</nav>\n";
}

/// What a page begins with, and its sections.
struct PageParts {
  std::string first, body;
};

PageParts parts_of_few(Comparison c, const std::vector<RunFiles>& files, std::vector<ReportedRun>& studies) {
  const auto study = study_sections(files, studies);
  PageParts out{sections::verdicts(c), sections::side_by_side(c) + sections::faces(c) + sections::surrogates(c) +
                                           sections::fast(c) + sections::attacks(c) + sections::curves(c) +
                                           sections::sweeps(c) + sections::classes(c) + sections::gallery(c, files) +
                                           sections::checks(c) + study.summaries + study.parts};
  c.runs.insert(c.runs.end(), studies.begin(), studies.end());
  out.body += sections::provenance(c, files);
  return out;
}

PageParts parts_of_many(const Comparison& c, const std::vector<RunFiles>& files, std::vector<ReportedRun>& studies) {
  const auto study = study_sections(files, studies);
  PageParts out{sections::overview_summary(c), sections::overview(c, files) + study.summaries + study.parts};
  // The runs' own settings stand in their parts.
  Comparison of_studies;
  of_studies.runs = studies;
  if (!studies.empty()) out.body += sections::provenance(of_studies, files);
  return out;
}

PageParts parts_of_studies(const Comparison& c, const std::vector<RunFiles>& files, std::vector<ReportedRun>& studies) {
  const auto study = study_sections(files, studies);
  return {study.summaries, study.parts + sections::provenance(c, files)};
}

}  // namespace

std::string make_report(const std::vector<RunFiles>& files, const std::string& title, const std::string& reference) {
  require(!files.empty(), "make_report: needs at least one run, but got none");
  auto [runs, studies] = parse_runs(files);
  const bool compares = !runs.empty();
  require(compares || reference.empty(), "report: needs runs of hpm evaluate for a reference, but got studies alone");
  const auto c = compare_runs(compares ? std::move(runs) : studies, reference);
  const bool many = compares && is_overview(c);
  auto shown = title;
  if (shown.empty()) shown = many ? overview_title(c) : (compares ? "" : "Sensitivity study: ") + default_title(c);
  const auto meta =
      !many ? meta_line(c.runs[c.subjects.front()]) : (all_alike(c) ? "" : "the reference: ") + meta_line(shown_run(c));
  const auto head = fmt::format("<header><h1>{}</h1><p class=\"meta\">{}</p></header>\n", escape_html(shown), meta);
  const auto [first, body] = many       ? parts_of_many(c, files, studies)
                             : compares ? parts_of_few(c, files, studies)
                                        : parts_of_studies(c, files, studies);
  const auto footer = "<footer class=\"note\">Written by hpm " + escape_html(c.runs.front().hpm_version) +
                      ". One file, nothing loaded from elsewhere.</footer>\n";
  return html_page(shown, head + "<main>\n" + first + navigation(body) + body + "</main>\n" + footer);
}

RunFiles read_run(const std::string& directory, bool with_gallery) {
  const std::filesystem::path root(directory);
  if (!std::filesystem::is_directory(root)) fail("{}: needs a run directory, but there is none", directory);
  const bool analysis =
      !std::filesystem::exists(root / "results.json") && std::filesystem::exists(root / "analysis.json");
  if (!analysis && !std::filesystem::exists(root / "results.json") && std::filesystem::exists(root / "events.jsonl"))
    fail("{}: the run is not finished; its own command with --resume goes on with it", directory);
  RunFiles out{.directory = directory,
               .results = read_json(root / (analysis ? "analysis.json" : "results.json")),
               .environment = {},
               .config = {},
               .gallery = {}};
  while (out.directory.size() > 1 && out.directory.back() == '/') out.directory.pop_back();
  if (std::filesystem::exists(root / "environment.json")) out.environment = read_json(root / "environment.json");
  if (std::filesystem::exists(root / "config.toml")) out.config = read_text(root / "config.toml");
  const auto gallery = root / "gallery.safetensors";
  if (with_gallery && std::filesystem::exists(gallery)) out.gallery = read_gallery(gallery.string());
  return out;
}

void write_report(const std::vector<std::string>& directories, const std::string& html_path,
                  const ReportOptions& options) {
  require(!directories.empty(), "write_report: needs at least one run directory, but got none");
  write_text(html_path, make_report(read_runs(directories, options.labels), options.title, options.reference));
}

bool is_report_file(const std::string& path) {
  const auto beginning = beginning_of_file(path, 4096);
  return is_page(beginning) || is_table(beginning);
}

void write_table(const std::vector<std::string>& directories, const std::string& path, const TableOptions& options) {
  const auto files = read_runs(directories, options.labels);
  auto runs = parse_runs(files).runs;
  require(!runs.empty(), "write_table: needs at least one run of hpm evaluate, but got {}",
          directories.empty() ? "none" : "studies of hpm analyze alone");
  write_text(path, make_table(compare_runs(std::move(runs)), std::filesystem::path(path).extension().string(),
                              printable_utf8(options.caption)));
}

}  // namespace hpm
