"""What travels to a machine that can fetch nothing, in the folder .gpu:

    base/      test images and some training images, the commit, and either what a build needs (deps/) or the built programs (bin/)
    measure/   the checkpoints and the official code
    train-0/, train-1/, ...   CIFAR-10's training images, so many that each fits beside base/ into what one call carries"""
import json, os, pathlib, shutil, subprocess, zlib

from on_gpu.clock import ROOT

# A Debian machine's headers and libraries, for the build there.
DEPS = ("libfmt-dev", "libfmt9", "nlohmann-json3-dev", "libcli11-dev", "libtomlplusplus-dev", "libtomlplusplus3",
        "libgtest-dev", "zlib1g-dev", "zlib1g", "libssl-dev", "libssl3")
SOME = 600  # training images in base/, for the fit of a head


def cifar(root, name):
    """A file of CIFAR-10's binary version: uint8 [n,3,32,32], labels [n]."""
    import numpy as np
    raw = np.fromfile(pathlib.Path(root) / "cifar-10-batches-bin" / name, np.uint8).reshape(-1, 3073)
    return raw[:, 1:].reshape(-1, 3, 32, 32), raw[:, 0]


def guess(left, above, corner):
    """A pixel from three neighbours: the median edge detector of lossless JPEG-LS."""
    import numpy as np
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.where(corner >= high, low, np.where(corner <= low, high, left + above - corner))


def neighbours(plane, i, j):
    """Left, above and corner of the pixel (i, j) in [h,w,n]; what is outside is the one neighbour there is, or 0."""
    zero = 0 * plane[0, 0]
    above = plane[i - 1, j] if i else zero
    left = plane[i, j - 1] if j else above
    return left, above, plane[i - 1, j - 1] if i and j else zero


def encoded(images, labels):
    """Without loss, some 1.7 kB an image (PNG: 2.3): planes are green, red - green, blue - green, and what the guess misses
    gets a Huffman code for each plane."""
    import numpy as np
    x = np.ascontiguousarray(images.transpose(1, 2, 3, 0)).astype(np.int16)  # [3,h,w,n]
    packed = [labels.astype(np.uint8).tobytes()]
    for plane in (x[1], x[0] - x[1], x[2] - x[1]):
        missed = np.empty(plane.shape, np.uint8)
        for i in range(plane.shape[0]):
            for j in range(plane.shape[1]):
                missed[i, j] = (plane[i, j] - guess(*neighbours(plane, i, j))) & 255
        code = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
        packed.append(code.compress(missed.tobytes()) + code.flush())
    header = {"shape": images.shape, "bytes": [len(p) for p in packed], "crc": zlib.crc32(images.tobytes())}
    return json.dumps(header).encode() + b"\n" + b"".join(packed)


def decoded(data):
    import numpy as np
    header, _, rest = data.partition(b"\n")
    header, parts = json.loads(header), []
    for length in header["bytes"]:
        parts.append(rest[:length])
        rest = rest[length:]
    n, channels, height, width = header["shape"]
    x, green = np.zeros((channels, height, width, n), np.uint8), None
    for channel, part in zip((1, 0, 2), parts[1:]):
        missed = np.frombuffer(zlib.decompress(part), np.uint8).reshape(height, width, n).astype(np.int16)
        plane = np.zeros(missed.shape, np.int16)
        for i in range(height):
            for j in range(width):
                base = green[i, j] if green is not None else 0
                pixel = (missed[i, j] + guess(*neighbours(plane, i, j)) + base) & 255
                plane[i, j], x[channel, i, j] = pixel - base, pixel
        green = plane if green is None else green
    images = np.ascontiguousarray(x.transpose(3, 0, 1, 2))
    if zlib.crc32(images.tobytes()) != header["crc"]:
        raise ValueError("packed images: what was unpacked does not have its checksum; pack and send them again")
    return images, np.frombuffer(parts[0], np.uint8)


