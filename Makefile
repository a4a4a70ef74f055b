# Two commands do everything: `make demo` and `make test`. Both set the machine up first; a second call returns at once.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: setup demo test test-slow lint style types docs format

setup:
	@.ci/setup

demo: setup
	@.venv/bin/stemline demo

test: setup
	@$(PYTHON) -m pytest

test-slow: setup
	@$(PYTHON) -m pytest -m slow -n 0 -s

lint: style types

style: setup
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .

types: setup
	@$(PYTHON) -m pyright

docs: setup
	@$(PYTHON) -m mkdocs --quiet build --config-file docs/site/mkdocs.yml

format: setup
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .
