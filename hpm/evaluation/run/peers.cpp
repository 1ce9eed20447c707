#include "hpm/evaluation/run/peers.h"

#include <cmath>

#include "hpm/core/error.h"
#include "hpm/evaluation/results/statistics.h"
#include "hpm/models/normalisation.h"
#include "hpm/models/torchscript.h"
#include "hpm/prototypes/model.h"

namespace hpm {
namespace {

constexpr double kFarPoints = 10, kNoChance = .01;

/// The peer with a normalisation that is known, and a line in `findings` where it is not its own.
LoadedModel load_normalised(const PeerRequest& request, const Classifier& model, std::vector<std::string>& findings) {
  auto card = request.given;
  card.sha256.clear(), card.key.clear();  // of the model's own file
  card.mean.clear(), card.std.clear();
  const auto load = [&] { return load_model(request.path, card, model.info().input_shape, request.allow_torchscript); };
  auto own = load();
  const Normalisation given{request.given.mean, request.given.std};
  if (normalisation_known(own.model.classifier)) {
    const auto& normalisation = own.model.classifier.info().normalisation;
    if (!given.identity() && is_torchscript(own.model.classifier) && normalisation.identity())
      findings.push_back(
          fmt::format("{} {}: a TorchScript module normalises inside; --mean and --std are not applied "
                      "to it (a card beside it would be)",
                      request.name, request.path));
    return own;
  }
  const auto& of_model = model.info();
  const bool same = own.model.classifier.info().architecture == of_model.architecture;
  if (given.identity() && !(same && !of_model.normalisation.identity()))
    require_normalisation(own.model.classifier, fmt::format("as --{} it is compared with a model of {} architecture",
                                                            request.name, same ? "the same" : "another"));
  const auto taken = given.identity() ? of_model.normalisation : given;
  card.mean = taken.mean, card.std = taken.std;
  findings.push_back(
      fmt::format("{} {}: no normalisation of its own is known; {}, {}, is taken", request.name, request.path,
                  given.identity() ? fmt::format("the model's ({}, the same architecture)", of_model.architecture)
                                   : "what --mean and --std say",
                  text_of(taken)));
  return load();
}

}  // namespace

LoadedPeer load_peer(const PeerRequest& request, const Classifier& model) {
  LoadedPeer peer;
  auto loaded = load_normalised(request, model, peer.findings);
  peer.notes = std::move(loaded.notes), peer.warnings = std::move(loaded.warnings);
  peer.classifier = loaded.model.classifier;
  if (loaded.model.head)
    peer.warnings.push_back(request.path + ": has an HPM head; as base or control its FC layer alone is used");
  require(peer.classifier.classes() == model.classes(), "{}: has {} classes, but the model has {}", request.path,
          peer.classifier.classes(), model.classes());
  return peer;
}

CheckOutcome peer_accuracy(const std::string& name, const Tensor& model_correct, const Tensor& peer_correct) {
  const auto paired = compare_paired(peer_correct, model_correct);
  const bool far = std::abs(paired.difference) > kFarPoints && paired.p < kNoChance;
  using Status = CheckOutcome::Status;
  const auto status = !far ? Status::passed : paired.difference < 0 ? Status::failed : Status::reported;
  return {.name = "peer accuracy",
          .status = status,
          .value = -paired.difference,
          .limit = kFarPoints,
          .unit = "points below",
          .detail = fmt::format("the {}'s clean accuracy is {:.1f} %, the model's {:.1f} %{}", name,
                                percent(peer_correct), percent(model_correct),
                                status == Status::failed
                                    ? ": was it given another normalisation or data set, or is it another checkpoint?"
                                    : ""),
          .context = name};
}

}  // namespace hpm
