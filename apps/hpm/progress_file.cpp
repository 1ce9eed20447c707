#include "progress_file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "hpm/core/json_impl.h"
#include "hpm/io/file.h"

namespace hpm::app {
namespace {

constexpr const char* kName = "/progress.json";
constexpr size_t kLargest = 1 << 16;  // bytes of such a file

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? printable_utf8(name.data()) : "";
}

/// Written beside `file` and renamed; without fsync, for nothing depends on it. Errors leave the file as it was.
void replace(const std::string& file, const std::string& text) {
  const auto next = file + ".next";
  const int descriptor = ::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (descriptor < 0) return;
  const bool whole = ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(descriptor);
  if (!whole || ::rename(next.c_str(), file.c_str()) != 0) ::unlink(next.c_str());
}

}  // namespace

int64_t now_in_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::optional<int> Progress::percent() const {
  if (total <= 0) return std::nullopt;
  return static_cast<int>(std::clamp(100 * static_cast<double>(done) / static_cast<double>(total), 0., 100.));
}

std::string Progress::words() const {
  if (task.empty()) return "";
  auto text = task + (total > 0 ? fmt::format(", {} of {} {}", done, total, unit) : fmt::format(", {} {}", done, unit));
  return note.empty() ? text : text + ", " + note;
}

std::optional<Progress> read_progress(const std::string& folder) {
  const auto text = beginning_of_file(folder + kName, kLargest);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    return Progress{.pid = json.at("pid").get<int64_t>(),
                    .host = json.at("host").get<std::string>(),
                    .verb = json.at("verb").get<std::string>(),
                    .task = json.at("task").get<std::string>(),
                    .unit = json.at("unit").get<std::string>(),
                    .note = json.at("note").get<std::string>(),
                    .done = json.at("done").get<int64_t>(),
                    .total = json.at("total").get<int64_t>(),
                    .time = json.at("time").get<int64_t>(),
                    .running = json.at("running").get<bool>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

bool is_alive(const Progress& progress) {
  constexpr int64_t kHere = 3600, kElsewhere = 600, kClocksDiffer = 60;
  const auto now = now_in_seconds();
  if (!progress.running || progress.time > now + kClocksDiffer) return false;
  if (progress.host != host_name()) return progress.time >= now - kElsewhere;
  const bool a_process = progress.pid > 0 && progress.pid <= std::numeric_limits<pid_t>::max();
  return a_process && progress.time >= now - kHere &&
         (::kill(static_cast<pid_t>(progress.pid), 0) == 0 || errno == EPERM);
}

ProgressFile::ProgressFile(std::unique_ptr<Monitor> shown, const std::string& folder, const std::string& verb)
    : shown_(std::move(shown)), file_(folder + kName) {
  progress_.pid = ::getpid(), progress_.host = host_name(), progress_.verb = verb;
  write();
}

ProgressFile::~ProgressFile() {
  try {
    progress_.running = false;
    write();
  } catch (const std::exception&) {  // a run without its last word
  }
}

void ProgressFile::begin(const std::string& task, int64_t total, const std::string& unit) {
  shown_->begin(task, total, unit);
  progress_.task = task, progress_.total = total, progress_.unit = unit, progress_.done = 0, progress_.note.clear();
  write_when_due();
}

void ProgressFile::step(int64_t done, const std::string& note) {
  progress_.done = done, progress_.note = note;
  write_when_due();
  shown_->step(done, note);
}

void ProgressFile::tick() {
  write_when_due();
  shown_->tick();
}

void ProgressFile::end() {
  write_when_due();
  shown_->end();
}

void ProgressFile::write_when_due() {
  if (std::chrono::steady_clock::now() - written_ >= std::chrono::seconds(1)) write();
}

void ProgressFile::write() {
  progress_.time = now_in_seconds();
  const auto& p = progress_;
  replace(file_, json_text(nlohmann::ordered_json{{"pid", p.pid},
                                                  {"host", p.host},
                                                  {"verb", p.verb},
                                                  {"task", p.task},
                                                  {"unit", p.unit},
                                                  {"note", p.note},
                                                  {"done", p.done},
                                                  {"total", p.total},
                                                  {"time", p.time},
                                                  {"running", p.running}}) +
                     "\n");
  written_ = std::chrono::steady_clock::now();
}

}  // namespace hpm::app
