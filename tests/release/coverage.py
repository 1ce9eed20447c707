"""What scripts/coverage makes of two small objects that GCC compiled with counts, and how scripts/test_builds.py reads ctest's log.

    python tests/release/coverage.py REPOSITORY
"""
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
SOURCES = {
    "hpm/core/twice.h": "template <class T>\nT twice(T x) {\n  if (x > 5)\n    return x;\n  return x + x;\n}\n",
    "hpm/core/small.cpp": '#include "hpm/core/twice.h"\nint small(int x) { return twice(x); }\n',
    "hpm/io/idle.cpp": "int idle(int x) {\n  return x - 1;\n}\n",
    "apps/main.cpp": '#include "hpm/core/twice.h"\nint small(int);\nint main(int n, char**) { return twice(n + 6) + small(n) == 9 ? 0 : 1; }\n',
}
LOG = """[==========] 12 tests from 3 test suites ran. (9 ms total)
[  PASSED  ] 10 tests.
[  SKIPPED ] 2 tests, listed below:
Test Passed.
[==========] 1 test from 1 test suite ran. (9 ms total)
[  FAILED  ] 1 test, listed below:
Test Failed.
"""


def loaded(path):
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.stem, loader))
    loader.exec_module(module)
    return module


def main():
    source = Path(sys.argv[1])
    if not shutil.which("gcov") or not shutil.which("g++"):
        print("skipped: needs g++ and gcov; apt-get install g++")
        return SKIPPED
    sys.path.insert(0, str(source / "scripts"))
    sys.dont_write_bytecode = True
    coverage, builds = loaded(source / "scripts/coverage"), loaded(source / "scripts/test_builds.py")
    assert builds.counts_of(LOG) == {"programs": 2, "cases": 13, "skipped": 2, "failed": 1}, builds.counts_of(LOG)
    with tempfile.TemporaryDirectory() as folder:
        root = coverage.ROOT = Path(folder).resolve()
        objects = []
        for name, text in SOURCES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
            if name.endswith(".cpp"):
                objects.append(root / f"{name}.o")
                subprocess.run(["g++", "--coverage", "-O0", f"-I{root}", "-c", root / name, "-o", objects[-1]], check=True)
        subprocess.run(["g++", "--coverage", *objects, "-o", root / "program"], check=True)
        subprocess.run([root / "program"], check=True)
        runs = coverage.union_of(sorted(root.rglob("*.gcno")), 2)
    # One object runs one branch of the template, the other one the other.
    assert {line for (file, line), count in runs.items() if file == "hpm/core/twice.h" and count} >= {4, 5}, runs
    assert not any(count for (file, _), count in runs.items() if file == "hpm/io/idle.cpp"), runs
    assert {file for file, _ in runs} == {"hpm/core/twice.h", "hpm/core/small.cpp", "hpm/io/idle.cpp"}, "hpm/ alone"
    text, share = coverage.page(runs, {"cases": 3, "skipped": 1})
    idle = sum(file == "hpm/io/idle.cpp" for file, _ in runs)
    assert f"| hpm/io | 1 | {idle} | 0 | 0.0 |" in text, text
    assert abs(share - 100 * (1 - idle / len(runs))) < 1e-9, share
    assert text.index(f"| hpm/io/idle.cpp | {idle} | {idle} | 0.0 |") < text.index("| hpm/core/small.cpp |"), text
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