def pack_images(to, root, a):
    import numpy as np
    test, train = cifar(root, "test_batch.bin"), [cifar(root, f"data_batch_{i}.bin") for i in range(1, 6)]
    x, y = (np.concatenate([part[k] for part in train])[: a.train_images or None] for k in (0, 1))
    np.savez_compressed(to / "base/images.npz", test_images=test[0][:1000], test_labels=test[1][:1000].astype(np.int64),
                        train_images=x[:SOME], train_labels=y[:SOME].astype(np.int64))
    for i, rows in enumerate(np.array_split(np.arange(len(x)), a.train_parts)):
        folder = to / f"train-{i}"
        folder.mkdir(exist_ok=True)
        (folder / "images.packed").write_bytes(encoded(x[rows], y[rows]))


def pack_commit(to):
    """git describe and the date, for a copy without .git."""
    asked = [["git", "describe", "--always", "--dirty"], ["git", "log", "-1", "--format=%cs"]]
    said = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() for command in asked]
    (to / "base/commit").write_text("\n".join(said) + "\n")


def packed_commit(packed):
    """(commit, date) as packed; empty where nothing was."""
    with open(packed / "base/commit") if (packed / "base/commit").exists() else open(os.devnull) as file:
        lines = file.read().split("\n")
    return (lines + ["", ""])[:2]


def pack_packages(to):
    for package in DEPS:
        listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True)
        if listed.returncode:
            print(f"not installed here, and not packed: {package}")
            continue
        for name in listed.stdout.split("\n"):
            source = pathlib.Path(name)
            wanted = name.startswith(("/usr/include/", "/usr/lib/", "/lib/", "/usr/share/cmake"))
            if not wanted or "/engines-3/" in name or source.is_dir() or (package == "libssl-dev" and name.endswith(".a")):
                continue
            target = to / "base/deps" / ("/usr" + name if name.startswith("/lib/") else name)[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if source.is_symlink():
                target.symlink_to(pathlib.Path(os.readlink(source)).name)  # the libraries lie side by side
            else:
                shutil.copy2(source, target)


def pack(a):
    to = pathlib.Path(a.packed)
    for folder in ("base", "measure"):
        (to / folder).mkdir(parents=True, exist_ok=True)
    pack_commit(to)
    if a.data_root:
        pack_images(to, a.data_root, a)
    for given, name in ((a.checkpoint, "resnet18.pth"), (a.small, "small.pth")):
        if given:
            shutil.copy(given, to / "measure" / name)
    if a.official:
        shutil.copytree(pathlib.Path(a.official) / "autoattack", to / "measure/official/autoattack", dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("examples", "*_tf*", "__pycache__"))
    if a.deps:
        pack_packages(to)
    for folder in sorted(p for p in to.iterdir() if p.is_dir()):
        size = sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{folder}: {size / 2**20:.1f} MiB")
    return 0


def receive(packed, kept):
    """Moves the training images that came with this call to where the next call's do not replace them."""
    for folder in sorted(packed.glob("train-*")):
        if (folder / "images.packed").exists():
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "images.packed", kept / f"{folder.name}.packed")
    return sorted(kept.glob("train-*.packed"))


def training_images(packed, kept):
    """All training images that were received, with the test images, as one npz; None where there are none."""
    import numpy as np
    parts = receive(packed, kept)
    if not parts:
        return None
    to = kept / "cifar.npz"
    newest = max(p.stat().st_mtime for p in parts)
    if not to.exists() or to.stat().st_mtime < newest:
        pairs = [decoded(p.read_bytes()) for p in parts]
        with np.load(packed / "base/images.npz") as base:
            np.savez(to, test_images=base["test_images"], test_labels=base["test_labels"],
                     train_images=np.concatenate([x for x, _ in pairs]),
                     train_labels=np.concatenate([y for _, y in pairs]).astype(np.int64))
    return to
