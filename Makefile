# Everything runs in .venv, made from the hashed lock in requirements/. Needs python3 (3.11 or newer, with venv) and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# The first Python on PATH that runs and is new enough; `make PYTHON=/path/to/python3 …` overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
BIN := .venv/bin
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
# Processes for the tests; 0 runs them in one, for a debugger. One more than cores: half of their time they wait.
JOBS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 1) + 1 )))
PYTEST_ARGS ?=
DEMO_ARGS ?=
TORTURE_ARGS ?=
BENCH_ARGS ?=

.PHONY: help setup demo torture test test-long lint format bench bench-compare bench-baseline lock schema servers clean

help:  ## Show this text
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

setup: .venv/.project  ## Make .venv from the lock; quick when nothing changed
	@:

# Made anew when the lock changes, so that no package of an older lock stays behind.
.venv/.lock: requirements/dev.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "make setup: no python3 of version 3.11 or newer with venv found → apt-get install python3 python3-venv, or make PYTHON=/path/to/python3" >&2; exit 1; fi
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

.venv/.project: .venv/.lock pyproject.toml
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## Simulated school end to end, with the ledger's verdict (DEMO_ARGS=…)
	$(BIN)/campus-sim demo $(DEMO_ARGS)

torture: setup  ## Break every part again and again, from a seed, with a verdict (TORTURE_ARGS='--cycles 40 --seed 7')
	$(BIN)/campus-sim torture $(TORTURE_ARGS)

servers:  ## Install Debian's real servers for the tests, where that is allowed
	@tools/servers.sh

test: setup servers  ## Schema check and all tests but the long ones (PYTEST_ARGS=…, JOBS=…)
	$(BIN)/python -m tools.schema --check
	@mkdir -p test-reports
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --junitxml=test-reports/junit.xml $(PYTEST_ARGS)

test-long: setup servers  ## The long tests too, and many more Hypothesis examples
	@mkdir -p test-reports
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --run-long --hypothesis-profile=long --junitxml=test-reports/junit-long.xml $(PYTEST_ARGS)

lint: setup  ## Style, types, layers, circles, sizes, lock, schemas
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tools.check_cycles
	$(BIN)/python -m tools.check_tree
	$(BIN)/python -m tools.check_lock
	$(BIN)/python -m tools.schema --check

format: setup  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Measure; writes benchmarks/results.json (BENCH_ARGS='--only NAME')
	$(BIN)/python -m benchmarks $(or $(BENCH_ARGS),--document docs/benchmarks.md)

bench-compare: setup  ## Measure and say what got slower than the baseline (BENCH_ARGS='--only NAME', '--from FILE')
	$(BIN)/python -m benchmarks compare $(BENCH_ARGS)

bench-baseline: setup  ## Make the last whole `make bench` the baseline
	$(BIN)/python -m benchmarks baseline $(BENCH_ARGS)

schema: setup  ## Write docs/schema/*.json from the types
	$(BIN)/python -m tools.schema

# One universal resolution (every Python from 3.11, every platform); the parts' locks are subsets of dev.txt.
# --no-config and --no-emit-index-url: which index served the files is the machine's business, not the repository's.
UV_COMPILE = $(BIN)/uv --no-config pip compile pyproject.toml --group build --universal --python-version 3.11 \
	--generate-hashes --no-emit-package campus-edge --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' --quiet
LOCK_ARGS ?=

lock: setup  ## Resolve pyproject.toml into requirements/*.txt (LOCK_ARGS=--upgrade)
	$(UV_COMPILE) $(LOCK_ARGS) --extra dev --output-file requirements/dev.txt
	for part in agent ingest demo ble ble-sim camera camera-sim console; do \
		$(UV_COMPILE) --upgrade --extra $$part --constraint requirements/dev.txt --output-file requirements/$$part.txt || exit 1; done
	$(BIN)/python -m tools.check_lock

clean:  ## Remove what was made: .venv, caches, reports
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist test-reports *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
