# One verb per chore. `make help` lists them. Nothing is downloaded but Python packages, and no step needs root.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.txt
READY := $(VENV)/.installed
DEMO_SOURCE ?=
DEMO_EXIT ?=
export DEMO_SOURCE DEMO_EXIT

.DEFAULT_GOAL := help
.PHONY: help setup lock lint types test demo up bench bench-fleet bench-storage defences soak

help: ## List the chores
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(READY) ## Make .venv with the whole development set, checked against its hashes

$(READY): $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Strongroom needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make setup PYTHON=python3.11"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) \
	  || { echo "Could not make $(VENV). On Debian and Ubuntu the venv module is a package of its own: apt install python3-venv"; exit 1; }
	@echo "Installing the packages of $(LOCK) into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $(LOCK)
	@touch $(READY)

lock: setup ## Compile requirements/*.in into locked *.txt with hashes (needs uv: pip install uv)
	cd requirements && for set in agent server dev; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --no-annotate $$set.in -o $$set.txt || exit 1; done

lint: setup ## ruff (format and rules), import contracts, shell syntax, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	bash -n .ci/run
	DJANGO_SETTINGS_MODULE=backup_platform.settings.test $(BIN)/python -W ignore manage.py makemigrations --check --dry-run

types: setup ## mypy, strict for protocol, agents, services and queries
	$(BIN)/mypy protocol agents backup_platform workers

# As many processes as cores, at most eight: one more makes the machine so late that tests wait in vain. Each process has
# database and Valkey of its own; the tests of a file stay together. TEST_PROCESSES=0 runs them all in one.
TEST_PROCESSES ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$(( cores < 8 ? cores : 8 )))

test: setup ## The whole test suite, against real PostgreSQL and Valkey started for it; then `defences` (TEST_PROCESSES)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 20
	$(BIN)/python -m tests.defences

up: setup ## Run the whole platform in the foreground until Ctrl-C
	@exec $(BIN)/python manage.py up

demo: setup ## Back up a real tree, restore it, compare; DEMO_SOURCE=dir, DEMO_EXIT=1 stops after the comparison
	@exec $(BIN)/python manage.py demo

# What is not built yet says so and fails: a chore that pretends would be worse than none.
define run_if_built
	@path=$(subst .,/,$(1)); if [ -f $$path.py ] || [ -f $$path/__main__.py ]; then exec $(BIN)/python -m $(1); \
	  else echo "make $@: not built yet (there is no $$path.py)."; exit 2; fi
endef

bench: setup ## Agent, restic and borg on the same corpora, into benchmarks/results/latest.json (BENCH_RUNS, BENCH_ROOT, BENCH_ARGS)
	@exec $(BIN)/python -m benchmarks.run $(BENCH_ARGS)

bench-fleet: setup ## 1,000 daemons on one gateway, into benchmarks/results/latest-fleet.json (BENCH_ARGS=--short: two minutes)
	@exec $(BIN)/python -m benchmarks.bench_fleet $(BENCH_ARGS)

bench-storage: setup ## What storage costs, into benchmarks/results/latest-storage.json (BENCH_ARGS=--short: two minutes)
	@exec $(BIN)/python -m benchmarks.bench_storage $(BENCH_ARGS)

defences: setup ## Each law's test with its defence taken away: fails unless that test fails
	$(call run_if_built,tests.defences)

soak: setup ## Backups under hundreds of kills, every acknowledgement checked (SOAK_MINUTES=20, SOAK_SEED); lives of a vault under reclaim
	$(call run_if_built,tests.soak)
	@exec $(BIN)/python -m tests.soak.reclaim $(RECLAIM_ARGS)
	@FLIPS=$${FLIPS:-1000} exec $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/upkeep/test_scrub_flips.py
	@POWER_CUTS=$${POWER_CUTS:-100} exec $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/faults/test_storage_power_cuts.py
