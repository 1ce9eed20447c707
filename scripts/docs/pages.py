"""The pages of docs/ and of the repository's root, with links that fit the site."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import PurePosixPath

# Pages that do not stand in docs/, and where the site has them.
ROOT_PAGES = {"ARCHITECTURE.md": "project/architecture.md", "CONTRIBUTING.md": "project/contributing.md",
              "CHANGELOG.md": "project/changelog.md"}
LANGUAGES = {".cpp": "cpp", ".h": "cpp", ".py": "python", ".toml": "toml", ".json": "json", ".sbatch": "sh", ".txt": "text",
             ".cmake": "cmake", ".cff": "yaml"}
LINK = re.compile(r"(\[[^\[\]]*\]\()([^)\s]+)(\))")
FILE_NAME = re.compile(r"\[([\w/.-]+\.md)\]\(")
MARK = re.compile(r"^[ \t]*<!-- (?:test|python|not tested)\b.*?-->[ \t]*\n", re.M)
FENCE = re.compile(r"^([ \t]*)(```|~~~).*?^\1\2[ \t]*$", re.M | re.S)


def tracked(source):
    done = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=source,
                          capture_output=True)
    if done.returncode == 0:
        names = done.stdout.decode().split("\0")
    else:  # a source archive
        names = [path.relative_to(source).as_posix() for path in source.rglob("*")]
    return {name for name in names if name and (source / name).is_file()}


class Site:
    """Where every file of the repository is to be found in the site."""

    def __init__(self, source, folder):
        self.source, self.folder, self.files = source, folder, tracked(source)
        self.places = {name: name[len("docs/"):] for name in self.files if name.startswith("docs/")} | ROOT_PAGES
        self.places["README.md"] = "index.md"

    def place_of(self, name):
        """The page of a file; files outside docs/ get one that shows them."""
        if name in self.places:
            return self.places[name]
        if name in self.files:
            return self.show_file(name)
        below = sorted(file for file in self.files if file.startswith(name.rstrip("/") + "/"))
        return self.show_folder(name.rstrip("/"), below) if below else None

    def show_file(self, name):
        place = self.places[name] = f"files/{name.replace('.', '-')}.md"
        try:
            text = (self.source / name).read_text()
        except UnicodeDecodeError:
            sys.exit(f"docs: a page links to {name}, which is no text")
        fence = "````" if "```" in text else "```"
        language = LANGUAGES.get(PurePosixPath(name).suffix, "sh" if text.startswith("#!") else "text")
        self.put(place, f"# {name}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n")
        return place

    def show_folder(self, name, below):
        place = self.places[name] = f"files/{name}/index.md"
        links = []
        for file in below:
            try:
                (self.source / file).read_text()
                links.append(f"- [{file}]({os.path.relpath(self.place_of(file), os.path.dirname(place))})")
            except UnicodeDecodeError:
                links.append(f"- {file}")
        self.put(place, f"# {name}\n\n" + "\n".join(links) + "\n")
        return place

    def put(self, place, text):
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def title(self, name):
        return re.search(r"^# (.+)$", (self.source / name).read_text(), re.M)[1]

    def page(self, name):
        """The text of a page for the site."""
        place = self.places[name]

        def link(match):
            target, _, anchor = match[2].partition("#")
            if not target or ":" in target:
                return match[0]
            wanted = os.path.normpath(os.path.join(os.path.dirname(name), target))
            there = self.place_of(wanted)
            if there is None:
                sys.exit(f"docs: {name} links to {match[2]}, which is not there")
            text = match[1]
            if FILE_NAME.fullmatch(text):  # a reader of the site knows pages by their titles
                text = f"[{self.title(wanted)}]("
            return text + os.path.relpath(there, os.path.dirname(place) or ".") + ("#" + anchor if anchor else "") + match[3]

        text = MARK.sub("", (self.source / name).read_text())
        return outside_fences(text, lambda part: LINK.sub(link, lists_apart(table_pipes(part))))


def outside_fences(text, change):
    """Applies `change` to what is not a fenced block."""
    out, begin = [], 0
    for fence in FENCE.finditer(text):
        out += [change(text[begin : fence.start()]), fence[0]]
        begin = fence.end()
    return "".join(out) + change(text[begin:])


def table_pipes(text):
    """Within a table GitHub needs `a\\|b`, where Python's Markdown shows the backslash."""
    lines = [re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line) if line.lstrip().startswith("|") else line
             for line in text.split("\n")]
    return "\n".join(lines)


def lists_apart(text):
    """GitHub lets a list follow a paragraph at once, Python's Markdown needs a blank line between them."""
    item, out = re.compile(r"([*-]|1\.) "), []
    for line in text.split("\n"):
        if item.match(line) and out and out[-1].strip() and not re.match(r"([*-]|\d+\.) |\s", out[-1]):
            out.append("")
        out.append(line)
    return "\n".join(out)


def write(source, folder):
    """Writes all pages of docs/ and of the root below `folder`; returns their number."""
    site = Site(source, folder)
    count = 0
    for name in sorted(file for file in site.files if file.startswith("docs/")) + list(ROOT_PAGES):
        place = site.places[name]
        if name.endswith(".md"):
            site.put(place, site.page(name))
            count += 1
        else:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, folder / place)
    return count


def check_links(folder):
    """Every relative link leads to a file of the site (mkdocs checks this too, and the anchors)."""
    for page in folder.rglob("*.md"):
        for match in LINK.finditer(FENCE.sub("", page.read_text())):
            target = match[2].partition("#")[0]
            if target and ":" not in target and not (page.parent / target).exists():
                sys.exit(f"docs: {page.relative_to(folder)} links to {match[2]}, which the site does not have")
