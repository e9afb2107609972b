# The commands of this project. All but plan and gpu-check work in .venv, which is made on first use.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
CHECK_PYTHON := @$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'

.PHONY: help test-endure setup cuda parity test test-parity test-slow test-fuzz test-processes test-wheel test-full-size lint docs demo demo-seeds demo-unlabelled lock licenses audit plan gpu-check \
  gpu-environment

help:
	@echo "make demo        train three methods on generated scenes, with a table and a picture"
	@echo "make test        the test suite"
	@echo "make test-slow   the tests that take minutes"
	@echo "make test-processes  some of the slow tests: runs in several processes, one of which is killed"
	@echo "make test-wheel  one of the slow tests: the wheel, installed into an empty environment"
	@echo "make test-fuzz   one more: 10,000 files for each reader, changed at random (half an hour)"
	@echo "make test-endure one of the slow tests: a run that is killed forty times (a quarter of an hour)"
	@echo "make test-full-size  two of the slow tests: the paper's recipes for a few steps, with memory and time"
	@echo "make demo-seeds  the demo's comparison over three seeds (a quarter of an hour)"
	@echo "make demo-unlabelled  another demo: what images without masks add to few masks (ten minutes)"
	@echo "make plan        whether a run fits a GPU that need not be there, and how long it takes at the"
	@echo "                 least: FLAGS='--config=configs/voc.py --gpu=h100'"
	@echo "make gpu-check   the GPU kernels, compiled for GPUs that need not be there, and judged (some"
	@echo "                 minutes; FLAGS='--gpus=h100 --shapes=camvid_sa1' for a part); run where one is"
	@echo "make lint        ruff and mypy"
	@echo "make docs        the documentation, into site/; a broken link or example is an error"
	@echo "make setup       .venv alone"
	@echo "make cuda        JAX for NVIDIA GPUs into .venv"
	@echo "make parity      PyTorch into .venv"
	@echo "make test-parity the tests that compare networks, optimizers and training steps with it"
	@echo "make lock        requirements.lock anew from pyproject.toml"
	@echo "make licenses    the page that lists the licences of the locked packages"
	@echo "make audit       whether PyPI knows of a vulnerability in a locked package"

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(CHECK_PYTHON)
	@echo "installing into $(VENV): one to some minutes, mostly without a word"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The plugin of the version of JAX that is there; the driver must know CUDA 13.
cuda: setup
	$(RUN) -m pip install --quiet --disable-pip-version-check 'jax[cuda13]'

parity: setup
	$(RUN) -m pip install --quiet --disable-pip-version-check torch==2.13.0

# Two processes, each on one core: more threads than cores would wait for each other. In the order of
# the files, whose last ones are short, so that both end at the same time. A test runs a program once or
# a few times, so compiling it costs the most: a training step compiles in half the time without the
# fusion emitters, and runs as fast. Without any optimization convolutions of float64 take minutes.
# The tests of the documentation are in `make docs` alone, those against PyTorch in `make test-parity`.
test test-parity: export OMP_NUM_THREADS = 1
test test-parity: export XLA_FLAGS = --xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=1 \
  --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false
test: setup
	$(RUN) -m pytest --numprocesses=2 --dist=loadscope --no-loadscope-reorder --cov=sassn_jax --cov-report=term-missing:skip-covered --cov-fail-under=95 --ignore=tests/test_docs.py --ignore=tests/parity

test-parity: parity
	$(RUN) -m pytest --numprocesses=2 tests/parity

test-slow: setup
	$(RUN) -m pytest -m slow

test-processes: setup
	$(RUN) -m pytest -m "slow or not slow" tests/training/test_processes.py

test-wheel: setup
	$(RUN) -m pytest -m slow tests/test_wheel.py

# Each reader of files from strangers reads 10,000 files that were changed at random.
test-fuzz: setup
	$(RUN) -m pytest -m slow tests/fuzzing

test-endure: setup
	$(RUN) -m pytest -m slow --capture=no tests/training/test_endure.py

# One run at a time: each takes up to 16 GiB.
test-full-size: setup
	$(RUN) -m pytest -m slow tests/experiments/test_full_size.py

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Strict: an unknown page, heading or name of the code ends the build. The tests run the pages'
# examples, walk the page on own data, and check what the builder does not: the commands, the pictures
# and the list of pages.
docs: setup
	$(VENV)/bin/zensical build --strict
	@echo "running the examples of the pages, which takes three to four minutes"
	$(RUN) -m pytest -n0 -m "slow or not slow" tests/test_docs.py tests/test_own_data_page.py

demo: setup
	$(RUN) -m experiments.demo

demo-seeds: setup
	$(RUN) -m experiments.demo --seeds=3

demo-unlabelled: setup
	$(RUN) -m experiments.demo --subject=unlabelled

lock: setup
	$(RUN) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --extra coco --extra dev --extra docs --extra import --extra inspect --extra onnx \
	  --extra report --extra video --no-header --output-file requirements.lock

# After make setup has installed another lock file.
licenses: setup
	$(RUN) -m tests.licenses

audit: setup
	@$(RUN) .ci/audit

# The compiler for GPUs makes JAX look for one: it stays out of .venv. Other packages, or a GPU to
# run on, mean another folder; a folder counts as whole once `complete` is in it.
GPU_PACKAGES := experiments/described_gpu/requirements.txt
FIND_FOLDER = number=$$(cat requirements.lock $(GPU_PACKAGES) | cksum | cut -d' ' -f1); \
	folder="$${XDG_CACHE_HOME:-$$HOME/.cache}/sassn_jax/gpu-check-$$number"; \
	cuda=; \
	if nvidia-smi -L > /dev/null 2>&1; then folder="$$folder-run"; cuda='jax[cuda13]'; fi

gpu-environment:
	$(CHECK_PYTHON)
	@set -e; $(FIND_FOLDER); \
	if ! test -e "$$folder/complete"; then \
	  echo "making $$folder, once"; \
	  $(PYTHON) -m venv --clear "$$folder"; \
	  pip="$$folder/bin/python -m pip install --quiet --disable-pip-version-check"; \
	  $$pip --require-hashes --no-deps --requirement requirements.lock; \
	  $$pip --no-deps --requirement $(GPU_PACKAGES); \
	  if test "$$cuda"; then $$pip "$$cuda"; fi; \
	  touch "$$folder/complete"; \
	fi

# XLA's warnings tell of no more than the plan does.
plan: export TF_CPP_MIN_LOG_LEVEL = 3
plan: gpu-environment
	@$(FIND_FOLDER); "$$folder/bin/python" -m experiments.plan $(FLAGS)

gpu-check: gpu-environment
	@$(FIND_FOLDER); "$$folder/bin/python" -m experiments.gpu_check $(FLAGS)
	@$(FIND_FOLDER); "$$folder/bin/python" -m pytest -m slow tests/experiments/test_plan_command.py
