// defines: TimeIsUp, TimedMonitor, StagedAttack
#pragma once
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "hpm/evaluation/protocols.h"

namespace hpm {

/// The time limit of an evaluation was reached. StagedAttack catches it: what was attacked before counts.
class TimeIsUp : public Error {
 public:
  using Error::Error;
};

/// Throws TimeIsUp at the first tick or step after the deadline.
class TimedMonitor : public Monitor {
 public:
  TimedMonitor(Monitor& outer, const std::optional<std::chrono::steady_clock::time_point>& deadline)
      : outer_(outer), deadline_(deadline) {}
  void begin(const std::string& task, int64_t total, const std::string& unit) override {
    outer_.begin(task, total, unit);
  }
  void step(int64_t done, const std::string& note) override;
  void tick() override;
  void end() override { outer_.end(); }
  void say(const std::string& line) override { outer_.say(line); }
  void warn(const std::string& line) override { outer_.warn(line); }
  bool up() const { return deadline_ && std::chrono::steady_clock::now() >= *deadline_; }

 private:
  Monitor& outer_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

/// The first target of a defence under one attack after the other, each on images of its own choice. Rows of images are
/// places in the evaluated set. Every chunk is a piece of work in the log; a verdict is a fresh
/// pass. A piece that the time limit cuts short is forgotten.
class StagedAttack {
 public:
  StagedAttack(Defence& defence, const AttackedImages& on, const Computing& computing, const Work& work);

  /// Verdicts on the images as they are; what comes first.
  void begin();
  /// Attacks those of `rows` that stand, chunk by chunk until the time is up; through `stand_in`, where one is given.
  /// What each broke is broken. Throws UsageError for a target whose batch is one object.
  StageResult attack(const std::string& stage, const ReadyAttack& attack, const Tensor& rows,
                     const std::optional<Surrogate>& stand_in = {});

  AttackModel& model() { return *model_; }
  TimedMonitor& monitor() { return monitor_; }
  const AttackedImages& on() const { return on_; }
  const Work& work() const { return work_; }
  const std::vector<StageResult>& stages() const { return stages_; }
  const Tensor& clean_correct() const { return context_.clean_correct; }
  const Tensor& clean_logits() const { return clean_logits_; }
  Tensor survivors() const { return context_.robust.nonzero().squeeze(1); }  ///< rows that stand, by place
  const Tensor& margin() const { return margin_; }  ///< [n]: AttackResult::margin of the stages that measure it
  /// Whether the time was up before everything asked for was attacked.
  bool cut_short() const;

  Evaluation finish();  ///< what was found; this object is of no further use

 private:
  int64_t piece_size() const;
  NamedTensors attack_rows(AttackModel& model, const ReadyAttack& attack, const Tensor& rows, Monitor& progress);
  void take(const Tensor& rows, const NamedTensors& done, const Finding& finding, StageResult& stage,
            AttackRecord& record);

  Defence& defence_;
  AttackedImages on_;
  Computing computing_;
  Work work_;
  WorkTimer timer_;
  TimedMonitor monitor_;
  std::unique_ptr<AttackModel> model_;
  RandomStreams streams_;
  Evaluation out_;
  ContextOutcome context_;
  Tensor clean_logits_, margin_;
  Tensor borderline_;  // [n] bool: verdicts so near a tie that they were decided again alone
  std::vector<StageResult> stages_;
};

}  // namespace hpm
