// Where the program's output goes: standard output, devices, FIFOs, links, other people's files.
#include <sys/stat.h>

#include <set>

#include "cli/program.h"
#include "report/sample.h"
#include "support/python.h"

namespace hpm {
namespace {

using test::program;
using test::text_of;

/// The output of a bash script; `hpm` is the program.
std::string bash(const std::string& script, const std::filesystem::path& folder = ".") {
  test::write_text(folder / "script.sh", "cd '" + folder.string() + "'\nhpm() { '" +
                                             (test::binary_dir() / "hpm").string() + "' \"$@\"; }\n" + script);
  return test::output_of("bash '" + (folder / "script.sh").string() + "'");
}

class Outputs : public testing::Test {
 protected:
  void SetUp() override { test::write_sample(test::sample_run("hpm", 60), (folder / "run").string()); }
  test::ProgramRun report(const std::string& flags, int status = 0) {
    auto run = program("report run " + flags, folder.path);
    EXPECT_EQ(run.status, status) << flags << "\n" << run.err;
    return run;
  }
  std::string page() {
    report("--html page.html --force");
    return text_of(folder / "page.html");
  }
  test::TemporaryFolder folder;
};

TEST_F(Outputs, AFullOrClosedStandardOutputIsAnErrorOfEveryVerb) {
  const auto checkpoint = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  const std::vector<std::string> all{"--help",
                                     "--version",
                                     "help report",
                                     "evaluate --help",
                                     "train -h",
                                     "evaluate --print-config",
                                     "doctor --json",
                                     "data list",
                                     "completion zsh",
                                     "inspect '" + checkpoint + "'",
                                     "inspect --json '" + checkpoint + "'",
                                     "report '" + (folder / "run").string() + "' --html /dev/null"};
  for (const auto& arguments : all)
    for (const char* target : {" >/dev/full", " >&-"}) {
      const auto run = program(arguments + target, folder.path);
      EXPECT_EQ(run.status, 1) << arguments << target;
      EXPECT_NE(run.err.find("standard output could not be written: "), std::string::npos)
          << arguments << target << ": " << run.err;
      EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << "one sentence: " << run.err;
    }
  EXPECT_NE(program("report run --html page.html >/dev/full", folder.path).status, 0);
  EXPECT_TRUE(std::filesystem::exists(folder / "page.html")) << "the page is written first";
}

TEST_F(Outputs, AClosedPipeEndsTheProgramAsOthersDo) {
  EXPECT_EQ(bash("(sleep .5; hpm evaluate --help 2>err; echo $? >status) | true; cat status err", folder.path),
            "141\n");
  EXPECT_EQ(bash("trap '' PIPE; (sleep .5; hpm --help 2>err; echo $? >status) | true; cat status err", folder.path),
            "1\nhpm --help: standard output could not be written: Broken pipe\n");
  EXPECT_EQ(bash("hpm --help | head -1", folder.path).rfind("usage: hpm VERB", 0), 0u);
}

TEST_F(Outputs, AFullOrClosedStderrChangesNothing) {
  for (const char* target : {" 2>/dev/full", " 2>&-"}) {
    EXPECT_EQ(program(std::string("nosuchverb") + target).status, 2) << target;
    EXPECT_EQ(program(std::string("evaluate --bogus") + target).status, 2) << target;
    const auto run = program("report run --html page.html --caption unused --force" + std::string(target), folder.path);
    EXPECT_EQ(run.status, 0) << target;
    EXPECT_EQ(run.out, "page.html\n") << "what a closed stream held must not be written to";
  }
}

TEST_F(Outputs, DevicesAndFifosAreWrittenThrough) {
  const auto expected = page();
  if (::mknod((folder / "device").c_str(), S_IFCHR | 0666, 1 << 8 | 3) == 0) {
    report("--html device");
    EXPECT_TRUE(std::filesystem::is_character_file(folder / "device"));
    EXPECT_EQ(program("inspect nothing; cat device", folder.path).out, "") << "nothing lies in it";
  } else {
    std::puts("no device can be made here (mknod needs root): /dev/null alone is tried");
  }
  report("--html /dev/null --force");
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_EQ(
      bash("mkfifo fifo; cat fifo >got & hpm report run --html fifo; wait; test -p fifo && echo still", folder.path),
      "fifo\nstill\n");
  EXPECT_EQ(text_of(folder / "got"), expected);
  EXPECT_EQ(bash("mkfifo t.md; cat t.md >got.md & hpm report run --html /dev/null --table t.md; wait", folder.path),
            "/dev/null\nt.md\n");
  EXPECT_EQ(text_of(folder / "got.md").rfind("<!-- written by hpm report -->", 0), 0u);
}

TEST_F(Outputs, StandardOutputByItsNameHoldsThePageAlone) {
  const auto expected = page();
  EXPECT_EQ(bash("hpm report run --html /dev/stdout", folder.path), expected) << "a pipe";
  bash("hpm report run --html /dev/stdout > file.html", folder.path);
  EXPECT_EQ(text_of(folder / "file.html"), expected) << "a file";
  bash("echo before > appended; hpm report run --html /dev/fd/1 >> appended", folder.path);
  EXPECT_EQ(text_of(folder / "appended"), "before\n" + expected);
}

TEST_F(Outputs, ASymbolicLinkStaysAndItsFileIsReplaced) {
  const auto expected = page();
  std::filesystem::create_directory(folder / "there");
  std::filesystem::create_symlink("there/report.html", folder / "link.html");
  report("--html link.html");
  report("--html link.html");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.html"));
  EXPECT_EQ(text_of(folder / "there/report.html"), expected);
  test::write_text(folder / "there/report.html", "somebody's");
  report("--html link.html", 2);
  EXPECT_EQ(text_of(folder / "there/report.html"), "somebody's");
}

TEST_F(Outputs, OtherPeoplesFilesAreKeptAndOurOwnReplaced) {
  for (const std::string target :
       {"--html x.html", "--html y.html --table x.md", "--html y.html --table x.tex", "--html y.html --table x.csv"}) {
    const auto file = folder.path / target.substr(target.rfind(' ') + 1);
    report(target);
    const auto ours = text_of(file);
    report(target);
    EXPECT_EQ(text_of(file), ours);
    test::write_text(file, "<!DOCTYPE html>\n<html lang=\"en\"><p>somebody's");
    const auto refused = report(target, 2);
    EXPECT_NE(refused.err.find("--force"), std::string::npos) << refused.err;
    EXPECT_NE(text_of(file).find("somebody's"), std::string::npos) << target;
    report(target + " --force");
    EXPECT_EQ(text_of(file), ours);
    test::write_text(file, "");
    report(target);
    EXPECT_EQ(text_of(file), ours) << "an empty file, as mktemp makes it";
  }
  test::write_text(folder / "x.csv", "model,role\n");
  std::filesystem::remove(folder / "z.html");
  report("--html z.html --table x.csv", 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "z.html")) << "refused before anything is written";
}

TEST_F(Outputs, LabelsNameTheRunsAndMustBeOneEach) {
  test::write_sample(test::sample_run("control", 60), (folder / "control").string());
  const auto two =
      program("report run control --html /dev/null --table t.md --label 'Ours, 10 epochs' --label AT", folder.path);
  EXPECT_EQ(two.status, 0) << two.err;
  EXPECT_NE(text_of(folder / "t.md").find("| Ours, 10 epochs | reference |"), std::string::npos);
  EXPECT_NE(text_of(folder / "t.md").find("| AT | |"), std::string::npos);
  const auto one = program("report run control --html /dev/null --label Ours", folder.path);
  EXPECT_EQ(one.status, 2);
  EXPECT_NE(one.err.find("one for each of the 2 runs, but got 1"), std::string::npos) << one.err;
}

TEST_F(Outputs, OfExportGoThroughDevicesAndLinksAndReplaceNothingUnasked) {
  const auto model = "export --quiet --model '" +
                     (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string() + "' ";
  const auto ran = [&](const std::string& flags, int status = 0) {
    const auto run = program(model + flags, folder.path);
    EXPECT_EQ(run.status, status) << flags << "\n" << run.err;
    return run;
  };
  std::filesystem::create_directory(folder / "there");
  std::filesystem::create_symlink("there/m.safetensors", folder / "m.safetensors");
  ran("--to m.safetensors");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "m.safetensors"));
  EXPECT_GT(std::filesystem::file_size(folder / "there/m.safetensors"), 1000u);
  ran("--to m.safetensors", 2);
  ran("--to m.safetensors --force");
  for (const char* format : {"state_dict", "torchscript"}) {
    const auto through = ran(std::string("--to /dev/null --format ") + format);
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
    EXPECT_FALSE(std::filesystem::exists("/dev/null.toml"));
    EXPECT_NE(through.err.find("no card was written"), std::string::npos) << through.err;
    EXPECT_EQ(bash("mkfifo f; cat f >got & hpm " + model + "--to f --format " + format + " 2>/dev/null; wait; rm f",
                   folder.path),
              "f\n");
    ran(std::string("--to file --force --format ") + format);
    EXPECT_EQ(text_of(folder / "got").size(), text_of(folder / "file").size());
  }
  test::write_text(folder / "new.safetensors.toml", "# my notes\n");
  ran("--to new.safetensors", 2);
  EXPECT_EQ(text_of(folder / "new.safetensors.toml"), "# my notes\n");
}

