"""Runs `scripts/gpu --dry-run` and looks at what it left: python dry_run.py SOURCE BUILD."""
import hashlib, json, pathlib, subprocess, sys, tempfile

source, build = map(pathlib.Path, sys.argv[1:3])


def need(condition, what):
    if not condition:
        print(json.dumps(result, indent=1))
        sys.exit(f"dry run: {what}")


with tempfile.TemporaryDirectory() as folder:
    out = pathlib.Path(folder) / "out"
    done = subprocess.run([sys.executable, source / "scripts/gpu", "--dry-run", "--out", out, "--build", build, "--carried", folder], text=True,
                          capture_output=True)
    result = json.loads((out / "gpu.json").read_text()) if (out / "gpu.json").exists() else {}
    if done.returncode:
        print(done.stdout, done.stderr, (out / "gpu.log").read_text()[-4000:], sep="\n")
    need(done.returncode == 0, f"exit status {done.returncode}")
    steps = result["steps"]
    need(list(steps) == ["build", "test", "measure", "train"], "every step needs a result")
    need(all(step["status"] == 0 for step in steps.values()), "every step needs status 0")
    need(steps["test"]["runs"]["emulated"]["tests"] >= 4 and not steps["test"]["runs"]["emulated"]["failures"], "the device tests need to run")
    rows = {row["name"]: row for row in steps["measure"]["rows"]}
    need(set(rows) == {"ours-standard", "official-standard", "ours-fast", "ours-standard-auto"}, "four measurements")
    need("skipped" in rows["official-standard"], "without the official code its row says so")
    for name, row in rows.items():
        if "skipped" in row:
            continue
        need(row["images_per_second"] > 0 and row["peak_mb"] > 0, f"{name}: speed and memory")
        need(row["waits"] == {"stream": 0, "device": 0, "event": 0, "memcpy": 0}, f"{name}: waits are counted, and the CPU has none")
    need(set(rows["ours-standard"]["attacks"]) == {"apgd-ce", "apgd-t", "fab-t", "square"}, "seconds of each attack")
    train = steps["train"]
    whole = b"".join((out / f"checkpoint.part-{i}").read_bytes() for i in range(train["parts"]))
    need(hashlib.sha256(whole).hexdigest() == train["sha256"], "the parts are the checkpoint")
    joined = pathlib.Path(folder) / "model.safetensors"
    joined.write_bytes(whole)
    shown = subprocess.run([build / "hpm", "inspect", "--model", joined, "--arch", "conv8k3s2p1-relu-conv8k3s2p1-relu-flatten-fc10", "--json"], capture_output=True,
                           text=True)
    need(shown.returncode == 0, f"hpm reads the checkpoint: {shown.stderr}")
print("dry run: as it should be")
