// The restricted unpickler, and what is peeled off its result.
#include "hpm/io/pickle.h"
#include "hpm/io/state_dict.h"
#include "io_support.h"

namespace hpm {
namespace {

using namespace test;
using namespace std::string_literals;

Value unpickle(const std::string& bytes, const PickleLimits& limits = {}) {
  const MemorySource source("test.pkl", bytes_of(bytes));
  ByteReader in(source);
  return Pickle(in, limits).value([](const StorageName&, ByteRange part) {
    Bytes out(part.size);
    for (size_t i = 0; i < out.size(); ++i) out.data()[i] = static_cast<std::byte>(part.begin + i);
    return out;
  });
}

std::string error_of(const std::string& bytes, const PickleLimits& limits = {}) {
  return message_of<Error>([&] { unpickle(bytes, limits); });
}

std::string text(const std::string& s) { return "X" + little(static_cast<uint32_t>(s.size())) + s; }
std::string integer(int64_t i) { return "\x8a\x08"s + little(i); }
std::string tuple(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const auto v : values) out += integer(v);
  return out + "t";
}
std::string storage(const std::string& type, const std::string& key, int64_t count) {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text(key) + text("cpu") + integer(count) + "tQ";
}
std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides) {
  return "ctorch._utils\n_rebuild_tensor\n(" + storage + integer(offset) + tuple(shape) + tuple(strides) + "tR";
}
std::string global(const std::string& module, const std::string& name) { return "c" + module + "\n" + name + "\n"; }

template <class T>
T got(const std::string& bytes) {
  const Value value = unpickle(bytes + ".");
  const T* found = value.as<T>();
  if (!found) throw std::runtime_error("holds a " + value.description());
  return *found;
}

TEST(Pickle, ReadsNumbersTextsAndBytesOfEveryProtocol) {
  EXPECT_EQ(got<int64_t>("J\xFE\xFF\xFF\xFF"s), -2);
  EXPECT_EQ(got<int64_t>("K\xFE"s), 254);
  EXPECT_EQ(got<int64_t>("M\x01\x02"s), 513);
  EXPECT_EQ(got<int64_t>("\x8a\x00"s), 0);
  EXPECT_EQ(got<int64_t>("\x8a\x01\xFF"s), -1);
  EXPECT_EQ(got<int64_t>("\x8a\x02\xFF\x00"s), 255);
  EXPECT_EQ(got<int64_t>("I-12\n"s), -12);
  EXPECT_EQ(got<int64_t>("L123L\n"s), 123);
  EXPECT_EQ(got<std::string>("\x8a\x09\x01\x00\x00\x00\x00\x00\x00\x00\x02"s), "0x020000000000000001");
  EXPECT_EQ(got<bool>("I01\n"s), true);
  EXPECT_EQ(got<bool>("\x89"s), false);
  EXPECT_EQ(got<double>("F-1.5e3\n"s), -1500.0);
  EXPECT_EQ(got<double>("G\x3f\xf8\x00\x00\x00\x00\x00\x00"s), 1.5);
  EXPECT_EQ(got<std::string>("X\x02\x00\x00\x00\xC3\xA9"s), "é");
  EXPECT_EQ(got<std::string>("S'abc'\n"s), "abc");
  EXPECT_EQ(got<std::string>("Vabc\n"s), "abc");
  EXPECT_EQ(got<std::string>("U\x01z"s), "z");
  EXPECT_EQ(got<Bytes>("U\x01\xFF"s).text(), "\xFF");
  EXPECT_EQ(got<Bytes>("C\x02\x00\xFF"s).text(), "\0\xFF"s);
  EXPECT_TRUE(unpickle("N.").as<std::monostate>());
}

TEST(Pickle, ReadsContainersAndSharedObjects) {
  const Value value = unpickle("\x80\x04\x95"s + little<uint64_t>(20) + "}\x94(" + text("a") + "]\x94(K\x01K\x02" +
                               "e" + text("b") + "h\x01K\x05K\x06K\x07\x86u.");
  ASSERT_TRUE(value.as<Dict>());
  EXPECT_EQ(value.find("a")->items()->size(), 2u);
  EXPECT_EQ(value.find("b")->items()->size(), 2u);
  EXPECT_EQ(std::get<int64_t>(value.as<Dict>()->entries[2].key), 5);
  EXPECT_TRUE(value.as<Dict>()->entries[2].value.as<Tuple>());
}

