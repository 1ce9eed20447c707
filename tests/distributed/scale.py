"""Long trials of several workers: `make scale`, on a machine that does nothing else. Prints every figure; ends with status 1
where a verdict or an exit status differs, or a run is slower than its limit.

  kills   rounds in which a random worker is killed (SIGKILL) at a random moment. Of three rounds one leaves it so, one starts
          that worker again, and one does as torchrun does: ends the others too, and starts all again by the same command.
          Where the first worker was killed and nobody restarts it, the run is gone on with by --resume
  ratios  two workers against one, one thread each, in one run
  slow    three workers, one of which is stopped four fifths of the time: it may cost one piece of each attack
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SHARE = 0.2  # of the time in which the slow worker runs


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Trials:
    def __init__(self, arguments):
        self.a = arguments
        self.random = random.Random(arguments.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hpm-scale-"))
        self.failed = False

    def fault(self, words):
        self.failed = True
        return words

    # ---- running -----------------------------------------------------------------------------------------------------

    def command(self, protocol, count, out, *more):
        return [self.a.program, "evaluate", "--model", self.a.model, *self.a.model_flags.split(), "--count", str(count),
                "--threads", "1", "--checks", "none", "--quiet", "--out", str(out), *protocol, *more]

    def start(self, command, rank, size, port, restarts=0):
        environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
                           LOCAL_WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        if restarts:
            environment["TORCHELASTIC_RESTART_COUNT"] = str(restarts)
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def start_all(self, command, size, restarts=0):
        port = free_port()
        return [self.start(command, rank, size, port, restarts) for rank in range(size)], port

    def ended(self, workers, timeout):
        """Their exit statuses, and what they said. None is left behind: those that do not end are killed, a status of "hangs"."""
        until, statuses, said = time.time() + timeout, [], []
        for worker in workers:
            try:
                said.append(worker.communicate(timeout=max(until - time.time(), 0.1))[1])
                statuses.append(worker.returncode)
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
                said.append(worker.communicate()[1])
                statuses.append("hangs")
        return statuses, said

    def whole(self, command):
        """One command to its end -> seconds. Other statuses than 0 are a fault."""
        start = time.time()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
            try:
                said = run.communicate(timeout=self.a.patience)[1]
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                said = f"did not end within {self.a.patience} s"
        if run.returncode != 0:
            sys.exit(f"{' '.join(command)}: status {run.returncode}\n{said}")
        return time.time() - start

    def verdicts(self, out):
        r = json.loads((out / "results.json").read_text())
        return {"n": r["n"], "robust": r.get("robust"), "clean": r.get("clean_correct"),
                "contexts": [(c["context"], c["robust"], c["clean_correct"]) for c in r.get("contexts", [])]}

    def alone(self, protocol, count, name):
        out = self.folder / name
        seconds = self.whole(self.command(protocol, count, out))
        return self.verdicts(out), seconds

    def compare(self, out, expected):
        if not (out / "results.json").exists():
            return self.fault("NO RESULTS")
        return "same verdicts" if self.verdicts(out) == expected else self.fault("OTHER VERDICTS")

    # ---- trials ------------------------------------------------------------------------------------------------------

    def kills(self):
        protocol = ["--protocol", "autoattack"]
        expected, seconds = self.alone(protocol, self.a.kill_images, "kills-alone")
        print(f"kills: {self.a.kill_images} images, one worker {seconds:.1f} s", flush=True)
        for i in range(self.a.rounds):
            out, size = self.folder / f"kill-{i}", self.random.choice([2, 3])
            what, statuses, said = self.killed_round(i, self.command(protocol, self.a.kill_images, out), size, seconds)
            word = self.compare(out, expected)
            if not statuses <= {0}:
                word += self.fault(f", STATUSES {sorted(map(str, statuses))}")
            print(f"  round {i}: {what}: {word}", flush=True)
            if word != "same verdicts":
                print("\n".join(said))
            shutil.rmtree(out, ignore_errors=True)

    def killed_round(self, i, command, size, seconds):
        """-> what was done, the statuses of those who should have come to the end, what was said."""
        victim, moment = self.random.randrange(size), self.random.uniform(0.05, 0.9) * seconds / 2
        workers, port = self.start_all(command, size)
        time.sleep(moment)
        workers[victim].kill()
        what = f"worker {victim} of {size} killed after {moment:.1f} s"
        if i % 3 == 2:
            for worker in workers:
                worker.terminate()
            _, said = self.ended(workers, 60)
            workers, _ = self.start_all(command, size, restarts=1)
            statuses, more = self.ended(workers, self.a.patience)
            return what + ", all started again by their launcher", set(statuses), said + more
        if i % 3 == 1 and victim != 0:
            workers.append(self.start(command, victim, size, port))
            what += ", started again"
        statuses, said = self.ended(workers, self.a.patience)
        if victim != 0:
            return what, set(statuses[:victim] + statuses[victim + 1:]), said
        workers, _ = self.start_all([*command, "--resume"], size)
        statuses, more = self.ended(workers, self.a.patience)
        return what + ", all resumed", set(statuses), said + more

    def ratios(self):
        for name, protocol in [("autoattack", ["--protocol", "autoattack"]),
                               ("msa-fast", ["--protocol", "msa", "--version", "fast"])]:
            expected, one = self.alone(protocol, self.a.images, f"{name}-1")
            out = self.folder / f"{name}-2"
            two = self.whole(self.command(protocol, self.a.images, out, "--workers", "2"))
            enough = "" if one / two >= self.a.least_ratio else self.fault(f", BELOW {self.a.least_ratio:.2f}x")
            print(f"{name}, {self.a.images} images: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f}x{enough}, "
                  f"{self.compare(out, expected)}", flush=True)

    def longest_pieces(self, out):
        """Seconds of the longest piece of each attack, summed, in the journals of the workers that are not slowed down."""
        longest = collections.defaultdict(float)
        for journal in (out / "events.jsonl", out / "events.1.jsonl"):
            for line in journal.read_text().splitlines()[1:]:
                piece = json.loads(line)
                attack = piece["key"].rsplit("/", 1)[0]
                longest[attack] = max(longest[attack], piece["seconds"])
        return sum(longest.values())

    def slow(self):
        protocol, count = ["--protocol", "autoattack"], self.a.kill_images + 1
        expected, one = self.alone(protocol, count, "slow-alone")
        start_up = max(one - json.loads((self.folder / "slow-alone/results.json").read_text())["seconds"], 0)
        out = self.folder / "slow"
        start = time.time()
        workers, _ = self.start_all(self.command(protocol, count, out), 3)
        stopping = threading.Event()

        def slow_down():
            while not stopping.is_set() and workers[2].poll() is None:
                workers[2].send_signal(signal.SIGSTOP)
                time.sleep(0.1 * (1 - SHARE))
                workers[2].send_signal(signal.SIGCONT)
                time.sleep(0.1 * SHARE)

        thread = threading.Thread(target=slow_down)
        thread.start()
        try:
            statuses, said = self.ended(workers[:1], self.a.patience)
        finally:
            seconds = time.time() - start
            stopping.set()
            thread.join()
            workers[2].send_signal(signal.SIGCONT)
            more, words = self.ended(workers[1:], 60)
        word = self.compare(out, expected)
        if set(statuses + more) != {0}:
            word += self.fault(f", STATUSES {statuses + more}:\n" + "\n".join(said + words))
        ideal = start_up + (one - start_up) / min(2 + SHARE, len(os.sched_getaffinity(0)))
        limit = ideal + self.a.slow_pieces * self.longest_pieces(out)
        if seconds > limit:
            word += self.fault(f", ABOVE {limit:.1f} s")
        print(f"slow: {count} images, three workers of which one runs a fifth of the time: {seconds:.1f} s; one worker "
              f"{one:.1f} s on {os.cpu_count()} cores, so {ideal:.1f} s at best and {limit:.1f} s with {self.a.slow_pieces:g} "
              f"piece of each attack; {word}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-flags", default="", help="further flags of model and data, in one word")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kill-images", type=int, default=60)
    parser.add_argument("--least-ratio", type=float, default=1.85, help="of two workers against one")
    parser.add_argument("--slow-pieces", type=float, default=1.0, help="pieces of each attack that a slow worker may cost")
    parser.add_argument("--patience", type=float, default=3600, help="seconds for a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["kills", "ratios", "slow"])
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    trials = Trials(arguments)
    try:
        for name in ["kills", "ratios", "slow"]:
            if arguments.only in (None, name):
                getattr(trials, name)()
    finally:
        shutil.rmtree(trials.folder, ignore_errors=True)
    return 1 if trials.failed else 0


if __name__ == "__main__":
    sys.exit(main())
