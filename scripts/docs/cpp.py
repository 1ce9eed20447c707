"""The C++ reference: a page a floor, made of what Doxygen writes about the public headers."""
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from html import escape

LOWEST_LINE = 1 << 30


def run_doxygen(source, out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    done = subprocess.run(["doxygen", "scripts/docs/Doxyfile"], cwd=source, env=dict(os.environ, HPM_DOXYGEN_OUT=str(out)),
                          stderr=subprocess.PIPE, text=True)
    if done.returncode or done.stderr:
        sys.exit(f"docs: Doxygen warns:\n{done.stderr[-3000:]}")
    return out / "xml"


def floors_of(source):
    """The floors and what they hold, from the table in ARCHITECTURE.md."""
    return re.findall(r"^\| `hpm/(\w+)` \| (.+) \|$", (source / "ARCHITECTURE.md").read_text(), re.M)


# ---- comments ----------------------------------------------------------------------------------------------------------

TAGS = {"computeroutput": "code", "bold": "strong", "emphasis": "em", "itemizedlist": "ul", "orderedlist": "ol", "listitem": "li",
        "superscript": "sup", "subscript": "sub"}


def html_of(node):
    """A comment as HTML. What Doxygen has that is not named here is shown as its text."""
    inner = escape(node.text or "", quote=False)
    for child in node:
        inner += html_of(child) + escape(child.tail or "", quote=False)
    if node.tag == "para":
        return f"<p>{inner}</p>"
    if node.tag in ("verbatim", "programlisting"):
        return f"<pre><code>{inner}</code></pre>"
    if node.tag == "codeline":
        return inner + "\n"
    if node.tag == "sp":
        return " "
    if node.tag == "simplesect":
        return f"<p><strong>{node.get('kind', '').capitalize()}</strong></p>{inner}"
    if node.tag in ("ndash", "mdash"):
        return "–"
    tag = TAGS.get(node.tag)
    return f"<{tag}>{inner}</{tag}>" if tag else inner


def comment_of(node):
    """Brief and detailed description, on one line: a blank one would end an HTML block of Markdown."""
    text = ""
    for part in ("briefdescription", "detaileddescription"):
        found = node.find(part)
        if found is not None:
            text += "".join(html_of(child) for child in found)
    return re.sub(r"\n\s*\n", "\n", text).strip()


def text_of(node, tag):
    found = node.find(tag)
    return " ".join("".join(found.itertext()).split()) if found is not None else ""


# ---- what a header holds -----------------------------------------------------------------------------------------------


def place_of(node):
    location = node.find("location")
    return (location.get("file", ""), int(location.get("line", LOWEST_LINE))) if location is not None else ("", LOWEST_LINE)


def signature(member):
    """A declaration as it is written, without attributes."""
    kind, name = member.get("kind"), text_of(member, "name")
    if kind == "enum":
        values = ", ".join(text_of(value, "name") for value in member.findall("enumvalue"))
        return f"enum class {name} {{ {values} }};" if member.get("strong") == "yes" else f"enum {name} {{ {values} }};"
    if kind == "typedef":
        return text_of(member, "definition") + ";"
    template = ", ".join(" ".join(filter(None, (text_of(p, "type"), text_of(p, "declname"))))
                         for p in member.findall("templateparamlist/param"))
    type_name = text_of(member, "type")
    value = text_of(member, "initializer") if kind == "variable" else text_of(member, "argsstring")
    declared = " ".join(filter(None, (f"template <{template}>" if template else "", type_name, name)))
    return f"{declared}{' ' if kind == 'variable' and value else ''}{value};"


def member_table(members, head):
    """Rows of HTML: what Markdown's tables cannot hold are comments of several paragraphs."""
    rows = []
    for member in members:
        meaning = comment_of(member)
        for value in member.findall("enumvalue"):
            if comment_of(value):
                meaning += f"<p><code>{escape(text_of(value, 'name'))}</code></p>{comment_of(value)}"
        rows.append(f"<tr><td><code>{escape(signature(member).removesuffix(';'))}</code></td><td>{meaning}</td></tr>")
    return f'<div class="members"><table><thead><tr><th>{head}</th><th>meaning</th></tr></thead><tbody>\n' + "\n".join(rows) + "\n</tbody></table></div>"


def class_text(compound):
    name = text_of(compound, "compoundname").removeprefix("hpm::")
    out = [f"### {compound.get('kind')} {escape(name, quote=False)}", "", f"<div>{comment_of(compound)}</div>", ""]
    members = [m for s in compound.findall("sectiondef") for m in s.findall("memberdef") if m.get("prot") == "public"]
    members = [m for m in members if not text_of(m, "name").startswith(("~", "operator=")) and m.get("kind") != "friend"]
    fields = [m for m in members if m.get("kind") == "variable"]
    others = [m for m in members if m.get("kind") != "variable"]
    for head, group in (("field", fields), ("member", others)):
        if group:
            out += [member_table(group, head), ""]
    return out


def member_text(group):
    """A free function with its overloads, an enumeration, an alias or a constant."""
    out = [f"### {text_of(group[0], 'name')}", ""]
    for member in group:
        values = "".join(f"<p><code>{escape(text_of(v, 'name'))}</code>: {re.sub('</?p>', '', comment_of(v))}</p>"
                         for v in member.findall("enumvalue") if comment_of(v))
        out += ["```cpp", signature(member), "```", "", f"<div>{comment_of(member)}{values}</div>", ""]
    return out


def headers_of(folder):
    """{header: [(line, lines of its page)]}."""
    headers, functions = {}, {}
    for file in sorted(folder.glob("*.xml")):
        compound = xml.parse(file).getroot().find("compounddef")
        if compound is None:
            continue
        if compound.get("kind") in ("class", "struct") and compound.get("prot", "public") == "public":
            header, line = place_of(compound)
            headers.setdefault(header, []).append((line, class_text(compound)))
        elif compound.get("kind") == "namespace" and "@" not in text_of(compound, "compoundname"):
            for member in compound.iterfind("sectiondef/memberdef"):
                header, line = place_of(member)
                if text_of(member, "name") and "@" not in text_of(member, "name"):
                    functions.setdefault((header, text_of(member, "name")), []).append((line, member))
    for (header, _), members in functions.items():
        members.sort(key=lambda entry: entry[0])
        headers.setdefault(header, []).append((members[0][0], member_text([member for _, member in members])))
    return headers


# ---- pages -------------------------------------------------------------------------------------------------------------


def write(source, folder, out):
    """Writes the pages; returns their places for the navigation."""
    headers = headers_of(run_doxygen(source, out))
    target = folder / "reference/cpp"
    target.mkdir(parents=True)
    places, rows = [], []
    for floor, holds in floors_of(source):
        mine = sorted(header for header in headers if header.startswith(f"hpm/{floor}/"))
        page = [f"# hpm/{floor}", "", f"What this floor holds: {holds}.", ""]
        for header in mine:
            page += [f"## {header.removeprefix('hpm/')}", "", "```cpp", f'#include "{header}"', "```", ""]
            for _, lines in sorted(headers[header], key=lambda entry: entry[0]):
                page += lines
        if mine:
            (target / f"{floor}.md").write_text("\n".join(page))
            places.append((floor, f"reference/cpp/{floor}.md"))
            rows.append(f"| [`hpm/{floor}`]({floor}.md) | {len(mine)} | {holds} |")
    index = ["# The C++ library", "", "Every public header, floor by floor, the lowest first. An include points only downwards "
             "([architecture](../../project/architecture.md)). How to use the library is told in [From C++](../../cpp.md).", "",
             "| floor | headers | what it holds |", "|---|---|---|", *rows, ""]
    (target / "index.md").write_text("\n".join(index))
    return [("Floors", "reference/cpp/index.md"), *places]


def write_absence(folder):
    """The page that stands in where there is no Doxygen."""
    target = folder / "reference/cpp"
    target.mkdir(parents=True)
    (target / "index.md").write_text("# The C++ library\n\nThis site was built without Doxygen, so that the pages of the headers are missing. The "
                                     "headers themselves say the same: `hpm/*/*.h`.\n")
    return "reference/cpp/index.md"
