"""MATLAB files and pictures."""
import struct
import zlib

from .writer import DATA_FIXTURES


def mats(w):
    data = (DATA_FIXTURES / "svhn_compressed.mat").read_bytes()
    w.sound("mat", "svhn_compressed", data, [0, 4, 100, 127, 128, 132, 136, 200, len(data) // 2])
    data = (DATA_FIXTURES / "svhn_plain.mat").read_bytes()
    w.sound("mat", "svhn_plain", data, [128, 136, 160, 1000, len(data) // 2])


def images(w):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def png(width=8, height=6, colour=2, depth=8, rows=None, between=b""):
        samples = {0: 1, 2: 3, 6: 4}[colour]
        raw = b"".join(b"\0" + bytes((x * y + x) % 256 for x in range(width * samples * depth // 8)) for y in range(height)) if rows is None else rows
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + between
                + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))

    for path in sorted((DATA_FIXTURES / "images").rglob("*")):
        if path.suffix in (".jpg", ".jpeg", ".png") and path.stat().st_size < 20000:
            data = path.read_bytes()
            w.sound("image", path.name, data, [0, 1, 4, 20, len(data) // 3, len(data) // 2])
    good = png()
    w.sound("image", "small.png", good, [8, 12, 16, 33, 40, 45])
    huge = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    for name, bad in {
        "huge.png": good[:8] + chunk(b"IHDR", huge) + good[33:],
        "zero.png": good[:8] + chunk(b"IHDR", b"\0" * 8 + huge[8:]) + good[33:],
        "checksum.png": good[:30] + b"\0" + good[31:], "short-rows.png": png(rows=b"\0" + bytes(24)),
        "order.png": good[:8] + good[33:],
        "depth.png": good[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 5, 2, 0, 0, 0)) + good[33:],
        "none": b"GIF89a" + bytes(40),
    }.items():
        w.put("image", "broken", name, bad)
