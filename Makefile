# Everything sets itself up: the targets need Python 3.11 (or newer) and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python)
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

.DEFAULT_GOAL := help
.PHONY: help run test check bench clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed  ## Forget Gender in synthetic faces and show what is left of it (ARGS="method=wf" to change it).
	$(BIN)/python launch.py $(ARGS)

test: .venv/installed  ## Run all tests.
	$(BIN)/python -m pytest $(ARGS)

check: .venv/installed  ## Check style and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed  ## Measure speed against plain alternatives.
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove the environment and everything that runs and tools left.
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist outputs/runs outputs/sweeps outputs/cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Bytecode is compiled once here, else every start would pay for it where Python may not write it.
.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	command -v $(UV) >/dev/null || $(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --editable '.[dev]'
	touch $@
