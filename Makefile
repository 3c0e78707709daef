# make verify   every claim and control at the smoke budget (BUDGET=standard for more), and the report
# make test     format, lint and types (make check), tests and notebooks (make pytest)
# make docs     the documentation site, into claimlab-out/docs
# make clean    forget the environment and all results

PYTHON ?= python3
BUDGET ?= smoke
OUT ?= claimlab-out
VENV := .venv
BIN := $(VENV)/bin

.PHONY: verify test check pytest docs clean

verify: $(VENV)/.installed
	$(BIN)/claimlab verify --budget $(BUDGET) --report --out $(OUT)

test: check pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist worksteal  # neighbours share fixtures and compiled code

docs: $(VENV)/.installed-docs  # the reference imports every module, those that need torch too
	$(BIN)/sphinx-build -q -W --keep-going -j auto docs $(OUT)/docs
	@echo "documentation: $(OUT)/docs/index.html"

clean:
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

# Stamps: a second call installs nothing unless the dependencies have changed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-dev
