"""Runs what the documentation promises.

In README.md and docs/**/*.md every fenced block of sh, python or cpp says how it is tested, in the line before it. The
blocks run in the order of the pages (README.md, docs/tutorials, the others), in one scratch copy of the repository's
files where build/release is the build under test; its program is also on PATH.
  <!-- test -->             sh: run by bash, errors end it. python: run. cpp: compiled and linked against the build; one
                            without main() is compiled as the body of a function, its includes first.
  <!-- test: run -->        cpp: is run too.
  <!-- test: file NAME -->  any language: written to the file NAME of the scratch copy, for the blocks that follow.
  <!-- test: small -->      sh: the reader's own files become the project's checkpoint and Fashion-MNIST, and every command
                            of hpm gets few images and steps (see FEW); exit status 3 (suspect) is accepted.
  <!-- test: small; A => B; C => D -->  the same, with A replaced by B first; `file NAME` may stand there too.
  <!-- test: own-model -->  is run by tests/cli/own_model_test.cpp, which has a checkpoint and images for it.
  <!-- python -->           is run by tests/python/test_examples.py, all blocks of a page in order.
  <!-- not tested: WHY -->  cannot be run here.
A block without such a line is an error. Blocks of other languages (output, configuration) need none.
Exit status: 0 all passed, 1 something failed, 77 nothing to test (ctest shows it as skipped).

To try a single file by hand: python3 tests/readme.py --build build/release --only docs/install.md
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

LANGUAGES = ("sh", "python", "cpp")
FENCE = re.compile(r"^(?P<indent>[ ]*)(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)[ \t]*$", re.M | re.S)
MARK = re.compile(r"^[ ]*<!-- (?P<kind>test|python|not tested)(?:: (?P<how>.*?))? -->[ \t]*\n+\Z", re.M)
ANY_MARK = re.compile(r"^[ ]*<!-- (?:test|python|not tested)\b.*-->", re.M)

CHECKPOINT = "checkpoints/fashion-mnist-linf-0.1.safetensors"
# What a reader has, and what stands in for it. mine.pt is that checkpoint as TorchScript, made where it is needed.
STAND_INS = [(r"\bmodel\.pth\b", CHECKPOINT), (r"\bcnn_a_adv4\.pth\b", CHECKPOINT), (r"--data cifar10\b", "--data fashion-mnist"),
             (r" --data-root \w+", ""), (r"\b[28]/255", "0.1")]
# The flags that make a command short.
FEW = {"evaluate": {"--count": "6", "--threads": "1", "--checks": "none", "--steps": "2", "--queries": "10"},
       "finetune": {"--count": "300", "--threads": "1", "--epochs": "0", "--fit-images": "300", "--fit-rounds": "1", "--metric-steps": "5", "--attack-steps": "1"},
       "analyze": {"--count": "6", "--threads": "1", "--iterations": "1,2"},
       "bench": {"--count": "8"},
       "gauntlet": {"--count": "4"}}


def stood_in(text):
    for wanted, there in STAND_INS:
        text = re.sub(wanted, there, text)
    return text


def shortened(command):
    """One command of hpm on one line, with the flags of FEW in place of its own or after them."""
    verb = re.match(r"hpm ([a-z]+)", command)
    flags = dict(FEW.get(verb[1], {})) if verb else {}
    if "--head fc" in command or "--head l2" in command:  # they fit no metric
        flags = {flag: flags[flag] for flag in ("--count", "--epochs", "--threads")}
    if "--protocol fast" in command:  # its alarms cost the same whatever the number of images: plan it, and run PGD in its place
        planned = re.sub(r"^hpm evaluate|( --out \S+)", lambda found: "" if found[1] else "hpm evaluate --dry-run", command)
        return planned + "\n" + shortened(command.replace("--protocol fast", "--protocol pgd"))
    if "--protocol clean" in command:
        flags.pop("--steps")
    if verb and verb[1] == "evaluate" and not re.search("autoattack|query|standard", command):
        flags.pop("--queries")
    words, hash_sign, comment = command.partition(" #")
    for flag, value in flags.items():
        words, found = re.subn(rf"{flag} \S+", f"{flag} {value}", words)
        if not found:
            words = f"{words.rstrip()} {flag} {value}"
    return words + hash_sign + comment


def small(text, replacements):
    """A block as the tests run it; see the top of this file."""
    for replacement in replacements:
        wanted, there = replacement.split(" => ")
        if wanted not in text:
            raise ValueError(f"the block has no \"{wanted}\" to replace")
        text = text.replace(wanted, there)
    lines = re.sub(r"\\\n\s*", " ", stood_in(text)).splitlines()
    # 3: finished, and a check failed. So few images and steps may well fail one.
    return "\n".join(["hpm() { command hpm \"$@\" || [[ $? == 3 ]]; }", *map(shortened, lines)]) + "\n"


class Block:
    """A fenced block and its mark: `kind` is test, python or not tested."""

    def __init__(self, file, fence, mark, text):
        self.place = f"{file}:{text.count(chr(10), 0, fence.start()) + 1}"
        self.language, self.text = fence["language"], textwrap.dedent(fence["text"])
        self.kind, self.how = mark["kind"], mark["how"] or ""
        self.run = self.language == "cpp" and self.how == "run"
        parts = self.how.split("; ")
        self.file = next((part.removeprefix("file ") for part in parts if part.startswith("file ")), "")
        if parts[0] == "small":
            self.text = small(self.text, [part for part in parts[1:] if not part.startswith("file ")])
        elif self.kind == "test" and not (self.how in ("", "run", "own-model") or self.file):
            raise ValueError(f"unknown mark \"test: {self.how}\"")
        if self.kind == "not tested" and not self.how:
            raise ValueError("\"not tested\" needs a reason")


def blocks_of(source, file):
    """The blocks of a file that are tested here, in order. A block without a mark, or a mark without a block, is an error."""
    text = (source / file).read_text()
    blocks, marks = [], 0
    for fence in FENCE.finditer(text):
        mark = MARK.search(text[: fence.start()])
        marks += mark is not None
        line = text.count(chr(10), 0, fence.start()) + 1
        if mark is None:
            if fence["language"] in LANGUAGES:
                sys.exit(f"{file}:{line}: this block of {fence['language']} needs a mark: <!-- test --> or another one of tests/readme.py")
            continue
        try:
            block = Block(file, fence, mark, text)
        except ValueError as error:
            sys.exit(f"{file}:{line}: {error}")
        if block.kind == "test" and block.how != "own-model":
            if block.language not in LANGUAGES and not block.file:
                sys.exit(f"{block.place}: only sh, python and cpp blocks can be tested, not {block.language}")
            blocks.append(block)
    if marks != len(ANY_MARK.findall(text)):
        sys.exit(f"{file}: a mark is not followed by a fenced block")
    return blocks


def documents(source, only):
    if only:
        return only
    files = [path.relative_to(source).as_posix() for path in sorted((source / "docs").rglob("*.md"))]
    files.sort(key=lambda file: not file.startswith("docs/tutorials/"))  # stable: the others stay in order
    return (["README.md"] if (source / "README.md").exists() else []) + files


def scratch_copy(source, build, work):
    """A copy of the repository's files; the program, .venv and ../shared stand where a reader has them."""
    copy = work / "hpm"
    shutil.rmtree(work, ignore_errors=True)
    copy.mkdir(parents=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=source,
                            capture_output=True)
    if listed.returncode == 0:
        for name in listed.stdout.decode().split("\0"):
            if name and (source / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, copy / name)
    else:  # a source archive
        shutil.copytree(source, copy, dirs_exist_ok=True, symlinks=True,
                        ignore=shutil.ignore_patterns("build", ".venv", "runs", ".git"))
    (copy / "build").mkdir()
    (copy / "build/release").symlink_to(build)
    for name, target in (".venv", source / ".venv"), ("../shared", source.parent / "shared"):
        if target.exists():
            (copy / name).symlink_to(target.resolve())
    return copy


