"""Runs `scripts/gpu` as far as a CPU can, and looks at what it left: python dry_run.py SOURCE BUILD."""
import hashlib, json, os, pathlib, shutil, subprocess, sys, tempfile

SOURCE, BUILD = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
ARCH = "conv8k3s2p1-relu-conv8k3s2p1-relu-flatten-fc10"
sys.path.insert(0, str(SOURCE / "scripts"))
sys.dont_write_bytecode = True

# The official package as scripts/gpu uses it: one step of FGSM, and a Square that finds nothing. With STAND_IN_ENDS
# somebody ends its process in Square.
OFFICIAL = """
import os, signal, types, torch

class AutoAttack:
    def __init__(self, model, norm, eps, version, device, verbose):
        assert (norm, version) == ("Linf", "standard")
        self.model, self.eps, self.attacks_to_run = model, eps, ["apgd-ce", "apgd-t", "fab-t", "square"]
        self.apgd, self.square = types.SimpleNamespace(n_iter=100), types.SimpleNamespace(n_queries=5000)

    def run_standard_evaluation(self, x, y, bs):
        (name,) = self.attacks_to_run
        if name == "square":
            if os.environ.get("STAND_IN_ENDS"):
                os.kill(os.getpid(), signal.SIGTERM)
            return x.clone()
        leaf = x.clone().requires_grad_()
        torch.nn.functional.cross_entropy(self.model(leaf), y).backward()
        return (x + self.eps * leaf.grad.sign()).clamp(0, 1)
"""
# A library in the place of CUDA's runtime, and a library that uses it.
CUDA = """int cudaStreamSynchronize(void* s) { return s ? 1 : 7; }
int cudaMemcpy(void* a, const void* b, unsigned long n, int k) { return a || b || n || k ? 1 : 5; }"""
USER = """int cudaStreamSynchronize(void*); int cudaMemcpy(void*, const void*, unsigned long, int);
int waits(void) { return 10 * cudaStreamSynchronize(0) + cudaMemcpy(0, 0, 0, 0); }"""


def need(condition, what, *shown):
    if not condition:
        print(*shown, sep="\n")
        sys.exit(f"dry run: {what}")


def gpu(folder, *flags, status=0, script=SOURCE / "scripts/gpu", env=None):
    """A call of scripts/gpu --dry-run. What it wrote: the results, and the log."""
    out = folder / "out"
    done = subprocess.run([sys.executable, script, "--dry-run", "--out", out, "--build", BUILD, "--packed", folder / "packed", "--minutes", "60", *flags],
                          text=True, capture_output=True, env={**os.environ, **(env or {})})
    log = (out / "gpu.log").read_text() if (out / "gpu.log").exists() else ""
    need(done.returncode == status, f"exit status {done.returncode} in place of {status}", done.stdout, done.stderr, log[-4000:])
    return json.loads((out / "gpu.json").read_text()), log


def fresh(folder, name):
    made = folder / name
    (made / "packed/measure/official/autoattack").mkdir(parents=True)
    (made / "packed/measure/official/autoattack/__init__.py").write_text(OFFICIAL)
    return made


def reads_the_weights(out, row):
    """The parts are the checkpoint, and hpm reads it."""
    whole = b"".join((out / f"checkpoint.part-{i}").read_bytes() for i in range(row["parts"]))
    need(hashlib.sha256(whole).hexdigest() == row["sha256"], "the parts are the checkpoint", row)
    joined = out / "model.safetensors"
    joined.write_bytes(whole)
    shown = subprocess.run([BUILD / "hpm", "inspect", "--model", joined, "--arch", ARCH, "--json"], capture_output=True, text=True)
    need(shown.returncode == 0, "hpm reads the checkpoint", shown.stderr)


