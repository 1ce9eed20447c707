// defines: SharedWork
#pragma once
#include "hpm/distributed/crew.h"
#include "hpm/io/journal.h"

namespace hpm {

/// The pieces of one run, done by a crew. A worker takes pieces that nobody has claimed. When none is left it does
/// again what others have claimed and not finished, so that a slow or dead worker holds nobody up; the first to finish
/// a piece wins, and who does it in vain gives up at the next safe point. Every worker reads the winner's tensors.
class SharedWork : public Team {
 public:
  SharedWork(Crew& crew, Journal& journal) : crew_(crew), journal_(journal) {}
  void finish(const std::vector<std::string>& keys, const std::function<void(size_t)>& write) override;
  int64_t done_here() const { return done_here_; }    ///< pieces whose winner is this worker
  int64_t done_again() const { return done_again_; }  ///< of these, claimed by another one before

 private:
  bool is_done(const std::string& key);
  bool attempt(const std::string& key, size_t i, const std::function<void(size_t)>& write);
  void fetch(const std::string& key);

  Crew& crew_;
  Journal& journal_;
  int64_t done_here_ = 0, done_again_ = 0;
};

}  // namespace hpm
