# Every target is one command that can also be typed; `.ci/run` uses these same targets.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run demo test check bench images lock clean

BIN := .venv/bin
SETUP := include/environments/setup
SOURCES := $(wildcard include/model_approval include/migrations plugins dags tests)

help:           ## Show these lines
	@sed -n 's/^\([a-z-]*\): *[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:          ## Make or update .venv and .venv-validators (at once when nothing changed)
	@$(SETUP)

setup-tests:    ## The same, Debian's chromium for the browser tests, and .venv-samples for the security scan's
	@$(SETUP) --with-browser --with-samples

run: setup      ## Start the whole system on localhost; Ctrl-C stops it
	@$(BIN)/model-approval run $(ARGS)

demo: setup     ## Take one good and three bad models the whole way, hands-free
	@$(BIN)/model-approval demo $(ARGS)

test: setup-tests ## Run all tests; ARGS='-m unit' selects
	@$(BIN)/pytest $(ARGS)

check: setup    ## Format, lint, types, layers and documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	PYTHONPATH=plugins $(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q tests/unit/test_docs.py

bench: setup    ## Measure what the docs promise
	@$(BIN)/pytest -s -p no:randomly -o python_files='bench_*.py' tests/benchmarks $(ARGS)

images: setup   ## Build the images of validators and model server
	@include/images/build $(ARGS)

lock: setup     ## Compile the lock files; ARGS=--upgrade takes newer versions
	@include/environments/lock $(ARGS)

clean:          ## Remove the environments and caches; state and artifacts stay
	rm -rf .venv .venv-validators .venv-samples .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
