// Built where LibTorch has no c10d: a crew has one process.
#include <map>

#include "hpm/distributed/crew.h"

namespace hpm {

struct Crew::Store {
  std::map<std::string, std::string> values;
  std::map<std::string, int64_t> counters;
};

bool has_c10d() { return false; }

Crew::Crew(const CrewPlace& place, CrewWaits) : place_(place), store_(std::make_unique<Store>()) {
  require(
      place_.size == 1,
      "this hpm was built with a LibTorch that has no c10d: it runs as one process, not as {} (hpm doctor says what "
      "a build has)",
      place_.size);
}

Crew::~Crew() = default;
uint16_t Crew::port() const { return 0; }
void Crew::set(const std::string& key, const std::string& value) { store_->values[key] = value; }
int64_t Crew::add(const std::string& key, int64_t amount) { return store_->counters[key] += amount; }
std::string Crew::set_first(const std::string& key, const std::string& value) {
  return store_->values.try_emplace(key, value).first->second;
}
std::optional<std::string> Crew::find(const std::string& key) {
  const auto found = store_->values.find(key);
  return found == store_->values.end() ? std::nullopt : std::optional(found->second);
}
std::string Crew::wait_for(const std::string& key, const std::string& what, std::chrono::seconds) {
  if (auto value = find(key)) return *value;
  fail("a process on its own waits for {}, and there is nobody else", what);
}

}  // namespace hpm
