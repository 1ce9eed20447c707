#include "hpm/io/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/crc32.h"
#include "hpm/io/file.h"
#include "hpm/io/file_lock.h"

namespace hpm {
namespace {

using Json = nlohmann::ordered_json;

int open_file(const std::string& path, int flags) { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); }

/// events.jsonl, or events.3.jsonl of the worker 3.
std::string file_of(const std::string& folder, int64_t worker, const char* extension) {
  return fmt::format("{}/events{}.{}", folder, worker == 0 ? "" : fmt::format(".{}", worker), extension);
}

/// The worker whose lines a file of the folder holds.
std::optional<int64_t> worker_of(const std::filesystem::path& file) {
  if (file.extension() != ".jsonl") return std::nullopt;
  const auto stem = file.stem().string();
  if (stem == "events") return 0;
  int64_t worker = 0;
  const auto* end = stem.data() + stem.size();
  if (!stem.starts_with("events.")) return std::nullopt;
  const auto read = std::from_chars(stem.data() + 7, end, worker);
  return read.ec == std::errc() && read.ptr == end && worker > 0 ? std::optional(worker) : std::nullopt;
}

}  // namespace

Journal::Journal(const std::string& folder, const std::string& fingerprint, bool resume, int64_t worker)
    : folder_(folder),
      fingerprint_(fingerprint),
      lines_path_(file_of(folder, worker, "jsonl")),
      data_path_(file_of(folder, worker, "bin")),
      worker_(worker) {
  try {
    open(resume);
  } catch (...) {
    close();
    throw;
  }
}

Journal::Journal(const std::string& folder, const std::string& fingerprint, int64_t worker, Reader reader)
    : folder_(folder),
      fingerprint_(fingerprint),
      lines_path_(file_of(folder, worker, "jsonl")),
      data_path_(file_of(folder, worker, "bin")),
      worker_(worker),
      opening_(reader.opening) {
  recover(fingerprint);
  opening_ = false;
}

Journal& Journal::other(int64_t worker) {
  auto& found = others_[worker];
  if (!found) found.reset(new Journal(folder_, fingerprint_, worker, Reader{opening_}));
  return *found;
}

/// Whose piece counts: that of the worker named by take_from(), else that of the first worker that has one.
const Journal* Journal::holder(const std::string& key) const {
  const auto name = printable_utf8(key);
  if (const auto taken = taken_from_.find(name); taken != taken_from_.end()) {
    const auto* journal = taken->second == worker_ ? this : others_.at(taken->second).get();
    return journal->pieces_.contains(name) ? journal : nullptr;
  }
  const Journal* first = pieces_.contains(name) ? this : nullptr;
  for (const auto& [worker, journal] : others_)
    if (const auto found = journal->pieces_.find(name);
        found != journal->pieces_.end() && found->second.was_there && (!first || worker < first->worker_))
      first = journal.get();
  return first;
}

bool Journal::take_from(int64_t worker, const std::string& key) {
  const auto name = printable_utf8(key);
  if (worker != worker_) {
    auto& from = other(worker);
    from.recover(fingerprint_);  // what it has written since
    if (!from.pieces_.contains(name)) return false;
  }
  taken_from_[name] = worker;
  return true;
}

size_t Journal::size() const {
  size_t all = pieces_.size();
  for (const auto& [worker, journal] : others_) all += journal->pieces_.size();
  return all;
}

void Journal::open(bool resume) {
  lines_ = open_file(lines_path_, O_RDWR | O_CREAT);
  data_ = open_file(data_path_, O_RDWR | O_CREAT);
  if (lines_ < 0 || data_ < 0) fail_to("be opened");
  // Where the file system has no locks, the record in the run's lock file stands for them.
  if (try_flock(lines_) == Flock::held) fail("{}: another process is writing it; wait until it has ended", lines_path_);
  if (!resume && (::ftruncate(lines_, 0) != 0 || ::ftruncate(data_, 0) != 0)) fail_to("be emptied");
  recover(fingerprint_);
  if (lines_size_ == 0)
    append(lines_, sealed_journal_line(json_text(Json{{"journal", 1}, {"fingerprint", fingerprint_}}), ""),
           lines_size_);
  if (resume)
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      if (const auto found = worker_of(entry.path()); found && *found != worker_) other(*found);
  opening_ = false;
}

void Journal::close() {
  for (int* descriptor : {&lines_, &data_})
    if (*descriptor >= 0) ::close(std::exchange(*descriptor, -1));
}

Journal::~Journal() { close(); }

void Journal::recover(const std::string& fingerprint) {
  std::error_code error;
  if (lines_ < 0 && !std::filesystem::exists(lines_path_, error)) return;  // another worker that has not begun
  const auto content = read_file(lines_path_);
  auto rest = content.text().substr(std::min<size_t>(lines_size_, content.text().size()));
  for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
    if (!recover_line(rest.substr(0, end), fingerprint)) break;
    lines_size_ += end + 1;
  }
  if (lines_ < 0) return;
  if (::ftruncate(lines_, static_cast<off_t>(lines_size_)) != 0 ||
      ::ftruncate(data_, static_cast<off_t>(data_size_)) != 0)
    fail_to("be shortened to its last whole piece");
}

