"""Runs what the documentation promises.

In README.md and docs/**/*.md, a fenced block right after the line `<!-- test -->` is tested:
  ```sh   is run by bash (errors end it), the blocks of all files in order, in one scratch copy of the repository's files
          where build/release/hpm is the program under test; that program is also on PATH.
  ```cpp  is compiled and linked against the build; `<!-- test: run -->` runs it too, in the scratch copy. A block without
          main() is compiled as the body of a function, its includes first.
A block after `<!-- test: own-model -->` is left to tests/cli/own_model_test.cpp, which has a checkpoint and images for it.
Exit status: 0 all passed, 1 something failed, 77 nothing to test (ctest shows it as skipped).

To try a single file by hand: python3 tests/readme.py --build build/release --only docs/install.md
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

BLOCK = re.compile(r"^<!-- test(?P<run>: run)? -->[ \t]*\n+```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```[ \t]*$", re.M | re.S)
MARK = re.compile(r"^<!-- test\b(?!: own-model -->).*-->", re.M)


class Block:
    def __init__(self, file, match, text):
        self.place = f"{file}:{text.count(chr(10), 0, match.start()) + 1}"
        self.language, self.text, self.run = match["language"], match["text"], bool(match["run"])


def blocks_of(source, file):
    """The tested blocks of a file, in order. A mark without a block that can be tested is an error."""
    text = (source / file).read_text()
    blocks = [Block(file, match, text) for match in BLOCK.finditer(text)]
    if len(blocks) != len(MARK.findall(text)):
        sys.exit(f"{file}: a <!-- test --> mark is not followed by a fenced block")
    for block in blocks:
        if block.language not in ("sh", "cpp"):
            sys.exit(f"{block.place}: only sh and cpp blocks can be tested, not {block.language}")
    return blocks


def documents(source, only):
    if only:
        return [only]
    files = [path.relative_to(source).as_posix() for path in sorted((source / "docs").rglob("*.md"))]
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
    (copy / "build/release").mkdir(parents=True)
    (copy / "build/release/hpm").symlink_to(build / "hpm")
    for name, target in (".venv", source / ".venv"), ("../shared", source.parent / "shared"):
        if target.exists():
            (copy / name).symlink_to(target.resolve())
    return copy


def show(text, label):
    print(f"  ---- {label}\n" + "\n".join("  " + line for line in text.rstrip().splitlines()))


def passed(what, command, **options):
    """Runs a command; says how it went."""
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options)
    verdict = "passed" if done.returncode == 0 else f"FAILED with status {done.returncode}"
    print(f"{what}: {verdict} in {time.monotonic() - start:.1f} s", flush=True)
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
    parser.add_argument("--only", help="one file, relative to the source folder")
    args = parser.parse_args()
    source, build = args.source.resolve(), args.build.resolve()

    files = documents(source, args.only)
    found = {file: blocks_of(source, file) for file in files}
    blocks = [block for file in files for block in found[file]]
    if "README.md" in files and not found["README.md"]:
        sys.exit("README.md has no block marked <!-- test -->, so that nothing keeps it true")
    if not blocks:
        print("skipped: there is no README.md, and no block in docs/ is marked <!-- test -->")
        sys.exit(77)

    work = build / "readme"
    copy = scratch_copy(source, build, work)
    environment = dict(os.environ, HPM_BIN=str(build), PATH=f"{build}{os.pathsep}{os.environ['PATH']}")
    programs = [block for block in blocks if block.language == "cpp"]
    ok = not programs or build_programs(programs, build, work, args.ccache)
    for block in blocks:
        if block.language == "sh":
            ok &= passed(f"{block.place} runs", ["bash", "-euo", "pipefail", "-c", block.text], cwd=copy, env=environment)
            if not ok:
                show(block.text, "the block")
                break  # later blocks build on earlier ones
        elif ok and block.run:
            program = work / "programs/build" / f"block{programs.index(block)}"
            ok &= passed(f"{block.place} runs", [program], cwd=copy, env=environment)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
