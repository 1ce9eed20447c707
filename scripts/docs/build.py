#!/usr/bin/env python3
"""Builds the documentation site: build/docs/index.html, from docs/, the program's --help, the headers and the Python package.

    python3 scripts/docs/build.py [--program build/release/hpm] [--out build/docs]

The pages are written to build/docs-source first: those of docs/ with their links made fit for the site (pages.py), the flags of
every verb (commands.py), the C++ reference from Doxygen's XML (cpp.py; without Doxygen the step is skipped, with the
reason), the Python reference from docstrings. mkdocs then makes the site with --strict, so that a warning is an error.
mkdocs and what it needs are pinned in scripts/constraints-docs.txt and live in build/docs-venv.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import cpp
import pages

SOURCE = Path(__file__).resolve().parents[2]
CONSTRAINTS = SOURCE / "scripts/constraints-docs.txt"


def say(text):
    print(f"docs: {text}", flush=True)


def python_with_mkdocs(folder):
    """The Python of a virtual environment that has exactly what the constraints name; made where it is missing."""
    python, stamp = folder / "bin/python", folder / "constraints.txt"
    if python.exists() and stamp.exists() and stamp.read_text() == CONSTRAINTS.read_text():
        return python
    say(f"installing mkdocs-material in {folder}, as pinned in {CONSTRAINTS.relative_to(SOURCE)}")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", CONSTRAINTS,
                           "mkdocs-material", "mkdocstrings", "mkdocstrings-python"], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"docs: pip could not install mkdocs-material. It says:\n{done.stderr[-2000:]}")
    shutil.copy(CONSTRAINTS, stamp)  # last: it marks a finished installation
    return python


def python_pages(names):
    """The page of the Python package: every public name, from its docstring; nothing is imported."""
    out = ["# The Python package", "", "`import hpm`. How to use it is told in [From Python](../python.md).", ""]
    for name in names:
        out += [f"::: hpm.{name}", ""]
    return "\n".join(out)


def public_names():
    text = (SOURCE / "python/hpm/__init__.py").read_text()
    return re.findall(r'"(\w+)"', text[text.index("__all__") :])


def configuration(site, generated):
    """mkdocs.yml with the generated pages in its navigation, and without pages that are not there."""
    lines = []
    for line in (SOURCE / "mkdocs.yml").read_text().splitlines():
        place = re.fullmatch(r'( *)- "\{(\w+)\}"', line)
        page = re.search(r"([\w/-]+\.md)  # where it is there$", line)
        if place:
            lines += [f"{place[1]}- {title}: {path}" for title, path in generated[place[2]]]
        elif not page or (site / page[1]).exists():
            lines.append(line)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=SOURCE / "build/release/hpm")
    parser.add_argument("--out", type=Path, default=SOURCE / "build/docs")
    args = parser.parse_args()
    build = SOURCE / "build"
    build.mkdir(exist_ok=True)
    python = python_with_mkdocs(build / "docs-venv")

    site = build / "docs-source"
    shutil.rmtree(site, ignore_errors=True)
    (site / "reference").mkdir(parents=True)
    counts = {"pages of docs/": pages.write(SOURCE, site)}
    generated = {"commands": commands.write(args.program, site), "cpp": []}
    counts["verbs"] = len(generated["commands"]) - 1
    if shutil.which("doxygen"):
        generated["cpp"] = cpp.write(SOURCE, site, build / "doxygen")
        counts["floors of C++"] = len(generated["cpp"]) - 1
    else:
        say("skipped: the C++ reference, because there is no doxygen (apt-get install doxygen)")
        generated["cpp"] = [("Not built", cpp.write_absence(site))]
    names = public_names()
    (site / "reference/python.md").write_text(python_pages(names))
    counts["names of Python"] = len(names)
    pages.check_links(site)

    config = build / "mkdocs.yml"
    config.write_text(configuration(site, generated))
    environment = dict(os.environ, NO_MKDOCS_2_WARNING="1", DISABLE_MKDOCS_2_WARNING="true")
    done = subprocess.run([python, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", config, "--site-dir",
                           args.out.resolve()], env=environment)
    if done.returncode:
        sys.exit(f"docs: mkdocs found something to mend (its messages are above; the pages it read are in {site})")
    say(", ".join(f"{count} {what}" for what, count in counts.items()) + f": {args.out}/index.html")


if __name__ == "__main__":
    main()
