// defines: PythonMonitor
#pragma once
#include <chrono>

#include "hpm/core/progress.h"
#include "python_object.h"

namespace hpm::python {

/// Reports to a Python object with the methods begin(task, total, unit), step(done, note), end(), say(line) and
/// warn(line); None reports nothing but warnings. At least every 50 ms Python's signal handlers run, so that Ctrl-C
/// raises KeyboardInterrupt.
class PythonMonitor : public Monitor {
 public:
  explicit PythonMonitor(py::object observer) : observer_(shared_object(std::move(observer))) {}
  void begin(const std::string& task, int64_t total, const std::string& unit) override;
  void step(int64_t done, const std::string& note) override;
  void tick() override;
  void end() override;
  void say(const std::string& line) override;
  void warn(const std::string& line) override;

 private:
  template <class... A>
  void call(const char* method, const A&... arguments);
  bool due();
  SharedObject observer_;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace hpm::python
