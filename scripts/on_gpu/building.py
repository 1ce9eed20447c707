"""The build on the machine, or of what is carried there, and the tests of the device."""
import contextlib, os, pathlib, platform, re, shutil, subprocess, sys

from on_gpu.clock import ROOT
from on_gpu.packing import packed_commit

BIN_LIBRARIES = ("libz.so.1", "libcrypto.so.3")  # of the carried programs: taken where the machine has none


def environment(run):
    commit, _ = packed_commit(run.packed)
    found = {"machine": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    asked = {"gpu": ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
             "nvcc": ["nvcc", "--version"], "compiler": ["c++", "--version"], "cmake": ["cmake", "--version"],
             "commit": ["git", "describe", "--always", "--dirty"]}
    for name, command in asked.items():
        with contextlib.suppress(OSError):
            lines = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip().split("\n")
            found[name] = lines[-1] if name == "nvcc" else lines[0]
    found["commit"] = found.get("commit") or commit or "unknown"
    with contextlib.suppress(OSError, TypeError):
        version = {}
        exec((torch_folder() / "version.py").read_text(), version)  # to import PyTorch would take seconds
        found["torch"], found["torch_cuda"] = version["__version__"], version["cuda"]
    run.results["environment"] = found


def torch_folder():
    """The folder of this Python's PyTorch, which is not imported for it."""
    import importlib.util
    found = importlib.util.find_spec("torch")
    return pathlib.Path(found.origin).parent if found else None


def configure_commands(packed, build, torch):
    """What to try, one after the other: LibTorch's own files alone, which needs no CUDA toolkit; then TorchConfig.cmake."""
    deps = packed / "base/deps/usr"
    machine = "x86_64-linux-gnu"
    commit, date = packed_commit(packed)
    common = ["cmake", "-S", ROOT, "-DCMAKE_BUILD_TYPE=Release", "-DHPM_BUILD_EXAMPLES=OFF", "-DHPM_BUILD_PYTHON=OFF",
              "-DHPM_WARNINGS_AS_ERRORS=OFF", f"-DHPM_SOURCE_COMMIT={commit}", f"-DHPM_SOURCE_DATE={date}",
              *[f"-DHPM_WITH_{part}=OFF" for part in ("DEFLATE", "ARCHIVE", "JPEG", "PNG")]]
    if deps.exists():
        common += [f"-DCMAKE_CXX_FLAGS=-isystem {deps / 'include' / machine}", f"-DCMAKE_PREFIX_PATH={deps}",
                   f"-DCMAKE_INCLUDE_PATH={deps / 'include'};{deps / 'include' / machine}",
                   f"-DCMAKE_LIBRARY_PATH={deps / 'lib' / machine}", f"-DOPENSSL_ROOT_DIR={deps}"]
    if shutil.which("ninja"):
        common += ["-G", "Ninja"]
    return [[*common, "-B", build, f"-DHPM_LIBTORCH={torch}"], [*common, "-B", f"{build}-toolkit"]]


def build(run, limit):
    """The programs that were carried, if they run here; else a build."""
    if run.sizes.dry:
        commands = configure_commands(run.packed, run.build, torch_folder())
        return {"status": 0 if run.program.exists() else 1, "would": [" ".join(map(str, c)) for c in commands]}
    doctor = use_carried(run)
    if doctor:
        return {"status": 0, "carried": True, "doctor": doctor}
    env = {"HPM_PYTHON": sys.executable, "CUDA_HOME": os.environ.get("CUDA_HOME", "/usr/local/cuda"),
           "TORCH_CUDA_ARCH_LIST": "9.0", "PATH": f"/usr/local/cuda/bin:{os.environ['PATH']}"}
    seconds, tried = 0, []
    for command in configure_commands(run.packed, run.build, torch_folder()):
        folder = pathlib.Path(command[command.index("-B") + 1])
        configured = run.call(command, limit - seconds, env)
        seconds += configured.seconds
        tried.append({"folder": folder.name, "configure": configured.status})
        if configured.status != 0:
            continue
        make = ["cmake", "--build", folder, "-j", os.cpu_count(), "--target", "hpm_app", "device_test"]
        built = run.call(make, limit - seconds, env)
        seconds += built.seconds
        tried[-1]["build"] = built.status
        if built.status == 0:
            run.program, run.device_test = folder / "hpm", folder / "tests/device/device_test"
            run.results["programs"] = [str(run.program), str(run.device_test)]
            doctor = run_doctor(run)
            failed = {} if doctor else {"failed": "hpm doctor, which must run and see a GPU"}
            return {"status": 0 if doctor else 1, "seconds": round(seconds, 1), "tried": tried, "doctor": doctor, **failed}
    return {"status": max(configured.status, 1), "seconds": round(seconds, 1), "tried": tried, "failed": "no build succeeded"}


def run_doctor(run):
    """What `hpm doctor` says of the machine, if the program runs and sees a GPU."""
    to = run.work / "doctor.txt"
    done = run.call([run.program, "doctor"], 60, run.environment, to=to)
    lines = [line for line in to.read_text().split("\n") if re.match("(cuda|torch|commit) ", line)]
    run.say(f"hpm doctor, status {done.status}: {'; '.join(lines)}")
    return lines if done.status == 0 and re.search(r"^cuda +[1-9]", to.read_text(), re.M) else None


def carried_environment(packed, program, torch):
    """LibTorch of this machine for programs that were linked elsewhere, and the small libraries that it lacks."""
    paths = [str(torch / "lib")]
    env = {**os.environ, "LD_LIBRARY_PATH": ":".join(paths)}
    wanted = subprocess.run(["ldd", program], capture_output=True, text=True, env=env).stdout
    if any(f"{name} => not found" in wanted for name in BIN_LIBRARIES):
        paths.append(str(packed / "base/bin/lib"))
    return {"LD_LIBRARY_PATH": ":".join(paths)}


def use_carried(run):
    """The programs in base/bin, or those that an earlier call built; the lines of hpm doctor, or None."""
    if "programs" in run.results:
        run.program, run.device_test = map(pathlib.Path, run.results["programs"])
        return run_doctor(run)
    program, torch = run.packed / "base/bin/hpm", torch_folder()
    if not program.exists() or not torch:
        return None
    run.environment = carried_environment(run.packed, program, torch)
    run.program, run.device_test = program, run.packed / "measure/device_test"
    for file in (run.program, run.device_test):
        with contextlib.suppress(OSError):  # copying may have lost that they are programs
            file.chmod(0o755)
    doctor = run_doctor(run)
    if not doctor:
        run.environment = {}
    return doctor


def prebuild(a):
    """Here: builds the programs against an unpacked wheel of the machine's PyTorch, and packs them. CUDA's libraries need
    not be here: LibTorch's link is not followed to its end."""
    packed, torch = pathlib.Path(a.packed), pathlib.Path(a.prebuild).resolve()
    if not (torch / "include/torch/version.h").exists():
        print(f"--prebuild {a.prebuild}: needs the folder torch/ of an unpacked wheel, with include and lib (docs/gpu.md)")
        return 2
    folder = pathlib.Path(a.build or ROOT / "build/gpu-carried")
    commands = [configure_commands(pathlib.Path("/none"), folder, torch)[0],
                ["cmake", "--build", folder, "-j", os.cpu_count(), "--target", "hpm_app", "device_test"]]
    for command in commands:
        if subprocess.run([str(c) for c in command]).returncode:
            return 1
    for program, to in (("hpm", packed / "base/bin/hpm"), ("tests/device/device_test", packed / "measure/device_test")):
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["strip", "-o", to, folder / program], check=True)
    wanted = subprocess.run(["ldd", folder / "hpm"], capture_output=True, text=True).stdout
    (packed / "base/bin/lib").mkdir(exist_ok=True)
    for name, path in re.findall(r"(\S+) => (/\S+)", wanted):
        if name in BIN_LIBRARIES:
            shutil.copy(os.path.realpath(path), packed / "base/bin/lib" / name)
    return 0


