"""The reference of the command line: a page a verb, from what `hpm VERB --help` prints."""
import re
import subprocess
import sys

FLAG_COLUMN, TEXT_COLUMN = 2, 28  # where --help prints a flag and what it means


def output_of(program, *arguments):
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"docs: {program} {' '.join(arguments)} does not run ({error}); `make program` builds it")
    return done.stdout


def sections_of(help_text):
    """The flags of a help text: [(section, [(flag, meaning)])]. A line that is neither flag nor text is an error."""
    sections = []
    for line in help_text.splitlines():
        title = re.fullmatch(r"(\S.*):", line)
        if title:
            sections.append((title[1], []))
        elif not sections or not line.strip():
            continue
        elif line.startswith("  -"):
            flag, text = re.fullmatch(r"  (.*?)(?:  +(\S.*))?", line).groups()
            sections[-1][1].append([flag, text or ""])
        elif line.startswith(" " * TEXT_COLUMN) and sections[-1][1]:
            entry = sections[-1][1][-1]
            entry[1] = f"{entry[1]} {line.strip()}".strip()
        elif line.startswith("  "):
            sections[-1][1].append(["", line.strip()])
        else:
            sys.exit(f"docs: cannot read this line of a help text: {line!r}")
    return sections


def cell(text):
    """Text in a table: pipes and the signs of Markdown and HTML escaped, pages of docs/ linked."""
    text = re.sub(r"([\\|*_<>\[\]`])", r"\\\1", text)
    return re.sub(r"docs/([\w-]+)\.md", lambda page: f"[{page[1]}](../../{page[1]}.md)", text)


def verb_page(verb, text):
    """The page of a verb; its first lines are usage, summary and examples."""
    head = []
    lines = text.splitlines()
    for line in lines:
        if re.fullmatch(r"(\S.*):", line):
            break
        head.append(line)
    usage = [line for line in head if line.startswith("usage: ")]
    examples = [line.removeprefix("example: ") for line in head if line.startswith("example: ")]
    summary = " ".join(line.strip() for line in head if line.strip() and not line.startswith(("usage: ", "example: ")))
    out = [f"# hpm {verb}", "", cell(summary), "", "```sh", *(line.removeprefix("usage: ") for line in usage), "```", ""]
    if examples:
        out += ["For example:", "", "```sh", *examples, "```", ""]
    flags = 0
    for title, entries in sections_of("\n".join(lines[len(head):])):
        if not entries:
            continue
        out += [f"## {title[0].upper()}{title[1:]}", "", "| flag | meaning |", "|---|---|"]
        out += [f"| `{flag}` | {cell(meaning)} |" if flag else f"| | {cell(meaning)} |" for flag, meaning in entries]
        out.append("")
        flags += len(entries)
    if flags == 0:
        sys.exit(f"docs: hpm {verb} --help shows no flag")
    return "\n".join(out)


def write(program, folder):
    """Writes the pages; returns their places for the navigation."""
    text = output_of(program, "--help")
    verbs = re.findall(r"^  ([a-z]+) +(\S.*)$", text, re.M)
    if len(verbs) < 5:
        sys.exit("docs: hpm --help lists no verbs")
    target = folder / "reference/commands"
    target.mkdir(parents=True)
    out = ["# The command line", "", "`hpm VERB [flags]`. `hpm VERB --help` prints what these pages show: they are made from it.", "",
           "| verb | does |", "|---|---|"]
    out += [f"| [{verb}]({verb}.md) | {cell(summary)} |" for verb, summary in verbs]
    out += ["", text.splitlines()[-1], ""]
    (target / "index.md").write_text("\n".join(out))
    places = [("Verbs", "reference/commands/index.md")]
    for verb, _ in verbs:
        (target / f"{verb}.md").write_text(verb_page(verb, output_of(program, verb, "--help")))
        places.append((verb, f"reference/commands/{verb}.md"))
    return places
