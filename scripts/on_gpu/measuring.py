"""The measurements: this project's attacks beside the official code's, and beside themselves on the CPU."""
import contextlib, json, pathlib, shutil, sys

from on_gpu.clock import CUT, ROOT
from on_gpu.official import MEAN, STD, tiny_inputs

SUSPECT = 3  # hpm evaluate: finished, but a check or an alarm speaks against the figure


def normalisation():
    return ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]


def inputs(run):
    """The checkpoint and the images."""
    if run.sizes.dry:
        return tiny_inputs(run.work)
    return run.packed / "measure/resnet18.pth", run.packed / "base/images.npz"


def missing(*files):
    gone = [str(f) for f in files if not pathlib.Path(f).exists()]
    return {"skipped": f"{' and '.join(gone)}: not there (scripts/gpu --pack)"} if gone else None


def counter_of_waits(run):
    """A library, to be loaded before a program, that counts the calls by which a host waits for CUDA; none without a
    compiler."""
    library = run.work / "libgpu_waits.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not library.exists() and compiler:
        run.call([compiler, "-O1", "-shared", "-fPIC", "-o", library, ROOT / "scripts/gpu_waits.c", "-ldl"], 60)
    return library if library.exists() else None


def measured(run, name, command, limit, read):
    """One measurement: the status, seconds of the process, peak memory, waits, and what the program wrote (`read`)."""
    waits, counter = run.work / f"waits-{name}.txt", counter_of_waits(run)
    waits.unlink(missing_ok=True)
    env = {"LD_PRELOAD": str(counter), "HPM_GPU_WAITS": str(waits)} if counter else {}
    done = run.call(command, limit, {**run.environment, **env})
    found = {"status": done.status, "process_seconds": round(done.seconds, 2), "peak_mb": done.peak_mb}
    if waits.exists():
        counts = found["waits"] = {}
        for line in waits.read_text().splitlines():  # of the program and of what it started
            counts[line.split()[0]] = counts.get(line.split()[0], 0) + int(line.split()[1])
    with contextlib.suppress(OSError, ValueError, KeyError):  # a process that failed left nothing
        found |= read()
    run.say(f"{name}: {json.dumps({k: v for k, v in found.items() if k != 'robust_flags'})}")
    return found