TEST(Pickle, AKeyGivenAgainKeepsItsPlaceAndTakesTheNewValue) {
  const Value value = unpickle("}(" + text("a") + "K\x01" + text("b") + "K\x02" + text("a") + "K\x03u.");
  ASSERT_EQ(value.as<Dict>()->entries.size(), 2u);
  EXPECT_EQ(*value.as<Dict>()->entries[0].value.as<int64_t>(), 3);
}

TEST(Pickle, ReadsTensorsWithAnyStrides) {
  const std::string bytes = storage("ByteStorage", "0", 6);
  const auto row_major = *got<TensorPointer>(tensor(bytes, 0, {2, 3}, {3, 1}));
  EXPECT_EQ(row_major.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(hex(row_major.data), "000102030405");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(bytes, 0, {3, 2}, {1, 3}))->data), "000301040205");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(bytes, 1, {2}, {3}))->data), "0104");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(bytes, 5, {}, {}))->data), "05");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(bytes, 2, {2, 2}, {0, 1}))->data), "02030203");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(bytes, 9, {0, 2}, {2, 1}))->data), "");
  EXPECT_EQ(hex(got<TensorPointer>(tensor(storage("ShortStorage", "0", 4), 0, {2, 2}, {1, 2}))->data),
            "0001040502030607");
}

TEST(Pickle, RefusesTensorsThatLeaveTheirStorage) {
  const std::string bytes = storage("FloatStorage", "0", 6);
  for (const auto& bad :
       {tensor(bytes, 1, {2, 3}, {3, 1}), tensor(bytes, 0, {7}, {1}), tensor(bytes, 6, {}, {}),
        tensor(bytes, 0, {2, 2}, {5, 1}), tensor(bytes, 0, {2}, {std::numeric_limits<int64_t>::max()}),
        tensor(bytes, std::numeric_limits<int64_t>::max(), {2}, {std::numeric_limits<int64_t>::max()})})
    EXPECT_NE(error_of(bad + ".").find("of a storage of 6"), std::string::npos);
  EXPECT_NE(error_of(tensor(bytes, -1, {1}, {1}) + ".").find("is -1"), std::string::npos);
  EXPECT_NE(error_of(tensor(bytes, 0, {-1}, {1}) + ".").find("at least 0"), std::string::npos);
  EXPECT_NE(error_of(tensor(bytes, 0, {1}, {-1}) + ".").find("at least 0"), std::string::npos);
  EXPECT_NE(error_of(tensor(bytes, 0, {1, 1}, {1}) + ".").find("has 1 strides"), std::string::npos);
  const int64_t large = int64_t{1} << 40;
  EXPECT_NE(error_of(tensor(bytes, 0, {large, large}, {0, 0}) + ".").find("too large"), std::string::npos);
  EXPECT_NE(error_of(tensor(bytes, 0, {large, large, 0}, {0, 0, 1}) + ".").find("too large"), std::string::npos);
  EXPECT_NE(
      error_of(tensor(bytes, 0, std::vector<int64_t>(65, 1), std::vector<int64_t>(65, 1)) + ".").find("65 dimensions"),
      std::string::npos);
}

TEST(Pickle, RefusesViewsThatTakeFarMoreMemoryThanTheFile) {
  EXPECT_NE(error_of(tensor(storage("FloatStorage", "0", 1), 0, {1 << 30}, {0}) + ".").find("far more memory"),
            std::string::npos);
  std::string many = "](" + storage("FloatStorage", "0", 1000000) + "q\x01" + "0";
  for (int i = 0; i < 100; ++i) many += tensor("h\x01", 0, {1000000}, {1});
  EXPECT_NE(error_of(many + "e.").find("far more memory"), std::string::npos);
}

TEST(Pickle, RefusesStoragesThatContradictThemselves) {
  EXPECT_NE(error_of("(" + storage("FloatStorage", "0", 6) + storage("FloatStorage", "0", 7) + "t.")
                .find("storage \"0\" is named with"),
            std::string::npos);
  EXPECT_NE(error_of("(" + storage("FloatStorage", "0", 6) + storage("LongStorage", "0", 6) + "t.")
                .find("storage \"0\" is named with"),
            std::string::npos);
  EXPECT_NE(error_of(storage("ComplexFloatStorage", "0", 6) + ".").find("ComplexFloatStorage; this element type"),
            std::string::npos);
  EXPECT_NE(error_of(storage("FloatStorage", "0", std::numeric_limits<int64_t>::max()) + ".").find("too large"),
            std::string::npos);
  EXPECT_NE(error_of("(" + text("module") + "NNNNtQ.").find("program code"), std::string::npos);
}

