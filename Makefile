# Everything a newcomer or CI runs. `make demo` and `make test` set up a fresh machine by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installing is done when this file is newer than what says what to install.
READY := $(VENV)/.ready
# A file runs in one of two processes, so that its cluster or server is started once; the slow ones first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-faults test-fast setup lint format clean

demo: setup  ## quickstart search on the generated sample corpora; ends with a ranking
	$(BIN)/munchray search jobs/quickstart.yaml
	$(BIN)/munchray export jobs/quickstart.yaml --to models/quickstart
	echo "Two patients with hereditary carcinoma developed severe hepatitis." | $(BIN)/munchray predict models/quickstart

test: setup lint  ## style, types and tests; of the faults one of each kind
	$(PYTEST) -m "not faults"

test-faults: setup  ## every fault at every moment, outages, benchmarks: what `make test` leaves out
	$(PYTEST) -m faults $(SAMPLE)

test-fast: setup  ## tests that start no server and train for seconds at most
	$(BIN)/python -m pytest -m "not slow and not data"

setup: $(READY)  ## only the environment, in .venv

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing munchray and what it needs into $(VENV): some minutes, once"
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff put things in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; searches in runs/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
