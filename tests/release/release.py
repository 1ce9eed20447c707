"""scripts/release on a clone of this repository: what it refuses, and what it makes (without the wheel).

    python tests/release/release.py REPOSITORY
"""
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SKIPPED = 77


def run(*command, cwd=None):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def main():
    source = Path(sys.argv[1])
    if not (source / ".git").exists() or run("git", "-C", str(source), "rev-parse", "HEAD").returncode:
        print("skipped: needs a git repository; run it in a clone: git clone URL, then make test")
        return SKIPPED
    if run(sys.executable, "-c", "import scikit_build_core").returncode:
        print("skipped: needs scikit-build-core; make setup installs it in .venv")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        clone, out = Path(folder) / "clone", Path(folder) / "dist"
        assert run("git", "clone", "-q", str(source), str(clone)).returncode == 0
        # What is tested are the script and the Makefile of this tree.
        for name in ("scripts/release", "Makefile"):
            (clone / name).write_bytes((source / name).read_bytes())
        for setting in ("user.name", "user.email"):
            run("git", "config", setting, "test", cwd=clone)

        def release(version, *more):
            return run(sys.executable, str(clone / "scripts/release"), version, "--out", str(out), "--without-wheel", *more)

        def commit(message):
            run("git", "add", "-A", cwd=clone)
            run("git", "commit", "-qm", message, cwd=clone)

        commit("the script")
        lists = clone / "CMakeLists.txt"
        assert "MAJOR.MINOR.PATCH" in release("9.9").stderr
        assert "CMakeLists.txt has version" in release("9.9.9").stderr
        lists.write_text(re.sub(r"project\(hpm VERSION [0-9.]+", "project(hpm VERSION 9.9.9", lists.read_text()))
        assert "changes that no commit holds" in release("9.9.9").stderr
        commit("the version")
        assert 'scripts/release "9.9.9" --tag' in run("make", "-n", "release", cwd=clone).stdout, "make takes the version of CMakeLists.txt"
        assert "no section" in release("9.9.9").stderr
        log = clone / "CHANGELOG.md"
        log.write_text(log.read_text().replace("## [Unreleased]", "## [Unreleased]\n\n## [9.9.9] - 2030-01-02\n\n### Added\n\n- A line of the test.\n", 1))
        commit("the changelog")
        assert not out.exists(), "a refused release wrote something"

        done = release("9.9.9", "--tag")
        assert done.returncode == 0, done.stderr
        names = {path.name for path in out.iterdir()}
        assert names == {"hpm-9.9.9.tar.gz", "hpm_robust-9.9.9.tar.gz", "SHA256SUMS", "release-notes.md"}, names
        for line in (out / "SHA256SUMS").read_text().splitlines():
            digest, name = line.split("  ")
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest, name
        with tarfile.open(out / "hpm-9.9.9.tar.gz") as archive:
            files = archive.getnames()
        assert "hpm-9.9.9/Makefile" in files and not any("/build/" in name or ".venv" in name for name in files)
        notes = (out / "release-notes.md").read_text()
        assert notes.startswith("### Added\n\n- A line of the test."), notes
        assert notes.strip() in run("git", "for-each-ref", "--format=%(contents)", "refs/tags/v9.9.9", cwd=clone).stdout
        assert "already" in release("9.9.9").stderr
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
