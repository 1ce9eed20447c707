"""Writes tests/io/fixtures and tests/io/checkpoints.json: small files that PyTorch and NumPy wrote, and what they hold.

    .venv/bin/python tests/io/make_fixtures.py [SHARED]

SHARED is the folder with the public checkpoints (default ../shared/checkpoints); without it checkpoints.json stays.
"""
import collections
import hashlib
import json
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
OUT = HERE / "fixtures"
TYPES = {torch.bool: "boolean", torch.uint8: "uint8", torch.int8: "int8", torch.int16: "int16", torch.int32: "int32",
         torch.int64: "int64", torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32",
         torch.float64: "float64"}


def raw(tensor):
    tensor = tensor.detach().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def described(tensors):
    return [{"name": k, "type": TYPES[t.dtype], "shape": list(t.shape), "hex": raw(t).hex()} for k, t in tensors.items()]


def weights():
    out = collections.OrderedDict()
    for dtype, name in TYPES.items():
        out[name] = torch.tensor([[0, 1, 1], [1, 0, 1]] if dtype == torch.bool else [[0, 1, 2], [3, 4, 100]]).to(dtype)
    base = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    out["scalar"] = torch.tensor(2.5)
    out["empty"] = torch.zeros(0, 3)
    out["base"] = base
    out["transposed"] = base.t()                 # shares the storage of base
    out["every second"] = base[:, ::2]
    out["row"] = base[1]
    out["expanded"] = torch.tensor([7.0]).expand(3)
    out["channels last"] = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    out["parameter"] = torch.nn.Parameter(torch.tensor([1.0, -0.0, float("nan")]))
    out["again"] = out["scalar"]
    return out


def checkpoint():
    return {"state_dict": weights(), "epoch": 3, "acc": np.float64(0.625), "count": np.int64(-7), "half": np.float16(1.5),
            "flag": np.bool_(True), "lr": [0.1, 1e-3], "args": {"name": "wrn", "sizes": (1, 2), 5: None}, "big": 2**80,
            "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float32}


def write_fixtures():
    OUT.mkdir(exist_ok=True)
    expected = {}
    for name, options in {"zip": {},
                          "legacy": {"_use_new_zipfile_serialization": False},
                          "legacy_protocol4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4}}.items():
        torch.save(checkpoint(), OUT / f"{name}.pth", **options)
    expected["checkpoint"] = described(weights())
    arrays = collections.OrderedDict(
        f8=np.arange(6.0).reshape(2, 3), fortran=np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
        scalar=np.float32(1.5), empty=np.zeros((0, 4), np.uint8), flags=np.array([True, False]), half=np.float16([1, 2]))
    np.savez_compressed(OUT / "arrays.npz", **arrays)
    np.savez(OUT / "stored.npz", **arrays)
    np.save(OUT / "fortran.npy", arrays["fortran"])
    with open(OUT / "version3.npy", "wb") as file:
        np.lib.format.write_array(file, arrays["f8"], version=(3, 0))
    np.save(OUT / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(OUT / "big_endian.npy", np.arange(3, dtype=">f4"))
    expected["arrays"] = described({k: torch.from_numpy(np.array(v, order="C")) for k, v in arrays.items()})
    (OUT / "expected.json").write_text(json.dumps(expected, indent=0))
    print(sum(f.stat().st_size for f in OUT.iterdir()), "bytes in", OUT)


def state_dict_of(root):
    while True:
        if isinstance(root, list):
            root = root[0]
        elif "state_dict" in root:
            root = root["state_dict"]
        else:
            break
    while all(key.startswith("module.") for key in root):
        root = {key.removeprefix("module."): value for key, value in root.items()}
    return root


def describe_checkpoints(folder):
    out = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".pth", ".model", ".th")):
        tensors = state_dict_of(torch.load(path, map_location="cpu", weights_only=True))
        digest = hashlib.sha256()
        for key, tensor in tensors.items():
            digest.update(key.encode() + b"\0" + raw(tensor))
        out[path.name] = {"tensors": len(tensors), "sum": sum(t.double().sum().item() for t in tensors.values()),
                          "names_and_bytes": digest.hexdigest(), "file": hashlib.sha256(path.read_bytes()).hexdigest()}
    (HERE / "checkpoints.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    write_fixtures()
    shared = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parents[2] / "shared" / "checkpoints")
    if shared.is_dir():
        describe_checkpoints(shared)
