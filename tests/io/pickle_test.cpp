// The restricted unpickler.
#include "hpm/io/pickle.h"
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
  EXPECT_NE(error_of(storage("FloatStorage", "0", std::numeric_limits<int64_t>::max()) + ".").find("too large"),
            std::string::npos);
  EXPECT_NE(error_of("(" + text("module") + "NNNNtQ.").find("program code"), std::string::npos);
  EXPECT_NE(error_of("(" + text("tape") + "NNNNtQ.").find("no storage"), std::string::npos);
}

// Objects that hpm does not know

std::string opaque_name(const std::string& bytes) {
  const Value value = unpickle(bytes + ".");
  const auto* opaque = value.as<Opaque>();
  return opaque ? opaque->name : "a " + value.description();
}

TEST(Pickle, CallsNothingAndKeepsTheNameOfWhatAFileWouldCall) {
  const std::string attack = text("touch /tmp/hpm_was_here");
  EXPECT_EQ(opaque_name(global("os", "system") + "(" + attack + "tR"), "os.system");
  EXPECT_EQ(opaque_name("\x8c\x02os\x8c\x06system\x93(" + attack + "tR"), "os.system");
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"builtins", "eval"},
                                                        {"torch", "load"},
                                                        {"torch._utils", "_rebuild_tensor_v2.__globals__"},
                                                        {"collections", "OrderedDict.fromkeys"},
                                                        {"numpy", "load"},
                                                        {"nn", "FloatStorage"}}) {
    const auto full = module + "." + name;
    EXPECT_EQ(opaque_name(global(module, name)), full);
    EXPECT_EQ(opaque_name(global(module, name) + "(" + attack + "tR"), full) << "REDUCE";
    EXPECT_EQ(opaque_name(global(module, name) + ")\x81"), full) << "NEWOBJ";
    EXPECT_EQ(opaque_name(global(module, name) + ")}\x92"), full) << "NEWOBJ_EX";
    EXPECT_EQ(opaque_name("(" + attack + "i" + module + "\n" + name + "\n"), full) << "INST";
    EXPECT_EQ(opaque_name("(" + global(module, name) + attack + "o"), full) << "OBJ";
    EXPECT_EQ(opaque_name(global(module, name) + ")R}" + text("a") + attack + "sb"), full) << "BUILD";
    EXPECT_EQ(opaque_name(global(module, name) + ")R(" + attack + attack + "u"), full) << "SETITEMS";
    EXPECT_EQ(opaque_name(global(module, name) + ")R(" + attack + "e"), full) << "APPENDS";
    EXPECT_EQ(opaque_name(global(module, name) + ")R(" + attack + "tR"), full) << "what it gives is called again";
  }
  EXPECT_FALSE(std::filesystem::exists("/tmp/hpm_was_here"));
  EXPECT_THROW(unpickle("\x82\x01."s), Error) << "EXT1";
  EXPECT_THROW(unpickle("(o."s), Error) << "an object without a class";
  EXPECT_THROW(unpickle(global("a", "b") + ")N\x92."), Error) << "keyword arguments that are no dict";
  EXPECT_NE(error_of(text("os.system") + ")R.").find("no function"), std::string::npos);
}

TEST(Pickle, ReadsNumpyArraysOfProtocol5) {
  const auto array = [](const std::string& type, const std::string& data, const std::string& order) {
    return global("numpy._core.numeric", "_frombuffer") + "(\x96" + little<uint64_t>(data.size()) + data +
           global("numpy", "dtype") + "(" + text(type) + "\x89\x88tR" + tuple({2, 2}) + text(order) + "tR";
  };
  EXPECT_EQ(hex(got<TensorPointer>(array("u2", "abcdefgh", "C"))->data), "6162636465666768");
  EXPECT_EQ(hex(got<TensorPointer>(array("u2", "abcdefgh", "F"))->data), "6162656663646768");
  EXPECT_NE(error_of(array("u2", "abc", "C") + ".").find("takes 8 bytes, but 3 came"), std::string::npos);
  EXPECT_EQ(opaque_name(array("O8", "abc", "C")), "numpy.ndarray of numpy.dtype \"O8\"");
}

TEST(Pickle, ObjectsMadeByHelpersAreCalledAfterTheirClass) {
  const auto object = global("__builtin__", "object");
  EXPECT_EQ(opaque_name(global("copy_reg", "_reconstructor") + "(" + global("net", "Args") + object + "NtR"),
            "net.Args");
  EXPECT_EQ(opaque_name(global("copyreg", "__newobj__") + "(" + global("net", "Args") + "tR"), "net.Args");
}

TEST(Pickle, ObjectsThatHoldThemselvesOrEachOtherManyTimesStayOneEach) {
  // a.self = a, in a list of itself; then a list of lists of it, which would be 10^9 objects written out.
  std::string laughs = global("net", "A") + ")Rq\xFF}" + text("self") + "h\xFFs" + "b0](" + std::string(10, 'N') +
                       "eq" + '\0' + "0](h\xFFh\xFF" + "e.";
  const Value value = unpickle(laughs);
  ASSERT_TRUE(value.items());
  EXPECT_EQ((*value.items())[1].as<Opaque>()->name, "net.A");
}

TEST(Pickle, ValuesAroundUnknownObjectsAreRead) {
  const Value value = unpickle("}(" + text("w") + tensor(storage("ByteStorage", "0", 2), 0, {2}, {1}) + text("log") +
                               global("collections", "Counter") + "(}(" + text("a") + "K\x01utR" + text("when") +
                               global("datetime", "datetime") + "(C\x01\x07tR" + text("epoch") + "K\x05" + "u.");
  EXPECT_TRUE(value.find("w")->as<TensorPointer>());
  EXPECT_EQ(value.find("log")->as<Opaque>()->name, "collections.Counter");
  EXPECT_EQ(*value.find("epoch")->as<int64_t>(), 5);
}

TEST(Pickle, TensorsOfMappingsThatItDoesNotKnowAreKept) {
  const Value value = unpickle(global("collections", "defaultdict") + "(NtR(" + text("w") +
                               tensor(storage("ByteStorage", "0", 2), 0, {2}, {1}) + text("epoch") + "K\x05u.");
  const auto* opaque = value.as<Opaque>();
  ASSERT_TRUE(opaque && opaque->tensors);
  ASSERT_EQ(opaque->tensors->entries.size(), 1u);
  EXPECT_EQ(text_of(opaque->tensors->entries[0].key), "w");
  EXPECT_FALSE(opaque->is_module);
}

std::string module(const std::string& name, const std::string& parameters, const std::string& buffers,
                   const std::string& modules, const std::string& hidden = "") {
  return global("net", name) + ")\x81}(" + text("_parameters") + "}(" + parameters + "u" + text("_buffers") + "}(" +
         buffers + "u" + text("_modules") + "}(" + modules + "u" +
         (hidden.empty()
              ? ""
              : text("_non_persistent_buffers_set") + global("__builtin__", "set") + "(](" + hidden + "etR") +
         "ub";
}

TEST(Pickle, ModulesGiveTheirParametersAndBuffersAsStateDictNamesThem) {
  const auto byte = tensor(storage("ByteStorage", "0", 4), 0, {1}, {1});
  const auto layer = module("Linear", text("weight") + byte + text("bias") + "N", "", "");
  const auto norm = module("Norm", "", text("mean") + byte + text("cache") + byte, "", text("cache"));
  const Value value = unpickle(
      module("Net", text("scale") + byte, "", text("fc") + layer + text("bn") + norm + text("none") + "N") + ".");
  const auto* opaque = value.as<Opaque>();
  ASSERT_TRUE(opaque && opaque->tensors);
  EXPECT_TRUE(opaque->is_module);
  EXPECT_EQ(opaque->name, "net.Net");
  std::string names;
  for (const auto& entry : opaque->tensors->entries) names += text_of(entry.key) + " ";
  EXPECT_EQ(names, "scale fc.weight bn.mean ");
}

