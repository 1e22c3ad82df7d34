# Each target sets itself up: a virtual environment with pinned packages, made again only when the pins change.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# The newest supported interpreter that is there; override with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	if command -v $$python >/dev/null && $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)
VENV := .venv
READY := $(VENV)/.ready
NEMO := .venv-nemo
LM_EVAL := .venv-lm-eval
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# One thread a process, so that two stages or two test workers do not fight over two cores.
export OMP_NUM_THREADS := 1
export DVC_NO_ANALYTICS := 1
# Pins in constraints.txt; the newest version of pip itself is not needed.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start processes by the hundred: each would compile what it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: mini help pythons lm-eval nemo nemo-record nemo-python test lint nightly mutants mutation record device device-rehearsal device-packages device-attention device-data apex

# nemo: the language models through the NeMo engine (scale mini_nemo), everything else as it is.
ENGINE ?= torch
ifeq ($(origin ENGINE)$(filter $(ENGINE),torch nemo),command line)
$(error ENGINE: found '$(ENGINE)'; allowed: torch, nemo)
endif
ifneq ($(filter command line,$(origin SCALE) $(origin scale)),)
$(error make takes no scale; another one is run by `snakemake --config scale=small`, in the environment of .venv)
endif
ifeq ($(ENGINE),nemo)
mini: $(READY) $(NEMO)/.ready
	snakemake --config scale=mini_nemo
else
mini: $(READY) ## train the three pipelines at scale mini, then record the results in DVC; ENGINE=nemo: mini_nemo instead
	@echo "make: 32 stages of three pipelines, each in miniature: about 5 minutes on two cores; results in results/mini;" \
		"stages status and stages watch, in another terminal, say how far it is"
	snakemake
	stages record-dvc
	@echo "make: what came of it: stages table; pages with every curve: stages report --out report"
endif

help: ## what each target does
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1: \2/p' Makefile

# What tests write is in memory, where there is enough of it: they flush it to the disk by the ten thousand.
define in-memory
folder=$$($(1) -m tests.in_memory); trap 'rm -rf "$$folder"' EXIT; export TMPDIR="$${folder:-$${TMPDIR:-/tmp}}";
endef

# Three processes on two cores: tests wait for Slurm, for kills, for locks.
test: lint ## lint, types, tests
	$(call in-memory,python) pytest -n 3 --dist worksteal -m "not nightly"

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy

# Megatron-Bridge needs Python 3.12, whatever the rest runs under; override with `make nemo NEMO_PYTHON=...`.
NEMO_PYTHON ?= $(shell for python in python3.12 "$$HOME"/.pyenv/versions/3.12.*/bin/python; do \
	if command -v "$$python" >/dev/null && "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; \
	then echo "$$python"; break; fi; done)

nemo: $(NEMO)/.ready ## the environment of the NeMo engine (5.5 GB), and its tests on this machine's CPU
	$(call in-memory,$(NEMO)/bin/python) $(NEMO)/bin/python -m pytest -q -n 3 --dist worksteal -m "not nightly" tests/nemo

nemo-record: $(NEMO)/.ready ## the NeMo engine beside the torch engine, and Megatron's known traps; rewrites results/records/nemo.md
	$(NEMO)/bin/python -m tests.nemo.record

nemo-python: # whether there is a Python for it
	@[[ -n "$(NEMO_PYTHON)" ]]

$(NEMO)/.ready: requirements-nemo.txt
	@if [[ -z "$(NEMO_PYTHON)" ]]; then \
		echo "make: the NeMo engine needs Python 3.12 with the venv module, and found none; install it (Debian: apt install" \
			"python3.12 python3.12-venv; or pyenv install 3.12), or name it: make nemo NEMO_PYTHON=/path/to/python3.12" >&2; exit 1; fi
	$(NEMO_PYTHON) -m venv --clear $(NEMO)
	$(NEMO)/bin/pip install --quiet --no-deps -r $<
	touch $@

pythons: $(READY) ## what needs no torch, from the wheel, under Python 3.12 and 3.13, as far as they are here
	pytest -q -n 2 -m nightly tests/package/test_pythons.py

lm-eval: $(READY) $(LM_EVAL)/.ready ## the environment of lm-evaluation-harness (1.5 GB), and its tests on exports
	STAGES_LM_EVAL=$(LM_EVAL)/bin/python pytest -q -m "lm_eval and not nightly" tests/unit/export

$(LM_EVAL)/.ready: requirements-lm-eval.txt
	$(PYTHON) -m venv --clear $(LM_EVAL)
	$(LM_EVAL)/bin/pip install --quiet --no-deps -r $<
	touch $@

nightly: $(READY) ## the long and exhaustive tests, properties with many more examples, which lines tests reach
	pytest -n 2 --hypothesis-profile=nightly -m "nightly and not lm_eval" --ignore=tests/slurm --ignore=tests/nemo
	if [[ -e $(LM_EVAL)/.ready ]]; then STAGES_LM_EVAL=$(LM_EVAL)/bin/python pytest -q -m "lm_eval and nightly" tests/unit/export; fi
	if [[ -e $(NEMO)/.ready ]]; then $(NEMO)/bin/python -m pytest -q -m nightly tests/nemo; fi
	pytest -n 2 -m nightly tests/slurm # by themselves: Slurm is timed; they rewrite results/records/cluster.md
	pytest -n 2 --hypothesis-profile=nightly -m "not nightly" tests/property tests/unit/spec
	pytest -n 2 -m "not nightly" --cov=stages.spec --cov=stages.contract --cov=stages.check --cov-report= \
		tests/unit/spec tests/unit/contract tests/unit/check
	for floor in spec contract check; do \
		echo "lines of stages/$$floor that its own tests reach, in per cent (at least 95):"; \
		coverage report --include="stages/$$floor/*" --format=total --fail-under=95; done

mutants: $(READY) ## every figure and reference of the specs changed as authors slip; rewrites results/records/mutants.md
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	python -m tests.mutants.campaign --out "$$folder/shipped.jsonl"; \
	python -m tests.mutants.campaign --fields --out "$$folder/fields.jsonl"; \
	python -m tests.mutants.record "$$folder/shipped.jsonl" "$$folder/fields.jsonl"

mutation: $(READY) ## operators, numbers, words of the code changed one by one; goes on where it was broken off; mutation.md
	pip install --quiet -c constraints.txt -e '.[mutation]'
	python -m tests.mutants.mutation $(PIECES)
	python -m tests.mutants.survivors

record: $(READY) ## measure over three seeds and rewrite results/records and the README's tables
	snakemake
	snakemake --config scale=mini_seed2
	snakemake --config scale=mini_seed3
	python -m stages.report.record mini mini_seed2 mini_seed3
	python -m benchmarks.run
	$(MAKE) mutants
	python -m tests.agreement.table
	python -m tests.faults.flips
	python -m tests.refused
	python -m tests.planted.record

# A machine with a GPU: any Python >= 3.11 with torch >= 2.11 for CUDA. Nothing is installed and no network is needed.
DEVICE_PYTHON ?= python3
# A folder with the packages that this interpreter lacks; `make device-packages` fills one, to be carried there.
DEVICE_SITE ?= $(CURDIR)/.device/site-$(shell $(DEVICE_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
DEVICE_VERSION ?= 3.12
DEVICE_PLATFORM ?= manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux2014_x86_64 manylinux_2_17_x86_64
# The commit, where the work tree was copied there without git's folder.
COMMIT ?=
# Sections of benchmarks/device alone, and a file for what they measure, in place of the record of all. Not from the
# environment: OUT may be another program's there.
ONLY =
OUT =
DEVICE := PYTHONPATH="$(DEVICE_SITE)$${PYTHONPATH:+:$$PYTHONPATH}" $(DEVICE_PYTHON) -m benchmarks.device

device: ## all tests and benchmarks that need a GPU, below 8 minutes; rewrites results/records/gpu.md
	@$(DEVICE) $(if $(COMMIT),--commit $(COMMIT)) $(if $(ONLY),--only $(ONLY)) $(if $(OUT),--out $(OUT))

device-rehearsal: ## the same script on a CPU, with sizes without meaning, into a temporary file
	@$(DEVICE) --dry

device-packages: ## fetch what a machine with torch lacks to run `make device` into .device/site-VERSION
	rm -rf .device/site-$(DEVICE_VERSION)
	packages=$$($(DEVICE_PYTHON) -m benchmarks.device.needs); \
	$(DEVICE_PYTHON) -m pip install --quiet --no-deps --no-compile --only-binary=:all: --target .device/site-$(DEVICE_VERSION) \
		--implementation cp --python-version $(DEVICE_VERSION) $(addprefix --platform ,$(DEVICE_PLATFORM)) \
		-c constraints.txt $$packages
	du -sh .device/site-$(DEVICE_VERSION)

# 0.3 GB, and packed in two parts: more than one call may carry to a machine (docs/on-gpus.md).
device-attention: ## fetch FlashAttention 4 into .device/attention-VERSION, and pack it
	rm -rf .device/attention-$(DEVICE_VERSION) .device/attention.[12]
	packages=$$($(DEVICE_PYTHON) -m benchmarks.device.needs attention); \
	$(DEVICE_PYTHON) -m pip install --quiet --no-deps --no-compile --only-binary=:all: \
		--target .device/attention-$(DEVICE_VERSION) --implementation cp --python-version $(DEVICE_VERSION) \
		$(addprefix --platform ,$(DEVICE_PLATFORM) manylinux_2_24_x86_64) $$packages
	tar c -C .device attention-$(DEVICE_VERSION) | xz --x86 --lzma2=preset=9e,dict=192MiB | split -b 48M -a 1 --numeric-suffixes=1 - .device/attention.
	ls -l .device/attention.[12]

device-data: $(READY) ## prepare the corpora of the pipeline that `make device` runs, into .device/data
	python -m benchmarks.device.corpora

# A checkout of github.com/NVIDIA/apex; the GPU's compute capability, where there is no GPU; a folder to install into.
APEX_SRC ?= $(error name a checkout of github.com/NVIDIA/apex: make apex APEX_SRC=folder)
APEX_ARCH ?=
APEX_INTO ?=

apex: ## build the kernels of NVIDIA Apex that are used, for this machine's GPU alone, and install them
	@PYTHONPATH="$(DEVICE_SITE)$${PYTHONPATH:+:$$PYTHONPATH}" $(DEVICE_PYTHON) -m stages.models.ops.apex_build \
		"$(APEX_SRC)" $(if $(APEX_ARCH),--arch $(APEX_ARCH)) $(if $(APEX_INTO),--into "$(APEX_INTO)")

$(READY): pyproject.toml constraints.txt
	@if [[ -z "$(PYTHON)" ]]; then \
		echo "make: no Python >= 3.11 with the venv module here; on Debian: apt install python3 python3-venv" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make: PYTHON: found '$(PYTHON)'; allowed: Python 3.11 or newer with the venv module" >&2; exit 1; }
	@echo "make: pinned packages into $(VENV): a minute or two, 1.9 GB"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[test]' || { \
		echo "make: pip did not install the packages; it needs a package index: a network, or PIP_INDEX_URL" >&2; exit 1; }
	touch $@
