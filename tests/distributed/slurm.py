"""The committed job script under a real Slurm of one node, brought up on this machine's loopback: `make slurm`.

  requeue   the job is requeued in its middle (as by a preemption); Slurm starts it again, and it goes on
  signal    the job's steps are sent SIGTERM (as --signal does before the time is up); it is submitted again, and goes on

Both must end with the flags of one process. Status 77, with a reason, where Slurm is missing (Debian, Ubuntu:
apt-get install --no-install-recommends slurm-wlm munge). Everything lives in a temporary folder, also Slurm's state.
"""

import argparse
import contextlib
import getpass
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue"]

CONFIGURATION = """
ClusterName=hpm
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
KillWait=10
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(true, seconds, what):
    until = time.time() + seconds
    while not true():
        if time.time() > until:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


class LocalSlurm:
    """munged, slurmctld and slurmd of one node, as children of this process."""

    def __init__(self, folder, cpus):
        self.folder, self.daemons = folder, []
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        configuration = folder / "slurm.conf"
        configuration.write_text(CONFIGURATION.format(host=socket.gethostname(), ports=free_ports(2), folder=folder, cpus=cpus,
                                                      user=getpass.getuser()))
        self.environment = dict(os.environ, SLURM_CONF=str(configuration))

    def __enter__(self):
        f = self.folder
        try:
            self.start("munged", "--foreground", "--force", f"--key-file={f}/munge.key", f"--socket={f}/munge.socket",
                       f"--pid-file={f}/munged.pid", f"--seed-file={f}/munge.seed", f"--log-file={f}/munged.log")
            wait_until((f / "munge.socket").exists, 20, "munged")
            self.start("slurmctld", "-D", "-c")
            self.start("slurmd", "-D", "-c")
            wait_until(lambda: self.answer("sinfo", "-h", "-o", "%T") == "idle", 60, "the node to be idle")
        except BaseException:
            print(self.logs())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def start(self, *command):
        log = open(self.folder / f"{command[0]}.out", "w")
        self.daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT))

    def answer(self, *command):
        for daemon in self.daemons:
            if daemon.poll() is not None:
                raise RuntimeError(f"{daemon.args[0]} has ended with status {daemon.returncode}")
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60).stdout.strip()

    def logs(self):
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted(self.folder.glob("*.[lo][ou][gt]")))

    def job(self, number):
        """What Slurm says of a job: {"JobState": "RUNNING", "Restarts": "1", ..}."""
        words = self.answer("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, number):
        return self.job(number).get("JobState", "")


class Trials:
    def __init__(self, arguments, folder, slurm):
        self.a, self.folder, self.slurm = arguments, folder, slurm
        self.program = pathlib.Path(arguments.program).resolve()
        slurm.environment["PATH"] = f"{self.program.parent}:{os.environ['PATH']}"
        self.job_arguments = [*arguments.flags.split(), "--model", str(pathlib.Path(arguments.model).resolve()), "--protocol",
                              "autoattack", "--checks", "none", "--quiet", "--count", str(arguments.images)]

    def flags_of(self, out):
        results = json.loads((out / "results.json").read_text())
        return results["clean_correct"], results["robust"]

    def alone(self):
        start = time.time()
        subprocess.run([str(self.program), "evaluate", *self.job_arguments, "--threads", "1", "--out", str(self.folder / "alone")],
                       check=True, stdout=subprocess.DEVNULL, timeout=self.a.patience)
        print(f"one process: {time.time() - start:.1f} s, {self.a.images} images", flush=True)
        return self.flags_of(self.folder / "alone")

    def submit(self, out):
        """The committed job script; its node counts are replaced by this node's."""
        said = self.slurm.answer("sbatch", "--parsable", "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--time=30",
                                 f"--chdir={self.folder}", f"--output={out}.log", str(ROOT / "examples/evaluate.sbatch"),
                                 *self.job_arguments, "--out", str(out))
        if not said.isdigit():
            raise RuntimeError(f"sbatch gave no job: {said!r}\n{self.slurm.logs()}")
        return said

    def in_its_middle(self, job, out):
        """Until both processes have begun, and two pieces of work are done. A journal's first line is no piece."""
        both = [out / "events.jsonl", out / "events.1.jsonl"]

        def begun():
            lines = [f.read_text().count("\n") if f.exists() else 0 for f in both]
            return min(lines) >= 1 and sum(lines) >= 4

        wait_until(lambda: self.over(job) or begun(), self.a.patience, f"job {job} to begin")
        if self.over(job):
            raise RuntimeError(f"job {job} has ended before it could be disturbed: give --images more")

    def over(self, job):
        return self.slurm.state(job) in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    def ended(self, job):
        wait_until(lambda: self.over(job), self.a.patience, f"job {job} to end")
        return self.slurm.job(job)

    def requeue(self, out):
        job = self.submit(out)
        self.in_its_middle(job, out)
        self.slurm.answer("scontrol", "requeue", job)
        wait_until(lambda: self.slurm.state(job) == "PENDING", self.a.patience, f"job {job} to wait again")
        self.slurm.answer("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm would wait for some minutes
        said = self.ended(job)
        if said["Restarts"] != "1":
            raise RuntimeError(f"job {job} was restarted {said['Restarts']} times, not once")
        return said

    def signal(self, out):
        job = self.submit(out)
        self.in_its_middle(job, out)
        self.slurm.answer("scancel", "--signal=TERM", job)
        first = self.ended(job)
        if first["JobState"] != "FAILED":
            raise RuntimeError(f"job {job} was interrupted, but it is {first['JobState']}")
        return self.ended(self.submit(out))

    def run(self):
        expected, failed = self.alone(), False
        for name in ("requeue", "signal"):
            out = self.folder / name
            start = time.time()
            try:
                said = getattr(self, name)(out)
                words = [] if said["JobState"] == "COMPLETED" else [f"the job is {said['JobState']}, {said['ExitCode']}"]
                words += [] if self.flags_of(out) == expected else ["OTHER FLAGS"]
            except (RuntimeError, TimeoutError, OSError, KeyError) as error:
                words = [str(error)]
            failed |= bool(words)
            print(f"{name}: {', '.join(words) or 'goes on, same flags'}, {time.time() - start:.1f} s", flush=True)
            if words:
                log = pathlib.Path(f"{out}.log")
                print(log.read_text() if log.exists() else "the job wrote no log", self.slurm.logs(), sep="\n")
        return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", default=str(ROOT / "checkpoints/fashion-mnist-linf-0.1.safetensors"))
    parser.add_argument("--flags", default="--data fashion-mnist --eps 0.1", help="further flags of hpm evaluate, in one word")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--patience", type=float, default=600, help="seconds for each step")
    parser.add_argument("--keep", action="store_true", help="leave the folder with Slurm's logs there")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        print(f"slurm: skipped, for {', '.join(missing)} is missing: apt-get install --no-install-recommends slurm-wlm munge")
        return 77
    if len(os.sched_getaffinity(0)) < 2:
        print("slurm: skipped, for two tasks need two cores: run it where two are allowed (taskset -c 0,1)")
        return 77
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hpm-slurm-"))
    folder.chmod(0o755)  # munged refuses a socket in a folder that others cannot enter
    try:
        with LocalSlurm(folder, cpus=2) as slurm:
            return Trials(arguments, folder, slurm).run()
    finally:
        if arguments.keep:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
