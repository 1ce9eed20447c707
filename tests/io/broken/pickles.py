"""Pickles: tensors whose views do not fit, globals that would run code, cycles, bombs."""
import pickle
import pickletools
import struct


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


def module(parameters, inside=b"", memo=b"\x07"):
    """A torch.nn.Module as it is pickled."""
    return (b"cnet\nNet\n)\x81q" + memo + b"}(" + text("_parameters") + b"}(" + parameters + b"u" + text("_buffers") + b"}" +
            text("_modules") + b"}(" + inside + b"uub")


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
    for name, sound in {"module": module(text("w") + tensor([1], [1])) + b".",
                        "complex": tensor([1], [1], of=storage(kind="ComplexFloatStorage")) + b".",
                        "storage-quantised": storage(kind="QInt8Storage") + b"."}.items():
        w.sound("pickle", name, sound, boundaries_of_pickle(sound))
    for origin, name in HOSTILE_GLOBALS:
        label = f"global-{origin}.{name}"
        # Read as an object of which the name alone is kept; nothing is called.
        named, state = f"c{origin}\n{name}\n".encode(), b"}" + text("a") + b"K\1s"
        w.put("pickle", "sound", label, call(origin, name, text("touch hpm_was_here")) + b".")
        w.put("pickle", "sound", label + ".stack", text(origin) + text(name) + b"\x93)R.")
        w.put("pickle", "sound", label + ".newobj", named + b")\x81" + state + b"b.")
        w.put("pickle", "sound", label + ".newobj-ex", named + b")" + state + b"\x92(N" + text("x") + b"u.")
        w.put("pickle", "sound", label + ".inst", b"(" + text("x") + b"i" + named[1:] + b"(N" + text("x") + b"e.")
        w.put("pickle", "sound", label + ".obj", b"(" + named + text("x") + b"o.")
        w.put("pickle", "broken", label + ".extension", named + b"\x82\x01.")
        w.put("pickle", "broken", label + ".no-arguments", named + b"NR.")
    for name, data in {
        "cycle-list": b"]q\x00h\x00a.", "cycle-dict": b"}q\x00" + text("a") + b"h\x00s.",
        "cycle-tuple": b"]q\x00h\x00\x85a.", "cycle-key": b"}q\x00h\x00\x85Ns.",
        "deep-tuples": b"]" + b"\x85" * 100000 + b".", "deep-lists": b"]" * 100000 + b"a" * 99999 + b".",
        "deep-marks": b"(" * 100000, "laughs": b"]q\x00" + b"".join(
            b"0](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(12)) + b".",
        "laughing-text": text("x" * 60000) + b"q\x00(" + b"h\x00" * 60000 + b"t.",
        "text-of-4-GB": b"X\xff\xff\xff\xff", "bytes-of-16-EB": b"\x8e" + b"\xff" * 8,
        "frame-of-16-EB": b"\x80\x04\x95" + b"\xff" * 8,
        "integer-of-4-GB": b"\x8b\xff\xff\xff\xff", "memo-far": b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
        "storage-huge": tensor([2**62], [1], of=storage(count=2**62)) + b".",
        "storage-negative": tensor([1], [1], of=storage(count=-1)) + b".",
        "storage-two-sizes": b"(" + storage() + storage(count=7) + b"t.",
        "storage-two-types": b"(" + storage() + storage(kind="LongStorage") + b"t.",
        "module-cycle": module(b"", inside=text("a") + b"h\x07") + b".",
        "module-bomb": b"".join(module(b"" if i else text("w") + tensor([1], [1]), b"".join(
            text(c) + b"h" + bytes([i + 6]) for c in "abcdefghij" if i), bytes([i + 7])) + b"0" for i in range(10)) + b"h\x10.",
        "shape-huge": tensor([2**40, 2**40], [0, 0]) + b".", "shape-negative": tensor([-2, 3], [3, 1]) + b".",
        "shape-beyond": tensor([7], [1]) + b".", "stride-negative": tensor([2, 3], [-3, 1]) + b".",
        "stride-huge": tensor([2], [2**63 - 1]) + b".", "stride-beyond": tensor([2, 2], [5, 1]) + b".",
        "offset-beyond": tensor([2], [1], 5) + b".", "offset-negative": tensor([2], [1], -1) + b".",
        "offset-huge": tensor([2], [2**63 - 1], 2**63 - 1) + b".", "expanded": tensor([2**33], [0]) + b".",
        # The second storage would allow the first view, but nothing tells whether its bytes are there.
        "expanded-promise": b"(" + tensor([2**33], [0]) + tensor([4], [1], of=storage("1", 2**34)) + b"t.",
        "dimensions": tensor([1] * 1000, [1] * 1000) + b".", "strides-missing": tensor([1, 1], [1]) + b".",
        "persistent-module": b"(" + text("module") + b"NNNNtQ.", "persistent-none": b"NQ.", "extension": b"\x82\x01.",
        "not-utf8": b"X\x01\x00\x00\x00\xff.", "protocol-9": b"\x80\x09N.", "two-left": b"NN.", "nothing": b".",
        "empty": b"",
    }.items():
        w.put("pickle", "broken", name, data)