TEST_F(Outputs, ARunDirectoryDoesNotTakeAwayWhatIsOfNoRun) {
  HPM_NEED_FASHION_MNIST();
  const auto evaluate = "evaluate --quiet --protocol clean --data fashion-mnist --count 5 --out mine --model '" +
                        (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string() + "'";
  std::filesystem::create_directory(folder / "mine");
  test::write_text(folder / "mine/notes.txt", "mine");
  test::write_text(folder / "mine/report.html", "mine");
  const auto refused = program(evaluate, folder.path);
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("holds report.html, which is of no run"), std::string::npos) << refused.err;
  EXPECT_EQ(text_of(folder / "mine/report.html"), "mine");
  EXPECT_EQ(program(evaluate + " --overwrite", folder.path).status, 0);
  EXPECT_EQ(text_of(folder / "mine/notes.txt"), "mine");
}

TEST_F(Outputs, AReportThatCannotBeWrittenLeavesTheResultsAndSaysSo) {
  HPM_NEED_FASHION_MNIST();
  const auto model = (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string();
  for (const std::string verb : {"evaluate --protocol pgd --steps 2", "analyze --iterations 2"}) {
    const auto command = verb + " --quiet --data fashion-mnist --eps .1 --count 5 --threads 1 --out run-of-" +
                         verb.substr(0, 7) + " --model '" + model + "'";
    const auto run_folder = folder.path / ("run-of-" + verb.substr(0, 7));
    ASSERT_EQ(program(command, folder.path).status % 3, 0);
    std::filesystem::remove(run_folder / "report.html");
    std::filesystem::create_directory(run_folder / "report.html");
    const auto run = program(command + " --resume", folder.path);
    EXPECT_EQ(run.status, 1);
    EXPECT_NE(run.err.find("the report was not written: "), std::string::npos) << run.err;
    EXPECT_NE(run.err.find("the results are complete in "), std::string::npos) << run.err;
    EXPECT_NE(run.out.find("clean %"), std::string::npos) << "the figures are printed all the same: " << run.out;
    const auto results = run_folder / (verb[0] == 'e' ? "results.json" : "analysis.json");
    EXPECT_EQ(test::read_json(results)["n"], 5);
  }
}

TEST_F(Outputs, TheSecondsOfAResumedRunAreThoseOfAllItsParts) {
  HPM_NEED_FASHION_MNIST();
  const auto command =
      "evaluate --quiet --protocol autoattack --version custom --attacks square --queries 300 --data fashion-mnist "
      "--eps .1 --count 100 --threads 1 --out run2 --model '" +
      (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string() + "'";
  const auto seconds = [&] { return test::read_json(folder / "run2/results.json")["seconds"].get<double>(); };
  ASSERT_EQ(program(command, folder.path).status % 3, 0);
  const double whole = seconds();
  ASSERT_EQ(program(command + " --resume", folder.path).status % 3, 0);
  EXPECT_GT(seconds(), .8 * whole) << "every piece was read back, and had taken its time before";
}

TEST_F(Outputs, ResultsOfEveryProtocolAgreeWithTheSchema) {
  HPM_NEED_FASHION_MNIST();
  HPM_NEED_PYTHON();
  const auto committed = "'" + (test::source_dir() / "checkpoints/fashion-mnist-linf-0.1.safetensors").string() + "'";
  const auto data = " --quiet --threads 1 --data fashion-mnist --count ";
  const auto made = program("finetune --model " + committed +
                                " --head hpm --metric none --epochs 0 --fit-images 500 --out hpm" + data + "500",
                            folder.path);
  ASSERT_EQ(made.status, 0) << made.err;
  const std::string plain = "--model " + committed, head = "--model hpm/model.safetensors";
  const std::vector<std::pair<std::string, std::string>> runs{
      {"clean", "--protocol clean " + plain},
      {"contexts", "--protocol clean --context reference,alone " + head},
      {"pgd", "--protocol pgd --steps 2 --eps .1,.05 --quantise --save-adversarial " + plain},
      {"autoattack", "--protocol autoattack --version custom --attacks apgd-ce,square --steps 3 --queries 20 " + plain},
      {"msa",
       "--protocol msa --steps 3 --context joint,solo --company 4 --colluders 1 --victims 2 --sweep-lambda .5 --base " +
           committed + " --control " + committed + " " + head},
      {"stand-ins", "--protocol msa --steps 3 --control " + committed + " " + plain}};
  std::string files;
  for (const auto& [name, flags] : runs) {
    const auto r = program("evaluate --out " + name + " " + flags + data + "6", folder.path);
    ASSERT_EQ(r.status % 3, 0) << name << ": " << r.err;
    files += " " + name + "/results.json";
  }
  EXPECT_EQ(test::output_of("cd '" + folder.path.string() + "' && '" + test::python_path() + "' '" +
                            (test::source_dir() / "tests/cli/check_results.py").string() + "' '" +
                            (test::source_dir() / "docs/results.schema.json").string() + "'" + files + " 2>&1"),
            "");
}

// ---- version, help, completion, man pages

TEST(Version, NamesVersionCommitAndLibTorch) {
  const auto run = program("--version");
  EXPECT_EQ(run.status, 0);
  const auto doctor = nlohmann::json::parse(program("doctor --json").out);
  EXPECT_EQ(run.out, "hpm " + doctor["hpm_version"].get<std::string>() + " (commit " +
                         doctor["commit"].get<std::string>() + "), LibTorch " + doctor["torch"].get<std::string>() +
                         "\n");
}

TEST(Help, IsAlsoGivenByTheShortFlagAndByTheVerbHelp) {
  EXPECT_EQ(program("-h").out, program("--help").out);
  EXPECT_EQ(program("export -h").out, program("export --help").out);
  EXPECT_EQ(program("help export").out, program("export --help").out);
  EXPECT_EQ(program("help nosuchverb").status, 2);
}

class Completion : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::string shell : {"bash", "zsh", "fish"}) {
      const auto run = program("completion " + shell);
      ASSERT_EQ(run.status, 0) << run.err;
      test::write_text(folder / ("hpm." + shell), run.out);
    }
    std::filesystem::create_directory(folder / "a_folder");
    test::write_text(folder / "a_file", "");
  }
  /// What bash offers for the last of `words`.
  std::set<std::string> offered(const std::string& words) {
    const auto out = bash("source hpm.bash; COMP_WORDS=(hpm " + words +
                              "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _hpm; printf '%s\\n' \"${COMPREPLY[@]}\"",
                          folder.path);
    std::istringstream lines(out);
    std::set<std::string> all;
    for (std::string line; std::getline(lines, line);)
      if (!line.empty()) all.insert(line);
    return all;
  }
  test::TemporaryFolder folder;
};

