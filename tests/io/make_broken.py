"""Writes broken and hostile files, for the tests of the readers and as seeds for their fuzzers (Python's library alone).

    python3 tests/io/make_broken.py OUT

OUT/<reader>/sound/*    files that are read; what the others are made from
OUT/<reader>/broken/*   files that must be refused: cut at every boundary of their structure, sizes and offsets that are
                        huge, overlap or contradict each other, bombs, names that leave the folder, cycles, code to run
OUT/<reader>/flipped/*  one byte changed: read or refused, nothing else
Readers: pickle, zip, torch_file, safetensors, npy, idx, cifar, cifar_pickle, card, gzip, archive, mat, image
(tests/fuzz/targets.cpp).
"""
import base64
import gzip
import io
import json
import pathlib
import pickle
import pickletools
import struct
import sys
import tarfile
import zipfile
import zlib

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE / "fixtures"
U64 = 2**64 - 1


class Writer:
    def __init__(self, out):
        self.out = pathlib.Path(out)

    def put(self, reader, kind, name, data):
        folder = self.out / reader / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    def sound(self, reader, name, data, boundaries):
        """A file that is read, itself cut at the boundaries and with single bytes changed."""
        self.put(reader, "sound", name, data)
        for at in sorted({b for b in boundaries if 0 <= b < len(data)}):
            self.put(reader, "broken", f"{name}.cut-at-{at}", data[:at])
        step = max(1, len(data) // 150)
        for i, at in enumerate(range(0, len(data), step)):
            changed = bytearray(data)
            changed[at] ^= (0x01, 0x80, 0xFF)[i % 3]
            self.put(reader, "flipped", f"{name}.byte-{at}", bytes(changed))


# ---- pickle ---------------------------------------------------------------------------------------------------------

def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def integer(i):
    return b"\x8a\x08" + struct.pack("<q", i)


def numbers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key="0", count=6, kind="FloatStorage"):
    return b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(shape, strides, offset=0, of=None):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + (of or storage()) + integer(offset) + numbers(shape) +
            numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR")


def boundaries_of_pickle(data):
    return [at for _, _, at in pickletools.genops(data)] + [1]


def call(module, name, *arguments):
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


