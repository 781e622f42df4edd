# Needs make and Python 3.11+ only; every target builds .venv first if it has to.
#   make test PYTHON=python3.12       interpreter for a new .venv
#   make test ARGS="-k grid" JOBS=4   arguments for pytest, and its workers
#   make lock ARGS=--upgrade          move every pin to the newest version that fits
#   make figures EXTRAS=notebooks     fewer extras than the tests need
#   make test-oldest PYTHON312=…      a Python 3.12 that is not on the PATH

PYTHON    ?= python3
PYTHON312 ?= 3.12
EXTRAS    ?= notebooks,train,cluster,models,export,triton,compiled,docs
JOBS      ?= 2
ARGS      ?=

VENV   := .venv
OLDEST := .venv-oldest
BIN    := $(VENV)/bin
LOCK   := requirements/lock.txt
WORKERS := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# The stamp is named after the extras, so that asking for other ones installs them.
STAMP  := $(VENV)/.installed-$(EXTRAS)

.DEFAULT_GOAL := help
.PHONY: help figures test test-oldest lint types notebooks docs wheel lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

figures: $(STAMP) ## draw every figure into paper_figures/
	$(BIN)/python -m retconv.figures

# One thread per worker: torch would otherwise start a thread per core in each of them. A file stays with one worker, so
# that what its tests share is computed once; files are in the order of tests/conftest.py.
test: $(STAMP) ## run every test, the notebooks among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-oldest: $(OLDEST)/.installed ## run every test with the oldest versions that pyproject.toml declares
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest $(WORKERS) $(ARGS)

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## mypy on the package
	$(BIN)/mypy

wheel: $(STAMP) ## install the wheel alone in a fresh environment, and use it there
	scripts/try_wheel

notebooks: $(STAMP) ## run every notebook and keep its output
	$(BIN)/python -m tests.project.notebooks $(ARGS)

docs: $(STAMP) ## build the site into build/site, where a warning is an error
	$(BIN)/sphinx-build -c docs/site -j 2 -W --keep-going -q . build/site

lock: $(BIN)/uv ## pin what pyproject.toml declares, keeping the pins that still fit
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --group peers \
		--no-header --no-annotate --quiet -o $(LOCK) $(ARGS)

clean: ## remove caches and build output; environments stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . \( -name .git -o -name $(VENV) -o -name $(OLDEST) \) -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# ensurepip serves a .venv that was made without pip.
$(BIN)/uv: | $(BIN)/python
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet -c $(LOCK) uv

# Compiled once here, the libraries need no compiling by each worker, notebook and subprocess.
$(STAMP): pyproject.toml $(LOCK) | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python -c $(LOCK) -e ".[$(EXTRAS)]" --group dev --compile-bytecode
	touch $@

# Pinning what is declared to its lower bound keeps no second list, and fails where a bound cannot be installed.
$(OLDEST)/.installed: pyproject.toml | $(BIN)/uv
	$(BIN)/uv venv --clear --python $(PYTHON312) $(OLDEST)
	grep -oE '"[a-z][^"]*>=[0-9.]+"' pyproject.toml | sed -E 's/"//g; s/\[.*\]//; s/>=/==/' > $(OLDEST)/bounds.txt
	$(BIN)/uv pip install --python $(OLDEST)/bin/python -c $(OLDEST)/bounds.txt -e ".[$(EXTRAS)]" --group dev --compile-bytecode
	touch $@
