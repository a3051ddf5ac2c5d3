# Everything a person or a machine does here, by name. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test cover kills check bench fmt

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (torch is large: about three minutes)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## train three replicas, kill them in three ways, prove that nothing was lost
	$(BIN)/checkpointheal demo

test: $(STAMP) ## every test that needs no cluster and ends within minutes
	$(BIN)/python -m pytest -m "not kills"

cover: $(STAMP) ## the pure rooms (core, wire, session) are covered, every line and branch
	$(BIN)/python -m pytest -q tests/core tests/scenarios tests/injection tests/webhook tests/transport/wire tests/transport/session \
	  --cov=checkpointheal_operator.core --cov=checkpointheal.wire --cov=checkpointheal.session \
	  --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

kills: $(STAMP) ## trainers, agents and pods are killed at named points and random instants (about 20 minutes; KILLS=N times each)
	KILLS=$(or $(KILLS),5) $(BIN)/python -m pytest -m kills -v

check: $(STAMP) ## what CI runs besides the tests: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## what a commit and a heal cost here, as ratios of runs side by side
	$(BIN)/python -m bench

fmt: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
