# The commands of the project. `make` lists them. PRESET=dev|asan-ubsan|tsan|coverage works on another build folder, JOBS=n sets the
# number of processes, PREFIX=folder where install puts things.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PRESET ?= release
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 600
SCALE_FLAGS ?= --model checkpoints/fashion-mnist-linf-0.1.safetensors --model-flags "--data fashion-mnist --eps 0.1"
PREFIX ?= /usr/local
BUILD := build/$(PRESET)

.PHONY: help setup program build install demo wheel release docs test quick oracles scale slurm mutations chaos sanitize coverage fuzz format tidy clean FORCE

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install what is missing: system packages, PyTorch's CPU wheel in .venv
	@scripts/setup $(SETUP_FLAGS)

# CMake runs again by itself when its files change; a LibTorch chosen in the environment is looked at every time.
$(BUILD)/build.ninja: $(if $(Torch_DIR)$(CMAKE_PREFIX_PATH)$(HPM_PYTHON),FORCE) | setup
	@cmake --preset $(PRESET); echo "configure: $$SECONDS s"

program demo: SETUP_FLAGS = --without-tests
program: $(BUILD)/build.ninja  ## build the program alone: build/release/hpm
	@cmake --build $(BUILD) -j $(JOBS) --target hpm_app; echo "program: $$SECONDS s"

build: $(BUILD)/build.ninja  ## build everything: the library, build/release/hpm, the tests
	@cmake --build $(BUILD) -j $(JOBS); echo "build: $$SECONDS s"

install: program  ## program, library, man pages and completions into PREFIX (/usr/local)
	@cmake --install $(BUILD) --prefix $(PREFIX) > build/install.log; echo "installed into $(PREFIX): build/install.log lists the files"

demo: program  ## the main job on Fashion-MNIST, from nothing to runs/demo/report.html
	@scripts/demo

wheel: | setup  ## the Python package as a wheel in dist/, audited (docs/python.md)
	@.venv/bin/python -m pip wheel --quiet --disable-pip-version-check . --no-build-isolation --no-deps -w dist
	@.venv/bin/python scripts/audit_wheel.py $$(ls -t dist/*.whl | head -1); echo "wheel: $$SECONDS s"

VERSION ?= $(shell sed -n 's/^project.hpm VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
release: | setup  ## what a release hands out, in dist/, and its tag: docs/releases.md (VERSION: that of CMakeLists.txt)
	@.venv/bin/python scripts/release "$(VERSION)" --tag

docs: program  ## the documentation site: build/docs/index.html (needs pip; doxygen for the C++ reference)
	@python3 scripts/docs/build.py --program $(BUILD)/hpm; echo "docs: $$SECONDS s"

test: build  ## set up, build, run every test
	@ctest --preset $(PRESET) -j $(JOBS)

quick: build  ## the unit tests alone, for use while working
	@ctest --preset $(PRESET) -j $(JOBS) -L '^unit$$'

oracles: build  ## long comparisons with reference values, every figure printed
	@ctest --test-dir $(BUILD) --no-tests=error --verbose -L '^oracle$$'

MUTATION_IMAGES ?= 40
mutations: program  ## the gauntlet with each surrogate and each check turned off (docs/gauntlet.md), MUTATION_IMAGES images
	@$(BUILD)/hpm gauntlet --model checkpoints/fashion-mnist-linf-0.1.safetensors --data fashion-mnist --eps 0.1 \
	  --count $(MUTATION_IMAGES) --workers $(JOBS) --mutations
scale: program  ## long trials of several workers: kills, ratios (SCALE_FLAGS: another model, --rounds N)
	@.venv/bin/python tests/distributed/scale.py --program $(BUILD)/hpm $(SCALE_FLAGS)

SLURM_FLAGS ?=
slurm: program  ## the committed job script under a real Slurm of one node, disturbed (needs slurm-wlm, munge: docs/scaling.md)
	@.venv/bin/python tests/distributed/slurm.py --program $(BUILD)/hpm $(SLURM_FLAGS) || [ $$? = 77 ]

CHAOS_ROUNDS ?= 200
chaos: program  ## disturbs the program at its work: kills, full disks, damaged files, failing calls (CHAOS_ROUNDS)
	@.venv/bin/python tests/chaos/chaos.py --program $(BUILD)/hpm --rounds $(CHAOS_ROUNDS)

SANITIZERS ?= asan-ubsan tsan
sanitize: | setup  ## the tests under address, undefined-behaviour and thread sanitizers (hours; SANITIZERS: docs/reliability.md)
	@python3 scripts/sanitize $(SANITIZERS) --jobs $(JOBS)

coverage: | setup  ## which lines of hpm/ the tests run: docs/coverage.md; fails under 90 %
	@python3 scripts/coverage --jobs $(JOBS)

fuzz:  ## libFuzzer with sanitizers on every reader of files, FUZZ_SECONDS each (needs clang: docs/fuzzing.md)
	@python3 tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

format:  ## clang-format on every source file
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i

tidy: SETUP_FLAGS = --with-tidy
tidy: | setup  ## clang-tidy on every source file (slow); fails on a finding
	@mkdir -p build; cmake --preset tidy > build/tidy.log 2>&1 || { cat build/tidy.log; exit 1; }
	@command -v clang-tidy > /dev/null || { echo "tidy: clang-tidy is missing: apt-get install clang-tidy"; exit 1; }
	@status=0; look() { xargs -n 1 -P $(JOBS) clang-tidy -p build/tidy --quiet --extra-arg=-include --extra-arg="$(CURDIR)/$$1" || status=1; }; \
	  git ls-files 'hpm/*.cpp' 'apps/*.cpp' > build/tidy.files; look cmake/precompiled.h < build/tidy.files; \
	  git ls-files 'python/src/*.cpp' > build/tidy.files; look python/src/precompiled.h < build/tidy.files; exit $$status

clean:  ## remove every build folder; .venv and runs stay
	rm -rf build
