# Everything that a fresh machine with Python >= 3.11 and a package index needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Their own requirements want a GPU, and builds of torch and transformers of their own: the tests import the few modules
# that do without, from a folder that no other program sees, and whatever the platform is, as they are plain Python.
GPU_ONLY := openrlhf verl omegaconf pylatexenc

.PHONY: demo test check format backbone clean

demo: $(STAMP)  ## the paper in miniature, on the sandbox
	$(BIN)/music demo --out runs/demo

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## formatting, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

backbone: $(STAMP)  ## rebuild the two shipped sandbox models from a seed
	$(BIN)/python tools/backbone.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "music-rm needs Python >= 3.11, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,openenv,qlora,ray,torchrl,trl,verifiers]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --upgrade --target $(VENV)/gpu-only \
		--platform manylinux1_x86_64 --python-version 3.11 --only-binary :all: $(GPU_ONLY)
	touch $@

clean:
	rm -rf $(VENV) runs dist