def finished_pieces(folder):
    """What the journal of an evaluation that was stopped holds: images and seconds of each attack."""
    attacks = {}
    with contextlib.suppress(OSError):
        for line in (folder / "events.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError, IndexError):
                piece = json.loads(line)
                name = piece["key"].split("/")[1].partition(" ")[2]  # model/1 apgd-ce/0
                rows = next((t["shape"][0] for t in piece["tensors"] if t["name"] == "rows"), 0)
                of = attacks.setdefault(name, {"images": 0, "seconds": 0.})
                of["images"], of["seconds"] = of["images"] + rows, round(of["seconds"] + piece["seconds"], 2)
    return attacks


def evaluate(run, limit, name, *flags, count, device=None, model=None):
    """`hpm evaluate` as one measurement. What was stopped goes on in a further call."""
    checkpoint, data = inputs(run)
    absent = missing(model or checkpoint, data)
    if absent:
        return absent
    out = run.work / name
    before = run.results["items"].get(name, {})
    again = "--resume" if before.get("status") == CUT and (out / "events.jsonl").exists() else "--overwrite"
    command = [run.program, "evaluate", "--model", model or checkpoint, *(["--arch", run.sizes.arch] if not model else []),
               *(normalisation() if not model else []), "--data", f"npz:{data}", "--split", "test", "--count", count, "--eps",
               run.sizes.eps, "--device", device or run.device, "--batch-size", run.sizes.batch, "--checks", "none", "--quiet",
               again, "--out", out, *flags]

    def read():
        if not (out / "results.json").exists():
            return {"count": count, "finished": finished_pieces(out)}
        j = json.loads((out / "results.json").read_text())
        return {"count": count, "seconds": j["seconds"], "images_per_second": count / j["seconds"],
                "clean": j["clean_accuracy"], "robust": j["robust_accuracy"], "borderline": j.get("borderline"),
                "attacks": {t["name"]: round(t["seconds"], 2) for t in j.get("attacks", [])}}

    if again == "--overwrite":
        shutil.rmtree(out, ignore_errors=True)
    return measured(run, name, command, limit, read)


def ours(name, count, *flags, attack=True):
    def work(run, limit):
        own = run.sizes.attack if attack else []
        of_device = ["bfloat16" if run.sizes.dry and f == "auto" else f for f in flags]
        return evaluate(run, limit, name, *of_device, *own, count=getattr(run.sizes, count))

    return work


def ours_fast(run, limit):
    own = ["--sample", "0", "--no-escalate"] if run.sizes.dry else []
    return evaluate(run, limit, "ours-fast", "--protocol", "fast", *own, count=run.sizes.many)


def in_python(run, what, answer, count, *flags):
    checkpoint, data = inputs(run)
    radius = eval_radius(run.sizes.eps)
    return [sys.executable, ROOT / "scripts/gpu", what, "--checkpoint", checkpoint, "--images-file", data, "--count", count,
            "--batch", run.sizes.batch, "--radius", radius, "--device", run.device, "--answer", answer,
            "--official-code", run.packed / "measure/official", *(["--dry-run"] if run.sizes.dry else []), *flags]


def eval_radius(text):
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def official(name, count, tf32):
    def work(run, limit):
        absent = missing(run.packed / "measure/official/autoattack", *inputs(run))
        if absent:
            return absent
        answer, images = run.work / f"{name}.json", getattr(run.sizes, count)
        if run.results["items"].get(name, {}).get("status") != CUT:
            answer.unlink(missing_ok=True)

        def read():
            j = json.loads(answer.read_text())
            del j["robust_flags"]
            return {"count": images, **j, **({"images_per_second": images / j["seconds"]} if j["complete"] else {})}

        command = in_python(run, "--as-official", answer, images, *(["--tf32"] if tf32 else []))
        return measured(run, name, command, limit, read)

    return work


def passes(run, limit):
    absent = missing(*inputs(run))
    if absent:
        return absent
    answer, (batches, repeats) = run.work / "passes.json", run.sizes.passes
    answer.unlink(missing_ok=True)
    command = in_python(run, "--as-passes", answer, max(batches), "--batches", ",".join(map(str, batches)), "--repeats", repeats)
    return measured(run, "passes", command, limit, lambda: json.loads(answer.read_text()))


# ---- the same on the CPU --------------------------------------------------------------------------------------------


def contexts_of(folder):
    """Verdicts by context: {name: {"clean_correct": [..], "robust": [..]}}."""
    j = json.loads((folder / "results.json").read_text())
    listed = {c["context"]: c for c in j.get("contexts", [])} or {"": j}
    return {name: {key: c[key] for key in ("clean_correct", "robust")} for name, c in listed.items()}


def differences(here, there):
    """Images whose verdicts are not the same, by context and verdict."""
    found = {}
    for name, verdicts in here.items():
        for key, flags in verdicts.items():
            other = there.get(name, {}).get(key)
            places = list(range(len(flags))) if other is None else [i for i, (a, b) in enumerate(zip(flags, other)) if a != b]
            if places:
                found[f"{name} {key}".strip()] = places
    return found


def beside_the_cpu(run, limit, name, flags, count, model=None):
    """The same evaluation on the device and on the CPU: which verdicts differ. Near ties may; an attack that goes astray
    on the device would show as many."""
    sides, left = {}, limit
    for side, device in (("device", run.device), ("cpu", "cpu")):
        found = evaluate(run, left, f"{name}-{side}", *flags, count=count, device=device, model=model)
        left -= found.get("process_seconds", 0)
        if found.get("status") not in (0, SUSPECT):
            return {**found, "side": side}
        sides[side] = found
    here, there = (contexts_of(run.work / f"{name}-{side}") for side in ("device", "cpu"))
    differ = differences(here, there)
    return {"status": 0, "images": count, "contexts": list(here), "different": sum(len(p) for p in differ.values()),
            "which": {k: p[:10] for k, p in differ.items()}, "robust": {s: sides[s]["robust"] for s in sides},
            "borderline": {s: sides[s]["borderline"] for s in sides},
            "seconds": {s: sides[s]["seconds"] for s in sides}}


def fast_beside_the_cpu(run, limit):
    return beside_the_cpu(run, limit, "fast-beside-cpu", ["--protocol", "fast", "--sample", "0", "--no-escalate"], run.sizes.compared)


def headed_model(run, limit):
    """A model with an HPM head on a small network, fitted on the device: its file, or why there is none."""
    small, data = run.packed / "measure/small.pth", run.packed / "base/images.npz"
    named = []
    if run.sizes.dry:
        small, data = tiny_inputs(run.work)
        named = ["--arch", run.sizes.arch]
    absent = missing(small, data)
    if absent:
        return None, absent
    out = run.work / "headed"
    done = run.call([run.program, "finetune", "--model", small, *named, *normalisation(), "--data", f"npz:{data}", "--eps",
                     run.sizes.eps, "--epochs", "0", "--fit-images", "150" if run.sizes.dry else "600", "--fit-rounds", "1",
                     "--metric-steps", "20", "--device", run.device, "--quiet", "--overwrite", "--out", out], limit, run.environment)
    return out / "model.safetensors", None if done.status == 0 else {"status": done.status, "failed": "hpm finetune"}


def msa_beside_the_cpu(run, limit):
    """MSA's version fast, which the quick device tests leave out."""
    model, failed = headed_model(run, limit / 3)
    if failed:
        return failed
    size = ["--context", "solo", "--steps", "1", "--queries", "2"] if run.sizes.dry else \
        ["--context", "reference,solo"]
    flags = ["--protocol", "msa", "--version", "fast", "--company", "4" if run.sizes.dry else "12", "--sample", "0", "--no-escalate", *size]
    return beside_the_cpu(run, 2 * limit / 3, "msa-beside-cpu", flags, 4 if run.sizes.dry else 24, model)
