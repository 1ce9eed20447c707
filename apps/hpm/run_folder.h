// defines: RunState, RunFolder
#pragma once
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "progress_file.h"
#include "serve.h"

namespace hpm::app {

enum class RunState { finished, running, stopped, broken };

/// A folder of runs as pages: a table of all of them at "/", the report of one at "/run/NAME". A name in a request is
/// compared with the folder's listing and never becomes a path; links that lead out of the folder are not followed.
/// Pages are made again where a file of the run has changed.
class RunFolder {
 public:
  /// Throws UsageError where there is no such folder, it is a run itself, or it holds none.
  explicit RunFolder(const std::string& path);
  HttpResponse answer(const HttpRequest& request);

 private:
  /// What the table shows of a run. `words`: its progress, or the sentence that says what is wrong.
  struct Row {
    RunState state = RunState::stopped;
    std::string words;
    std::string what;  ///< "msa quick on fashion-mnist, Linf 0.1"
    std::optional<int64_t> n = {};
    std::optional<double> clean = {}, robust = {};
    bool suspect = false, has_report = false;
  };
  /// What is kept of a run while its files stay as they are.
  struct Kept {
    std::string stamp;
    std::optional<Row> row = {};
    std::string page = {};
  };

  std::vector<std::string> names() const;
  std::filesystem::path folder_of(const std::string& name) const { return root_ / name; }
  bool leads_out(const std::filesystem::path& path) const;
  Kept& kept(const std::string& name);
  Row row_of(const std::string& name);
  Row finished_row(const std::filesystem::path& folder) const;
  static Row broken_row(const std::filesystem::path& folder, const std::exception& error);
  std::string index_page();
  std::string run_page(const std::string& name);
  const std::string& report_of(const std::string& name);

  std::filesystem::path root_;
  std::map<std::string, Kept> kept_;
};

}  // namespace hpm::app
