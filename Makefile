# `make run` serves; `make test` passes every check. Both set up what they need in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test setup setup-test check benchmark clean

run: setup
	$(BIN)/m2n2 weights get
	exec $(BIN)/gunicorn -c deploy/gunicorn.conf.py

test: setup-test check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest

benchmark: setup
	$(BIN)/m2n2 benchmark --grid 64
	$(BIN)/m2n2 benchmark --size 4000x3000 --no-direct

setup: $(VENV)/.setup
setup-test: $(VENV)/.setup-test

# A virtual environment that is already there is kept, and in it a torch build of your own choice.
$(VENV)/.setup: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.setup-test: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
