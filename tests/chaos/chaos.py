"""Disturbs hpm at its work, and looks whether anything is lost: `make chaos`.

Each round takes a job (an evaluation of some protocol by one or two workers, training, fine-tuning, the sensitivity
study, a report) and a trouble (a kill, a full disk, a file that was damaged, a failing call, ...), runs the job under
that trouble, then goes on with --resume and nothing in its way. What must hold:

  nothing lost       the resumed job ends with what the undisturbed one gave: verdicts and predictions of every image,
                     bytes of trained weights, figures of the study
  nothing silent     a run that ends with status 0 or 3 gave that too
  a sentence         a run that fails says why, in a line that begins with "hpm"; it does not crash

Prints a line a round where something is wrong, then a table of counts; ends with status 1 where any round is wrong.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
BASE = SOURCE / "checkpoints/fashion-mnist-linf-0.1.safetensors"
ENOSPC, EIO, ENOSYS = 28, 5, 38
NO_LOCKS = "no file locks"  # Lustre without -o flock


class Job:
    """A command with an output folder, and what it comes to there."""

    def __init__(self, name, flags, outcome, resumable=True, journal=False, state=False):
        self.name, self.flags, self.outcome = name, flags, outcome
        self.resumable, self.journal, self.state = resumable, journal, state


def read_json(path):
    return json.loads(path.read_text())


def verdicts(out):
    r = read_json(out / "results.json")
    contexts = [[c["context"], c["clean_correct"], c["robust"]] for c in r["contexts"]]
    return [r["n"], r["clean_correct"], r["robust"], r["predictions"]["clean"], contexts, r["suspect"]]


def weights(out):
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def study(out):
    def figures(value):
        if isinstance(value, dict):
            return {k: figures(v) for k, v in value.items() if "seconds" not in k and k not in ("started", "commit")}
        return [figures(v) for v in value] if isinstance(value, list) else value

    return figures(read_json(out / "analysis.json"))


def page(out):
    text = (out / "report.html").read_text()
    return [text.count("<section"), text.rstrip().endswith("</html>"), "robust" in text]


class Trials:
    def __init__(self, arguments):
        self.a = arguments
        self.random = random.Random(arguments.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hpm-chaos-"))
        self.counts = collections.Counter()
        self.wrong = []
        self.library = self.folder / "failing_calls.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, HERE / "failing_calls.c", "-ldl"], check=True)
        data = ["--data", "fashion-mnist"]
        threat, some = ["--eps", "0.1"], ["--threads", "1", "--quiet"]
        self.tuned = self.folder / "hpm"
        doctor = subprocess.run([*self.verb("doctor"), "--json"], capture_output=True, text=True).stdout
        if not json.loads(doctor)["data"].get("fashion-mnist"):
            print("chaos: skipped, for Fashion-MNIST is absent: apt-get install dataset-fashion-mnist, or HPM_DATA=FOLDER")
            sys.exit(77)
        self.run([*self.verb("finetune"), "--model", BASE, *data, *threat, *some, "--head", "hpm", "--count", "128",
                  "--epochs", "1", "--out", self.tuned], check=True)
        hpm = self.tuned / "model.safetensors"
        evaluate = [*self.verb("evaluate"), *data, *threat, *some]
        plain = [*evaluate, "--model", BASE, "--count", "12", "--batch-size", "4"]
        defended = [*evaluate, "--model", hpm, "--count", "16", "--batch-size", "8", "--company", "8"]
        self.run([*plain, "--protocol", "pgd", "--out", self.folder / "shown"], check=False)
        self.jobs = [
            Job("clean", [*plain, "--protocol", "clean"], verdicts),
            Job("pgd", [*plain, "--protocol", "pgd"], verdicts, journal=True),
            Job("autoattack", [*plain, "--protocol", "autoattack", "--queries", "60", "--steps", "15"], verdicts, journal=True),
            Job("fast", [*plain, "--protocol", "fast", "--no-escalate"], verdicts, journal=True),
            Job("msa", [*defended, "--context", "solo,joint", "--steps", "10", "--surrogates", "ste,fc"], verdicts, journal=True),
            Job("autoattack, 2 workers", [*plain, "--protocol", "autoattack", "--queries", "60", "--steps", "15", "--workers", "2"],
                verdicts, journal=True),
            Job("msa, 2 workers", [*defended, "--context", "solo,joint", "--steps", "10", "--surrogates", "ste,fc",
                                   "--workers", "2"], verdicts, journal=True),
            Job("train", [*self.verb("train"), *data, *threat, *some, "--arch", "conv8k4s4p0-relu-flatten-fc10",
                          "--count", "256", "--epochs", "3", "--train-batch", "32", "--attack-steps", "2",
                          "--save-every", "1"], weights, state=True),
            Job("finetune", [*self.verb("finetune"), "--model", BASE, *data, *threat, *some, "--head", "hpm", "--count",
                             "256", "--epochs", "2", "--attack-steps", "2"], weights, state=True),
            Job("analyze", [*self.verb("analyze"), "--model", hpm, *data, *threat, *some, "--count", "16",
                            "--iterations", "1,5"], study, journal=True),
            Job("report", [*self.verb("report"), self.folder / "shown"], page, resumable=False),
        ]
        if arguments.jobs:
            self.jobs = [job for job in self.jobs if job.name in arguments.jobs]
        self.troubles = {
            "kill -9": self.killed, "SIGTERM": self.terminated, "file size limit": self.small_files,
            "full disk": self.full_disk, "read-only folder": self.read_only, "memory limit": self.little_memory,
            "failing call": self.failing_call, "no file locks": self.no_locks, "clock jumps": self.clock_jumps, "journal cut": self.journal_cut,
            "journal bit flip": self.journal_flipped, "last state damaged": self.state_damaged,
        }

    def verb(self, name):
        return [str(self.a.program), name]

    # ---- running -----------------------------------------------------------------------------------------------------

    def run(self, command, environment=None, limit=None, stop=None, check=False, prefix=()):
        """Runs to the end, or sends `stop` = (signal, seconds). -> status, what it said on stderr."""
        command = [*prefix, *[str(part) for part in command]]
        started = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, errors="replace", preexec_fn=limit,
                                   start_new_session=True)
        try:
            if stop:
                try:
                    said = started.communicate(timeout=stop[1])[1]
                except subprocess.TimeoutExpired:
                    # A kill takes all workers; SIGTERM is for the first, who tells the others.
                    (os.killpg if stop[0] == signal.SIGKILL else os.kill)(started.pid, stop[0])
                    said = started.communicate(timeout=self.a.patience)[1]
            else:
                said = started.communicate(timeout=self.a.patience)[1]
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            return "hangs", started.communicate()[1]
        if check and started.returncode not in (0, 3):
            sys.exit(f"{' '.join(command)} failed with {started.returncode}:\n{said}")
        return started.returncode, said

    def command(self, job, out, *more):
        if job.name == "report":
            return [*job.flags, "--html", out / "report.html"]
        return [*job.flags, "--out", out, *more]

    def expected(self, job):
        if not hasattr(job, "expected"):
            out = self.folder / ("whole-" + job.name.replace(", ", "-").replace(" ", ""))
            out.mkdir() if job.name == "report" else None
            start = time.time()
            self.run(self.command(job, out), check=True)
            job.seconds, job.expected = time.time() - start, job.outcome(out)
        return job.expected

    def moment(self, job):
        self.expected(job)
        return self.random.uniform(0.03, 1.0) * job.seconds

    # ---- troubles: each runs the job under its trouble -> (status, stderr, what was done) -----------------------------

    def killed(self, job, out):
        return *self.run(self.command(job, out), stop=(signal.SIGKILL, self.moment(job))), "killed"

    def terminated(self, job, out):
        return *self.run(self.command(job, out), stop=(signal.SIGTERM, self.moment(job))), "SIGTERM"

    def small_files(self, job, out):
        size = int(10 ** self.random.uniform(1.5, 6))

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        return *self.run(self.command(job, out), limit=limit), f"files of {size} bytes at most"

    def mounted(self, job, out, options, then):
        out.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", out], stderr=subprocess.DEVNULL).returncode != 0:
            self.counts["left out: nothing can be mounted here"] += 1
            return None
        try:
            return then()
        finally:
            kept = self.folder / "kept"
            shutil.copytree(out, kept)
            subprocess.run(["umount", "-l", out], check=True)
            out.rmdir()
            kept.rename(out)

    def full_disk(self, job, out):
        if os.geteuid() != 0 or not shutil.which("mount"):
            return None
        size = int(10 ** self.random.uniform(4, 6.3))
        return self.mounted(job, out, f"size={size}",
                            lambda: (*self.run(self.command(job, out, "--overwrite")), f"a disk of {size} bytes"))

    def read_only(self, job, out):
        if os.geteuid() != 0 or not shutil.which("mount"):
            return None
        return self.mounted(job, out, "ro", lambda: (*self.run(self.command(job, out, "--overwrite")), "mounted read-only"))

    def little_memory(self, job, out):
        size = int(10 ** self.random.uniform(8.3, 9.6))
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))
        return *self.run(self.command(job, out), limit=limit), f"{size} bytes of address space"

    def failing_call(self, job, out):
        call, error = self.random.choice(["write", "fsync", "rename", "open", "close"]), self.random.choice([EIO, ENOSPC])
        after = int(10 ** self.random.uniform(0, 2))
        where = {"LD_PRELOAD": str(self.library), "HPM_CHAOS_FOLDER": str(out), "HPM_CHAOS_CALL": call,
                 "HPM_CHAOS_AFTER": str(after), "HPM_CHAOS_ERRNO": str(error)}
        return *self.run(self.command(job, out), environment=where), f"{call} fails with {error} after {after} calls"

    def no_locks(self, job, out):
        if not job.resumable:
            return None
        where = {"LD_PRELOAD": str(self.library), "HPM_CHAOS_FOLDER": str(out), "HPM_CHAOS_CALL": "flock",
                 "HPM_CHAOS_AFTER": "0", "HPM_CHAOS_ERRNO": str(ENOSYS)}
        return *self.run(self.command(job, out), environment=where), NO_LOCKS

    def clock_jumps(self, job, out):
        every = self.random.choice([3, 10, 50])
        where = {"LD_PRELOAD": str(self.library), "HPM_CHAOS_CLOCK": str(every)}
        return *self.run(self.command(job, out), environment=where), f"the clock jumps by a day after {every} looks"

    def damaged(self, job, out, files, damage):
        status, said, _ = self.killed(job, out)
        found = [f for pattern in files for f in sorted(out.glob(pattern)) if f.stat().st_size > 0]
        if not found:
            return status, said, "killed before there was anything to damage"
        file = self.random.choice(found)
        text = bytearray(file.read_bytes())
        file.write_bytes(damage(text))
        return status, said, f"killed, then {file.name} damaged"

    def flip(self, text):
        place = self.random.randrange(len(text))
        text[place] ^= 1 << self.random.randrange(8)
        return text

    def journal_cut(self, job, out):
        cut = lambda text: text[: self.random.randrange(len(text))]
        return self.damaged(job, out, ["events.*"], cut) if job.journal else None

    def journal_flipped(self, job, out):
        return self.damaged(job, out, ["events.*"], self.flip) if job.journal else None

    def state_damaged(self, job, out):
        return self.damaged(job, out, ["training.safetensors"], self.flip) if job.state else None

    # ---- rounds ------------------------------------------------------------------------------------------------------

    def is_sentence(self, status, said, begun=True):
        if status == -signal.SIGTERM and not begun:
            return True  # while its libraries were loaded, the program had not begun
        crashed = isinstance(status, int) and status < 0 and status != -signal.SIGKILL
        traces = any(word in said for word in ("terminate called", "Segmentation", "core dumped", "Traceback"))
        # Where memory does not even hold the libraries, it is the loader that says so.
        said_why = any(line.startswith(("hpm", "the report was not written")) or "error while loading shared libraries" in line
                       for line in said.splitlines())
        return status != "hangs" and not crashed and not traces and (status == -signal.SIGKILL or said_why)

    def look(self, job, out):
        try:
            return job.outcome(out)
        except (OSError, ValueError, KeyError):
            return None

    def round(self, number, job, trouble):
        out = self.folder / f"round-{number}"
        expected = self.expected(job)
        if job.name == "report":
            out.mkdir(exist_ok=True)
        done = self.troubles[trouble](job, out)
        if done is None:
            return False
        status, said, what = done
        said_at_first, begun = said, (out / "config.toml").exists()
        faults = []
        if what == NO_LOCKS and status not in (0, 3):
            faults.append(f"NEEDS LOCKS (status {status})")
        if status in (0, 3):
            self.counts["came to the end all the same"] += 1
            if self.look(job, out) != expected:
                faults.append("SILENT DIFFERENCE")
        else:
            self.counts["ended early"] += 1
            if not self.is_sentence(status, said, begun):
                faults.append(f"NO SENTENCE (status {status})")
        going_on = ["--resume"] if job.resumable and begun else ["--overwrite"] if job.resumable else []
        again, said = self.run(self.command(job, out, *going_on))
        if again not in (0, 3) and "damaged" in what and self.is_sentence(again, said):
            self.counts["damage refused with a sentence"] += 1  # nothing is lost in silence: --overwrite begins anew
            again, said = self.run(self.command(job, out, "--overwrite"))
        if self.look(job, out) != expected:
            faults.append(f"LOST (status {again} after {' '.join(going_on)})")
        if faults:
            self.wrong.append(number)
            tail = lambda text: " / ".join(text.strip().splitlines()[-3:])[:400]
            print(f"round {number}: {job.name}, {what}: {', '.join(faults)}\n  first: {tail(said_at_first)}\n  then: {tail(said)}",
                  flush=True)
        self.counts[f"trouble: {trouble}"] += 1
        self.counts[f"job: {job.name}"] += 1
        shutil.rmtree(out, ignore_errors=True)
        return True

    def rounds(self):
        start, number = time.time(), 0
        pairs = [(job, trouble) for job in self.jobs for trouble in self.troubles]
        if self.a.each_trouble_once:
            for trouble in self.troubles:
                jobs = self.random.sample(self.jobs, len(self.jobs))
                number += any(self.round(number, job, trouble) for job in jobs)  # the first that it can befall
        while number < self.a.rounds:
            self.random.shuffle(pairs)
            for job, trouble in pairs:
                if number < self.a.rounds:
                    number += self.round(number, job, trouble)
        print(f"{number} rounds in {time.time() - start:.0f} s, seed {self.a.seed}: {len(self.wrong)} wrong")
        for what in sorted(self.counts):
            print(f"  {self.counts[what]:4d}  {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each-trouble-once", action="store_true", help="before any further rounds")
    parser.add_argument("--jobs", type=lambda text: text.split(";"), help="names of jobs, separated by semicolons")
    parser.add_argument("--patience", type=float, default=300, help="seconds after which a run is said to hang")
    arguments = parser.parse_args()
    arguments.program = arguments.program.resolve()
    os.environ["OMP_NUM_THREADS"] = "1"
    trials = Trials(arguments)
    try:
        trials.rounds()
    finally:
        shutil.rmtree(trials.folder, ignore_errors=True)
    sys.exit(1 if trials.wrong else 0)


if __name__ == "__main__":
    main()
