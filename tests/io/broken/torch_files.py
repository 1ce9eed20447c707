"""PyTorch's containers."""
import io
import pickletools
import zipfile

from .pickles import HOSTILE_GLOBALS, call, storage, tensor, text
from .writer import FIXTURES
from .zips import Entry, archive


def legacy_boundaries(data):
    """Where the pickles and storages of a legacy file begin, and every opcode in between."""
    at, out = 0, []
    for _ in range(5):
        stream = io.BytesIO(data[at:])
        positions = [p for _, _, p in pickletools.genops(stream)]
        out += [at + p for p in positions]
        at += stream.tell()
    return out + [at, at + 4, at + 8, len(data) - 1]


def torch_files(w):
    data = (FIXTURES / "zip.pth").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        entries = z.infolist()
        members = {i.filename: z.read(i) for i in entries}
        folder = entries[0].filename.split("/")[0]
    boundaries = [i.header_offset for i in entries] + [i.header_offset + 30 + len(i.filename) for i in entries]
    w.sound("torch_file", "zip", data, boundaries + [data.find(b"PK\1\2"), len(data) - 22, len(data) - 42, len(data) - 98])
    for name in ("legacy", "legacy_protocol4"):
        data = (FIXTURES / f"{name}.pth").read_bytes()
        w.sound("torch_file", name, data, legacy_boundaries(data))

    def rewritten(**changes):
        kept = {**members, **{f"{folder}/{k.replace('__', '/')}": v for k, v in changes.items()}}
        return archive([Entry(k, v) for k, v in kept.items() if v is not None])[0]

    small = b"\x80\x02}" + text("w") + tensor([2, 3], [3, 1]) + b"s."
    beside = b"\x80\x02}(" + text("log") + call("os", "system", text("true")) + text("w") + tensor([2, 3], [3, 1]) + b"u."
    w.put("torch_file", "sound", "object-beside", archive([Entry("a/data.pkl", beside), Entry("a/data/0", bytes(24))])[0])
    w.put("torch_file", "sound", "small", archive([Entry("a/data.pkl", small), Entry("a/data/0", bytes(24))])[0])
    for name, data in {
        "big-endian": rewritten(byteorder=b"big"), "storage-absent": rewritten(data__0=None),
        "storage-short": rewritten(data__0=b"x"),
        "no-pickle": archive([Entry("a/readme", b"x")])[0],
        "pickle-empty": rewritten(**{"data.pkl": b""}),
        "storage-long": archive([Entry("a/data.pkl", small), Entry("a/data/0", bytes(28))])[0],
        "storage-path": archive([Entry("a/data.pkl", small.replace(text("0"), text("../../../etc/passwd")))])[0],
        "storage-deflated-bomb": archive([Entry("a/data.pkl", b"\x80\x02}" + text("w") + tensor([6], [1], of=storage(count=5 << 20)) + b"s."),
                                          Entry("a/data/0", bytes(200 << 20), True)])[0],
        "page": b"<html>404</html>", "empty": b"",
        "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    }.items():
        w.put("torch_file", "broken", name, data)
    # Refused, for they hold no weights; where the object lies does not matter.
    for module, name in HOSTILE_GLOBALS:
        attack = call(module, name, text("true"))
        w.put("torch_file", "flipped", f"hostile-{module}.{name}", rewritten(**{"data.pkl": attack + b"."}))
        w.put("torch_file", "flipped", f"hostile-weights-{module}.{name}",
              rewritten(**{"data.pkl": b"}" + text("state_dict") + attack + b"s."}))
