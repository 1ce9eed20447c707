"""Builds of the tests beside build/release, for scripts/sanitize and scripts/coverage: a preset's build, a run of ctest, its counts."""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class TestBuild:
    """The folder build/PRESET."""

    def __init__(self, preset, jobs):
        self.preset, self.jobs, self.folder = preset, jobs, ROOT / "build" / preset

    def make(self, targets=()):
        """Configures and builds; with targets these alone."""
        subprocess.run(["cmake", "--preset", self.preset], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        only = ["--target", *targets] if targets else []
        subprocess.run(["cmake", "--build", self.folder, "-j", str(self.jobs), *only], cwd=ROOT, check=True)

    def run(self, only=(), left_out=(), wrapper=(), environment=None):
        """Runs the tests that are named, or all but those left out and the oracles; True where none failed."""
        names = "^(" + "|".join(only or left_out) + ")$"
        command = [*wrapper, "ctest", "--test-dir", self.folder, "-j", str(self.jobs), "--output-on-failure", "--no-tests=error",
                   "-LE", "^oracle$", "-R" if only else "-E", names]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode == 0

    def log(self):
        """What the last run of the tests printed."""
        return (self.folder / "Testing/Temporary/LastTest.log").read_text(errors="replace")


def counts_of(log):
    """{what: how many} of the programs and of GoogleTest's cases in a log of ctest."""
    def sum_of(pattern):
        return sum(int(number) for number in re.findall(pattern, log, re.M))

    return {"programs": len(re.findall(r"^Test (?:Passed|Failed|Skipped)|^Test Timeout", log, re.M)),
            "cases": sum_of(r"^\[=+\] (\d+) tests? from .* ran\."),
            "skipped": sum_of(r"^\[  SKIPPED \] (\d+) tests?,"),
            "failed": sum_of(r"^\[  FAILED  \] (\d+) tests?,")}


def jobs_of(parser):
    parser.add_argument("--jobs", type=int, default=os.cpu_count())


def stop(name, text):
    sys.exit(f"{name}: {text}")
