# Everything this project needs, from a machine that has Python 3.11 or newer, git and make.
# The first target that needs it makes .venv and installs the versions pinned in requirements.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UNFINISHED := $(VENV)/.unfinished
# Processes that share the test suite; each takes more than 1 GB of memory.
TEST_JOBS ?= 2
# Results of `bench` and `soak` go to runs/results; with WRITE=--write to docs/results, which is tracked.
WRITE ?=

.PHONY: help demo test lint bench soak docs web dist test-wheel lock

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 16

demo: $(INSTALLED) ## make a small video data set, train three models, print the table and the report's path
	$(BIN)/tubelet demo

test: lint ## lint, types and the test suite, on TEST_JOBS processes
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED) ## speed against HuggingFace and against a matrix product; WRITE=--write: into docs/results
	$(BIN)/python benchmarks/models.py $(WRITE)

soak: $(INSTALLED) ## the longer proofs; resumable; WRITE=--write: into docs/results
	$(BIN)/python -m pytest -m soak -s $(WRITE)

docs: $(INSTALLED) ## the documentation as pages, into build/docs; no network
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "build/docs/index.html"

web: $(INSTALLED) ## the page that classifies in the browser, into build/web; onnxruntime-web by npm, with its hash
	$(BIN)/python examples/web/fetch_runtime.py build/web

dist: $(INSTALLED) ## sdist and wheel into dist/, the same bytes from the same files; no network
	rm -rf dist
	$(BIN)/python -m build --no-isolation

test-wheel: dist ## the wheel beside the oldest and the newest torch, in clean environments (7 GB each, one at a time)
	$(BIN)/python .ci/test_wheel.py

lock: $(INSTALLED) ## resolve pyproject.toml again into requirements.lock (newest versions, hashes, no addresses)
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --quiet --all-extras --group pyproject.toml:dev pyproject.toml \
		--output-file requirements.lock

# $(UNFINISHED) stands while an install runs. Found at the start, it tells of an interrupted one, whose packages
# cannot be trusted: .venv is made anew. A .venv that somebody made by hand is kept and installed into.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "tubelet needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true);" \
			"name one: make PYTHON=python3.11"; exit 1; }
	@if [ -e $(UNFINISHED) ]; then echo "The last install was interrupted: starting again."; rm -rf $(VENV); fi
	@mkdir -p $(VENV) && rm -f $(INSTALLED) && touch $(UNFINISHED)
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the packages pinned in requirements.lock (a few minutes, once)"
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mv $(UNFINISHED) $(INSTALLED)
