#include "hpm/evaluation/checks/advice.h"

#include <algorithm>

namespace hpm {
namespace {

const CheckGuide* find_guide(const std::string& name) {
  const auto& all = check_guides();
  const auto found = std::find_if(all.begin(), all.end(), [&](const CheckGuide& guide) { return name == guide.name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

const std::vector<CheckGuide>& check_guides() {
  static const std::vector<CheckGuide> all = {
      {"unbounded",
       "With no bound on the perturbation every image must fall. Survivors mean that the attack does not work.",
       "The gradient does not lead to the prediction. Attack without it (--protocol autoattack --version custom "
       "--attacks square), or through a differentiable stand-in (--protocol msa --surrogate FILE). Until one of them "
       "breaks these images too, the robust accuracy is an upper bound and nothing more."},
      {"zero gradients", "Where the loss has no gradient the attack stands still and the image looks robust.",
       "Find what cuts the gradient: logits so large that the softmax saturates, a rounding, an argmax, a detach. "
       "Dividing the logits by a constant changes no prediction and brings the gradient back; DLR (--loss dlr, "
       "--protocol autoattack) does not depend on their scale, and Square (--attacks square) needs no gradient."},
      {"gradient fidelity",
       "A small step along the gradient must change the margin as the gradient says. Otherwise it is not the "
       "prediction's gradient.",
       "Find the layer that computes something else backward than forward: steps and thresholds (attack through a "
       "stand-in, --bpda NAME=identity or --surrogate FILE), a straight-through layer, a detach, an optimiser inside "
       "the "
       "prediction (attack the network without it, --base FILE). Then name those surrogates in --protocol msa."},
      {"loss that does not move",
       "A step of a quarter of the radius along the gradient must raise the margin. Otherwise the gradient is true of "
       "a point, and leads nowhere.",
       "Look for waves, bands, thresholds or noise in the prediction. Average the gradient (--surrogates "
       "self,smoothed,query), attack through a stand-in without them (--bpda NAME=identity or --surrogate FILE), and "
       "let Square attack every survivor (--protocol msa --version standard)."},
      {"NaN or infinite", "NaN or infinite values anywhere void the run.",
       "Find where they come from: hpm predict writes the logits of clean images, hpm inspect shows what was read from "
       "the file. Common causes are a broken checkpoint, a standard deviation of 0 in --std, and a division or a "
       "logarithm in the model. Run again when the logits are finite."},
      {"ball and box", "Every adversarial image must lie in the eps-ball and in [0,1], measured in double precision.",
       "This is a fault of the attack, not of the model, and the images cannot count. Run again with --precision "
       "float32. An attack of your own must end with the projection onto the ball and the box; if a built-in attack "
       "leaves them, please report the command."},
      {"determinism", "The same input must give the same prediction.",
       "If the model draws random numbers, say so: --protocol autoattack --version rand --random. If it should not, "
       "look for dropout or batch norm in training mode (module.eval() before the export), and try --threads 1."},
      {"consistency",
       "Permuting, splitting, duplicating or padding a batch, or adversarial images in it, must not change what does "
       "not depend on it.",
       "The prediction depends on the other images of the batch. Export the module in evaluation mode if that is not "
       "meant. Where it is meant, attacks on single images do not measure this model."},
      {"reload", "Adversarial images read back from disk must give the same predictions.",
       "The images are stored as they were, in float32. Look at determinism and consistency first: if one of them "
       "failed, mend that. If both passed, the file or the disk is at fault: run again with --overwrite."},
      {"transfer",
       "Adversarial images of another model must not beat the attack on this one. Otherwise gradients are masked.",
       "The model's own gradients mislead the attack. Attack harder (--protocol msa --version standard, or --restarts "
       "4), and report the worst case over everything that ran, the images of the other models included."},
      {"convergence", "Four times the iterations must break hardly any more. Otherwise the attack stopped too early.",
       "The attack had not finished. Raise --steps, four times at first, or --restarts, until this check passes, and "
       "report the figures of that run."},
      {"Square after white-box",
       "An attack without gradients must not beat those with gradients. Otherwise the gradients mislead.",
       "The gradients mislead. Use every surrogate (--protocol msa --version standard) and a stand-in for what hides "
       "the gradient (--surrogate FILE), or raise --queries until Square finds no more."},
      {"alarms", "Signs that attacks by gradient fail must be followed by attacks of other kinds (protocol fast).",
       "Run again without --no-escalate: AutoAttack then attacks what stands. Then look at the alarm itself: "
       "docs/fast.md says what each means."},
      {"time limit", "Everything must have been attacked before the time was up (--budget).",
       "Images that were not attacked count as robust. Raise --budget and go on with --resume, or take the bound in "
       "place of the accuracy."},
      {"Square on a sample",
       "A few queries must not break what attacks by gradient left standing. Otherwise the gradients mislead.",
       "The gradients mislead. Attack every survivor without them (--protocol msa --version standard), and through "
       "stand-ins for what hides the gradient (--surrogates self,smoothed,query or --bpda NAME=identity)."},
      {"FAB on a sample",
       "FAB walks to the decision boundary. It must not break many of the images that the attacks left "
       "standing.",
       "The robust accuracy is too high. Run FAB on every survivor (--protocol autoattack). Give the first "
       "attack more steps. If these break little, look for tied predictions: maxima, medians, votes and "
       "rounded logits make them. Then attack through a model without that step (--surrogate FILE)."},
      {"binarisation self-test",
       "The attack in use must find adversarial images that were planted on this model. Otherwise it is not suited to "
       "it (--self-test).",
       "The attack that was tested (the detail names it) does not find what is there. Use more steps and starts, and "
       "attack through stand-ins for what hides the gradient (--protocol msa --surrogates self,smoothed,query, --bpda "
       "NAME=identity or --surrogate FILE); run the self-test again with them."},
      {"peer accuracy",
       "A base or control must be about as right on clean images as the model: they come from the same training.",
       "It probably sees other inputs than in training, so that the comparison flatters the model. Give it its own "
       "normalisation in a card (hpm inspect FILE --write-card), and look at the data set, the order of the "
       "classes and the checkpoint; --protocol clean on it alone shows when it is right."},
  };
  return all;
}

std::string advice_for(const std::string& name) {
  const auto* guide = find_guide(name);
  return guide ? guide->advice : "";
}

std::string meaning_of_check(const std::string& name) {
  const auto* guide = find_guide(name);
  return guide ? guide->meaning : "";
}

}  // namespace hpm
