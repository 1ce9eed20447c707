#include "hpm/training/training_state.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "hpm/core/error.h"
#include "hpm/core/json_impl.h"
#include "hpm/io/crc32.h"
#include "hpm/io/tensors.h"

namespace hpm {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// The state belongs to other settings: no reason to look at an older one.
class OtherSettings : public Error {
 public:
  using Error::Error;
};

Json to_json(const EpochReport& e) {
  Json j{{"epoch", e.epoch},
         {"loss", e.loss},
         {"adversarial_accuracy", e.adversarial_accuracy},
         {"seconds", e.seconds},
         {"learning_rate", e.learning_rate},
         {"images", e.images},
         {"outside", e.outside},
         {"best", e.best},
         {"overfitting", e.overfitting}};
  if (const auto& v = e.validation)
    j["validation"] = {{"clean", v->clean}, {"fgsm", v->fgsm}, {"pgd", v->pgd}, {"images", v->images}};
  return j;
}

EpochReport report_of(const nlohmann::json& j) {
  EpochReport e{.epoch = j.at("epoch"),
                .loss = j.at("loss"),
                .adversarial_accuracy = j.at("adversarial_accuracy"),
                .seconds = j.at("seconds"),
                .learning_rate = j.at("learning_rate"),
                .images = j.at("images"),
                .outside = j.value("outside", 0.),
                .best = j.at("best"),
                .overfitting = j.at("overfitting"),
                .restored = true};
  if (j.contains("validation")) {
    const auto& v = j["validation"];
    e.validation = Validation{v.at("clean"), v.at("fgsm"), v.at("pgd"), v.at("images")};
  }
  return e;
}

Json to_json(const TrainingProgress& p) {
  Json j{
      {"epoch", p.epoch}, {"step", p.step}, {"seconds", p.seconds}, {"outside", p.outside}, {"averaged", p.averaged}};
  j["history"] = Json::array();
  for (const auto& e : p.history) j["history"].push_back(to_json(e));
  return j;
}

TrainingProgress progress_of(const nlohmann::json& j) {
  TrainingProgress p{.epoch = j.at("epoch"),
                     .step = j.at("step"),
                     .seconds = j.at("seconds"),
                     .outside = j.value("outside", 0.),  // older states have none
                     .averaged = j.at("averaged")};
  for (const auto& e : j.at("history")) p.history.push_back(report_of(e));
  return p;
}

std::string checksum(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  uint32_t crc = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto t = tensor.detach().to(at::kCPU).contiguous();
    crc = crc32_of({static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}, crc);
  }
  return fmt::format("{:08x}", crc);
}

/// An option that only one of the two knows is fine where it has its default: programs grow options.
void require_same(const std::string& path, const Settings& stored, const Settings& now) {
  const auto differs = [&](const std::string& name, const std::string& was, const std::string& is) {
    throw OtherSettings(
        fmt::format("{}: belongs to a run with other settings: {} was {} and is {}; give --overwrite, or another --out",
                    path, name, was, is));
  };
  const auto quoted = [](const std::string& value) { return value.empty() ? std::string("none") : value; };
  for (const auto& [name, setting] : stored) {
    const auto found = now.find(name);
    if (found == now.end() && !setting.is_default) differs(name, quoted(setting.value), "unknown to this program");
    if (found != now.end() && found->second.value != setting.value)
      differs(name, quoted(setting.value), quoted(found->second.value));
  }
  for (const auto& [name, setting] : now)
    if (!stored.contains(name) && !setting.is_default) differs(name, "not given", quoted(setting.value));
}

