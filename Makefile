# Everything a person or a machine does here, by name. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/peers

CLUSTER ?= checkpointheal
TAG ?= dev
# Where the machine has images of its own, they can take the place of kind's and the official ones.
KIND_NODE_IMAGE ?=
PYTHON_IMAGE ?= python:3.13-slim
TORCH_IMAGE ?= with-torch
TORCH_INDEX ?=
export CLUSTER TAG KIND_NODE_IMAGE
BASES := --build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --build-arg TORCH_IMAGE=$(TORCH_IMAGE) --build-arg TORCH_INDEX=$(TORCH_INDEX)

# Everything here starts Python with torch, the tests hundreds of times: where the shell forbids it to keep what it has
# compiled, as shells in containers do, that would be compiled anew each time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test cover kills chaos chaos-local bad-api integrations examples check fuzz soak soak-operator bench bench-heal \
  bench-scale bench-termination bench-page fmt versions sbom audit generated images cluster e2e cluster-delete

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (torch is large: about three minutes)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## train three replicas, kill them in three ways, prove that nothing was lost
	$(BIN)/checkpointheal demo

test: $(STAMP) ## every test that needs no cluster and ends within minutes (JOBS=2 at once)
	$(BIN)/python -m pytest -m "not kills and not e2e" --numprocesses $(or $(JOBS),2) --dist worksteal

cover: $(STAMP) ## the pure rooms (core, wire, session) are covered, every line and branch
	$(BIN)/python -m pytest -q tests/core tests/scenarios tests/injection tests/webhook tests/transport/wire tests/transport/session \
	  --cov=checkpointheal_operator.core --cov=checkpointheal.wire --cov=checkpointheal.session \
	  --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

kills: $(STAMP) ## trainers, agents and pods are killed at named points and random instants (about 20 minutes; KILLS=N times each)
	KILLS=$(or $(KILLS),5) $(BIN)/python -m pytest -m kills -v

# Shared memory that is this run's alone, and small: it may be filled. Where that is not allowed, it never is.
OF_ITS_OWN := unshare --map-root-user --mount sh -c 'mount -t tmpfs -o size=300m chaos /dev/shm && exec "$$0" "$$@"'

chaos-local: $(STAMP) ## random faults, one after the other, befall a job of processes; it must end as if nothing had been (SEED; FAULTS=30)
	if unshare --map-root-user --mount true 2>/dev/null; then set -- $(OF_ITS_OWN); fi; \
	  PYTHONPATH=tests "$$@" $(BIN)/python -m chaos --faults $(or $(FAULTS),30) $(if $(SEED),--seed $(SEED))

chaos: $(STAMP) ## random faults befall a job of pods on the cluster of `make cluster`: processes, pods, nodes, network (SEED; FAULTS=30; OUT)
	PYTHONPATH=tests $(BIN)/python -m chaos_kind --faults $(or $(FAULTS),30) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

bad-api: $(STAMP) ## an operator lives through each bad time of an API server, on virtual time (N=200 times each; ONLY; SEED)
	PYTHONPATH=tests nice -n 19 $(BIN)/python -m bad_api --times $(or $(N),200) $(if $(ONLY),--only "$(ONLY)") $(if $(SEED),--seed $(SEED))

integrations: $(PEERS)/.installed ## the adapters on the real libraries of others (transformers, lightning, torchdata, torchft), from the package index (15 minutes; ONLY="not kills": 5)
	$(PEERS)/bin/python -m pytest tests/integrations $(if $(ONLY),-m "$(ONLY)")

