# Two commands do everything: `make demo` and `make test`. Both set the machine up first; a second call returns at once.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: setup demo test test-slow lint style types docs picture format

setup:
	@.ci/setup

# The last two commands are those of anybody with a song, and with files to judge.
demo: setup
	@.venv/bin/stemline demo
	@echo "20 s of a real song (tests/excerpt) with the model that comes with Stemline:"
	@.venv/bin/stemline separate tests/excerpt/excerpt.ogg -o runs/demo/real --recipe default --overwrite
	@.venv/bin/stemline evaluate --references tests/excerpt/stems --estimates runs/demo/real -o runs/demo/judged
	@echo "listen: runs/demo/judged/report.html plays mixture, true stems and estimates in step"

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

# That of the README: anew after a change of the model that comes with Stemline.
picture: setup
	@TF_CPP_MIN_LOG_LEVEL=3 PYTHONWARNINGS=ignore $(PYTHON) docs/site/picture.py

format: setup
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .
