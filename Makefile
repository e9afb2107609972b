# The commands of this project. All work in .venv, which is made on first use.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help setup parity test test-slow lint demo demo-seeds lock

help:
	@echo "make demo        train three methods on generated scenes, with a table and a picture"
	@echo "make test        the test suite"
	@echo "make test-slow   the tests that take minutes"
	@echo "make demo-seeds  the demo's comparison over three seeds (a quarter of an hour)"
	@echo "make lint        ruff and mypy"
	@echo "make setup       .venv alone"
	@echo "make parity      PyTorch into .venv, so that the tests against it run"
	@echo "make lock        requirements.lock anew from pyproject.toml"

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

parity: setup
	$(RUN) -m pip install --quiet --disable-pip-version-check torch==2.13.0

# Two processes, each on one core: more threads than cores would wait for each other.
test: export OMP_NUM_THREADS = 1
test: export XLA_FLAGS = --xla_cpu_multi_thread_eigen=false
test: setup
	$(RUN) -m pytest --numprocesses=2 --dist=loadscope --cov=sassn_jax --cov-report=term-missing:skip-covered --cov-fail-under=90

test-slow: setup
	$(RUN) -m pytest -m slow

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

demo: setup
	$(RUN) -m experiments.demo --workdir=runs/demo

demo-seeds: setup
	$(RUN) -m experiments.demo --workdir=runs/demo --seeds=3

lock: setup
	$(RUN) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --extra dev --extra import --extra voc --no-header --output-file requirements.lock