def show(text, label):
    print(f"  ---- {label}\n" + "\n".join("  " + line for line in text.rstrip().splitlines()))


def passed(what, command, **options):
    """Runs a command; says how it went, also in processor seconds, which a busy machine does not change."""
    def processor():
        times = os.times()
        return times.children_user + times.children_system

    start, used = time.monotonic(), processor()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)
    verdict = "passed" if done.returncode == 0 else f"FAILED with status {done.returncode}"
    print(f"{what}: {verdict} in {time.monotonic() - start:.1f} s, {processor() - used:.1f} s of processors", flush=True)
    if done.returncode:
        show(done.stdout[-6000:], "it printed")
    return done.returncode == 0


def whole_program(text):
    if re.search(r"\bmain\s*\(", text):
        return text
    includes = [line for line in text.splitlines() if line.startswith("#include")]
    body = [line for line in text.splitlines() if not line.startswith("#include")]
    return "\n".join([*includes, "void snippet() {", *body, "}", "int main() {}", ""])


def build_programs(blocks, build, work, ccache):
    """Compiles every C++ block with one CMake project; True when all compile."""
    project = work / "programs"
    project.mkdir()
    lines = ["cmake_minimum_required(VERSION 3.25)", "project(readme LANGUAGES CXX)", "find_package(hpm REQUIRED)"]
    for i, block in enumerate(blocks):
        (project / f"block{i}.cpp").write_text(f'#line 1 "{block.place}"\n' + whole_program(block.text))
        lines += [f"add_executable(block{i} block{i}.cpp)", f"target_link_libraries(block{i} PRIVATE hpm::hpm)"]
    (project / "CMakeLists.txt").write_text("\n".join(lines) + "\n")
    configure = ["cmake", "-S", project, "-B", project / "build", "-G", "Ninja", f"-Dhpm_DIR={build}",
                 "-DCMAKE_BUILD_TYPE=Release"]
    if ccache:
        configure.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}")
    if not passed("configure the C++ blocks", configure):
        return False
    ok = True
    for i, block in enumerate(blocks):
        ok &= passed(f"{block.place} compiles", ["cmake", "--build", project / "build", "--target", f"block{i}"])
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--ccache", default="")
    parser.add_argument("--only", action="append", help="a file, relative to the source folder; repeatable")
    parser.add_argument("--list", action="store_true", help="show what would be run, and stop")
    args = parser.parse_args()
    source, build = args.source.resolve(), args.build.resolve()

    files = documents(source, args.only)
    found = {file: blocks_of(source, file) for file in files}
    blocks = [block for file in files for block in found[file]]
    if "README.md" in files and not found["README.md"]:
        sys.exit("README.md has no block marked <!-- test -->, so that nothing keeps it true")
    if args.list:
        for block in blocks:
            print(f"---- {block.place} {block.language} {block.how}\n{block.text}", end="")
        return
    if not blocks:
        print("skipped: there is no README.md, and no block in docs/ is marked <!-- test -->")
        sys.exit(77)

    work = build / "readme"
    copy = scratch_copy(source, build, work)
    environment = dict(os.environ, HPM_BIN=str(build), PATH=f"{build}{os.pathsep}{os.environ['PATH']}")
    programs = [block for block in blocks if block.language == "cpp" and not block.file]
    ok = not programs or build_programs(programs, build, work, args.ccache)
    if any("mine.pt" in block.text for block in blocks):
        ok &= passed("mine.pt", ["hpm", "export", "--model", CHECKPOINT, "--format", "torchscript", "--to", "mine.pt"],
                     cwd=copy, env=environment)
    for block in blocks:
        if block.file:
            (copy / block.file).parent.mkdir(parents=True, exist_ok=True)
            (copy / block.file).write_text(block.text)
        elif block.language in ("sh", "python"):
            runner = ["bash", "-euo", "pipefail"] if block.language == "sh" else [sys.executable]
            ok &= passed(f"{block.place} runs", [*runner, "-c", block.text], cwd=copy, env=environment)
            if not ok:
                show(block.text, "the block")
                break  # later blocks build on earlier ones
        elif ok and block.run:
            program = work / "programs/build" / f"block{programs.index(block)}"
            ok &= passed(f"{block.place} runs", [program], cwd=copy, env=environment)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
