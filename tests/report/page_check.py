"""Checks a report with Python's own parsers: page_check.py page FILE | png FILE.

page: tags balance, ids are unique and linked, nothing is loaded from elsewhere, every data URI is a sound PNG.
png:  prints "WIDTH HEIGHT CHANNELS HEXBYTES" of a PNG decoded without libpng.
"""
import base64
import hashlib
import html.parser
import re
import struct
import sys
import zlib

VOID = {"meta", "link", "img", "br", "hr", "input"}
LOADS = {"src", "href", "srcset", "xlink:href", "data", "poster", "action", "formaction", "background"}


def decode_png(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG signature"
    at, packed, header = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body), "bad CRC"
        at += 12 + size
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
    assert kind == b"IEND" and at == len(data), "does not end with IEND"
    width, height, depth, colour, *rest = header
    assert depth == 8 and colour in (0, 2) and rest == [0, 0, 0], header
    channels = 1 if colour == 0 else 3
    lines, row = zlib.decompress(packed), width * channels + 1
    assert len(lines) == row * height, "wrong amount of pixels"
    assert all(lines[y * row] == 0 for y in range(height)), "only filter 0 is expected"
    return width, height, channels, b"".join(lines[y * row + 1:(y + 1) * row] for y in range(height))


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.problems, self.ids, self.links, self.images = [], [], [], [], 0
        self.policy, self.scripts = "", 0

    def handle_starttag(self, tag, attributes):
        self.look(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.look(tag, attributes)

    def handle_data(self, data):
        """A script must be the only one, and the one that the policy names by its hash."""
        if "script" in self.open:
            digest = base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            self.scripts += 1
            if self.scripts > 1 or f"script-src 'sha256-{digest}'" not in self.policy:
                self.problems.append(f"script at {self.getpos()}")

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes {self.open[-1:]}")
        else:
            self.open.pop()

    def look(self, tag, attributes):
        if tag == "meta" and dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"]
        if tag in ("iframe", "object", "embed", "base", "form"):
            self.problems.append(f"<{tag}> at {self.getpos()}")
        for name, value in attributes:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            if name.startswith("on") or name == "style":
                self.problems.append(f"attribute {name} at {self.getpos()}")
            if name not in LOADS:
                continue
            if value.startswith("data:image/png;base64,"):
                decode_png(base64.b64decode(value.split(",", 1)[1], validate=True))
                self.images += 1
            elif value.startswith("#"):
                self.links.append(value[1:])
            elif value != "data:,":
                self.problems.append(f"{tag} {name}={value[:60]!r} loads something")


def check_page(text):
    page = Page()
    page.feed(text)
    page.close()
    problems = page.problems + [f"<{tag}> is never closed" for tag in page.open]
    problems += [f"id {name!r} twice" for name in set(page.ids) if page.ids.count(name) > 1]
    problems += [f"no id {name!r} for a link" for name in page.links if name not in page.ids]
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.S))
    problems += [f"style loads {found!r}" for found in re.findall(r"@import|url\([^)]*\)", style)]
    for found in re.findall(r"(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//[^\"'> ]*", text):
        problems.append(f"external reference {found!r}")
    return problems, page.images


if sys.argv[1] == "png":
    width, height, channels, pixels = decode_png(open(sys.argv[2], "rb").read())
    print(width, height, channels, pixels.hex())
else:
    problems, images = check_page(open(sys.argv[2], encoding="utf-8").read())
    print("\n".join(problems) if problems else f"ok {images} images")
    sys.exit(1 if problems else 0)
