"""Small pictures of images for notebooks."""

from __future__ import annotations

import base64
import struct
import zlib

from torch import Tensor


def png(image: Tensor) -> bytes:
    """A PNG file of an image [C,H,W] in [0,1], C 1 or 3."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous()
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + bytes(row.flatten().tolist()) for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _picture(image: Tensor, title: str) -> str:
    data = base64.b64encode(png(image)).decode()
    style = "width:64px;height:64px;image-rendering:pixelated;margin:1px"
    return f'<img src="data:image/png;base64,{data}" title="{title}" alt="{title}" style="{style}">'


def gallery_html(x: Tensor, adversarial: Tensor | None, broken: Tensor, count: int = 8) -> str:
    """The first broken images, as they were and as they broke, one above the other."""
    if adversarial is None or x.shape[1] not in (1, 3):
        return ""
    places = broken.nonzero().flatten()[:count].tolist()
    if not places:
        return ""
    pairs = "".join(
        f'<div style="display:inline-block">{_picture(x[i], f"image {i}")}<br>{_picture(adversarial[i], f"image {i}, adversarial")}</div>'
        for i in places
    )
    return f"<p>broken, as they were and as they broke:</p>{pairs}"
