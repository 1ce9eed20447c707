"""The clock, the log and the results of one stay on a machine that can be had for some minutes."""
import contextlib, dataclasses, json, os, pathlib, shutil, signal, subprocess, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CUT = 124  # the status of what was stopped because its time was up, as that of timeout(1)
INTERRUPTED = (130, -signal.SIGTERM, -signal.SIGINT)  # by somebody else: what the program has kept goes on likewise


class Sizes:
    """How much of everything: in full, or of a dry run."""

    def __init__(self, dry):
        self.dry = dry
        self.few, self.many, self.batch = (6, 8, 6) if dry else (200, 1000, 1000)
        self.eps = ".002" if dry else "8/255"
        self.attack = ["--steps", "2", "--queries", "4", "--targets", "1"] if dry else []  # of AutoAttack
        self.compared = 6 if dry else 32  # images that the CPU attacks too
        self.arch = "conv8k3s2p1-relu-conv8k3s2p1-relu-flatten-fc10" if dry else "resnet18_cifar"
        self.validation, self.probe = (8, 32) if dry else (1000, 4096)  # held out; images that measure the speed first
        self.saving = 4 if dry else 40  # seconds that stay for the state of a training, the weights and their parts
        self.passes = ((8,), 1) if dry else ((1000, 100), 5)  # batch sizes, repeats


@dataclasses.dataclass
class Ended:
    """A command that ended, or was ended (status CUT)."""
    status: int
    seconds: float
    peak_mb: int


class Run:
    """Results are written after every item: into the output folder, and into the folder of work, from which a further
    call on the same machine goes on."""

    def __init__(self, a):
        self.a, self.sizes, self.begun = a, Sizes(a.dry_run), time.monotonic()
        self.out, self.packed = pathlib.Path(a.out).resolve(), pathlib.Path(a.packed).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.log = open(self.out / "gpu.log", "w")
        self.work = (self.out if a.dry_run else ROOT / "build") / "gpu-runs"
        self.kept = pathlib.Path(a.kept).resolve()
        if a.fresh:
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.device = "cpu" if a.dry_run else "cuda"
        self.build = pathlib.Path(a.build or ROOT / ("build/release" if a.dry_run else "build/gpu")).resolve()
        self.program, self.device_test = self.build / "hpm", self.build / "tests/device/device_test"
        self.environment = {}  # of the project's programs
        self.results = {"dry_run": a.dry_run, "plan": a.plan, "items": {}}
        with contextlib.suppress(OSError, ValueError):
            before = json.loads((self.work / "gpu.json").read_text())
            if before["plan"] == a.plan:
                self.results = before

    def left(self):
        return self.a.minutes * 60 - (time.monotonic() - self.begun)

    def say(self, text):
        line = f"{time.monotonic() - self.begun:6.1f} s  {text}"
        print(line, flush=True)
        print(line, file=self.log, flush=True)

    def save(self):
        for folder in (self.out, self.work):
            beside = folder / "gpu.json.new"
            beside.write_text(json.dumps(self.results, indent=1) + "\n")
            beside.replace(folder / "gpu.json")

    def call(self, command, limit, env=None, to=None):
        """Runs a command, its output into the log or the file `to`. When the time is up it gets SIGTERM, then SIGKILL."""
        self.say("$ " + " ".join(str(c) for c in command))
        begun = time.monotonic()
        with open(to, "w") if to else contextlib.nullcontext(self.log) as output:
            child = subprocess.Popen([str(c) for c in command], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
                                     start_new_session=True, env={**os.environ, **(env or {})})
            with Memory(child.pid) as memory:
                try:
                    status = child.wait(timeout=max(limit, 1))
                except subprocess.TimeoutExpired:
                    status = CUT
                    stop(child)
                    self.say(f"stopped after {time.monotonic() - begun:.0f} s: its time was up")
        if status in INTERRUPTED:
            self.say(f"interrupted from outside (status {status})")
            status = CUT
        return Ended(status, time.monotonic() - begun, memory.peak)


def stop(child, patience=20):
    """SIGTERM, at which the project's programs keep what they have; SIGKILL where that is not enough."""
    for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=seconds)
            return


class Memory(threading.Thread):
    """The most memory in use while a process runs, in MB: of the GPU, above what was in use before; without one, of the
    process."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.done = pid, 0, threading.Event()
        self.smi = shutil.which("nvidia-smi")
        self.before = self.now() if self.smi else 0

    def now(self):
        if self.smi:
            query = [self.smi, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
            answer = subprocess.run(query, capture_output=True, text=True).stdout
            return max([int(v) for v in answer.split() if v.isdigit()], default=0)
        with contextlib.suppress(OSError):
            for line in open(f"/proc/{self.pid}/status"):
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) // 1024
        return 0

    def run(self):
        while not self.done.wait(.2):
            self.peak = max(self.peak, self.now() - self.before)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()
