"""Writes tests/data/fixtures: an image folder with what Pillow makes of it, and CIFAR batches as pickles.

Run with numpy, Pillow and SciPy, e.g.: pip install numpy pillow scipy; python tests/data/make_fixtures.py
  images/           one sub-folder a class; JPEG (4:2:0, gray, CMYK, progressive) and PNG (RGB, palette, RGBA, one bit)
  images.npz        <class>/<file>: Image.open().convert("RGB"); <class>/<file>@<filter>,<resize>,<crop>: resized so
                    that the shorter side is <resize> (torchvision's rounding) and cropped in the middle
  cifar_*           two CIFAR records as Python 2 wrote them (the published files) and as Python 3 would
  svhn_*.mat        SVHN records, compressed and not
"""
import io
import pathlib
import pickle
import struct

import numpy as np
import scipy.io
from PIL import Image

FOLDER = pathlib.Path(__file__).parent / "fixtures"


def scene(width, height, seed):
    """Smooth waves, an edge and some noise, [H,W,3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / rng.uniform(3, 9) + y / rng.uniform(3, 9) + rng.uniform(0, 6)) for _ in range(3)]
    image = 128 + 80 * np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3))
    image[height // 3:, : width // 3] = rng.integers(0, 256, 3)
    return image.clip(0, 255).astype(np.uint8)


def images():
    rgb = [Image.fromarray(scene(w, h, seed)) for seed, (w, h) in enumerate([(53, 40), (40, 53), (45, 45), (61, 38)])]
    alpha = rgb[2].convert("RGBA")
    alpha.putalpha(rgb[1].convert("L").resize(alpha.size))
    return {
        "cold/color.jpg": (rgb[0], {"quality": 90, "subsampling": 2}),
        "cold/gray.JPEG": (rgb[1].convert("L"), {"quality": 85}),
        "cold/ink.jpg": (rgb[2].convert("CMYK"), {"quality": 90}),
        "cold/progressive.jpg": (rgb[3], {"quality": 80, "progressive": True, "subsampling": 0}),
        "warm/alpha.png": (alpha, {}),
        "warm/bit.png": (rgb[0].convert("1"), {}),
        "warm/color.png": (rgb[3], {}),
        "warm/palette.png": (rgb[1].quantize(30), {"transparency": 3}),
    }


def resize_and_crop(image, name, resize, crop):
    width, height = image.size
    short, long = sorted((width, height))
    long = int(resize * long / short)
    image = image.resize((resize, long) if width <= height else (long, resize), Image.Resampling[name.upper()])
    left, top = (int(round((side - crop) / 2.0)) for side in image.size)
    return image.crop((left, top, left + crop, top + crop))


def write_images():
    expected = {}
    for name, (image, options) in images().items():
        path = FOLDER / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG", **options)
        decoded = Image.open(path).convert("RGB")
        expected[name] = np.asarray(decoded)
        for filter_, resize, crop in [("bilinear", 20, 17), ("bicubic", 23, 20), ("bilinear", 64, 50)]:
            key = f"{name}@{filter_},{resize},{crop}"
            expected[key] = np.asarray(resize_and_crop(decoded, filter_, resize, crop))
    np.savez_compressed(FOLDER / "images.npz", **expected)


def records():
    pixels = (np.arange(2 * 3072) * 7 % 251).astype(np.uint8).reshape(2, 3072)
    return pixels, [3, 8], [b"a.png", b"b.png"]


def python2_string(data):
    return (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))) + data


def python2_batch():
    """Protocol 2 as cPickle of Python 2.7 wrote it: strings are bytes, arrays _reconstruct and a state."""
    pixels, labels, names = records()
    array = (b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03" + python2_string(b"b") +
             b"\x87Rq\x04(K\x01M" + struct.pack("<H", 2) + b"M" + struct.pack("<H", 3072) + b"\x86cnumpy\ndtype\nq\x05" +
             python2_string(b"u1") + b"K\x00K\x01\x87Rq\x06(K\x03" + python2_string(b"|") +
             b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + python2_string(pixels.tobytes()) + b"tb")
    items = (python2_string(b"data") + array + python2_string(b"labels") + b"](K" + bytes([labels[0]]) + b"K" +
             bytes([labels[1]]) + b"e" + python2_string(b"filenames") + b"](" +
             b"".join(python2_string(name) for name in names) + b"e")
    return b"\x80\x02}q\x00(" + items + b"u."


def write_cifar():
    pixels, labels, names = records()
    batch = python2_batch()
    read = pickle.loads(batch, encoding="bytes")
    assert (read[b"data"] == pixels).all() and read[b"labels"] == labels
    (FOLDER / "cifar_python2").write_bytes(batch)
    for protocol in (2, 4):
        again = {"data": np.asfortranarray(pixels) if protocol == 4 else pixels, "fine_labels": labels,
                 "filenames": names}
        (FOLDER / f"cifar_python3_protocol{protocol}").write_bytes(pickle.dumps(again, protocol=protocol))


def write_svhn():
    x = (np.arange(32 * 32 * 3 * 2) * 11 % 249).astype(np.uint8).reshape(32, 32, 3, 2)
    for compressed in (False, True):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"X": x, "y": np.array([[10], [4]], np.uint8)}, do_compression=compressed)
        (FOLDER / f"svhn_{'compressed' if compressed else 'plain'}.mat").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_images()
    write_cifar()
    write_svhn()