/// False for a line that is broken, or whose tensors are: here the journal was cut off.
bool Journal::recover_line(std::string_view line, const std::string& fingerprint) {
  if (lines_size_ == 0) {
    const auto found = read_journal_head(line);
    if (found && *found != fingerprint)
      fail("{}: belongs to a run with other settings, data or model; give --overwrite, or another --out", lines_path_);
    return found.has_value();
  }
  try {
    auto found = read_journal_piece(line, FileSource(data_path_), data_size_);
    if (!found) return false;
    pieces_[found->key] = {.offset = data_size_,
                           .tensors = std::move(found->tensors),
                           .earlier_seconds = opening_ ? found->seconds : 0,
                           .was_there = opening_};
    data_size_ += found->bytes;
    return true;
  } catch (const Error&) {  // the file of the tensors is not there
    return false;
  }
}

NamedTensors Journal::read(const std::string& key) {
  const auto* from = holder(key);
  if (!from) fail("{}: has no piece {}", lines_path_, key);
  const auto found = from->pieces_.find(printable_utf8(key));
  earlier_seconds_ += std::exchange(found->second.earlier_seconds, 0);
  const FileSource data(from->data_path_);
  NamedTensors tensors;
  auto offset = found->second.offset;
  for (const auto& tensor : found->second.tensors) {
    const auto bytes = tensor.bytes();
    tensors.emplace_back(tensor.name, to_tensor(StoredTensor{tensor.type, tensor.shape, data.read(offset, bytes)}));
    offset += bytes;
  }
  return tensors;
}

void Journal::write(const std::string& key, const NamedTensors& tensors, double seconds) {
  Json line{{"key", printable_utf8(key)}, {"seconds", seconds}, {"tensors", Json::array()}};
  Piece piece{data_size_, {}};
  std::string payload;
  for (const auto& [name, tensor] : tensors) {
    const auto stored = to_stored(tensor);
    line["tensors"].push_back({{"name", name}, {"dtype", name_of(stored.type)}, {"shape", stored.shape}});
    piece.tensors.push_back({name, stored.type, stored.shape});
    payload += stored.data.text();
  }
  // Tensors are written before their line, so that a line proves that its tensors are there.
  append(data_, payload, data_size_);
  append(lines_, sealed_journal_line(json_text(line), payload), lines_size_);
  pieces_[printable_utf8(key)] = std::move(piece);
  taken_from_[printable_utf8(key)] = worker_;
}

void Journal::append(int descriptor, std::string_view bytes, uint64_t& size) {
  while (!bytes.empty()) {
    const auto written = ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(size));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_to("be written");
    size += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (::fdatasync(descriptor) != 0) fail_to("be brought to the disk");
}

void Journal::fail_to(const char* what) const {
  fail("{}: the journal cannot {}: {}", lines_path_, what, std::generic_category().message(errno));
}

int64_t WorkLog::piece_size(int64_t count, int64_t most) const {
  if (workers_ == 1) return most;
  constexpr int64_t kPiecesEach = 6, kLeast = 16;  // smaller batches cost more an image
  const auto pieces = workers_ * kPiecesEach;
  return std::min(most, std::max(kLeast, (count + pieces - 1) / pieces));
}

std::vector<PieceOfWork> WorkLog::pieces(const std::string& name, const at::Tensor& rows, int64_t most) const {
  const auto size = piece_size(rows.numel(), most);
  std::vector<PieceOfWork> all;
  for (int64_t begin = 0; begin < rows.numel(); begin += size)
    all.push_back({fmt::format("{}/{}", name, begin), rows.slice(0, begin, std::min(begin + size, rows.numel()))});
  return all;
}

void WorkLog::share(const std::vector<PieceOfWork>& pieces, const std::function<NamedTensors(size_t)>& work) const {
  std::vector<size_t> open;
  std::vector<std::string> keys;
  for (size_t i = 0; i < pieces.size(); ++i)
    if (recall(pieces[i].key, pieces[i].rows).empty())
      open.push_back(i), keys.push_back(full_key(pieces[i].key, pieces[i].rows));
  if (open.empty()) return;
  team_->finish(keys, [&](size_t k) {
    const auto start = std::chrono::steady_clock::now();
    const auto& [key, rows] = pieces[open[k]];
    auto done = work(open[k]);
    remember(key, rows, std::move(done), std::chrono::steady_clock::now() - start);
  });
}

WorkLog WorkLog::below(const std::string& name) const {
  auto log = *this;
  log.prefix_ += name + "/";
  return log;
}

/// Where pieces of one name can be of other rows later, workers must not take one for the other.
std::string WorkLog::full_key(const std::string& key, const at::Tensor& rows) const {
  if (workers_ == 1 && !team_) return prefix_ + key;
  const auto whole = rows.contiguous();
  const std::span bytes(static_cast<const std::byte*>(whole.data_ptr()), static_cast<size_t>(whole.nbytes()));
  return fmt::format("{}{}#{:08x}", prefix_, key, crc32_of(bytes, 0));
}

NamedTensors WorkLog::recall(const std::string& key, const at::Tensor& rows) const {
  auto name = full_key(key, rows);
  if (!journal_->has(name)) name = prefix_ + key;  // begun by one process
  if (!journal_->has(name)) return {};
  auto stored = journal_->read(name);
  const auto then = find_tensor(stored, "rows");
  return then.defined() && then.equal(rows) ? stored : NamedTensors{};
}

NamedTensors WorkLog::remember(const std::string& key, const at::Tensor& rows, NamedTensors done,
                               std::chrono::duration<double> took) const {
  done.emplace_back("rows", rows);
  journal_->write(full_key(key, rows), done, took.count());
  return done;
}

at::Tensor find_tensor(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  return {};
}

}  // namespace hpm