TEST_F(Completion, InBashOffersVerbsFlagsNamesAndFiles) {
  using Names = std::set<std::string>;
  EXPECT_EQ(offered("ev"), Names{"evaluate"});
  EXPECT_TRUE(offered("''").contains("report"));
  EXPECT_EQ(offered("evaluate --protoc"), Names{"--protocol"});
  EXPECT_EQ(offered("evaluate --norm ''"), (Names{"Linf", "L2", "L1"}));
  EXPECT_EQ(offered("evaluate --norm = L"), (Names{"Linf", "L2", "L1"})) << "--norm=L, as bash splits it";
  EXPECT_EQ(offered("evaluate --context reference,jo"), Names{"reference,joint"});
  EXPECT_EQ(offered("export --format st"), Names{"state_dict"});
  EXPECT_EQ(offered("evaluate --model a_"), (Names{"a_file", "a_folder"}));
  EXPECT_EQ(offered("evaluate --out a_"), Names{"a_folder"});
  EXPECT_EQ(offered("inspect a_"), (Names{"a_file", "a_folder"}));
  EXPECT_EQ(offered("report a_"), Names{"a_folder"});
  EXPECT_EQ(offered("data ver"), Names{"verify"});
  EXPECT_EQ(offered("evaluate --count ''"), Names{}) << "a number";
}

