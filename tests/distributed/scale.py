"""Long trials of several workers: `make scale`. Prints every figure; ends with status 1 where a verdict differs.

  kills   rounds in which a random worker is killed (SIGKILL) at a random moment, every second one with a restart of
          that worker; a round whose first worker was killed is gone on with
  ratios  two workers against one, one thread each, in one run
  slow    three workers, one of which is stopped four fifths of the time
"""

import argparse
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

    def command(self, protocol, count, out, *more):
        return [self.a.program, "evaluate", "--model", self.a.model, *self.a.model_flags.split(), "--count", str(count),
                "--threads", "1", "--checks", "none", "--quiet", "--out", str(out), *protocol, *more]

    def start(self, command, rank, size, port):
        environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size),
                           LOCAL_WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def verdicts(self, out):
        r = json.loads((out / "results.json").read_text())
        return {"n": r["n"], "robust": r.get("robust"), "clean": r.get("clean_correct"),
                "contexts": [(c["context"], c["robust"], c["clean_correct"]) for c in r.get("contexts", [])]}

    def alone(self, protocol, count, name):
        out = self.folder / name
        start = time.time()
        subprocess.run(self.command(protocol, count, out), check=False, stdout=subprocess.DEVNULL)
        return self.verdicts(out), time.time() - start

    def compare(self, what, found, expected):
        same = found == expected
        self.failed |= not same
        return "same verdicts" if same else f"OTHER VERDICTS ({what})"

    def kills(self):
        protocol = ["--protocol", "autoattack"]
        count = self.a.kill_images
        expected, seconds = self.alone(protocol, count, "kills-alone")
        print(f"kills: {count} images, one worker {seconds:.1f} s", flush=True)
        for i in range(self.a.rounds):
            out, size, again = self.folder / f"kill-{i}", self.random.choice([2, 3]), i % 2 == 1
            victim, moment = self.random.randrange(size), self.random.uniform(0.05, 0.9) * seconds / 2
            port = free_port()
            command = self.command(protocol, count, out)
            workers = [self.start(command, r, size, port) for r in range(size)]
            time.sleep(moment)
            workers[victim].kill()
            if again and victim != 0:
                workers.append(self.start(command, victim, size, port))
            said = [w.communicate(timeout=600)[1] for w in workers]
            if victim == 0:
                port = free_port()
                command = self.command(protocol, count, out, "--resume")
                workers = [self.start(command, r, size, port) for r in range(size)]
                said += [w.communicate(timeout=600)[1] for w in workers]
            done = (out / "results.json").exists()
            word = self.compare(f"round {i}", self.verdicts(out), expected) if done else "NO RESULTS"
            if not done:
                self.failed = True
                print("\n".join(said))
            print(f"  round {i}: worker {victim} of {size} killed after {moment:.1f} s"
                  f"{', restarted' if again and victim else ''}{', all resumed' if victim == 0 else ''}: {word}", flush=True)
            shutil.rmtree(out, ignore_errors=True)

    def ratios(self):
        for name, protocol in [("autoattack", ["--protocol", "autoattack"]),
                               ("msa-fast", ["--protocol", "msa", "--version", "fast"])]:
            expected, one = self.alone(protocol, self.a.images, f"{name}-1")
            out = self.folder / f"{name}-2"
            start = time.time()
            subprocess.run(self.command(protocol, self.a.images, out, "--workers", "2"), check=False,
                           stdout=subprocess.DEVNULL)
            two = time.time() - start
            print(f"{name}, {self.a.images} images: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f}x, "
                  f"{self.compare(name, self.verdicts(out), expected)}", flush=True)

    def slow(self):
        protocol, count = ["--protocol", "autoattack"], self.a.kill_images + 1
        expected, one = self.alone(protocol, count, "slow-alone")
        out, port = self.folder / "slow", free_port()
        command = self.command(protocol, count, out)
        start = time.time()
        workers = [self.start(command, r, 3, port) for r in range(3)]
        stopping = threading.Event()

        def slow_down():
            while not stopping.is_set() and workers[2].poll() is None:
                workers[2].send_signal(signal.SIGSTOP)
                time.sleep(0.08)
                workers[2].send_signal(signal.SIGCONT)
                time.sleep(0.02)

        thread = threading.Thread(target=slow_down)
        thread.start()
        workers[0].communicate(timeout=3600)
        seconds = time.time() - start
        stopping.set()
        thread.join()
        for worker in workers[1:]:
            worker.send_signal(signal.SIGCONT)
            worker.communicate(timeout=60)
        print(f"slow: {count} images, three workers of which one runs a fifth of the time: {seconds:.1f} s; one worker "
              f"{one:.1f} s on {os.cpu_count()} cores; {self.compare('slow', self.verdicts(out), expected)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-flags", default="", help="further flags of model and data, in one word")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kill-images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["kills", "ratios", "slow"])
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    trials = Trials(arguments)
    for name in ["kills", "ratios", "slow"]:
        if arguments.only in (None, name):
            getattr(trials, name)()
    shutil.rmtree(trials.folder, ignore_errors=True)
    return 1 if trials.failed else 0


if __name__ == "__main__":
    sys.exit(main())
