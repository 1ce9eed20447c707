#include "hpm/distributed/crew.h"

#include <c10/util/Logging.h>

#include <algorithm>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "hpm/core/progress.h"

namespace hpm {
namespace {

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }
std::string text_of(const std::vector<uint8_t>& value) { return {value.begin(), value.end()}; }

}  // namespace

struct Crew::Store {
  c10::intrusive_ptr<c10d::Store> kept;
  uint16_t port = 0;

  /// What `ask` gives, or CrewLost.
  template <class Ask>
  auto operator()(Ask ask) {
    try {
      return ask(*kept);
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      const std::string why = error.what();
      throw CrewLost(
          fmt::format("the store of this run is gone: rank 0 has ended ({})", why.substr(0, why.find('\n'))));
    }
  }
};

bool has_c10d() { return true; }

Crew::Crew(const CrewPlace& place, std::chrono::seconds patience) : place_(place), store_(std::make_unique<Store>()) {
  if (place_.size == 1) {
    store_->kept = c10::make_intrusive<c10d::HashStore>();
    return;
  }
  FLAGS_caffe2_log_level = std::max(FLAGS_caffe2_log_level, 2);  // errors: what fails is said below in a sentence
  try {
    c10d::TCPStoreOptions options;
    options.port = place_.port, options.isServer = place_.rank == 0, options.waitWorkers = false;
    options.timeout = patience;
    auto store = c10::make_intrusive<c10d::TCPStore>(place_.host, options);
    store_->port = store->getPort();
    store_->kept = std::move(store);
  } catch (const std::exception& error) {
    const std::string why = error.what();
    fail(
        "rank {} of {}: cannot {} the store at {}:{} within {} s ({}); is rank 0 running there, and is the port free "
        "and open?",
        place_.rank, place_.size, place_.rank == 0 ? "open" : "reach", place_.host, place_.port, patience.count(),
        why.substr(0, why.find('\n')));
  }
}

Crew::~Crew() = default;

uint16_t Crew::port() const { return store_->port; }

void Crew::set(const std::string& key, const std::string& value) {
  (*store_)([&](auto& store) {
    store.set(key, bytes(value));
    return 0;
  });
}

int64_t Crew::add(const std::string& key, int64_t amount) {
  return (*store_)([&](auto& store) { return store.add(key, amount); });
}

std::string Crew::set_first(const std::string& key, const std::string& value) {
  return text_of((*store_)([&](auto& store) { return store.compareSet(key, bytes(""), bytes(value)); }));
}

std::optional<std::string> Crew::find(const std::string& key) {
  return (*store_)([&](auto& store) -> std::optional<std::string> {
    if (!store.check({key})) return std::nullopt;
    return text_of(store.get(key));
  });
}

std::string Crew::wait_for(const std::string& key, std::chrono::seconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (auto value = find(key)) return *value;
    if (interrupt_requested()) throw Interrupted("interrupted by the user");
    if (std::chrono::steady_clock::now() > until)
      fail("rank {} of {}: waited {} s for another worker ({})", place_.rank, place_.size, patience.count(), key);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace hpm
