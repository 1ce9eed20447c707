"""Zip archives whose directories lie."""
import io
import struct
import zipfile
import zlib

U64 = 2**64 - 1


class Entry:
    """One entry of a zip archive; what is not given is the truth."""

    def __init__(self, name, data=b"", deflate=False, **lies):
        self.name, self.data, self.deflate, self.lies = name, data, deflate, lies

    def fields(self):
        stored = self.data
        if self.deflate:
            z = zlib.compressobj(9, zlib.DEFLATED, -15)
            stored = z.compress(self.data) + z.flush()
        truth = dict(stored=stored, crc=zlib.crc32(self.data), stored_size=len(stored), size=len(self.data),
                     flags=0, method=8 if self.deflate else 0, header=None, extra=b"")
        return truth | self.lies


def archive(items, comment=b"", **lies):
    out, directory, boundaries = b"", b"", []
    for entry in items:
        f = entry.fields()
        name = entry.name if isinstance(entry.name, bytes) else entry.name.encode()
        common = struct.pack("<HHHIIIIHH", 20, f["flags"], f["method"], 0, f["crc"], f["stored_size"], f["size"], len(name),
                             len(f["extra"]))
        header = len(out) if f["header"] is None else f["header"]
        boundaries += [len(out), len(out) + 4, len(out) + 30, len(out) + 30 + len(name)]
        out += b"PK\3\4" + common + name + f["extra"] + f["stored"]
        directory += (b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, header) + name + f["extra"])
    end = dict(disk=0, here=len(items), entries=len(items), size=len(directory), offset=len(out)) | lies
    boundaries += [len(out), len(out) + 46, len(out) + len(directory)]
    whole = out + directory
    boundaries += [len(whole) + i for i in (4, 8, 12, 16, 20)]
    return (whole + b"PK\5\6" + struct.pack("<HHHHIIH", end["disk"], 0, end["here"], end["entries"], end["size"], end["offset"],
                                            len(comment)) + comment, boundaries)


def zips(w):
    data, boundaries = archive([Entry("a/x", b"hello"), Entry("a/y", b"z" * 300, True), Entry("empty")])
    w.sound("zip", "three", data, boundaries)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo("a/b"), "text " * 50, zipfile.ZIP_DEFLATED)
    w.sound("zip", "by-python", out.getvalue(), range(0, len(out.getvalue()), 7))
    nested = archive([Entry("b", b"12345")])[0]
    zip64 = struct.pack("<HHQQ", 1, 16, U64, U64)
    for name, entries in {
        "outside": [Entry("a", b"hello", header=4000)], "header-at-data": [Entry("a", b"hello", header=5)],
        "overlap": [Entry("a", nested), Entry("b", b"12345", header=31)],
        "same-place": [Entry("a", b"hello"), Entry("b", b"hello", header=0)],
        "path-up": [Entry("../x", b"x")], "path-inside-up": [Entry("a/../../x", b"x")],
        "path-root": [Entry("/etc/passwd", b"x")],
        "path-drive": [Entry("C:x", b"x")], "path-backslash": [Entry("a\\..\\x", b"x")],
        "path-nul": [Entry("a\0b", b"x")],
        "path-none": [Entry("", b"x")], "path-dots": [Entry("..", b"x")], "twice": [Entry("a", b"x"), Entry("a", b"y")],
        "encrypted": [Entry("a", b"x", flags=1)], "checksum": [Entry("a", b"x", crc=5)],
        "method-12": [Entry("a", b"x", method=12)],
        "two-sizes": [Entry("a", b"hello", size=4)], "longer": [Entry("a", b"hello", True, size=4)],
        "shorter": [Entry("a", b"hello", True, size=6)],
        "no-deflate": [Entry("a", b"hello", True, stored=b"\xff\xff", stored_size=2)],
        "declares-4-GB": [Entry("a", b"hello", True, size=0xF0000000)],
        "bomb": [Entry(f"bomb{i}", bytes(20 << 20), True) for i in range(5)],
        "zip64-16-EB": [Entry("a", b"hello", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=zip64)],
        "zip64-short": [Entry("a", b"hello", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=struct.pack("<HHI", 1, 4, 5))],
        "extra-beyond": [Entry("a", b"hello", extra=struct.pack("<HH", 7, 600))],
    }.items():
        w.put("zip", "broken", name, archive(entries)[0])
    one = [Entry("a", b"hello")]
    for name, lies in {"entries-65534": dict(here=65534, entries=65534), "entries-0": dict(here=0, entries=0),
                       "disks": dict(disk=1), "directory-at-0": dict(offset=0),
                       "directory-beyond": dict(offset=0xFFFFFFF0),
                       "directory-4-GB": dict(size=0xFFFFFFF0),
                       "zip64-without-record": dict(offset=0xFFFFFFFF)}.items():
        w.put("zip", "broken", name, archive(one, **lies)[0])
    record = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, U64, U64, U64, U64)
    locator = struct.pack("<IIQI", 0x07064b50, 0, 0, 1)
    w.put("zip", "broken", "zip64-everything-huge", record + locator + b"PK\5\6" + b"\xff" * 16 + b"\0\0")
    w.put("zip", "broken", "not-a-zip", b"PK\3\4" + bytes(100))