TrainingState read_state(const std::string& path, const Settings& settings) {
  auto file = read_checkpoint(path);
  const auto metadata = [&](const std::string& key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail("{}: is no training state: its metadata has no \"{}\"", path, key);
    return found->second;
  };
  try {
    Settings stored;
    const auto json = [&](const std::string& key) { return parse_json(metadata(key), path + ": metadata " + key); };
    const auto settings_json = json("settings"), order = json("order");
    for (auto s = settings_json.begin(); s != settings_json.end(); ++s)
      stored[s.key()] = {s->at("value").get<std::string>(), s->at("default").get<bool>()};
    require_same(path, stored, settings);
    // In the order they were written in, which the container may not keep.
    std::map<std::string, Tensor> by_name(file.tensors.begin(), file.tensors.end());
    TrainingState state;
    for (const auto& entry : order) {
      const auto name = entry.get<std::string>();
      if (!by_name.contains(name)) fail("{}: has no tensor {}", path, name);
      state.tensors.emplace_back(name, by_name[name]);
    }
    if (checksum(state.tensors) != metadata("crc32")) fail("{}: its tensors do not have their checksum", path);
    state.progress = progress_of(json("progress"));
    state.progress.loss_sum = by_name.at("loss_sum"), state.progress.correct_sum = by_name.at("correct_sum");
    return state;
  } catch (const Json::exception& error) {
    fail("{}: its metadata is damaged: {}", path, error.what());
  } catch (const std::out_of_range&) {
    fail("{}: has no sums of its epoch", path);
  }
}

}  // namespace

SaveEvery parse_save_every(const std::string& text) {
  if (text == "epoch") return {0, 0};
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string unit(rest, end);
  const bool number = error == std::errc() && std::isfinite(value) && value > 0;
  if (number && unit.empty() && value == std::floor(value) && value < 1e15) return {static_cast<int64_t>(value), 0};
  if (number && unit == "s") return {0, value};
  if (number && unit == "m") return {0, 60 * value};
  if (number && unit == "h") return {0, 3600 * value};
  fail_usage("--save-every: needs a time (5m, 90s, 1h), a number of steps, or epoch, but got \"{}\"", text);
}

std::map<std::string, Tensor> TrainingState::with_prefix(const std::string& prefix) const {
  std::map<std::string, Tensor> all;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) all.emplace(name.substr(prefix.size()), tensor);
  return all;
}

std::string previous_state_file(const std::string& path) {
  const fs::path p(path);
  return (p.parent_path() / (p.stem().string() + ".previous" + p.extension().string())).string();
}

void save_training_state(const std::string& path, const TrainingState& state, const Settings& settings) {
  Json stored = Json::object(), order = Json::array();
  for (const auto& [name, s] : settings) stored[name] = {{"value", s.value}, {"default", s.is_default}};
  auto tensors = state.tensors;
  tensors.emplace_back("loss_sum", state.progress.loss_sum);
  tensors.emplace_back("correct_sum", state.progress.correct_sum);
  for (const auto& [name, tensor] : tensors) order.push_back(name);
  const auto next = path + ".next";
  write_safetensors(next, tensors,
                    {{"progress", json_text(to_json(state.progress))},
                     {"settings", json_text(stored)},
                     {"order", json_text(order)},
                     {"crc32", checksum(tensors)}});
  std::error_code error;
  if (fs::exists(path)) fs::rename(path, previous_state_file(path), error);
  if (!error) fs::rename(next, path, error);
  if (error) fail("{}: cannot be replaced: {}", path, error.message());
}

std::optional<TrainingState> load_training_state(const std::string& path, const Settings& settings, Monitor& monitor) {
  const auto previous = previous_state_file(path);
  const bool last_there = fs::exists(path), previous_there = fs::exists(previous);
  std::string trouble = fmt::format("{} is missing", path);
  if (last_there) {
    try {
      return read_state(path, settings);
    } catch (const OtherSettings&) {
      throw;
    } catch (const Error& error) {
      trouble = fmt::format("the last training state is damaged ({})", error.what());
      if (!previous_there) fail("{}; no older one is there: --overwrite begins anew", trouble);
    }
  }
  if (!previous_there) return std::nullopt;
  try {
    auto state = read_state(previous, settings);
    monitor.warn(fmt::format("{}; going on from the one before it, {}: epoch {}, step {}", trouble, previous,
                             state.progress.epoch + 1, state.progress.step));
    return state;
  } catch (const OtherSettings&) {
    throw;
  } catch (const Error& error) {
    fail("{}, and so is the one before it ({}); --overwrite begins anew", trouble, error.what());
  }
}

}  // namespace hpm
