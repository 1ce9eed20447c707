"""Builds the libFuzzer programs with address and undefined-behaviour sanitizers and runs them, one after another.

    python3 tests/fuzz/fuzz.py [--seconds 600] [--targets pickle,zip] [--work build/fuzz] [--minimise | --seeds]

Each starts from the committed corpus and the files of tests/io/make_broken.py, and goes on from where the last run ended
(WORK/corpus). A finding ends the run with status 1 and stays in WORK/findings. --minimise only packs a small corpus with
the same coverage into tests/fuzz/corpus. --seeds packs the script's own files there, as the first corpus of a new target;
it needs no clang.
Needs clang 14 or newer with its sanitizers: apt-get install clang-14 libclang-rt-14-dev (CXX names another one).
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).parent
TARGETS = re.findall(r'\{"(\w+)", \w+(?:, [^}]*)?\}', (HERE / "targets.cpp").read_text())
LIMITS = ["-max_len=20000", "-timeout=20", "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-print_final_stats=1"]


def build(work):
    known = [os.environ["CXX"]] if "CXX" in os.environ else ["clang++-14", "clang++", *(f"clang++-{n}" for n in range(15, 25))]
    compiler = next(filter(shutil.which, known), None)
    if not compiler:
        sys.exit(f"fuzz: {known[0]} is missing: apt-get install clang-14 libclang-rt-14-dev (CXX names another clang)")
    subprocess.run(["cmake", "-S", HERE / "libfuzzer", "-B", work, "-G", "Ninja", f"-DCMAKE_CXX_COMPILER={compiler}"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", work], check=True, stdout=subprocess.DEVNULL)


def make_seeds(work, place):
    """The script's files, in WORK/<place>/<target>."""
    made = work / "made"
    shutil.rmtree(made, ignore_errors=True)
    subprocess.run([sys.executable, HERE.parent / "io/make_broken.py", made], check=True)
    for target in TARGETS:
        folder = work / place / target
        folder.mkdir(parents=True, exist_ok=True)
        for path in (made / target).rglob("*"):  # a fuzzer cuts and flips by itself
            if path.is_file() and path.stat().st_size <= 20000 and not re.search(r"cut-at-|\.byte-", path.name):
                shutil.copy(path, folder / f"made-{path.name}"[:200])


def seed(work):
    """The starting points, in WORK/corpus/<target>."""
    make_seeds(work, "corpus")
    for target in TARGETS:
        folder = work / "corpus" / target
        packed = HERE / "corpus" / f"{target}.zip"
        if packed.exists():
            zipfile.ZipFile(packed).extractall(folder)


def fuzz(work, target, seconds):
    findings = work / "findings"
    findings.mkdir(exist_ok=True)
    program = [work / f"fuzz_{target}", *LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={findings}/{target}-",
               work / "corpus" / target]
    run = subprocess.run(program, stderr=subprocess.PIPE, text=True, errors="replace")
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", run.stderr))
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", run.stderr)
    edges, features, files = coverage[-1] if coverage else ("?", "?", "?")
    print(f"{target}: {stats.get('number_of_executed_units', '?')} runs in {seconds} s, {edges} edges, {features} features, "
          f"{files} files, peak {stats.get('peak_rss_mb', '?')} MB, slowest {stats.get('slowest_unit_time_sec', '?')} s"
          f"{'' if run.returncode == 0 else ', FINDING'}", flush=True)
    if run.returncode != 0:
        print(run.stderr[-6000:])
    return run.returncode


def pack(target, folder, limit=45000):
    """The smallest files of a folder first, up to `limit` bytes packed, as the committed corpus."""
    (HERE / "corpus").mkdir(exist_ok=True)
    packed = HERE / "corpus" / f"{target}.zip"
    names = sorted(folder.iterdir(), key=lambda p: (p.stat().st_size, p.name))
    kept = 0
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for i, path in enumerate(names):
            entry = zipfile.ZipInfo(f"{i:04}")  # no dates: the same files pack to the same bytes
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, path.read_bytes())
            kept += 1
            if out.fp.tell() + 60 * kept > limit:
                break
    print(f"{target}: {kept} of {len(names)} files, {packed.stat().st_size} bytes")


def minimise(work, target):
    """Packs files that keep the coverage."""
    small = work / "minimised" / target
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    subprocess.run([work / f"fuzz_{target}", "-merge=1", *LIMITS[:4], small, work / "corpus" / target], check=True,
                   stderr=subprocess.DEVNULL)
    pack(target, small)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=int, default=600, help="for each target")
    p.add_argument("--targets", default=",".join(TARGETS))
    p.add_argument("--work", type=pathlib.Path, default=HERE.parent.parent / "build/fuzz")
    p.add_argument("--minimise", action="store_true")
    p.add_argument("--seeds", action="store_true")
    a = p.parse_args()
    targets = a.targets.split(",")
    if unknown := set(targets) - set(TARGETS):
        sys.exit(f"fuzz: unknown targets {', '.join(unknown)}; known are {', '.join(TARGETS)}")
    if a.seeds:
        shutil.rmtree(a.work / "seeds", ignore_errors=True)
        make_seeds(a.work, "seeds")
        for target in targets:
            pack(target, a.work / "seeds" / target)
        return
    build(a.work)
    for target in [t for t in targets if not (a.work / f"fuzz_{t}").exists()]:
        print(f"{target}: not built, its library is missing (scripts/setup installs it)")
        targets.remove(target)
    if a.minimise:
        for target in targets:
            minimise(a.work, target)
        return
    seed(a.work)
    sys.exit(max([fuzz(a.work, target, a.seconds) for target in targets]))


if __name__ == "__main__":
    main()
