// defines: LibraryWarnings
#pragma once
#include <c10/util/Exception.h>

#include <map>
#include <string>

namespace hpm::app {

/// Shows LibTorch's warnings while it lives: each kind once as a line of ours, and at the end how often it came again.
/// A kind is the place in the code that warns, or the text where that is unknown.
class LibraryWarnings : public c10::WarningHandler {
 public:
  LibraryWarnings();
  ~LibraryWarnings() override;
  LibraryWarnings(const LibraryWarnings&) = delete;
  void process(const c10::Warning& warning) override;

 private:
  struct Kind {
    std::string first;
    int64_t more = 0;
  };
  std::map<std::string, Kind> kinds_;
  c10::WarningHandler* before_;
};

}  // namespace hpm::app