def every_item_measures(folder):
    result, _ = gpu(folder)
    items = result["items"]
    need(items and all(row["status"] == 0 and "skipped" not in row for row in items.values()), "every item needs status 0", items)
    need(items["device-tests"]["passed"] >= 4 and not items["device-tests"]["failures"], "the device tests need to run", items)
    measured = ["ours-standard", "ours-standard-tf32", "ours-standard-auto", "ours-standard-1000", "ours-fast",
                "official-standard", "official-standard-tf32", "official-standard-1000"]
    for name in measured:
        row = items[name]
        need(row["images_per_second"] > 0 and row["peak_mb"] > 0, f"{name}: speed and memory", row)
        need(set(row["waits"].values()) == {0}, f"{name}: waits are counted, and the CPU has none", row)
        need(row["robust"] <= row["clean"] and set(row["attacks"]), f"{name}: verdicts, and each attack", row)
    need(set(items["ours-standard"]["attacks"]) == {"apgd-ce", "apgd-t", "fab-t", "square"}, "seconds of each attack", items)
    # Both see the same network, images and labels: one of the six images is misclassified.
    need({round(items[n]["clean"], 3) for n in measured if items[n]["count"] == 6} == {83.333}, "the same clean accuracy", items)
    need([items[n]["tf32"]["convolutions"] for n in measured[-3:]] == [False, True, False], "TF32 as asked", items)
    need(all(not items[n]["tf32"]["products"] for n in measured[-3:]), "products as in PyTorch's default", items)
    need(len(items["passes"]["images_per_second"]) == 6, "passes in three precisions and two layouts", items["passes"])
    for name in ("fast-beside-cpu", "msa-beside-cpu"):
        need(items[name]["different"] == 0 and items[name]["images"] > 0, f"{name}: the CPU's verdicts on the CPU", items[name])
    need(items["msa-beside-cpu"]["contexts"] == ["solo"], "contexts are compared", items["msa-beside-cpu"])
    need(items["train"]["epochs_done"] == items["train"]["epochs"] >= 1, "training ends", items["train"])
    reads_the_weights(folder / "out", items["train"])
    again, log = gpu(folder)
    need(log.count("done in an earlier call") == len(items) - 1, "a further call does only what is left", log)
    need({n: r for n, r in again["items"].items() if n != "build"} == {n: r for n, r in items.items() if n != "build"}, "and keeps the rest")


def place(folder):
    """(epoch, step) that the state of a training stands for."""
    from on_gpu.training import read_safetensors
    header, _ = read_safetensors(folder / "out/gpu-runs/train/training.safetensors")
    progress = json.loads(header["__metadata__"]["progress"])
    return progress["epoch"], progress["step"]


def what_is_cut_keeps_something(folder):
    """An attack of the official code, and a training, whose time is up: 124, said, and gone on with by a further call."""
    official = ["--items", "official-standard"]
    row = gpu(folder, *official, status=124, env={"STAND_IN_ENDS": "1"})[0]["items"]["official-standard"]
    need(row["status"] == 124 and set(row["attacks"]) == {"apgd-ce"} and not row["complete"] and "images_per_second" not in row,
         "the attack that had ended is kept", row)
    before = row["attacks"]["apgd-ce"]
    row = gpu(folder, *official)[0]["items"]["official-standard"]
    need(row["status"] == 0 and row["complete"] and row["attacks"]["apgd-ce"] == before and "square" in row["attacks"],
         "a further call goes on after it", row)

    training = ["--plan", "train", "--items", "train", "--epochs", "100000", "--longest", "14"]
    result, log = gpu(folder, *training, status=124)
    row = result["items"]["train"]
    need(row["status"] == 124 and "cut" in row and "its time was up" in log and "cut, or left out: train" in log, "it says so", row, log)
    need(0 <= row["epochs_done"] < row["epochs"] == 100000 and place(folder) > (0, 0), "training was under way", row)
    need(row["weights"] in ("best.safetensors", "average of training.safetensors"), "the weights so far", row)
    reads_the_weights(folder / "out", row)
    before = place(folder)
    result, log = gpu(folder, *training, status=124)
    need("--resume" in log and place(folder) > before, "it goes on", before, place(folder), log)

    cut = ["--items", "device-tests", "--longest", "1"]  # GoogleTest cannot go on where it was
    slow = folder / "slow/tests/device/device_test"
    slow.parent.mkdir(parents=True)
    slow.write_text("#!/bin/sh\necho '[ RUN      ] A.One'\nexec sleep 60\n")
    slow.chmod(0o755)
    (folder / "slow/hpm").symlink_to(BUILD / "hpm")
    result, log = gpu(folder, *cut, "--fresh", "--build", folder / "slow", status=124)
    need(result["items"]["device-tests"]["cut_in"] == ["A.One"], "the test in which the time was up is named", result)
    result, log = gpu(folder, *cut, "--build", folder / "slow", status=124)
    need("device-tests: done in an earlier call" in log, "it is not begun anew, and still counts as cut", log)

    items = gpu(folder, "--plan", "train", "--epochs", "1", "--fresh")[0]["items"]
    need(items["train"]["weights"] == "model.safetensors" and items["trained-fast"]["robust"] is not None, "the result is evaluated", items)

    result, log = gpu(folder, "--items", "ours-fast", "--minutes", ".01", "--fresh", status=124)
    need("left_out" in result["items"]["build"], "what does not fit is left out, and that is said", result)


