# make demo   environment, then the main job on portraits that it draws
# make test   environment, then every test (missing parts are skipped with the reason)
# make check  lint, types, quick tests: what every commit passes

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules go to some processes (tests/conftest.py); those of one cluster go to one.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
STAMP := $(VENV)/.stamp

.PHONY: demo test check lint types quick format clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/lorgnette demo --out demo

test: $(STAMP) lint types
	$(BIN)/pytest $(PARALLEL)

check: $(STAMP) lint types quick

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

quick: $(STAMP)
	$(BIN)/pytest -q $(PARALLEL) -m "not slow and not s3 and not browser and not real_data and not spark and not ray"

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