TEST_F(Completion, OffersEveryFlagOfTheHelp) {
  for (const std::string verb : {"evaluate", "finetune", "report", "bench"}) {
    const auto flags = offered(verb + " --");
    std::istringstream words(program(verb + " --help").out);
    for (std::string line; std::getline(words, line);) {
      if (line.rfind("  --", 0) != 0) continue;
      auto flag = line.substr(2, line.find(' ', 2) - 2);
      if (flag.rfind("--[no-]", 0) == 0) flag = "--" + flag.substr(7);
      EXPECT_TRUE(flags.contains(flag)) << verb << " " << flag;
    }
  }
}

TEST_F(Completion, InZshIsLoadedAndDescribesTheFlags) {
  if (test::find_program("zsh").empty()) GTEST_SKIP() << "needs zsh (apt-get install zsh)";
  EXPECT_EQ(
      test::output_of("cd '" + folder.path.string() +
                      "' && zsh -f -c 'autoload -U compinit; compinit -D; source ./hpm.zsh; print $_comps[hpm]' 2>&1"),
      "_hpm\n");
  // What the script hands to zsh's own functions.
  const auto specs =
      test::output_of("cd '" + folder.path.string() +
                      "' && zsh -f -c 'compdef() {}; _arguments() { print -rl -- \"$@\" }; _describe() { print -rl -- "
                      "$verbs }; source ./hpm.zsh; "
                      "words=(hpm e) CURRENT=2; _hpm; words=(hpm evaluate --norm) CURRENT=3; _hpm' 2>&1");
  EXPECT_NE(specs.find("evaluate:clean, PGD"), std::string::npos) << specs;
  EXPECT_NE(specs.find("--norm[norm of the perturbation]:norm:(Linf L2 L1)"), std::string::npos) << specs;
  EXPECT_NE(specs.find("]:model:_files\n"), std::string::npos) << specs;
}

TEST_F(Completion, InFishOffersVerbsFlagsAndNames) {
  if (test::find_program("fish").empty()) GTEST_SKIP() << "needs fish (apt-get install fish)";
  const auto offers = [&](const std::string& line) {
    return test::output_of("cd '" + folder.path.string() + "' && HOME=. fish -c 'source hpm.fish; complete -C \"" +
                           line + "\"' 2>&1");
  };
  EXPECT_NE(offers("hpm eva").find("evaluate\t"), std::string::npos) << offers("hpm eva");
  EXPECT_NE(offers("hpm evaluate --proto").find("--protocol\t"), std::string::npos) << offers("hpm evaluate --proto");
  EXPECT_EQ(offers("hpm evaluate --norm L").rfind("L1\tnorm of the perturbation\nL2\t", 0), 0u)
      << offers("hpm evaluate --norm L");
  EXPECT_NE(offers("hpm evaluate --model a_").find("a_file"), std::string::npos);
  EXPECT_EQ(offers("hpm report a_").find("a_file"), std::string::npos);
}

TEST(ManPages, AreThereForEveryVerbAndHaveNoWarnings) {
  const test::TemporaryFolder folder;
  ASSERT_EQ(program("man pages", folder.path).status, 0);
  const auto groff = test::find_program("groff"), mandoc = test::find_program("mandoc");
  if (groff.empty() && mandoc.empty()) std::puts("neither groff nor mandoc is here: their warnings are not looked at");
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "pages")) {
    const auto page = "'" + entry.path().string() + "' 2>&1";
    names.insert(entry.path().filename().string());
    if (!groff.empty()) {
      EXPECT_EQ(test::output_of(groff + " -man -ww -Tutf8 -z " + page), "");
    }
    if (!mandoc.empty()) {
      EXPECT_EQ(test::output_of(mandoc + " -T lint -W warning " + page), "");
    }
  }
  for (const std::string name : {"hpm", "hpm-evaluate", "hpm-report", "hpm-export", "hpm-man"})
    EXPECT_TRUE(names.contains(name + ".1")) << name;
  EXPECT_NE(text_of(folder / "pages/hpm-evaluate.1").find("\\fB\\-\\-protocol\\fP"), std::string::npos);
  if (!groff.empty()) {
    EXPECT_NE(test::output_of(groff + " -man -Tascii -P-cbou '" + (folder / "pages/hpm-export.1").string() + "'")
                  .find("--lambda NUMBER"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace hpm
