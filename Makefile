# Everything sets itself up: the targets need Python 3.11 (or newer) and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python)
BIN := .venv/bin
METHODS ?= wf wp decorrelate cfk scrub unsir salun neggrad finetune ssd leace splince lfssd jit orthograd
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

.DEFAULT_GOAL := help
.PHONY: help run test test-min test-browser chromium coverage check bench mutate tune clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed  ## Forget Gender in synthetic faces and show what is left of it (ARGS="method=wf" to change it).
	$(BIN)/python launch.py $(ARGS)

# Two at a time, each on one thread: most tests have too little to do for more. Files come in the order of
# tests/conftest.py, the longest first, and what failed tests said is left in a file.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder -p tests.support.failures
test: .venv/installed  ## Run all tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m $(PYTEST) $(ARGS)

# Old versions warn of what has changed since: there no warning is an error.
test-min: .venv-min/installed  ## Run all tests with the oldest versions that are allowed.
	OMP_NUM_THREADS=1 .venv-min/bin/python -m $(PYTEST) -W default $(ARGS)

test-browser: .venv/installed  ## Run the tests of the report in a browser (installs Debian's Chromium if it may).
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[browser]'
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || $(MAKE) --no-print-directory chromium
	SE_AVOID_STATS=true $(BIN)/python -m pytest tests/browser -m browser $(ARGS)

CHROMIUM := apt-get update --quiet=2 && \
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium chromium-driver
chromium:
	@if ! command -v apt-get >/dev/null; then \
	    echo "install Chromium and its chromedriver, so that both are found by name" >&2; exit 1; \
	elif [ "$$(id -u)" = 0 ]; then sh -c '$(CHROMIUM)'; \
	elif sudo -n true 2>/dev/null; then sudo sh -c '$(CHROMIUM)'; \
	else echo "run first: sudo apt-get install chromium chromium-driver" >&2; exit 1; fi

# A process that runs nothing of ours has nothing to tell coverage, which warns of it: no fault of the test's.
coverage: .venv/installed  ## Run all tests and list what of mlu they leave out; below 90 % is a fault.
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m $(PYTEST) -W ignore::coverage.exceptions.CoverageWarning $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: .venv/installed  ## Check style and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed  ## Measure speed against plain alternatives.
	$(BIN)/python -m benchmarks $(ARGS)

mutate: .venv/installed  ## Change the code in small ways and see which changes no test notices.
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[mutation]'
	$(BIN)/python tools/mutate.py $(ARGS)

tune: .venv/installed  ## Search settings of all methods, equally many trials each (METHODS="wf wp" for some).
	for method in $(METHODS); do $(BIN)/python launch.py experiment=tune method=$$method $(ARGS) || exit; done

clean:  ## Remove environments, caches, runs and sweeps; reports and tuned settings stay.
	rm -rf .venv .venv-min .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .pytest .mutation dist outputs/runs outputs/sweeps outputs/cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Bytecode is compiled once here, else every start would pay for it where Python may not write it.
.venv/installed .venv-min/installed: pyproject.toml
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	command -v $(UV) >/dev/null || $(BIN)/python -m pip install --quiet uv
	$(UV) pip install --quiet --python $(@D)/bin/python --compile-bytecode $(if $(filter .venv-min,$(@D)),--resolution lowest-direct) --editable '.[dev]'
	touch $@

.venv-min/installed: | .venv/installed