TEST(Pickle, ModulesThatHoldThemselvesOrFarTooManyAreRefused) {
  const auto self = global("net", "A") + ")\x81q\x07}(" + text("_parameters") + "}" + text("_buffers") + "}" +
                    text("_modules") + "}" + text("a") + "h\x07su" + "b.";
  EXPECT_NE(error_of(self).find("contains itself"), std::string::npos) << error_of(self);
  // Each holds the one before it ten times: 10^9 modules from a kilobyte.
  std::string bomb =
      module("A", text("w") + tensor(storage("ByteStorage", "0", 4), 0, {1}, {1}), "", "") + "q\x01" + "0";
  for (char i = 1; i < 10; ++i) {
    std::string inside;
    for (char c = 'a'; c < 'k'; ++c) inside += text(std::string(1, c)) + "h" + i;
    bomb += module("A", "", "", inside) + "q" + static_cast<char>(i + 1) + "0";
  }
  EXPECT_NE(error_of(bomb + "h\x0a" + ".").find("many times as many"), std::string::npos);
}

TEST(Pickle, TensorsThatItCannotReadAreNamedAndTheOthersRead) {
  const auto v3 = [&](const std::string& storage, const std::string& dtype, int64_t count) {
    return global("torch._utils", "_rebuild_tensor_v3") + "(" + storage + integer(0) + tuple({count}) + tuple({1}) +
           "\x89" + global("collections", "OrderedDict") + ")R" + global("torch", dtype) + "tR";
  };
  const auto untyped = storage("UntypedStorage", "0", 8);
  EXPECT_EQ(got<TensorPointer>(v3(untyped, "uint16", 4))->type, ScalarType::uint16);
  EXPECT_EQ(got<TensorPointer>(v3(untyped, "uint64", 1))->type, ScalarType::uint64);
  EXPECT_NE(error_of(v3(untyped, "uint16", 5) + ".").find("of a storage of 4"), std::string::npos);
  EXPECT_EQ(opaque_name(v3(untyped, "float8_e4m3fn", 8)), "a tensor of torch.float8_e4m3fn");
  EXPECT_EQ(opaque_name(tensor(storage("ComplexFloatStorage", "0", 6), 0, {2}, {1})),
            "a tensor in a torch.ComplexFloatStorage");
  EXPECT_EQ(opaque_name(global("torch._utils", "_rebuild_sparse_tensor") + "(NtR"),
            "torch._utils._rebuild_sparse_tensor");
  const auto plain = tensor(storage("ByteStorage", "0", 2), 0, {2}, {1});
  EXPECT_EQ(
      hex(got<TensorPointer>(global("torch._utils", "_rebuild_parameter_with_state") + "(" + plain + "\x88)}tR")->data),
      "0001");
  const auto arguments = "(" + storage("ByteStorage", "0", 2) + integer(0) + tuple({2}) + tuple({1}) + "t";
  EXPECT_EQ(
      hex(got<TensorPointer>(global("torch._tensor", "_rebuild_from_type_v2") + "(" +
                             global("torch._utils", "_rebuild_tensor") + global("net", "MyTensor") + arguments + "}tR")
              ->data),
      "0001");
}

TEST(Pickle, ReadsTheEscapesOfProtocol0AndNamesThatAreNotUtf8) {
  EXPECT_EQ(got<std::string>("S'a\\\\b\\'c\\n\\x41\\101'\n"s), "a\\b'c\nAA");
  EXPECT_EQ(got<Bytes>("S'\\xff'\n"s).text(), "\xFF");
  EXPECT_EQ(got<std::string>("Va\\u00e9\\U0001f600\xE9\n"s), "aé😀é");
  EXPECT_EQ(got<std::string>("X\x06\x00\x00\x00mo\xED\xB3\xA8"
                             "d"s),
            "mo\\udce8d")
      << "os.fsdecode(b'mo\\xe8d')";
  for (const char* bad : {"S'\\q'\n.", "S'\\x4'\n.", "S'a\\'\n.", "V\\u12\n.", "V\\U99999999\n."})
    EXPECT_THROW(unpickle(bad), Error) << bad;
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
  EXPECT_EQ(unpickle(scalar("O8", little(0.5)) + ".").as<Opaque>()->name, "numpy.core.multiarray.scalar");
  EXPECT_EQ(unpickle(scalar("f8", little(0.5), ">") + ".").as<Opaque>()->name, "numpy.core.multiarray.scalar");
}

}  // namespace
}  // namespace hpm