HOSTILE_GLOBALS = [("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
                   ("builtins", "exec"), ("__builtin__", "getattr"), ("builtins", "__import__"), ("runpy", "run_path"),
                   ("webbrowser", "open"), ("torch", "load"), ("torch.hub", "load"), ("torch.serialization", "load"),
                   ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("collections", "OrderedDict.fromkeys"),
                   ("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("pickle", "loads"),
                   ("codecs", "open"), ("_codecs", "encode.__self__"), ("socket", "socket"), ("argparse", "Namespace")]


def pickles(w):
    plain = {"a": [1, 2.5, None, True, -70000, 2**70], "b": (b"\x00\xff", "\u00e9"), 5: {"nested": []}, "s": (1, 2)}
    for protocol in range(2, 6):
        data = pickle.dumps(plain, protocol)
        w.sound("pickle", f"plain-{protocol}", data, boundaries_of_pickle(data))
    data = b"\x80\x02}q\x00(" + text("w") + tensor([2, 3], [3, 1]) + text("t") + tensor([3, 2], [1, 3]) + b"u."
    w.sound("pickle", "tensors", data, boundaries_of_pickle(data))
    data = (b"\x80\x02" + call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("f8"), b"\x89\x88"),
                               b"C\x08" + struct.pack("<d", .5)) + b".")
    w.sound("pickle", "numpy-scalar", data, boundaries_of_pickle(data))
    for module, name in HOSTILE_GLOBALS:
        label = f"global-{module}.{name}"
        w.put("pickle", "broken", label, call(module, name, text("touch hpm_was_here")) + b".")
        w.put("pickle", "broken", label + ".stack", text(module) + text(name) + b"\x93)R.")
        w.put("pickle", "broken", label + ".newobj", f"c{module}\n{name}\n".encode() + b")\x81.")
        w.put("pickle", "broken", label + ".inst", b"(" + text("x") + f"i{module}\n{name}\n".encode() + b".")
    for name, data in {
        "cycle-list": b"]q\x00h\x00a.", "cycle-dict": b"}q\x00" + text("a") + b"h\x00s.",
        "cycle-tuple": b"]q\x00h\x00\x85a.", "cycle-key": b"}q\x00h\x00\x85Ns.",
        "deep-tuples": b"]" + b"\x85" * 100000 + b".", "deep-lists": b"]" * 100000 + b"a" * 99999 + b".",
        "deep-marks": b"(" * 100000, "laughs": b"]q\x00" + b"".join(
            b"0](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(12)) + b".",
        "laughing-text": text("x" * 60000) + b"q\x00(" + b"h\x00" * 60000 + b"t.",
        "text-of-4-GB": b"X\xff\xff\xff\xff", "bytes-of-16-EB": b"\x8e" + b"\xff" * 8, "frame-of-16-EB": b"\x80\x04\x95" + b"\xff" * 8,
        "integer-of-4-GB": b"\x8b\xff\xff\xff\xff", "memo-far": b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
        "storage-huge": tensor([2**62], [1], of=storage(count=2**62)) + b".",
        "storage-negative": tensor([1], [1], of=storage(count=-1)) + b".",
        "storage-two-sizes": b"(" + storage() + storage(count=7) + b"t.",
        "storage-two-types": b"(" + storage() + storage(kind="LongStorage") + b"t.",
        "storage-complex": storage(kind="ComplexFloatStorage") + b".", "storage-quantised": storage(kind="QInt8Storage") + b".",
        "shape-huge": tensor([2**40, 2**40], [0, 0]) + b".", "shape-negative": tensor([-2, 3], [3, 1]) + b".",
        "shape-beyond": tensor([7], [1]) + b".", "stride-negative": tensor([2, 3], [-3, 1]) + b".",
        "stride-huge": tensor([2], [2**63 - 1]) + b".", "stride-beyond": tensor([2, 2], [5, 1]) + b".",
        "offset-beyond": tensor([2], [1], 5) + b".", "offset-negative": tensor([2], [1], -1) + b".",
        "offset-huge": tensor([2], [2**63 - 1], 2**63 - 1) + b".", "expanded": tensor([2**33], [0]) + b".",
        # The second storage would allow the first view, but nothing tells whether its bytes are there.
        "expanded-promise": b"(" + tensor([2**33], [0]) + tensor([4], [1], of=storage("1", 2**34)) + b"t.",
        "dimensions": tensor([1] * 1000, [1] * 1000) + b".", "strides-missing": tensor([1, 1], [1]) + b".",
        "persistent-module": b"(" + text("module") + b"NNNNtQ.", "persistent-none": b"NQ.", "extension": b"\x82\x01.",
        "not-utf8": b"X\x01\x00\x00\x00\xff.", "protocol-9": b"\x80\x09N.", "two-left": b"NN.", "nothing": b".", "empty": b"",
    }.items():
        w.put("pickle", "broken", name, data)


# ---- zip ------------------------------------------------------------------------------------------------------------

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
        z.writestr("a/b", "text " * 50)
    w.sound("zip", "by-python", out.getvalue(), range(0, len(out.getvalue()), 7))
    nested = archive([Entry("b", b"12345")])[0]
    zip64 = struct.pack("<HHQQ", 1, 16, U64, U64)
    for name, entries in {
        "outside": [Entry("a", b"hello", header=4000)], "header-at-data": [Entry("a", b"hello", header=5)],
        "overlap": [Entry("a", nested), Entry("b", b"12345", header=31)],
        "same-place": [Entry("a", b"hello"), Entry("b", b"hello", header=0)],
        "path-up": [Entry("../x", b"x")], "path-inside-up": [Entry("a/../../x", b"x")], "path-root": [Entry("/etc/passwd", b"x")],
        "path-drive": [Entry("C:x", b"x")], "path-backslash": [Entry("a\\..\\x", b"x")], "path-nul": [Entry("a\0b", b"x")],
        "path-none": [Entry("", b"x")], "path-dots": [Entry("..", b"x")], "twice": [Entry("a", b"x"), Entry("a", b"y")],
        "encrypted": [Entry("a", b"x", flags=1)], "checksum": [Entry("a", b"x", crc=5)], "method-12": [Entry("a", b"x", method=12)],
        "two-sizes": [Entry("a", b"hello", size=4)], "longer": [Entry("a", b"hello", True, size=4)],
        "shorter": [Entry("a", b"hello", True, size=6)], "no-deflate": [Entry("a", b"hello", True, stored=b"\xff\xff", stored_size=2)],
        "declares-4-GB": [Entry("a", b"hello", True, size=0xF0000000)],
        "bomb": [Entry(f"bomb{i}", bytes(20 << 20), True) for i in range(5)],
        "zip64-16-EB": [Entry("a", b"hello", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=zip64)],
        "zip64-short": [Entry("a", b"hello", size=0xFFFFFFFF, stored_size=0xFFFFFFFF, extra=struct.pack("<HHI", 1, 4, 5))],
        "extra-beyond": [Entry("a", b"hello", extra=struct.pack("<HH", 7, 600))],
    }.items():
        w.put("zip", "broken", name, archive(entries)[0])
    one = [Entry("a", b"hello")]
    for name, lies in {"entries-65534": dict(here=65534, entries=65534), "entries-0": dict(here=0, entries=0),
                       "disks": dict(disk=1), "directory-at-0": dict(offset=0), "directory-beyond": dict(offset=0xFFFFFFF0),
                       "directory-4-GB": dict(size=0xFFFFFFF0), "zip64-without-record": dict(offset=0xFFFFFFFF)}.items():
        w.put("zip", "broken", name, archive(one, **lies)[0])
    record = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, U64, U64, U64, U64)
    locator = struct.pack("<IIQI", 0x07064b50, 0, 0, 1)
    w.put("zip", "broken", "zip64-everything-huge", record + locator + b"PK\5\6" + b"\xff" * 16 + b"\0\0")
    w.put("zip", "broken", "not-a-zip", b"PK\3\4" + bytes(100))