def weights_of_a_state():
    from on_gpu.training import weights_of_state
    header = {"model.w": 1, "model.n": 2, "optimizer": 3, "loss_sum": 4}
    need(weights_of_state(header) == ({"w": 1, "n": 2}, "model"), "the weights as they are")
    header["average.w"] = 5
    need(weights_of_state(header) == ({"w": 5, "n": 2}, "average"), "their average")
    header["best.w"] = 6
    need(weights_of_state(header) == ({"w": 6, "n": 2}, "best"), "the best")


def small_parts():
    from on_gpu.building import counted
    from on_gpu.measuring import differences
    here = {"solo": {"robust": [1, 0, 1], "clean_correct": [1, 1, 1]}}
    need(differences(here, here) == {}, "equal verdicts")
    need(differences(here, {"solo": {"robust": [1, 1, 1], "clean_correct": [1, 1, 1]}}) == {"solo robust": [1]}, "one differs")
    need(differences(here, {}) == {"solo robust": [0, 1, 2], "solo clean_correct": [0, 1, 2]}, "a context that is not there")
    said = ("[ RUN      ] A.One\n[       OK ] A.One (3 ms)\n[ RUN      ] A.Two\n[  FAILED  ] A.Two (1 ms)\n"
            "[ RUN      ] A.Three\n[  SKIPPED ] A.Three (0 ms)\n[ RUN      ] A.Four\n")
    need(counted(said) == {"passed": 1, "failures": ["A.Two"], "skips": 1, "cut_in": ["A.Four"]}, "tests that were cut", counted(said))


def images_travel_without_loss(folder):
    import numpy as np
    from on_gpu.packing import training_images
    rule, data = np.random.default_rng(0), folder / "data/cifar-10-batches-bin"
    data.mkdir(parents=True)
    records = {name: rule.integers(0, 256, (n, 3073), np.uint8) for name, n in
               [("test_batch.bin", 3), *((f"data_batch_{i}.bin", 5) for i in range(1, 6))]}
    for name, raw in records.items():
        raw[:, 0] %= 10
        raw.tofile(data / name)
    packed, kept = folder / "travel", folder / "kept"
    subprocess.run([sys.executable, SOURCE / "scripts/gpu", "--pack", "--packed", packed, "--data-root", folder / "data"], check=True,
                   stdout=subprocess.DEVNULL)
    for i in range(2):  # two calls, each with one part
        shutil.move(packed / f"train-{i}", folder / "part")
        there = folder / f"call-{i}"
        shutil.copytree(packed / "base", there / "base")
        shutil.move(folder / "part", there / f"train-{i}")
        subprocess.run([sys.executable, SOURCE / "scripts/gpu", "--receive", "--packed", there, "--kept", kept], check=True,
                       stdout=subprocess.DEVNULL)
    all_images = np.concatenate([records[f"data_batch_{i}.bin"] for i in range(1, 6)])
    with np.load(training_images(folder / "call-1", kept)) as arrays:
        need((arrays["train_images"].reshape(-1, 3072) == all_images[:, 1:]).all(), "every pixel arrives")
        need((arrays["train_labels"] == all_images[:, 0]).all(), "every label arrives")
        need((arrays["test_images"].reshape(-1, 3072) == records["test_batch.bin"][:, 1:]).all(), "and the test images")
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=SOURCE, capture_output=True, text=True).stdout.strip()
    need((packed / "base/commit").read_text().split("\n")[0] == described, "the commit is packed")


