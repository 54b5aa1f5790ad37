# Everything runs in $(VENV), which the first target that needs it creates. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
# The first Python that is new enough; `make PYTHON=/path/to/python3 ...` names another.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
STAMP := $(VENV)/.installed

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# A stamp, so that a second run installs nothing; it is written last, so that an install cut short starts again.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "mlpipe needs Python 3.11 or newer: install it, or name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing into $(VENV): a few minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## train, score and serve a model on the flights of 2013
	$(BIN)/python benchmarks/flights.py

# Files of tests are dealt out among this many processes: one more than two cores, since many wait for a server's start.
TEST_PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile

.PHONY: test
test: $(STAMP) ## all tests but the slow ones
	$(PYTEST) -m 'not slow'

.PHONY: coverage
coverage: $(STAMP) ## the same, and the share of lines that they run, which has to be 90 %
	$(PYTEST) -m 'not slow' --cov --cov-report=term

.PHONY: test-all
test-all: $(STAMP) ## all tests, with coverage
	$(PYTEST) --cov --cov-report=term

.PHONY: lint
lint: $(STAMP) ## ruff, its formatter, and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(STAMP) ## put the code into ruff's form and mend what it can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: type
type: $(STAMP) ## mypy --strict
	$(BIN)/mypy

.PHONY: smoke
smoke: $(STAMP) ## table to served model in a temporary folder, by the command line alone
	.ci/smoke $(BIN)

.PHONY: docker-check
docker-check: $(STAMP) ## check docker/ with the tools that are installed; says what it could not check
	PYTHON=$(BIN)/python docker/check

SOAK_SECONDS ?= 600
.PHONY: soak
soak: $(STAMP) ## what goes wrong around a server, 50 reloads and 2,000 bodies of it, then hours of load; needs cc
	$(BIN)/python -m pytest -q tests/integration/test_serving_faults.py tests/integration/test_traffic.py
	$(BIN)/python benchmarks/flights.py
	$(BIN)/python benchmarks/serving_soak.py --bundle $$(ls -td runs/flights/*/bundle | head -1) --data demo/flights.parquet --seconds $(SOAK_SECONDS)

DATA ?= data
.PHONY: bench
bench: $(STAMP) ## run the benchmarks; DATA names the folder of public tables; they write benchmarks/results/
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench,baselines]'
	$(BIN)/python benchmarks/flights.py --results benchmarks/results
	$(BIN)/python benchmarks/data_path.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/serving.py --bundle $$(ls -td runs/flights/*/bundle | head -1) --data demo/flights.parquet
	$(BIN)/python benchmarks/serving_soak.py --bundle $$(ls -td runs/flights/*/bundle | head -1) --data demo/flights.parquet
	$(BIN)/python benchmarks/accuracy.py --data $(DATA)
	$(BIN)/python benchmarks/accuracy.py --data $(DATA) --unseen
	$(BIN)/python benchmarks/small_tables.py --data $(DATA)
	$(BIN)/python benchmarks/recipe.py --data $(DATA)
	$(BIN)/python benchmarks/every_table.py --data $(DATA)
	$(BIN)/python benchmarks/update_readme.py

.PHONY: docs
docs: $(STAMP) ## check the blocks of code in README.md and docs/
	$(BIN)/python -m pytest -q tests -k 'readme or docs or tutorial'

.PHONY: lock
lock: ## write constraints.txt anew: the newest releases that pyproject.toml admits
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet -e '.[dev]'
	@# A CUDA build of torch brings its own libraries and a +cu tag; a CPU build must be able to use this file too.
	{ sed '/^#/!q' constraints.txt | grep '^#'; \
	  build/lock/bin/python -m pip freeze --exclude-editable \
	  | sed -E 's/\+(cpu|cu[0-9]+)$$//' | grep -vE '^(nvidia-|cuda-|triton)' ; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

.PHONY: clean
clean: ## remove caches and built files; runs and the environment stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
