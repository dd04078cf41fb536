# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# one more than there are processors: tests wait a good part of their time, for relays, leases and processes of their own
WORKERS ?= $(shell expr $$(nproc) + 1)

.PHONY: help demo test packages check lock bench crash clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.main: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed; name one: make PYTHON=python3.11"; exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: the venv module is missing; on Debian: apt install python3-venv"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q mailer lists
	@touch $@

$(VENV)/.test: $(VENV)/.main requirements-test.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $@

demo: $(VENV)/.main ## two circulars and a reminder through real SMTP; leaves a folder demo/ to look at
	$(BIN)/chancery demo

test: check packages ## everything that CI runs
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

packages: $(VENV)/.test ## Debian's packages that tests need: installed when root, else named
	@$(BIN)/python tests/packages.py

check: $(VENV)/.test ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test ## the benchmarks; figures are ratios within one run
	$(BIN)/python tests/benchmarks/run.py

crash: packages ## kill it two hundred times while it sends, approves and migrates, and count the letters
	$(BIN)/python -m tests.benchmarks.crash

lock: ## make the two lock files anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra postgres --group build --group test -c requirements.lock -o requirements-test.lock

clean: ## remove what make built
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
