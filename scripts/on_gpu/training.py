"""Adversarial training for as long as there is time, over several calls if need be, and its weights in parts."""
import csv, hashlib, json

from on_gpu.clock import CUT, ROOT
from on_gpu.measuring import evaluate
from on_gpu.official import tiny_inputs
from on_gpu.packing import training_images

PART = 15 << 20  # bytes of a part of the weights


def read_safetensors(path):
    """(header, bytes of the tensors)."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def weights_of_state(header):
    """A name of the model -> the entry of a state that stands for it: the best validated weights, else their average, else
    the weights as they are. What an average leaves out (counters) is the model's."""
    chosen = {name[len("model.") :]: entry for name, entry in header.items() if name.startswith("model.")}
    for prefix in ("average.", "best."):
        chosen |= {name[len(prefix) :]: entry for name, entry in header.items() if name.startswith(prefix)}
    kinds = [kind for kind in ("best", "average", "model") if any(name.startswith(kind + ".") for name in header)]
    return chosen, kinds[0]


def save_in_parts(entries, data, to, metadata=None):
    """The weights as float16 in parts: cat checkpoint.part-* > model.safetensors."""
    import numpy as np
    at, chunks, described = 0, [], {"__metadata__": metadata} if metadata else {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        value, kind = data[begin:end], entry["dtype"]
        if kind == "F32":
            value, kind = np.frombuffer(value, "<f4").astype("<f2").tobytes(), "F16"
        described[name] = {"dtype": kind, "shape": entry["shape"], "data_offsets": [at, at + len(value)]}
        chunks.append(value)
        at += len(value)
    text = json.dumps(described).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + b"".join(chunks)
    parts = [whole[i : i + PART] for i in range(0, len(whole), PART)]
    for i, part in enumerate(parts):
        (to / f"checkpoint.part-{i}").write_bytes(part)
    return {"parts": len(parts), "bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}


def save_model(folder, to):
    """The weights of a training run in parts: the finished model; of one that was stopped the best validated weights, else
    those of its state."""
    for name in ("model.safetensors", "best.safetensors"):
        if (folder / name).exists():
            header, data = read_safetensors(folder / name)
            metadata = header.pop("__metadata__", None)
            return {"weights": name, **save_in_parts(header, data, to, metadata)}
    if not (folder / "training.safetensors").exists():
        return {"weights": "none: it was stopped before its first state"}
    header, data = read_safetensors(folder / "training.safetensors")
    header.pop("__metadata__", None)
    entries, kind = weights_of_state(header)
    return {"weights": f"{kind} of training.safetensors", **save_in_parts(entries, data, to)}


def last_epoch(folder):
    """The last line of a run's log, or None."""
    path = folder / "log.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    return rows[-1] if rows else None


def data_of(run):
    return tiny_inputs(run.work)[1] if run.sizes.dry else training_images(run.packed, run.kept)


def train_command(run, data, *flags):
    return [run.program, "train", "--config", ROOT / "configs/gpu-resnet18.toml", "--data", f"npz:{data}", "--device", run.device,
            *(["--arch", run.sizes.arch, "--train-batch", "16"] if run.sizes.dry else []), "--quiet", *flags]


def planned_epochs(run, data, limit):
    """As many as fit into `limit` seconds, by the speed of a second epoch of a few images (the first one warms up)."""
    import numpy as np
    with np.load(data) as arrays:
        images = len(arrays["train_labels"])
    if run.a.epochs:
        return run.a.epochs, images, None
    probe = run.work / "probe"
    done = run.call(train_command(run, data, "--epochs", "2", "--count", min(run.sizes.probe, images), "--validation", "0",
                                  "--out", probe, "--overwrite"), limit, run.environment)
    epoch = last_epoch(probe)
    if done.status != 0 or not epoch:
        return None, images, done
    rate = float(epoch["images_per_second"])
    return min(max(int((limit - done.seconds) * .92 * rate / images), 1), 100000), images, rate


def train(run, limit):
    data, out = data_of(run), run.work / "train"
    if not data:
        return {"skipped": "no training images came along (scripts/gpu --pack --data-root DIR)"}
    before = run.results["items"].get("train", {})
    begun = before.get("status") == CUT and (out / "training.safetensors").exists()
    if begun:  # the settings of a run cannot change
        epochs, images, rate = before["epochs"], before["images"], before["probe_images_per_second"]
    else:
        whole = 3 if run.sizes.dry else max(run.a.train_minutes * 60, limit) - run.sizes.saving
        epochs, images, rate = planned_epochs(run, data, whole)
        if epochs is None:
            return {"status": rate.status or 1, "failed": "the first epochs, which measure the speed", "images": images}
    run.results["items"]["train"] = {"status": CUT, "images": images, "epochs": epochs, "probe_images_per_second": rate}
    run.save()  # what a further call goes on with, should this one be taken away
    left = min(limit, run.left()) - run.sizes.saving
    done = run.call(train_command(run, data, "--epochs", epochs, "--validation", run.sizes.validation, "--out", out,
                                  "--resume" if begun else "--overwrite"), left, run.environment)
    epoch = last_epoch(out) or {}
    found = {"status": done.status, "images": images, "epochs": epochs, "epochs_done": int(epoch.get("epoch", 0)),
             "images_per_second": float(epoch["images_per_second"]) if epoch else None, "probe_images_per_second": rate,
             "seconds": round(done.seconds, 1), "peak_mb": done.peak_mb,
             "validation": {k: epoch[k] for k in epoch if k.startswith("validation") and epoch[k]}}
    return found | save_model(out, run.out)


def trained_fast(run, limit):
    """What the trained network withstands: the fast protocol on the test images that came along."""
    model = run.work / "train/model.safetensors"
    if not model.exists():
        return {"status": CUT, "left_out": "the training has not ended"}
    own = ["--sample", "0", "--no-escalate"] if run.sizes.dry else []
    return evaluate(run, limit, "trained-fast", "--protocol", "fast", *own, count=run.sizes.many, model=model)