def a_copy_without_git_knows_its_commit(folder):
    copy = folder / "copy"
    for part in ("scripts", "cmake", "benchmarks"):
        shutil.copytree(SOURCE / part, copy / part)
    (copy / "packed/base").mkdir(parents=True)
    (copy / "packed/base/commit").write_text("0123abc\n2026-01-02\n")
    alone = {"GIT_CEILING_DIRECTORIES": str(folder.resolve())}
    result, _ = gpu(copy, "--plan", "train", "--items", "build", script=copy / "scripts/gpu", env=alone)
    need(result["environment"]["commit"] == "0123abc", "the results name it", result["environment"])
    passed = [flag for flag in result["items"]["build"]["would"][0].split() if flag.startswith("-DHPM_SOURCE_")]
    need(passed == ["-DHPM_SOURCE_COMMIT=0123abc", "-DHPM_SOURCE_DATE=2026-01-02"], "the build is told", passed)
    cmake = shutil.which("cmake")
    if cmake:
        subprocess.run([cmake, *passed, "-P", copy / "cmake/HpmVersion.cmake"], cwd=copy, check=True, env={**os.environ, **alone})
        written = (copy / "generated/hpm_version.h").read_text()
        need('HPM_COMMIT "0123abc"' in written and 'HPM_DATE "2026-01-02"' in written, "and the program knows it", written)


def waits_are_counted(folder):
    """Where Python has loaded CUDA's runtime for itself alone, as where everybody sees it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return print("waits: no C compiler, not tested")
    (folder / "cuda.c").write_text(CUDA)
    (folder / "user.c").write_text(USER)
    shared = [compiler, "-shared", "-fPIC"]
    for command in (["-Wl,-soname,libcudart.so.13", "-o", "libcudart.so.13", "cuda.c"],
                    ["-o", "libuser.so", "user.c", "-L.", "-l:libcudart.so.13", "-Wl,-rpath,$ORIGIN"],
                    ["-O1", "-o", "libgpu_waits.so", SOURCE / "scripts/gpu_waits.c", "-ldl"]):
        subprocess.run([*shared, *command], cwd=folder, check=True)
    for mode in ("RTLD_LOCAL", "RTLD_GLOBAL"):
        ask = f"import ctypes; print(ctypes.CDLL('{folder}/libuser.so', mode=ctypes.{mode}).waits())"
        counts = folder / f"{mode}.txt"
        env = {**os.environ, "LD_PRELOAD": str(folder / "libgpu_waits.so"), "HPM_GPU_WAITS": str(counts)}
        said = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True).stdout
        need(said == "75\n", f"{mode}: calls reach CUDA", said)
        need("stream 1" in counts.read_text() and "memcpy 1" in counts.read_text(), f"{mode}: calls are counted", counts.read_text())


with tempfile.TemporaryDirectory() as name:
    root = pathlib.Path(name)
    small_parts()
    weights_of_a_state()
    waits_are_counted(root)
    images_travel_without_loss(root)
    a_copy_without_git_knows_its_commit(root)
    what_is_cut_keeps_something(fresh(root, "cut"))
    every_item_measures(fresh(root, "whole"))
print("dry run: as it should be")
