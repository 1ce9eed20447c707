// The relaxation attack beside the official AutoAttack, image by image, on the files of shared/oracles/autoattack:
//     build/release/tests/attacks/fast_oracles
// HPM_SEEDS=0,1,2 chooses the seeds, HPM_ORACLES=text the files whose names hold it. HPM_ABLATION=1 prints what
// each ingredient is worth; HPM_VARIANTS=text: those whose names hold it. docs/fast.md has the tables.
#include "attacks/oracle_run.h"
#include "hpm/attacks/relaxation.h"
#include "hpm/models/operations.h"

namespace hpm {
namespace {

struct Oracle {
  std::string name;
  nlohmann::json file;
  ThreatModel threat;
  Tensor clean, robust;  // [N] bool
  int64_t forward = 0, backward = 0;
  double seconds = 0;
};

Oracle read_oracle(const std::filesystem::path& path) {
  Oracle oracle{path.stem().string(), test::read_json(path), {}, {}, {}};
  const auto& file = oracle.file;
  oracle.threat = {parse_norm(file["norm"]), file["eps"]};
  oracle.clean = test::tensor_of(file["clean"]).to(at::kBool);
  oracle.robust = oracle.clean;
  for (const auto& attack : file["attacks"]) {
    // The official driver's own checks are not counted: eight passes of each image.
    oracle.forward += attack["fwd"].get<int64_t>() - 8 * oracle.robust.sum().item<int64_t>();
    oracle.seconds += attack["cpu"].get<double>();
    oracle.robust = test::tensor_of(attack["robust"]).to(at::kBool);
  }
  return oracle;
}

/// The files of whole runs in a norm, by name.
std::vector<Oracle> oracles(Norm norm) {
  std::vector<Oracle> all;
  const char* wanted = std::getenv("HPM_ORACLES");
  const auto folder = test::shared("oracles/autoattack");
  if (!folder) return all;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    const auto name = entry.path().filename().string();
    const bool whole = name.find("_standard_") != std::string::npos || name.find("_plus_") != std::string::npos;
    const bool both = name.find("_Linf_") != std::string::npos && name.find("_plus_") != std::string::npos;
    if (whole && !both && name.find("_" + to_string(norm) + "_") != std::string::npos &&
        (!wanted || name.find(wanted) != std::string::npos))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& path : files) all.push_back(read_oracle(path));
  return all;
}

std::vector<uint64_t> seeds() {
  const char* text = std::getenv("HPM_SEEDS");
  std::vector<uint64_t> all;
  for (const char c : std::string(text ? text : "0,1,2"))
    if (c != ',') all.push_back(static_cast<uint64_t>(c - '0'));
  return all;
}

struct Outcome {
  int64_t missed = 0, more = 0, official = 0, broken = 0;  // images
  int64_t official_forward = 0;
  Passes passes;
  double seconds = 0, official_seconds = 0, least_ratio = 1e9;
  double ratio() const { return static_cast<double>(official_forward) / static_cast<double>(passes.forward); }
  void add(const Outcome& other) {
    missed += other.missed, more += other.more, official += other.official, broken += other.broken;
    official_forward += other.official_forward;
    passes.forward += other.passes.forward, passes.backward += other.passes.backward;
    seconds += other.seconds, official_seconds += other.official_seconds;
    least_ratio = std::min(least_ratio, other.ratio());
  }
};

/// What an ablation changes: the attack, and which part of the survivors, those with the smallest margins, gets
/// targeted APGD afterwards: one in `tail`, or none for 0.
struct Variant {
  std::string name;
  RelaxationOptions options;
  int64_t tail = 0;
};

void attack_tail(ClassifierModel& model, const Images& images, const ThreatModel& threat, const Tensor& margin,
                 int64_t tail, uint64_t seed, Tensor& robust) {
  const auto survivors = robust.nonzero().squeeze(1);
  const auto count = (survivors.numel() + tail - 1) / tail;
  if (count == 0) return;
  const auto nearest = std::get<1>(margin.index_select(0, survivors).topk(count, 0, false));
  const auto rows = survivors.index_select(0, nearest);
  const auto some = images.select(rows);
  const auto found = attack_entry("apgd-t").run(model, some, threat, {.name = "apgd-t"}, RandomStreams(seed), silent());
  const auto wrong = model.ask({found.images, some.index}, nullptr).target_logits.argmax(1).ne(some.y);
  robust.index_fill_(0, rows.index({wrong}), false);
}

/// None where a file it needs is absent.
std::optional<Outcome> run(const Oracle& oracle, const Variant& variant, uint64_t seed) {
  const auto classifier = test::real_model(oracle.file["model"]);
  const auto images = test::cifar_images(oracle.file["n"]);
  if (!classifier || !images) return std::nullopt;
  ClassifierModel model(*classifier);
  const auto begun = test::cpu_seconds();
  const auto ask = [&](const Images& rows) { return model.ask({rows.x, rows.index}, nullptr).target_logits; };
  const auto clean = verify_rows(*images, ask);
  auto robust = clean.wrong.logical_not();
  const auto attacked = robust.nonzero().squeeze(1);
  auto margin = at::full({images->size()}, std::numeric_limits<double>::infinity());
  for (int64_t begin = 0; begin < attacked.numel(); begin += 250) {
    const auto rows = attacked.slice(0, begin, begin + 250);
    auto some = images->select(rows);
    some.clean_logits = clean.logits.index_select(0, rows);
    const auto found = [&] {
      const SearchOperations faster;
      return relaxation(model, some, oracle.threat, variant.options, RandomStreams(seed));
    }();
    EXPECT_TRUE(inside(found.images, some.x, oracle.threat).all().item<bool>());
    const auto verdict = verify_rows({found.images, some.y, some.index}, ask);
    robust.index_copy_(0, rows, verdict.wrong.logical_not());
    margin.index_copy_(0, rows, found.margin);
  }
  if (variant.tail) attack_tail(model, *images, oracle.threat, margin, variant.tail, seed, robust);
  Outcome out{.official_forward = oracle.forward,
              .passes = model.passes(),
              .seconds = test::cpu_seconds() - begun,
              .official_seconds = oracle.seconds};
  const auto theirs = oracle.clean & oracle.robust.logical_not(), ours = oracle.clean & robust.logical_not();
  out.official = theirs.sum().item<int64_t>(), out.broken = ours.sum().item<int64_t>();
  out.missed = (theirs & ours.logical_not()).sum().item<int64_t>();
  out.more = (ours & theirs.logical_not()).sum().item<int64_t>();
  return out;
}

void print(const std::string& name, const Outcome& o) {
  fmt::print("| {} | {} | {} | {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {:.1f} |\n", name, o.official, o.broken,
             o.missed, o.more, o.official_forward, o.passes.forward, o.passes.backward, o.ratio(), o.official_seconds,
             o.seconds);
  std::fflush(stdout);
}

void head(const char* first) {
  fmt::print(
      "| {} | broken, official | ours | missed | more | forward, official | ours | backward, ours | ratio | CPU s, "
      "official | "
      "ours |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
      first);
}

struct Goal {
  Norm norm;
  double missed;        // of what the official runs broke, and at least one image
  double ratio, least;  // of passes: of all files together, and of each
};

class FastOracles : public testing::TestWithParam<Goal> {};

TEST_P(FastOracles, BreaksWhatTheOfficialRunsBreakInFarFewerPasses) {
  const auto goal = GetParam();
  const auto files = oracles(goal.norm);
  HPM_NEED_ORACLES(files);
  for (const auto seed : seeds()) {
    Outcome all;
    head(fmt::format("seed {}", seed).c_str());
    for (const auto& oracle : files) {
      const auto one = run(oracle, {}, seed);
      HPM_NEED_CHECKPOINT(one);
      print(oracle.name, *one);
      EXPECT_LE(one->missed - one->more, 1) << oracle.name << " stands above AutoAttack";
      all.add(*one);
    }
    print("all", all);
    EXPECT_LE(static_cast<double>(all.missed), std::max(1., goal.missed * static_cast<double>(all.official)));
    EXPECT_GE(all.ratio(), goal.ratio);
    EXPECT_GE(all.least_ratio, goal.least);
  }
}

INSTANTIATE_TEST_SUITE_P(, FastOracles,
                         testing::Values(Goal{Norm::linf, .001, 30, 20}, Goal{Norm::l2, .005, 12, 12},
                                         Goal{Norm::l1, .005, 6, 6}),
                         [](const auto& info) { return to_string(info.param.norm); });

TEST(RelaxationAblation, PrintsWhatEachIngredientIsWorth) {
  if (!std::getenv("HPM_ABLATION")) GTEST_SKIP() << "takes long: HPM_ABLATION=1 asks for it";
  const std::vector<Variant> variants = {
      {"as it is", {}},
      {"not relaxed", {.relaxed = false}},
      {"no warm-up (ranked at the random start)", {.warm_up = 0}},
      {"warm-up of 5 steps", {.warm_up = 5}},
      {"3 targets", {.targets = 3}},
      {"5 targets", {.targets = 5}},
      {"9 whole first cycles", {.leading = 9}},
      {"1 cycle", {.cycles = 1}},
      {"3 cycles", {.cycles = 3}},
      {"parts of 5 steps", {.part = 5}},
      {"give up at .2 s", {.give_up = .2}},
      {"give up at .8 s", {.give_up = .8}},
      {"no further start", {.starts = 0}},
      {"4 further starts", {.starts = 4}},
      {"near is .05", {.near = .05}},
      {"6 further starts, near is .05", {.starts = 6, .near = .05}},
      {"give up at .8 s, 6 further starts, near is .05", {.give_up = .8, .starts = 6, .near = .05}},
      {"tail of a tenth", {}, 10},
      {"tail of a twentieth", {}, 20},
      {"3 targets, tail of a twentieth", {.targets = 3}, 20},
      {"4 targets, tail of a twentieth", {.targets = 4}, 20},
      {"5 targets, tail of a twentieth", {.targets = 5}, 20},
      {"6 targets, tail of a twentieth", {.targets = 6}, 20},
  };
  const char* norms = std::getenv("HPM_NORM");
  for (const auto norm : {Norm::linf, Norm::l2, Norm::l1}) {
    if (norms && to_string(norm) != norms) continue;
    const auto files = oracles(norm);
    if (files.empty()) continue;
    head(to_string(norm).c_str());
    const char* wanted = std::getenv("HPM_VARIANTS");
    for (const auto& variant : variants) {
      if (wanted && variant.name.find(wanted) == std::string::npos) continue;
      Outcome all;
      for (const auto seed : seeds())
        for (const auto& oracle : files) {
          const auto one = run(oracle, variant, seed);
          HPM_NEED_CHECKPOINT(one);
          all.add(*one);
        }
      print(variant.name, all);
    }
  }
}

}  // namespace
}  // namespace hpm
