#include "verbs.h"

namespace hpm::app {

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {
      {"doctor", "what this build and machine have, and what is missing", doctor},
      {"data", "list and verify data sets", data},
      {"inspect", "what a checkpoint holds, without running code from it", inspect},
      {"predict", "logits and labels for images", predict},
      {"train", "adversarial training, from scratch or from a checkpoint", train},
      {"finetune", "attach Hybrid Prototype Mixing and fine-tune", finetune},
      {"evaluate", "clean, PGD, AutoAttack and the Mixed Surrogate Attack", evaluate},
      {"analyze", "the sensitivity study: FC, l2 and HPM on the same features", analyze},
      {"gauntlet", "defences that are known to be broken, against the evaluation", gauntlet},
      {"export", "write a model in another form; --fold makes HPM an FC layer", export_model},
      {"report", "one HTML file for a run, or comparing several", report},
      {"merge", "one run of shards that were evaluated apart", merge},
      {"bench", "passes, whole attacks and contexts, timed", bench},
      {"completion", "a script that completes hpm's flags in bash, zsh or fish", completion},
      {"man", "write the man pages into a folder", man},
  };
  return all;
}

std::vector<VerbDescription> descriptions() {
  std::vector<VerbDescription> all;
  for (const auto& verb : verbs()) {
    all.push_back(described([&] { verb.run({}); }));
    all.back().one_line = verb.summary;
  }
  return all;
}

}  // namespace hpm::app
