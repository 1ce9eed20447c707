#!/usr/bin/env python3
"""docs/architecture.svg: the floors of the library and who includes whom, drawn from the includes.

    python3 scripts/architecture_picture.py            writes the picture
    python3 scripts/architecture_picture.py --check    fails where an include points upwards, a folder is in no floor, or
                                                       the committed picture is another one

The floors, lowest first, are the rows of the table in ARCHITECTURE.md. In the picture the lowest stands at the bottom; a dot
means that the floor of its row includes headers of the floor of its column. All dots lie left of the stairs: that is what
"includes point only downwards" looks like.
"""
import argparse
import re
import sys
from html import escape
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
PICTURE = SOURCE / "docs/architecture.svg"
INCLUDE = re.compile(r'^\s*#\s*include\s+"(hpm/[^"]+)"', re.M)

ROW, STEP, LEFT, TOP = 34, 40, 366, 16  # height of a row, width of a column, where the columns begin, room above
WORDS = {"hpm/core": "errors, options, random streams", "hpm/io": "files, read without running code", "hpm/distributed": "several processes on one run",
         "hpm/data": "images and labels", "hpm/models": "networks and checkpoints", "hpm/attacks": "APGD, FAB, Square, AutoAttack",
         "hpm/prototypes": "the HPM head and its contexts", "hpm/surrogates": "what an attacker differentiates",
         "hpm/defences": "what is attacked and judged", "hpm/training": "adversarial training", "hpm/evaluation": "protocols, checks, results",
         "hpm/report": "the page", "hpm/gauntlet": "defences known to be broken", "apps/hpm": "the program", "python": "the Python package"}


def floors():
    """[(folder, what it holds in a few words)], lowest first."""
    text = (SOURCE / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `((?:hpm/\w+)|apps/hpm|python)` \| (.+) \|$", text, re.M)
    if len(rows) < 5:
        sys.exit("architecture: the table of floors in ARCHITECTURE.md was not found")
    return [(folder, WORDS.get(folder, "")) for folder, _ in rows]


def floor_of(path, folders):
    return next((folder for folder in folders if path.startswith(folder + "/")), None)


def includes(folders):
    """{(from, to): one file that does so}, and headers that belong to no floor."""
    found, lost = {}, []
    for folder in folders:
        for file in sorted((SOURCE / folder).rglob("*")):
            if file.suffix not in (".h", ".cpp"):
                continue
            name = file.relative_to(SOURCE).as_posix()
            for header in INCLUDE.findall(file.read_text()):
                there = floor_of(header, folders)
                if there is None:
                    lost.append(f"{name} includes {header}, whose folder is no floor of ARCHITECTURE.md")
                elif there != folder:
                    found.setdefault((folder, there), f"{name} includes {header}")
    return found, lost


def picture(rows, found):
    folders = [folder for folder, _ in rows]
    count = len(folders)
    width, height = LEFT + STEP * count + 10, TOP + ROW * count + 96
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
           'font-family="system-ui, sans-serif" font-size="14">',
           "<title>The floors of hpm and their includes</title>",
           "<desc>A row a floor, the lowest at the bottom. A dot says that the row includes headers of the column. All dots lie left of "
           "the stairs: includes point only downwards.</desc>",
           f'<rect width="{width}" height="{height}" rx="8" fill="#fbfbfd"/>']
    for i, (folder, words) in enumerate(rows):
        y = TOP + ROW * (count - 1 - i)
        tone = "#e8eaf6" if folder.startswith("hpm/") else "#fff3e0"
        reach = LEFT + STEP * i
        out.append(f'<rect x="10" y="{y}" width="{reach - 10}" height="{ROW - 4}" rx="4" fill="{tone}"/>')
        label = folder.removeprefix("hpm/") if folder.startswith("hpm/") else folder
        text = f'<tspan font-weight="600">{escape(label)}</tspan>' + (f'<tspan x="122" fill="#555">{escape(words)}</tspan>' if words else "")
        out.append(f'<text x="22" y="{y + 20}" fill="#1a237e">{text}</text>')
        for j, below in enumerate(folders[:i]):
            x, middle = LEFT + STEP * j + STEP / 2, y + (ROW - 4) / 2
            if (folder, below) in found:
                out.append(f'<circle cx="{x:g}" cy="{middle:g}" r="6" fill="#3949ab"><title>{escape(label)} includes {escape(below)}</title></circle>')
            else:
                out.append(f'<circle cx="{x:g}" cy="{middle:g}" r="1.5" fill="#9fa8da"/>')
    base = TOP + ROW * count + 8
    for j, folder in enumerate(folders[:-1]):
        x = LEFT + STEP * j + STEP / 2 + 4
        out.append(f'<text x="{x:g}" y="{base}" transform="rotate(-60 {x:g} {base})" text-anchor="end" font-size="12" fill="#333">{escape(folder.removeprefix("hpm/"))}</text>')
    out += [f'<circle cx="26" cy="{base + 30}" r="6" fill="#3949ab"/>',
            f'<text x="40" y="{base + 35}" font-size="12" fill="#333">the row includes headers of the column</text>',
            f'<text x="20" y="{base + 58}" font-size="12" fill="#333">Lowest floor at the bottom.</text>', "</svg>"]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    rows = floors()
    folders = [folder for folder, _ in rows]
    found, faults = includes(folders)
    faults += [f"{example}: upwards" for (here, there), example in found.items() if folders.index(there) > folders.index(here)]
    faults += [f"hpm/{path.name} is no floor of ARCHITECTURE.md's table" for path in sorted((SOURCE / "hpm").iterdir())
               if path.is_dir() and f"hpm/{path.name}" not in folders]
    text = picture(rows, found)
    if not check:
        PICTURE.write_text(text)
    elif not PICTURE.exists() or PICTURE.read_text() != text:
        faults.append("docs/architecture.svg is not what the includes say: run scripts/architecture_picture.py and commit it")
    for fault in faults:
        print(f"architecture: {fault}", file=sys.stderr)
    print(f"architecture: {len(rows)} floors, {len(found)} pairs of floors of which one includes the other, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