def counted(text):
    """Passed, failed and skipped tests of GoogleTest's output, which may have been cut."""
    found = {"passed": len(re.findall(r"^\[       OK \]", text, re.M)),
             "failures": sorted(set(re.findall(r"^\[  FAILED  \] ([\w./]+)", text, re.M))),
             "skips": len(re.findall(r"^\[  SKIPPED \] .*\(\d+ ms\)", text, re.M))}
    begun = re.findall(r"^\[ RUN      \] ([\w./]+)", text, re.M)
    ended = set(re.findall(r"^\[ +(?:OK|FAILED|SKIPPED) +\] ([\w./]+)", text, re.M))
    return found | {"cut_in": [name for name in begun if name not in ended]}


def device_tests(run, limit, name, pattern, long=False):
    """Tests of the label device on the GPU beside the CPU; of a dry run, those of the emulated device itself."""
    if not run.device_test.exists():
        return {"skipped": f"no program {run.device_test}"}
    to = run.work / f"{name}.txt"
    env = {"HPM_TEST_DEVICE": "emulated" if run.sizes.dry else "cuda", **({"HPM_LONG_TESTS": "1"} if long else {})}
    only = "EmulatedDevice.*" if run.sizes.dry else pattern
    done = run.call([run.device_test, f"--gtest_filter={only}", "--gtest_brief=0"], limit, {**run.environment, **env}, to=to)
    text = to.read_text()
    print(text[-4000:], file=run.log, flush=True)
    return {"status": done.status, "seconds": round(done.seconds, 1), **counted(text)}
