"""safetensors and NumPy."""
import json
import struct

from .writer import FIXTURES
from .zips import U64, Entry, archive


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
        "unclaimed": safetensors_of({"a": field(end=7, shape=[7])}, eight),
        "beyond": safetensors_of({"a": field()}, eight[:7]),
        "reversed": safetensors_of({"a": field(begin=8, end=0)}, eight),
        "huge-offset": safetensors_of({"a": field(end=2**57, shape=[2**57])}, eight),
        "overflow": safetensors_of({"a": field("F64", [2**58, 64], 0, 0)}, b""),
        "shape-2-64": safetensors_of({"a": field(shape=[2**64])}, eight),
        "shape-negative": safetensors_of({"a": field(shape=[-8])}, eight),
        "shape-fraction": safetensors_of({"a": field(shape=[1.5])}, eight),
        "type": safetensors_of({"a": field("F8_E4M3")}, eight), "deep": safetensors_of(b'{"a": ' + b"[" * 1000000, b""),
        "deep-objects": safetensors_of(b'{"a": ' * 100000, b""), "twice": safetensors_of(b'{"a":1,"a":1}', b""),
        "not-utf8": safetensors_of(b'{"\xff": 1}', b""),
        "metadata-number": safetensors_of({"__metadata__": {"a": 5}}, b""),
        "many-numbers": safetensors_of(b'{"a":{"shape":[' + b"1," * 1000000 + b"1]}}", b""), "empty": b"",
        "page": b"<html>404</html>",
    }.items():
        w.put("safetensors", "broken", name, bad)


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
        "empty-header": "", "open": "{", "repeated": "{'descr': '<f4', 'descr': '<f4'}",
        "code": "{'descr': __import__('os').system('true')}",
        "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "shape-negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "shape-2-64": "{'shape': (18446744073709551616,)}",
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
