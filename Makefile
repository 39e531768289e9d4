# make            what there is
# make demo       from nothing but Python 3.11 and pip: install, train, judge, show
# make test       lint, types and tests
PYTHON ?= python3.11
PY := .venv/bin/python
RUN ?= runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint types bench bench-gpu wheel

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,tensorboard,wandb]'
	@touch $@

setup: .venv/installed  ## make .venv and install medsynth into it

demo: setup  ## train a WGAN-GP on kidney CT phantoms in about three minutes, judge it, show where
	$(PY) -m medsynth.train model=wgan_gp data=kidney_ct data.phantom=true experiment=demo run_dir=$(RUN) > /dev/null
	$(PY) -m medsynth.generate run=$(RUN) n=64 > /dev/null
	$(PY) -m medsynth.evaluate run=$(RUN) > /dev/null
	@echo
	@echo "grid    $$(ls $(RUN)/samples/0*.png | tail -1)"
	@echo "report  $(RUN)/evaluation/report.html"
	@echo "images  $$(ls -d $(RUN)/generated-*)"
	@echo "Your own kidney CT:  $(PY) -m medsynth.train model=wgan_gp data=kidney_ct data.root=DIR"

test: setup lint types  ## lint, types, tests
	$(PY) -m pytest -n 2

test-slow: setup  ## the tests that take long
	$(PY) -m pytest -m slow

lint: setup  ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup  ## pyright
	$(PY) -m pyright

bench: setup  ## every speed claim, as a ratio measured here and now; hours
	for benchmark in loop feed prepare start memory evaluate; do $(PY) benchmarks/$$benchmark.py || exit 1; done

bench-gpu:  ## loop and feed on a GPU, with the torch that is there
	$(PYTHON) benchmarks/gpu.py

wheel: setup  ## build a wheel into dist/
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist .
