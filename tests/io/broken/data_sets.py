"""MNIST and CIFAR as their authors store them."""
import struct

from .pickles import boundaries_of_pickle, call, numbers, text


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
        "huge": pair(idx_of([2**32 - 1] * 3, bytes(24)), labels),
        "overflow": pair(idx_of([2**31, 2**31, 4], bytes(24)), labels),
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
        "no-labels": b"\x80\x02}" + text("data") + array((2, 3072), record * 2) + b"s.", "shape": batch((1, 6144)),
        "short": batch(raw=record),
        "label": batch(labels=b"](K\1K\x0be"), "label-text": batch(labels=b"](K\1" + text("2") + b"e"),
        "shape-huge": batch((2**40, 3072)),
        "shape-negative": batch((-2, 3072)), "hostile": call("os", "system", text("true")) + b".", "number": b"K\1.",
        "empty": b"",
    }.items():
        w.put("cifar_pickle", "broken", name, bad)
