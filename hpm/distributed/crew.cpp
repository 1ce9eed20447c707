#include "hpm/distributed/crew.h"

#include <arpa/inet.h>
#include <c10/util/Logging.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <random>
#include <system_error>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "hpm/core/progress.h"

namespace hpm {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kSlice{50};           // between two looks whether this process is to stop
constexpr Milliseconds kConnecting{10'000};  // that c10d may take beyond its time-out: it pauses between attempts

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<uint8_t>& value) { return {value.begin(), value.end()}; }

std::string first_line(const std::exception& error) {
  const std::string why = error.what();
  return why.substr(0, why.find('\n'));
}

/// A wait in slices. It counts slices, not the clock: a process that was stopped for an hour has not waited an hour.
class Waiting {
 public:
  Waiting(std::string what, Milliseconds patience, const CrewWaits& waits)
      : what_(std::move(what)), patience_(patience), waits_(waits) {}
  /// After each slice: false when the time is up. Throws Interrupted when this process is to stop.
  bool goes_on(Milliseconds slice) {
    if (interrupt_requested()) throw Interrupted("interrupted by the user");
    waited_ += slice;
    if (waited_ >= waits_.say_after && !std::exchange(said_, true) && waits_.say)
      waits_.say(fmt::format("waits for {} (at most {} s)", what_,
                             std::chrono::duration_cast<std::chrono::seconds>(patience_).count()));
    return waited_ < patience_;
  }

 private:
  std::string what_;
  Milliseconds patience_, waited_{0};
  const CrewWaits& waits_;
  bool said_ = false;
};

/// What `ask` gives, or none when the time is up. It runs on a thread of its own, because c10d waits without end, and
/// deaf to signals, for a peer that has accepted a connection and never answers. That thread is then left behind: `ask`
/// owns what it uses.
template <class Ask>
auto answer_of(Ask ask, Waiting waiting) -> std::optional<decltype(ask())> {
  std::packaged_task<decltype(ask())()> task(std::move(ask));
  auto answer = task.get_future();
  std::thread(std::move(task)).detach();
  while (answer.wait_for(kSlice) != std::future_status::ready)
    if (!waiting.goes_on(kSlice)) return std::nullopt;
  return answer.get();
}

/// A socket that listens on a port of 127.0.0.1 (0: a free one, which `port` becomes): c10d's own listens on all
/// interfaces.
int listen_on_this_machine(uint16_t& port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_port = htons(port), address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener < 0 || ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, SOMAXCONN) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const int why = errno;
    if (listener >= 0) ::close(listener);
    throw std::system_error(why, std::generic_category());
  }
  port = ntohs(address.sin_port);
  return listener;
}

std::string drawn() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

using TcpStore = c10::intrusive_ptr<c10d::TCPStore>;

TcpStore opened(const CrewPlace& place, std::chrono::seconds patience) {
  c10d::TCPStoreOptions options;
  options.port = place.port, options.isServer = place.rank == 0, options.waitWorkers = false;
  options.timeout = patience;
  if (options.isServer && place.host == "127.0.0.1") options.masterListenFd = listen_on_this_machine(options.port);
  return c10::make_intrusive<c10d::TCPStore>(place.host, options);
}

}  // namespace

struct Crew::Store {
  c10::intrusive_ptr<c10d::Store> kept;
  uint16_t port = 0;
  bool alone = false, silent = false;

  /// What `ask` gives, or CrewLost.
  template <class Ask>
  auto operator()(const CrewWaits& waits, Ask ask) {
    if (alone) return ask(*kept);
    const auto lost = [&] {
      return CrewLost(
          fmt::format("the store of this run does not answer for {} s: rank 0 hangs, or its machine is gone",
                      waits.answer.count()));
    };
    if (silent) throw lost();  // a question that was left behind holds the connection
    try {
      auto answer =
          answer_of([store = kept, ask] { return ask(*store); }, {"an answer of rank 0", waits.answer, waits});
      if ((silent = !answer)) throw lost();
      return *std::move(answer);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      if (interrupt_requested()) throw Interrupted("interrupted by the user");  // as rank 0 was, and first
      throw CrewLost(fmt::format("the store of this run is gone: rank 0 has ended ({})", first_line(error)));
    }
  }
};

bool has_c10d() { return true; }

Crew::Crew(const CrewPlace& place, CrewWaits waits)
    : place_(place), waits_(std::move(waits)), store_(std::make_unique<Store>()) {
  if (place_.size == 1) {
    store_->alone = true, store_->kept = c10::make_intrusive<c10d::HashStore>();
    return;
  }
  FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, 3);  // what fails is said below in a sentence
  std::optional<TcpStore> store;
  std::string why = "somebody listens there and does not answer";
  try {
    store = answer_of(
        [place = place_, reach = waits_.reach] { return opened(place, reach); },
        {fmt::format("rank 0's store at {}:{}", place_.host, place_.port), waits_.reach + kConnecting, waits_});
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    why = first_line(error);
  }
  if (!store)
    fail(
        "rank {} of {}: cannot {} the store at {}:{} within {} s ({}); is rank 0 running there, and is the port free "
        "and open? MASTER_PORT names another one",
        place_.rank, place_.size, place_.rank == 0 ? "open" : "reach", place_.host, place_.port, waits_.reach.count(),
        why);
  store_->port = (*store)->getPort(), store_->kept = *store;
  introduce();
}

Crew::~Crew() = default;

/// Rank 0 says whose store it is; another process looks whether that is its own run.
void Crew::introduce() {
  const auto ours = fmt::format("{} processes{}{}", place_.size, place_.run.empty() ? "" : " of ", place_.run);
  if (place_.rank == 0) {
    set("launch", launch_ = drawn());
    set("crew", ours);
    return;
  }
  const auto found = wait_for("crew", fmt::format("the store at {}:{} to say whose it is", place_.host, place_.port),
                              std::min(waits_.reach, std::chrono::seconds(60)));
  if (found != ours)
    fail(
        "rank {} of {}: the store at {}:{} is another run's ({}), not this one's ({}); give each a port of its own "
        "(MASTER_PORT)",
        place_.rank, place_.size, place_.host, place_.port, found, ours);
  launch_ = find("launch").value_or("");
}

uint16_t Crew::port() const { return store_->port; }

void Crew::set(const std::string& key, const std::string& value) {
  (*store_)(waits_, [=](auto& store) {
    store.set(key, bytes(value));
    return 0;
  });
}

int64_t Crew::add(const std::string& key, int64_t amount) {
  return (*store_)(waits_, [=](auto& store) { return store.add(key, amount); });
}

std::string Crew::set_first(const std::string& key, const std::string& value) {
  return text_of((*store_)(waits_, [=](auto& store) { return store.compareSet(key, bytes(""), bytes(value)); }));
}

std::optional<std::string> Crew::find(const std::string& key) {
  return (*store_)(waits_, [=](auto& store) -> std::optional<std::string> {
    if (!store.check({key})) return std::nullopt;
    return text_of(store.get(key));
  });
}

std::string Crew::wait_for(const std::string& key, const std::string& what, std::chrono::seconds patience) {
  constexpr Milliseconds kLook{20};
  for (Waiting waiting(what, patience, waits_);;) {
    if (auto value = find(key)) return *value;
    if (!waiting.goes_on(kLook))
      fail("rank {} of {}: waited {} s for {}", place_.rank, place_.size, patience.count(), what);
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace hpm
