// Which weights of a checkpoint are taken, and what is peeled off them.
#include "hpm/io/state_dict.h"

#include "io_support.h"

namespace hpm {
namespace {

using namespace test;

Value weight(uint8_t value) {
  Bytes data(1);
  data.data()[0] = std::byte{value};
  return {std::make_shared<StoredTensor>(StoredTensor{ScalarType::uint8, {1}, std::move(data)})};
}
Value dict(std::vector<std::pair<std::string, Value>> entries) {
  Dict out;
  for (auto& [key, value] : entries) out.entries.push_back({key, std::move(value)});
  return {std::move(out)};
}
Value layers(const std::string& prefix) {
  return dict({{prefix + "0.weight", weight(1)}, {prefix + "fc.bias", weight(2)}});
}
std::string names(const StateDict& state) {
  std::string out;
  for (const auto& [name, tensor] : state.tensors) out += name + " ";
  return out;
}

TEST(StateDict, IsFoundUnderEveryUsualWrapper) {
  for (const char* key :
       {"state_dict", "model_state_dict", "model", "net", "last", "best", "ema_state_dict", "ema_model", "something"}) {
    const auto state =
        peel(dict({{"epoch", {int64_t{3}}}, {key, layers("")}, {"optimizer", dict({{"state", dict({})}})}}));
    EXPECT_EQ(names(state), "0.weight fc.bias ") << key;
    EXPECT_EQ(state.peeled, std::vector<std::string>{fmt::format("key \"{}\"", key)});
    EXPECT_EQ(state.scalars.at("epoch"), "3");
  }
}

TEST(StateDict, IsFoundThroughNestedWrappersAndListsOfOne) {
  const auto state = peel(dict({{"model", {List{{dict({{"state_dict", layers("module.model.")}})}}}}}));
  EXPECT_EQ(names(state), "0.weight fc.bias ");
  EXPECT_EQ(state.peeled, (std::vector<std::string>{"key \"model\"", "list of one", "key \"state_dict\"",
                                                    "prefix \"module.model.\""}));
}

TEST(StateDict, LosesTheLongestPrefixOfAnyNameThatAllTensorsShare) {
  for (const char* prefix :
       {"module.", "module.module.", "_orig_mod.module.", "module.0.", "backbone.", "net.encoder.model."}) {
    const auto state = peel(layers(prefix));
    EXPECT_EQ(names(state), "0.weight fc.bias ") << prefix;
    EXPECT_EQ(state.peeled, std::vector<std::string>{fmt::format("prefix \"{}\"", prefix)});
    EXPECT_EQ(state.prefix, prefix);
  }
  EXPECT_EQ(names(peel(dict({{"module.a", weight(1)}, {"b", weight(1)}}))), "module.a b ");
  EXPECT_EQ(names(peel(dict({{"module.0.weight", weight(1)}, {"module.0.bias", weight(1)}}))), "0.weight 0.bias ")
      << "a Sequential of one layer";
  EXPECT_EQ(names(peel(dict({{"layer._orig_mod.0.weight", weight(1)}, {"fc.bias", weight(1)}}))),
            "layer.0.weight fc.bias ");
  EXPECT_EQ(names(peel(dict({{"model.0.weight", weight(1)}, {"model.fc.bias", weight(2)}, {"hpm.means", weight(3)}}))),
            "0.weight fc.bias hpm.means ")
      << "HPM's own state has no prefix";
}

Value values_of(std::vector<float> values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {std::make_shared<StoredTensor>(
      StoredTensor{ScalarType::float32, {1, static_cast<int64_t>(values.size()), 1, 1}, Bytes(bytes)})};
}

TEST(StateDict, TakesTheInputNormalisationOut) {
  const auto with = [](const std::string& mean, const std::string& std, const std::string& prefix) {
    return peel(dict({{mean, values_of({.5f, .25f, .125f})},
                      {std, values_of({1, 2, 4})},
                      {prefix + "a.weight", weight(1)},
                      {prefix + "b.bias", weight(2)}}));
  };
  for (const auto& [mean, std, prefix] :
       std::vector<std::array<const char*, 3>>{{"mean", "std", ""},
                                               {"mu", "sigma", ""},
                                               {"normalize.mean", "normalize.std", "model."},
                                               {"normalizer.new_mean", "normalizer.new_std", "model."},
                                               {"pre.norm.image_mean", "pre.norm.image_std", "net."},
                                               {"sub_mean.sub", "sub_mean.div", "m."},
                                               {"mean_rgb", "std_rgb", "model."},
                                               {"module.normalize.mu", "module.normalize.sigma", "module.model."},
                                               {"0.mean", "0.std", "1."},
                                               {"module.0.mean", "module.0.std", "module.1."}}) {
    const auto state = with(mean, std, prefix);
    EXPECT_EQ(names(state), "a.weight b.bias ") << mean;
    ASSERT_TRUE(state.normalisation.has_value()) << mean;
    EXPECT_EQ(hex(state.normalisation->mean.data), "0000003f0000803e0000003e");
    EXPECT_EQ(hex(state.normalisation->std.data), "0000803f0000004000008040");
  }
  EXPECT_FALSE(with("a.mean", "a.std", "").normalisation.has_value()) << "a layer with other tensors";
  EXPECT_FALSE(with("mean", "sigma", "").normalisation.has_value()) << "half a pair";
  EXPECT_EQ(names(with("a.running_mean", "a.running_var", "")), "a.running_mean a.running_var a.weight b.bias ");
  EXPECT_FALSE(with("bn.running_mean", "bn.running_std", "").normalisation.has_value()) << "of a batch norm";
}

Value floats(std::vector<int64_t> shape, float value) {
  std::vector<float> values(count_of(shape), value);
  return {std::make_shared<StoredTensor>(
      StoredTensor{ScalarType::float32, std::move(shape), Bytes(std::as_bytes(std::span(values)))})};
}
Value count(int64_t value) {
  return {
      std::make_shared<StoredTensor>(StoredTensor{ScalarType::int64, {}, Bytes(std::as_bytes(std::span(&value, 1)))})};
}
/// A network's tensors below a prefix, all of one value.
std::vector<std::pair<std::string, Value>> network(const std::string& prefix, float value) {
  return {{prefix + "0.conv.weight", floats({2, 3}, value)},
          {prefix + "0.bn.running_mean", floats({20}, value)},
          {prefix + "0.bn.num_batches_tracked", count(7)},
          {prefix + "fc.weight", floats({2, 2}, value)}};
}
constexpr const char* kNetwork = "0.conv.weight 0.bn.running_mean 0.bn.num_batches_tracked fc.weight ";

TEST(StateDict, CountersAndMetricsBesideTheWeightsAreLeftOutAndNamed) {
  auto entries = network("model.", 1);
  entries.insert(entries.begin(), {"n_averaged", count(5)});
  entries.push_back({"train_acc.correct", count(3)});
  entries.push_back({"val_loss.mean_value", floats({}, .5f)});
  const auto state = peel(dict(std::move(entries)));
  EXPECT_EQ(names(state), kNetwork);
  EXPECT_EQ(state.ignored, (std::vector<std::string>{"n_averaged (int64 [])", "train_acc.correct (int64 [])",
                                                     "val_loss.mean_value (float32 [])"}));
  auto plain = network("", 1);
  plain.push_back({"step", count(5)});
  EXPECT_EQ(names(peel(dict(std::move(plain)))), kNetwork + std::string("step ")) << "without a prefix nobody knows";
}

TEST(StateDict, SecondNamesOfTheWholeNetworkAndItsNormalisationAreLeftOut) {
  const auto entries = [](float copy) {
    auto all = network("module.model.", 1);
    for (auto& entry : network("module.attacker.model.", copy)) all.push_back(std::move(entry));
    for (const char* layer : {"module.normalizer.new_", "module.attacker.normalize.new_"}) {
      all.push_back({std::string(layer) + "mean", values_of({.5f, .25f, .125f})});
      all.push_back({std::string(layer) + "std", values_of({1, 2, 4})});
    }
    return peel(dict(std::move(all)));
  };
  const auto state = entries(1);
  EXPECT_EQ(names(state), kNetwork);
  EXPECT_TRUE(state.normalisation.has_value());
  EXPECT_EQ(state.ignored.size(), 2u);
  EXPECT_EQ(entries(2).tensors.size(), 8u) << "another network's weights are no second names";
}

TEST(StateDict, AKeyOrPrefixChoosesAmongSeveralSetsOfWeights) {
  const auto file = [] {
    return dict({{"epoch", {int64_t{3}}},
                 {"state_dict", dict(network("", 0))},
                 {"ema", dict({{"decay", {.5}}, {"shadow", dict(network("module.", 1))}})},
                 {"optimizer", dict({{"state", dict(network("", 2))}})}});
  };
  const auto first = [](const StateDict& state) { return hex(state.tensors.front().second.data).substr(0, 8); };
  const auto usual = peel(file());
  EXPECT_EQ(first(usual), "00000000");
  EXPECT_EQ(usual.candidates, (std::vector<WeightsCandidate>{{"state_dict", 4}, {"ema.shadow", 4}}));
  ASSERT_EQ(usual.warnings.size(), 1u);
  for (const char* part : {"state_dict was taken", "--key", "ema.shadow (4 tensors)"})
    EXPECT_NE(usual.warnings[0].find(part), std::string::npos) << usual.warnings[0];
  for (const char* key : {"ema.shadow", "shadow", "ema", "ema.shadow.module"}) {
    const auto state = peel(file(), "a.pth", key);
    EXPECT_EQ(first(state), "0000803f") << key;
    EXPECT_EQ(names(state), kNetwork) << key;
    EXPECT_EQ(state.key, "ema.shadow");
    EXPECT_TRUE(state.warnings.empty()) << key;
  }
  const auto message = message_of<UsageError>([&] { peel(file(), "a.pth", "ema.shadwo"); });
  EXPECT_NE(message.find("state_dict (4 tensors), ema.shadow (4 tensors); did you mean ema.shadow?"), std::string::npos)
      << message;
}

TEST(StateDict, APrefixChoosesAmongNetworksOfOneDictionary) {
  const auto file = [] {
    auto all = network("student.", 1);
    for (auto& entry : network("teacher.", 2)) all.push_back(std::move(entry));
    all.push_back({"normalize.mean", values_of({.5f})});
    all.push_back({"normalize.std", values_of({1})});
    return dict(std::move(all));
  };
  EXPECT_EQ(peel(file()).tensors.size(), 8u) << "names alone do not tell which is meant";
  const auto state = peel(file(), "a.pth", "teacher");
  EXPECT_EQ(names(state), kNetwork);
  EXPECT_EQ(hex(state.tensors.front().second.data).substr(0, 8), "00000040");
  EXPECT_TRUE(state.normalisation.has_value());
  EXPECT_EQ(state.ignored, std::vector<std::string>{"student.* (4 tensors)"});
}

TEST(StateDict, ObjectsBesideTheWeightsAreListedAndAmongThemNamed) {
  const Value counter{Opaque{.name = "collections.Counter"}};
  auto entries = network("", 1);
  entries.push_back({"extra", counter});
  const auto state = peel(dict({{"state_dict", dict(std::move(entries))},
                                {"scheduler", dict({{"milestones", counter}, {"list", {List{{counter}}}}})}}));
  EXPECT_EQ(state.unread, (std::vector<std::string>{"scheduler.milestones (collections.Counter)",
                                                    "scheduler.list.0 (collections.Counter)"}));
  EXPECT_EQ(state.ignored, std::vector<std::string>{"extra (an object of collections.Counter, not read)"});
}

TEST(StateDict, OfAnObjectInsteadOfWeightsNamesTheClassAndWhatToDo) {
  const auto message = message_of<Error>([] { peel(Value{Opaque{.name = "net.Wrapper"}}, "a.pth"); });
  EXPECT_NE(message.find("an object of net.Wrapper"), std::string::npos) << message;
  EXPECT_NE(message.find("model.state_dict()"), std::string::npos) << message;
}

TEST(StateDict, LeavesSecondNamesOfTheFirstLayersOut) {
  const auto state = peel(dict({{"conv1.weight", weight(7)},
                                {"model_preact_hl1.1.weight", weight(7)},
                                {"model_preact_hl1.2.weight", weight(8)}}));
  EXPECT_EQ(names(state), "conv1.weight model_preact_hl1.2.weight ") << "what is no copy stays, to be refused later";
  EXPECT_EQ(state.ignored.size(), 1u);
}

TEST(StateDict, NamesOtherCandidatesAndIgnoredEntries) {
  const auto state = peel(dict({{"ema_model", layers("")},
                                {"model", dict({{"w", weight(1)}, {"version", {int64_t{2}}}, {"shape", {List{}}}})}}));
  EXPECT_EQ(names(state), "w ");
  EXPECT_EQ(state.peeled.front(), "key \"model\" (others: ema_model)");
  EXPECT_EQ(state.ignored, (std::vector<std::string>{"version (int)", "shape (list of 0)"}));
}

TEST(StateDict, OfNothingListsTheTopLevelKeys) {
  const auto message = message_of<Error>([] {
    peel(dict({{"epoch", {int64_t{3}}}, {"state_dict", dict({})}}), "a.pth");
  });
  EXPECT_EQ(message, "a.pth: no weights were found. At the top there is: epoch (int), state_dict (dict of 0)");
  EXPECT_THROW(peel(Value{}), Error);
  const auto open = message_of<Error>([] { peel(dict({{"a", layers("")}, {"b", layers("")}})); });
  EXPECT_NE(open.find("a (2 tensors), b (2 tensors). Choose one with --key"), std::string::npos) << open;
}

TEST(StateDict, CopiesATensorThatTwoNamesShare) {
  const Value shared = weight(7);
  const auto state = peel(dict({{"a", shared}, {"b", shared}}));
  EXPECT_EQ(state.tensors[0].second, state.tensors[1].second);
  EXPECT_EQ(hex(state.tensors[1].second.data), "07");
}

}  // namespace
}  // namespace hpm
