#!/usr/bin/env python3
"""Prints what an event file of TensorBoard holds, as JSON: by the tensorboard package where it is there (or with
--independent, or without the package) by a reader of its own, that checks lengths and CRC-32C.

    python3 read_events.py [--independent] FILE
"""
import json
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        (check,) = struct.unpack_from("<I", data, at + 8)
        assert check == masked(data[at : at + 8]), f"length at {at} has another checksum"
        body = data[at + 12 : at + 12 + length]
        (check,) = struct.unpack_from("<I", data, at + 12 + length)
        assert len(body) == length and check == masked(body), f"record at {at} has another checksum"
        yield body
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """Field number -> values; wire types 0, 1, 2 and 5."""
    at, found = 0, {}
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            (value,), at = struct.unpack_from("<d", data, at), at + 8
        elif key & 7 == 5:
            (value,), at = struct.unpack_from("<f", data, at), at + 4
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
            assert len(value) == size
        found.setdefault(key >> 3, []).append(value)
    return found


def doubles(data):
    return list(struct.unpack(f"<{len(data) // 8}d", data))


def by_hand(path):
    events = []
    for body in records(open(path, "rb").read()):
        event = fields(body)
        for summary in event.get(5, []):
            for entry in fields(summary)[1]:
                value = fields(entry)
                out = {"tag": value[1][0].decode(), "step": event.get(2, [0])[0]}
                if 2 in value:
                    out["scalar"] = value[2][0]
                if 4 in value:
                    image = fields(value[4][0])
                    out["image"] = [image[1][0], image[2][0], image[3][0], image[4][0].hex()]
                if 5 in value:
                    h = fields(value[5][0])
                    out["histogram"] = [h[3][0], h[4][0], doubles(h[6][0]), doubles(h[7][0])]
                events.append(out)
    return {"reader": "by hand", "events": events}


def by_package(path):
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    events = []
    for raw in RawEventFileLoader(path).Load():
        event = Event.FromString(raw)
        for v in event.summary.value:
            out = {"tag": v.tag, "step": event.step}
            kind = v.WhichOneof("value")
            if kind == "simple_value":
                out["scalar"] = v.simple_value
            if kind == "image":
                i = v.image
                out["image"] = [i.height, i.width, i.colorspace, i.encoded_image_string.hex()]
            if kind == "histo":
                h = v.histo
                out["histogram"] = [h.num, h.sum, list(h.bucket_limit), list(h.bucket)]
            events.append(out)
    return {"reader": "tensorboard", "events": events}


def main():
    path, independent = sys.argv[-1], "--independent" in sys.argv
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        independent = True
    print(json.dumps(by_hand(path) if independent else by_package(path)))


if __name__ == "__main__":
    main()