TEST(Pickle, RunsNothing) {
  const std::string attack = global("os", "system") + "(" + text("touch /tmp/hpm_was_here") + "tR.";
  EXPECT_NE(error_of(attack).find("the file wants to call os.system; hpm never runs code from a file"),
            std::string::npos);
  EXPECT_NE(error_of("\x8c\x02os\x8c\x06system\x93."s).find("os.system"), std::string::npos);
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"builtins", "eval"},
                                                        {"torch", "load"},
                                                        {"torch._utils", "_rebuild_tensor_v2.__globals__"},
                                                        {"collections", "OrderedDict.fromkeys"},
                                                        {"torch.hub", "load"},
                                                        {"numpy", "load"},
                                                        {"collections", "Counter"},
                                                        {"nn", "FloatStorage"}})
    EXPECT_NE(error_of(global(module, name) + ".").find("wants to call " + module + "." + name), std::string::npos)
        << module << name;
  EXPECT_THROW(unpickle("(ios\nsystem\n."), Error);       // INST
  EXPECT_THROW(unpickle("(" + text("x") + "o."), Error);  // OBJ
  EXPECT_THROW(unpickle("\x82\x01."s), Error);            // EXT1
  EXPECT_NE(error_of(text("os.system") + ")R.").find("no function"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists("/tmp/hpm_was_here"));
}

TEST(Pickle, RefusesCycles) {
  EXPECT_NE(error_of("]q\x00h\x00"s + "a.").find("contains itself"), std::string::npos);
  EXPECT_NE(error_of("}q\x00"s + text("a") + "h\x00s."s).find("contains itself"), std::string::npos);
  EXPECT_NE(error_of("]q\x00h\x00\x85"s + "a.").find("contains itself"), std::string::npos);
}

TEST(Pickle, BoundsDepth) {
  std::string deep = "]";
  for (int i = 0; i < 99; ++i) deep += "\x85";
  EXPECT_NO_THROW(unpickle(deep + "."));
  EXPECT_NE(error_of(deep + "\x85.").find("deeper than 100"), std::string::npos);
  std::string very_deep(1000000, '\x85');
  EXPECT_NE(error_of("]" + very_deep + ".").find("deeper than 100"), std::string::npos);
}

TEST(Pickle, BoundsWhatSharedObjectsWriteOut) {
  // Each list holds the one before it ten times: 10^9 values from 200 bytes.
  std::string laughs =
      "](K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01"
      "eq"s +
      '\0' + "0";
  for (char i = 0; i < 9; ++i) {
    laughs += "](";
    for (int j = 0; j < 10; ++j) laughs += "h"s + i;
    laughs += "eq"s + static_cast<char>(i + 1) + "0";
  }
  EXPECT_NE(error_of(laughs + "h\x09.").find("written out"), std::string::npos);
  EXPECT_NE(error_of("(" + text(std::string(100000, 'x')) + std::string(200, '2') + "t.").find("written out"),
            std::string::npos);
}

TEST(Pickle, BoundsObjectsTextsAndStack) {
  EXPECT_NE(error_of(std::string(1001, 'N'), {.values = 1000}).find("more than 1000 objects"), std::string::npos);
  EXPECT_NE(error_of("N" + std::string(1001, '2'), {.values = 1000}).find("stack is deeper"), std::string::npos);
  EXPECT_NE(error_of(std::string(1001, '('), {.values = 1000}).find("1000 groups"), std::string::npos);
  EXPECT_NE(error_of("(" + text("abcdef") + text("abcdef"), {.text = 10}).find("bytes of text"), std::string::npos);
  EXPECT_NE(error_of("X\xFF\xFF\xFF\xFF"s).find("4294967295 bytes, but only 0 are left"), std::string::npos);
  EXPECT_NE(error_of("\x8e\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"s).find("bytes, but only 0 are left"), std::string::npos);
  EXPECT_NE(error_of("\x8b\xFF\xFF\xFF\xFF"s).find("an integer of 4294967295 bytes"), std::string::npos);
  std::string links = "]q\x01(" + std::string(500, 'N') + "e";
  EXPECT_NE(error_of(links + "\x81", {.values = 400}).find("objects"), std::string::npos);
}

