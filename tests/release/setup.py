"""scripts/setup with a pretended apt: what it installs where packages are missing, and what it does where one has no such name.

    python tests/release/setup.py REPOSITORY
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# dpkg-query, apt-get and apt-cache of a system whose packages are files in $SYSTEM/known and $SYSTEM/installed.
STUBS = {
    "dpkg-query": 'shift 3; for p; do if [[ -e $SYSTEM/installed/$p ]]; then printf "%s:installed " "$p"; fi; done',
    "apt-cache": '[[ -e $SYSTEM/known/$2 ]]',
    "apt-get": 'echo "$*" >> "$SYSTEM/calls"; [[ " $* " == *" install "* ]] || exit 0; shift 4; '
               'for p; do [[ -e $SYSTEM/known/$p ]] || { echo "E: Unable to locate package $p"; exit 100; }; done; '
               'for p; do touch "$SYSTEM/installed/$p"; done',
    "sudo": 'exec "$@"',
}


class System:
    """A scratch copy of the script on a system of its own."""

    def __init__(self, source, folder, release, unknown=()):
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(source / "scripts/setup", folder / "scripts/setup")
        (folder / "torch").mkdir()
        (folder / "torch/TorchConfig.cmake").touch()  # so that no wheel is installed
        (folder / "os-release").write_text(release)
        for name, text in STUBS.items():
            stub = folder / "bin" / name
            stub.parent.mkdir(exist_ok=True)
            stub.write_text(f"#!/usr/bin/env bash\n{text}\n")
            stub.chmod(0o755)
        for name in ("known", "installed"):
            (folder / "system" / name).mkdir(parents=True)
        self.needed, self.optional = (line.split() for line in self.run("--packages").stdout.splitlines())
        for package in {*self.needed, *self.optional, "clang-tidy"} - set(unknown):
            (folder / "system/known" / package).touch()

    def run(self, *arguments, **environment):
        return subprocess.run(["bash", str(self.folder / "scripts/setup"), *arguments], capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "SYSTEM": str(self.folder / "system"),
                                   "HPM_OS_RELEASE": str(self.folder / "os-release"), "Torch_DIR": str(self.folder / "torch"), "HPM_APT": "1",
                                   **environment})

    def installed(self):
        return {path.name for path in (self.folder / "system/installed").iterdir()}

    def calls(self):
        path = self.folder / "system/calls"
        calls = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return calls


DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
UBUNTU = 'NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n'


def main():
    source = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        debian = System(source, Path(scratch) / "debian", DEBIAN)
        assert "chromium" in debian.optional and "python3-dev" in debian.optional and "g++" in debian.needed
        listed = debian.run(HPM_APT="0")
        assert listed.returncode == 0 and "HPM_APT=0" in listed.stdout and "g++" in listed.stdout, listed
        assert not debian.installed() and not debian.calls()
        done = debian.run("--without-tests")
        assert done.returncode == 0, done
        assert debian.installed() == {*debian.needed, *debian.optional} - {"chromium"}, debian.installed()
        assert len(debian.calls()) == 3, "one update, one install of what is needed, one of the rest"
        assert debian.run().returncode == 0 and "chromium" in debian.installed()
        debian.calls()
        assert debian.run().returncode == 0 and not debian.calls(), "nothing is missing, and apt was asked"
        assert debian.run("--with-tidy").returncode == 0 and "clang-tidy" in debian.installed()

        ubuntu = System(source, Path(scratch) / "ubuntu", UBUNTU, unknown=["mold", "dataset-fashion-mnist"])
        assert "chromium" not in ubuntu.optional
        done = ubuntu.run()
        assert done.returncode == 0, done
        assert ubuntu.installed() == {*ubuntu.needed, *ubuntu.optional} - {"mold", "dataset-fashion-mnist"}, ubuntu.installed()
        assert "ubuntu 24.04 has no mold dataset-fashion-mnist" in done.stdout, done.stdout
        ubuntu.calls()
        assert ubuntu.run().returncode == 0 and not ubuntu.calls(), "what it has not is asked for once"

        other = System(source, Path(scratch) / "other", 'ID=other\n', unknown=["libfmt-dev"])
        done = other.run()
        assert done.returncode == 1, done
        assert "Unable to locate package libfmt-dev" in done.stderr and "these packages are needed" in done.stderr, done.stderr

    if checker := shutil.which("shellcheck"):
        scripts = [path for path in (source / "scripts").iterdir() if path.is_file() and b"bash" in path.read_bytes()[:30]]
        assert len(scripts) >= 3, scripts
        found = subprocess.run([checker, *scripts, source / ".ci/run"], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout
    print("ok")


if __name__ == "__main__":
    main()