examples: $(PEERS)/.installed ## every example under kills: does it end as if nothing had been? (KILLS=3 of each kind; SEED; ONLY="train parts"; OUT; ON: DDP and HSDP on pods of that kind cluster)
	PYTHONPATH=tests $(PEERS)/bin/python -m harmed $(ONLY) --kills $(or $(KILLS),3) $(if $(ON),--cluster $(ON)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

check: $(STAMP) ## what CI runs besides the tests: format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

see_ours = $(BIN)/python -c 'import sysconfig; p = sysconfig.get_path("purelib"); print(f"import site; site.addsitedir({p!r})")' > $$(echo $(1)/lib/python*/site-packages)/ours.pth

bench: $(PEERS)/.installed ## what a commit and a transfer cost here beside what others do, as ratios of runs side by side (ONLY=transfer; KEEP)
	$(PEERS)/bin/python -m bench $(ONLY) $(if $(KEEP),--keep)

# Others' libraries stay out of ours: their environment sees ours, not the other way round.
$(PEERS)/.installed: $(STAMP) Makefile
	$(BIN)/python -m venv $(PEERS)
	$(call see_ours,$(PEERS))
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check torchft 'transformers[torch]>=5' 'lightning>=2.6' 'torchdata>=0.11'
	@touch $@

bench-heal: $(STAMP) ## how long heals of 64 MiB take: N of them on processes, or on pods with ON=kind-checkpointheal
	PYTHONPATH=tests $(BIN)/python -m bench.heal --count $(or $(N),20) $(if $(ON),--cluster $(ON)) $(if $(KEEP),--keep)

bench-scale: $(STAMP) ## webhook at 50 pods a second, operator with 10,000 pods and 1,000 restarts (ON: also on a cluster; ONLY=crowded: 60,000 pods there)
	PYTHONPATH=tests $(BIN)/python -m bench.scale $(ONLY) $(if $(ON),--cluster $(ON)) $(if $(KEEP),--keep)

bench-page: ## docs/benchmarks.md from the figures that were kept (KEEP=yes)
	$(BIN)/python -m bench.page

bench-termination: $(STAMP) ## what an agent adds to the end of a Job, on the cluster of `make cluster` (N pairs)
	PYTHONPATH=tests $(BIN)/python -m bench.termination $(or $(N),20)

soak: $(STAMP) ## everything goes wrong with a simulated job, step after step, until a promise is broken (N=1000000; MINUTES=60; SEED)
	PYTHONHASHSEED=0 PYTHONPATH=tests nice -n 19 $(BIN)/python -m soak --steps $(or $(N),1000000) --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

soak-operator: $(STAMP) ## one restart a second, leaders lost and killed every five minutes: an operator must not grow (MINUTES=60; SEED)
	PYTHONPATH=tests nice -n 19 $(BIN)/python -m soak_operator --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

FUZZ := $(VENV)/fuzz

fuzz: $(FUZZ)/.installed ## search for inputs that do what none may, N for each aim (20000; AIM: only those; SECONDS for each)
	PYTHONPATH=tests nice -n 19 $(FUZZ)/bin/python -m fuzz $(AIM) --runs $(or $(N),20000) --seconds $(or $(SECONDS),0)

# The search's own library stays out of ours: its environment sees ours, not the other way round.
$(FUZZ)/.installed: $(STAMP)
	$(BIN)/python -m venv $(FUZZ)
	$(call see_ours,$(FUZZ))
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=3'
	@touch $@

AUDIT := $(VENV)/audit

sbom: $(STAMP) $(AUDIT)/.installed ## all that is installed, as CycloneDX in dist/sbom.json; docs/licences.md of what ships
	mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json $(BIN)/python
	$(BIN)/python docs/licences.py dist/sbom.json

audit: $(AUDIT)/.installed ## known weaknesses of the versions that the tests run with, as the package index tells them
	$(AUDIT)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

$(AUDIT)/.installed: $(STAMP)
	$(PYTHON) -m venv $(AUDIT)
	$(BIN)/uv pip install --quiet --python $(AUDIT)/bin/python 'cyclonedx-bom>=7' 'pip-audit>=2.10'
	@touch $@

OLDEST := $(VENV)/oldest

versions: $(OLDEST)/.installed ## the oldest torch that must work: states cross both ways, survivors keep their process (5 GB to install)
	OTHER_TORCH=$(abspath $(OLDEST))/bin/python $(BIN)/python -m pytest tests/versions
	PATH=$(abspath $(OLDEST))/bin:$$PATH python -m pytest tests/trainer/test_stable_group.py tests/trainer/test_mending.py tests/level2

$(OLDEST)/.installed: $(STAMP)
	$(BIN)/python -m venv $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --editable '.[dev]' 'torch==2.6.*'
	@touch $@

generated: $(STAMP) ## write what is made of the code: definitions, reference, the tables of remedies and of the chart's values
	$(BIN)/python -m checkpointheal_operator.api.generate
	$(BIN)/python -m checkpointheal_operator.api.reference
	$(BIN)/python docs/document.py
	$(BIN)/python charts/document.py

images: ## build checkpointheal/{operator,agent,trainer}:dev (TAG; PYTHON_IMAGE, TORCH_IMAGE, TORCH_INDEX: their bases)
	for target in operator agent trainer; do \
	  docker build --quiet --target $$target --tag checkpointheal/$$target:$(TAG) $(BASES) . || exit 1; done

cluster: images ## a kind cluster with the images and the chart in it; again: only what changed (CLUSTER, TAG, KIND_NODE_IMAGE)
	tests/e2e/cluster

e2e: $(STAMP) cluster ## the end-to-end tests, on that cluster: real pods are killed (E2E=core: only what everything stands on; TIMES in a row)
	$(BIN)/python -m pytest --keep-duplicates $(foreach time,$(shell seq $(or $(TIMES),1)),tests/e2e) -m $(or $(E2E),e2e) -v

cluster-delete: ## delete that kind cluster (CLUSTER)
	kind delete cluster --name $(CLUSTER)

fmt: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
