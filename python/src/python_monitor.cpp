#include "python_monitor.h"

namespace hpm::python {
namespace {

constexpr auto kPeriod = std::chrono::milliseconds(50);

void run_signal_handlers() {
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

}  // namespace

template <class... A>
void PythonMonitor::call(const char* method, const A&... arguments) {
  const py::gil_scoped_acquire gil;
  run_signal_handlers();
  if (!observer_->is_none()) observer_->attr(method)(arguments...);
}

bool PythonMonitor::due() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < kPeriod) return false;
  last_ = now;
  return true;
}

void PythonMonitor::begin(const std::string& task, int64_t total, const std::string& unit) {
  call("begin", task, total, unit);
}
void PythonMonitor::step(int64_t done, const std::string& note) {
  if (due()) call("step", done, note);
}
void PythonMonitor::tick() {
  if (!due()) return;
  const py::gil_scoped_acquire gil;
  run_signal_handlers();
}
void PythonMonitor::end() { call("end"); }
void PythonMonitor::say(const std::string& line) { call("say", line); }
void PythonMonitor::warn(const std::string& line) {
  const py::gil_scoped_acquire gil;
  if (!observer_->is_none()) observer_->attr("warn")(line);
}

}  // namespace hpm::python
