# Two commands matter to a newcomer: `make demo` and `make test`.
# Everything lives in .venv*/ inside the checkout; `make clean` takes it away again.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv
# The tests of Airflow keep one process waiting; the others go on beside it.
PROCESSES ?= 2

# Other Airflows to test against, each in an environment of its own, with this Python if there is one.
AIRFLOWS ?= 2.11 3.0 3.1 3.2 3.3
PYTHON_FOR_2.11 := 3.11
PYTHON_FOR_3.0 := 3.11
PYTHON_FOR_3.2 := 3.12
PYTHON_FOR_3.3 := 3.13
OLDEST := .venv-airflow-2.11

# Compiled modules make every start of Airflow three times as fast.
unexport PYTHONDONTWRITEBYTECODE
export UV_SYSTEM_CERTS = 1

.PHONY: help setup demo test screenshots matrix chaos fuzz conformance lint types imports check bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(READY) ## make .venv/ with everything a developer needs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "longcall needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --compile-bytecode -c constraints.txt -e '.[demo,flask,postgres]' --group dev
	@touch $@

demo: $(READY) ## run the main job: broker, service, a real Airflow, two green DAG runs
	@$(BIN)/longcall demo

test: $(READY) $(OLDEST)/.ready ## pass the tests
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --no-loadscope-reorder
	$(BIN)/python -m pytest -m oldest tests/airflow --airflow-python $(OLDEST)/bin/python

.venv-airflow-%/.ready: constraints/airflow-%.txt pyproject.toml $(READY)
	@PYENV_VERSION=$(PYTHON_FOR_$*) $(UV) venv --quiet --clear --no-python-downloads --python $(or $(PYTHON_FOR_$*),$(BIN)/python) $(@D) 2>/dev/null \
		|| { echo 'no Python $(PYTHON_FOR_$*) here: Airflow $* gets the same as .venv'; $(UV) venv --quiet --clear --python $(BIN)/python $(@D); }
	VIRTUAL_ENV=$(@D) $(UV) pip install --quiet --compile-bytecode -c constraints/airflow-$*.txt -e '.[airflow,broker]' --group matrix
	@touch $@

matrix: $(READY) $(AIRFLOWS:%=.venv-airflow-%/.ready) ## pass the tests of the provider on every Airflow; prints the table of the docs
	$(BIN)/python -m tests.matrix $(VENV) $(AIRFLOWS:%=.venv-airflow-%)

screenshots: $(READY) ## the pictures of the docs, again (needs Chromium)
	$(BIN)/python -m tests.e2e.screenshots docs/images
	$(BIN)/python -m tests.airflow.screenshots docs/images

chaos: $(READY) ## kill -9, a hundred times over
	$(BIN)/python -m pytest -s tests/chaos tests/airflow/test_kills.py tests/airflow/test_process_kills.py tests/airflow/test_quick.py --rounds 100

fuzz: $(READY) ## hostile clients, for ten minutes
	$(BIN)/python -m pytest -s tests/fuzz --fuzz-seconds 120

conformance: $(READY) ## ours and Google's emulator (LONGCALL_GOOGLE_EMULATOR) side by side; writes the table of the docs
	$(BIN)/python -m pytest tests/conformance --conformance-table docs/reference/broker-conformance.md

lint: $(READY)
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

check: lint types imports test ## exactly what CI runs

bench: $(READY) ## print every benchmark's table
	@for b in bench/*/__main__.py; do $(BIN)/python $$(dirname $$b) || exit 1; done

lock: $(READY) ## renew constraints.txt and those of other Airflows: names and versions only
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header --all-extras --group dev pyproject.toml -o constraints.txt
	for airflow in constraints/*.in; do \
		$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header --extra airflow --extra broker --group matrix pyproject.toml $$airflow -o $${airflow%.in}.txt || exit 1; \
	done

clean: ## remove what setup and tests made
	rm -rf $(VENV) .venv-airflow-* tests/node/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