TEST(Pickle, RefusesMalformedPrograms) {
  for (const std::string& bad : {""s,
                                 "."s,
                                 "N"s,
                                 "NN."s,
                                 "(N."s,
                                 "\x85."s,
                                 "a."s,
                                 "]a."s,
                                 "NNa."s,
                                 "}Ns."s,
                                 "}(Nu."s,
                                 "NNNs."s,
                                 "e."s,
                                 "](e"s,
                                 "h\x05."s,
                                 "gx\n."s,
                                 "R."s,
                                 "NNR."s,
                                 "Nb."s,
                                 "NNb."s,
                                 "Q."s,
                                 "NQ."s,
                                 ")Q."s,
                                 "\x80\x06N."s,
                                 "\x01."s,
                                 "Iabc\n."s,
                                 "Fabc\n."s,
                                 "Sabc\n."s,
                                 "X\x01\x00\x00\x00\xFF."s,
                                 "0."s,
                                 "1."s,
                                 "2."s,
                                 "q\x00."s,
                                 "ctorch\nSize\n)R."s,
                                 "ccollections\nOrderedDict\n(Nt"s + "R."s,
                                 "ccollections\nOrderedDict\nNR."s})
    EXPECT_THROW(unpickle(bad), Error) << hex(bytes_of(bad));
}

TEST(Pickle, ReadsNumpyScalarsAsNumbers) {
  const auto scalar = [](const std::string& type, const std::string& bytes, const std::string& order = "<") {
    return global("numpy.core.multiarray", "scalar") + "(" + global("numpy", "dtype") + "(" + text(type) +
           "\x89\x88tR(K\x03" + text(order) + "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + "\0"s + "tb" + "C" +
           static_cast<char>(bytes.size()) + bytes + "tR";
  };
  EXPECT_EQ(got<double>(scalar("f8", little(0.625))), 0.625);
  EXPECT_EQ(got<double>(scalar("f4", little(0.5f))), 0.5);
  EXPECT_EQ(got<double>(scalar("f2", "\x00\x3e"s)), 1.5);
  EXPECT_EQ(got<double>(scalar("f2", "\x01\x80"s)), -0x1p-24);
  EXPECT_EQ(got<int64_t>(scalar("i2", "\xfe\xff"s)), -2);
  EXPECT_EQ(got<int64_t>(scalar("u1", "\xfe"s)), 254);
  EXPECT_EQ(got<bool>(scalar("b1", "\x01"s, "|")), true);
  EXPECT_NE(error_of(scalar("f8", little(0.5f)) + ".").find("numpy f8 of 4 bytes"), std::string::npos);
  EXPECT_NE(error_of(scalar("O8", little(0.5)) + ".").find("type \"O8\""), std::string::npos);
  EXPECT_NE(error_of(scalar("f8", little(0.5), ">") + ".").find("big-endian"), std::string::npos);
}

// Peeling

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
                                                    "prefix \"module.\"", "prefix \"model.\""}));
}

TEST(StateDict, LosesPrefixesOnlyWhenAllNamesHaveThem) {
  EXPECT_EQ(names(peel(layers("module."))), "0.weight fc.bias ");
  EXPECT_EQ(names(peel(layers("module.module."))), "0.weight fc.bias ");
  EXPECT_EQ(names(peel(layers("_orig_mod.module."))), "0.weight fc.bias ");
  EXPECT_EQ(names(peel(layers("module.0."))), "0.weight fc.bias ");
  EXPECT_EQ(names(peel(dict({{"module.a", weight(1)}, {"b", weight(1)}}))), "module.a b ");
  EXPECT_EQ(names(peel(dict({{"module.0.weight", weight(1)}, {"module.0.bias", weight(1)}}))), "0.weight 0.bias ")
      << "a Sequential of one layer";
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
  EXPECT_THROW(peel(dict({{"a", layers("")}, {"b", layers("")}})), Error);
}

TEST(StateDict, CopiesATensorThatTwoNamesShare) {
  const Value shared = weight(7);
  const auto state = peel(dict({{"a", shared}, {"b", shared}}));
  EXPECT_EQ(state.tensors[0].second, state.tensors[1].second);
  EXPECT_EQ(hex(state.tensors[1].second.data), "07");
}

}  // namespace
}  // namespace hpm