# ---- PyTorch's containers ---------------------------------------------------------------------------------------------

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
    w.put("torch_file", "sound", "small", archive([Entry("a/data.pkl", small), Entry("a/data/0", bytes(24))])[0])
    for name, data in {
        "big-endian": rewritten(byteorder=b"big"), "storage-absent": rewritten(data__0=None), "storage-short": rewritten(data__0=b"x"),
        "no-pickle": archive([Entry("a/readme", b"x")])[0], "hostile": rewritten(**{"data.pkl": call("os", "system", text("true")) + b"."}),
        "pickle-empty": rewritten(**{"data.pkl": b""}), "storage-long": archive([Entry("a/data.pkl", small), Entry("a/data/0", bytes(28))])[0],
        "storage-path": archive([Entry("a/data.pkl", small.replace(text("0"), text("../../../etc/passwd")))])[0],
        "storage-deflated-bomb": archive([Entry("a/data.pkl", b"\x80\x02}" + text("w") + tensor([6], [1], of=storage(count=5 << 20)) + b"s."),
                                          Entry("a/data/0", bytes(200 << 20), True)])[0],
        "page": b"<html>404</html>", "empty": b"", "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    }.items():
        w.put("torch_file", "broken", name, data)


# ---- safetensors ------------------------------------------------------------------------------------------------------

def safetensors_of(header, data, size=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def safetensors(w):
    def field(dtype="U8", shape=(8,), begin=0, end=8):
        return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}

    header = {"__metadata__": {"format": "pt"}, "a": field(shape=(2, 3), end=6), "b": field("F16", (1,), 6, 8)}
    data = safetensors_of(header, b"01234567")
    tokens = [8 + i for i, c in enumerate(json.dumps(header)) if c in '{}[]:,"']
    w.sound("safetensors", "two", data, [0, 1, 7, 8, *tokens, len(data) - 8, len(data) - 2])
    eight = b"01234567"
    for name, bad in {
        "header-16-EB": safetensors_of(b"{}", b"", U64), "header-100-MB": safetensors_of(b"{}", b"", 100_000_001),
        "header-beyond": safetensors_of(b"{}", b"", 1000), "list": safetensors_of(b"[]      ", eight),
        "overlap": safetensors_of({"a": field(end=6, shape=[6]), "b": field(begin=4, end=8, shape=[4])}, eight),
        "hole": safetensors_of({"a": field(end=3, shape=[3]), "b": field(begin=4, end=8, shape=[4])}, eight),
        "unclaimed": safetensors_of({"a": field(end=7, shape=[7])}, eight), "beyond": safetensors_of({"a": field()}, eight[:7]),
        "reversed": safetensors_of({"a": field(begin=8, end=0)}, eight), "huge-offset": safetensors_of({"a": field(end=2**57, shape=[2**57])}, eight),
        "overflow": safetensors_of({"a": field("F64", [2**58, 64], 0, 0)}, b""), "shape-2-64": safetensors_of({"a": field(shape=[2**64])}, eight),
        "shape-negative": safetensors_of({"a": field(shape=[-8])}, eight), "shape-fraction": safetensors_of({"a": field(shape=[1.5])}, eight),
        "type": safetensors_of({"a": field("F8_E4M3")}, eight), "deep": safetensors_of(b'{"a": ' + b"[" * 1000000, b""),
        "deep-objects": safetensors_of(b'{"a": ' * 100000, b""), "twice": safetensors_of(b'{"a":1,"a":1}', b""),
        "not-utf8": safetensors_of(b'{"\xff": 1}', b""), "metadata-number": safetensors_of({"__metadata__": {"a": 5}}, b""),
        "many-numbers": safetensors_of(b'{"a":{"shape":[' + b"1," * 1000000 + b"1]}}", b""), "empty": b"", "page": b"<html>404</html>",
    }.items():
        w.put("safetensors", "broken", name, bad)


# ---- NumPy ------------------------------------------------------------------------------------------------------------

def npy_of(header, data, version=1, size=None):
    header = header.encode() if isinstance(header, str) else header
    size = len(header) if size is None else size
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + header + data


def npy(w):
    good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n"
    data = npy_of(good, bytes(8))
    w.sound("npy", "float", data, [0, 1, 6, 7, 8, 10, *(10 + i for i, c in enumerate(good) if c in "{}(),:'"), 10 + len(good)])
    for name in ("fortran.npy", "version3.npy", "arrays.npz", "stored.npz"):
        data = (FIXTURES / name).read_bytes()
        w.sound("npy", name, data, range(0, len(data), max(1, len(data) // 40)))
    for name, header in {
        "empty-header": "", "open": "{", "repeated": "{'descr': '<f4', 'descr': '<f4'}", "code": "{'descr': __import__('os').system('true')}",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "shape-negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "shape-2-64": "{'shape': (18446744073709551616,)}",
        "shape-overflow": "{'descr': '<f8', 'fortran_order': True, 'shape': (4294967296, 4294967296, 0), }",
        "shape-huge": "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }",
        "dimensions": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 5000 + "), }",
        "big-endian": "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
    }.items():
        w.put("npy", "broken", name, npy_of(header, bytes(8)))
    w.put("npy", "broken", "header-4-GB", npy_of(good, bytes(8), 2, 0xFFFFFFFF))
    w.put("npy", "broken", "header-beyond", npy_of(good, b"", 1, 0xFFFF))
    w.put("npy", "broken", "version-9", npy_of(good, bytes(8), 9))
    w.put("npy", "broken", "longer", npy_of(good, bytes(9)))
    w.put("npy", "broken", "npz-of-nonsense", archive([Entry("a.npy", b"nonsense")])[0])


# ---- data sets --------------------------------------------------------------------------------------------------------

def idx_of(shape, data, magic=None):
    return struct.pack(f">I{len(shape)}I", 0x800 | len(shape) if magic is None else magic, *shape) + data


def data_sets(w):
    def pair(images, labels):
        """As the target splits them: the first byte tells how many tenths are images."""
        tenths = len(images) * 10 // (len(images) + len(labels))
        assert (len(images) + len(labels)) * tenths // 10 == len(images)
        return bytes([tenths]) + images + labels

    images, labels = idx_of([2, 1, 12], bytes(24)), idx_of([2], b"\1\2")  # 40 and 10: four fifths
    data = pair(images, labels)
    w.sound("idx", "two", data, [0, 1, 5, 9, 13, 17, 30, 41, 45, 49, 50])
    for name, bad in {
        "magic": pair(idx_of([2, 1, 12], bytes(24), 0x803 << 8), labels), "swapped": bytes([2]) + labels + images,
        "counts": pair(images, idx_of([2], b"\1\2").replace(b"\0\0\0\2", b"\0\0\0\3")),
        "huge": pair(idx_of([2**32 - 1] * 3, bytes(24)), labels), "overflow": pair(idx_of([2**31, 2**31, 4], bytes(24)), labels),
        "label": pair(images, idx_of([2], b"\1\xff")), "empty": b"",
    }.items():
        w.put("idx", "broken", name, bad)

    record = bytes(i * 7 % 256 for i in range(3072))
    ten, hundred = b"\3" + record, b"\0\3" + record  # the target tells them by their sizes, odd and even
    for name, sound in {"ten": ten * 3, "hundred": hundred * 2}.items():
        w.sound("cifar", name, sound, [0, 1, 2, 3072, 3075, len(sound) - 1])
    for name, bad in {"longer": ten + b"\0\0", "label": b"\xff" + record}.items():
        w.put("cifar", "broken", name, bad)

    def array(shape, raw):
        dtype = call("numpy", "dtype", text("u1"), b"\x89\x88") + b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        made = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(K\0t", b"C\1b")
        return made + b"(K\x01" + numbers(shape) + dtype + b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb"

    def batch(shape=(2, 3072), raw=record * 2, labels=b"](K\1K\2e"):
        return b"\x80\x02}(" + text("labels") + labels + text("data") + array(shape, raw) + b"u."

    data = batch()
    w.sound("cifar_pickle", "two", data, boundaries_of_pickle(data))
    for name, bad in {
        "no-labels": b"\x80\x02}" + text("data") + array((2, 3072), record * 2) + b"s.", "shape": batch((1, 6144)), "short": batch(raw=record),
        "label": batch(labels=b"](K\1K\x0be"), "label-text": batch(labels=b"](K\1" + text("2") + b"e"), "shape-huge": batch((2**40, 3072)),
        "shape-negative": batch((-2, 3072)), "hostile": call("os", "system", text("true")) + b".", "number": b"K\1.", "empty": b"",
    }.items():
        w.put("cifar_pickle", "broken", name, bad)


# ---- cards ------------------------------------------------------------------------------------------------------------

def cards(w):
    good = ('[model]\narch = "wrn28_10"\nclasses = 10\nmean = [0.4914, 0.4822, 0.4465]\nstd = [0.2471, 0.2435, 0.2616]\n'
            'input-shape = [3, 32, 32]\nsource = "here"\nsha256 = ""\nactivation = "relu"\n')
    data = good.encode()
    w.put("card", "sound", "full", data)
    for i in range(0, len(data), 3):
        changed = bytearray(data)
        changed[i] ^= (0x01, 0x80, 0xFF)[i % 3]
        w.put("card", "flipped", f"full.byte-{i}", bytes(changed))
    for at, c in enumerate(good):
        if c in '"[' and good[at - 1] != "\n":
            w.put("card", "broken", f"full.cut-at-{at}", data[:at])
    for name, bad in {
        "letter": "[model]\nclasses =\u00e9 10\n", "letter-high": "[model]\nclasses =\ufefc 10\n", "star": '[*odel]\narch = "wrn56_10', "misspelt": '[model]\narhc = "x"\n', "wrong-type": "[model]\nclasses = \"ten\"\n", "negative": "[model]\nclasses = -1\n",
        "activation": '[model]\nactivation = "gelu"\n', "infinite": "[model]\nmean = [inf]\n", "date": "[model]\nsource = 1979-05-27\n",
        "nested": "[model.deep]\na = 1\n", "huge-number": "[model]\nclasses = 99999999999999999999\n", "twice": "[model]\nclasses = 1\nclasses = 2\n",
        "deep": "[model]\nmean = " + "[" * 100000, "deep-tables": "[" + "a." * 50000 + "a]\n", "not-utf8": "[model]\nsource = \"\xff\"\n",
        "binary": "\x00\x01\x02", "lists": "[model]\nmean = [[1]]\n".replace("[[1]]", "[{a = 1}]"),
    }.items():
        w.put("card", "broken", name, bad.encode("utf8") if name.startswith("letter") else bad.encode("latin1"))


# ---- compressed files, archives, MATLAB files, pictures ---------------------------------------------------------------

def gzips(w):
    data = gzip.compress(bytes(i * i % 251 for i in range(3000)), 9, mtime=0)
    w.sound("gzip", "squares.gz", data, [10, 11, 20, len(data) // 2, *range(len(data) - 9, len(data))])
    for name, bad in {
        "checksum": data[:-8] + b"\0\0\0\0" + data[-4:], "length": data[:-4] + b"\1\0\0\0", "bomb": gzip.compress(bytes(1 << 26), 9, mtime=0),
        "method": data[:2] + b"\7" + data[3:], "block-type": data[:10] + b"\7" + data[11:],
    }.items():
        w.put("gzip", "broken", name, bad)


def archives(w):
    def tar(*members, kind="w:gz", links=()):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=kind, format=tarfile.PAX_FORMAT) as archive:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            for name, target, link_type in links:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = link_type, target
                archive.addfile(entry)
        data = bytearray(out.getvalue())
        if kind == "w:gz":
            data[4:8] = bytes(4)  # the time of day
        return bytes(data)

    noise = bytes(i * i * 7 % 253 for i in range(2500))
    data = tar(("folder/a.bin", noise), ("folder/b.txt", b"b" * 700))
    w.sound("archive", "two.tar.gz", data, [5, 12, 40, len(data) // 2, len(data) - 20])
    plain = tar(("a.bin", noise), kind="w:")
    w.sound("archive", "one.tar", plain, [300, 513, 700, 2600])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("folder/a.bin"), noise, zipfile.ZIP_DEFLATED)
    w.sound("archive", "one.zip", out.getvalue(), [10, 200])
    for name, bad in {
        "up.tar": tar(("../up", b"x"), kind="w:"), "up-inside.tar": tar(("a/../../up", b"x"), kind="w:"), "absolute.tar": tar(("/etc/up", b"x"), kind="w:"),
        "twice.tar": tar(("a", b"x"), ("a", b"y"), kind="w:"), "file-as-folder.tar": tar(("a", b"x"), ("a/b", b"y"), kind="w:"),
        "link.tar": tar(links=[("a", "/etc/passwd", tarfile.SYMTYPE)], kind="w:"), "hard-link.tar": tar(("b", b"x"), links=[("a", "b", tarfile.LNKTYPE)], kind="w:"),
        "device.tar": tar(links=[("a", "", tarfile.CHRTYPE)], kind="w:"), "bomb.tar.gz": tar(("zeros", bytes(1 << 24))),
        "many.tar.gz": tar(*[(f"f{i}", b"") for i in range(300)]), "long-name.tar": tar(("n" * 300, b"x"), kind="w:"),
        "control.tar": tar(("a\nb", b"x"), kind="w:"), "none": b"no archive at all, but text " * 40,
        # libarchive gives no reason for refusing this one.
        "no-reason": base64.b64decode("H4sIAAAAAAAC/+3dPW7bQBgGYR0lRxCXyyV5nDQ+QJzc34LLwFUADwbIfI3c2cZAxftAP2/Px7ff83Vrzs/H1/39+MXPa1v74wfw"
                                      "pz0ef95///z1+pWP//PeNmn/WX+k/5D2P+qP9N+l/Vf9kf5T2v+sP9L/cPY/n/VH+i9p/63+SP9T2n/UHw+p/9Uf6i/1v/wH6g=="),
    }.items():
        w.put("archive", "broken", name, bad)


def mats(w):
    data = (HERE.parent / "data/fixtures/svhn_compressed.mat").read_bytes()
    w.sound("mat", "svhn_compressed", data, [0, 4, 100, 127, 128, 132, 136, 200, len(data) // 2])
    data = (HERE.parent / "data/fixtures/svhn_plain.mat").read_bytes()
    w.sound("mat", "svhn_plain", data, [128, 136, 160, 1000, len(data) // 2])


def images(w):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def png(width=8, height=6, colour=2, depth=8, rows=None, between=b""):
        samples = {0: 1, 2: 3, 6: 4}[colour]
        raw = b"".join(b"\0" + bytes((x * y + x) % 256 for x in range(width * samples * depth // 8)) for y in range(height)) if rows is None else rows
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + between
                + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))

    for path in sorted((HERE.parent / "data/fixtures/images").rglob("*")):
        if path.suffix in (".jpg", ".jpeg", ".png") and path.stat().st_size < 20000:
            data = path.read_bytes()
            w.sound("image", path.name, data, [0, 1, 4, 20, len(data) // 3, len(data) // 2])
    good = png()
    w.sound("image", "small.png", good, [8, 12, 16, 33, 40, 45])
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    for name, bad in {
        "huge.png": good[:8] + chunk(b"IHDR", huge) + good[33:], "zero.png": good[:8] + chunk(b"IHDR", b"\0" * 8 + huge[8:]) + good[33:],
        "checksum.png": good[:30] + b"\0" + good[31:], "short-rows.png": png(rows=b"\0" + bytes(24)), "order.png": good[:8] + good[33:],
        "depth.png": good[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 5, 2, 0, 0, 0)) + good[33:], "none": b"GIF89a" + bytes(40),
    }.items():
        w.put("image", "broken", name, bad)


def main():
    writer = Writer(sys.argv[1])
    for make in (pickles, zips, torch_files, safetensors, npy, data_sets, cards, gzips, archives, mats, images):
        make(writer)


if __name__ == "__main__":
    main()
