"""Where the files go."""
import pathlib

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
DATA_FIXTURES = pathlib.Path(__file__).parents[2] / "data/fixtures"


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
