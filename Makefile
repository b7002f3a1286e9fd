# Everything that a fresh machine with Python >= 3.11 and a package index needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.package
TESTS := $(VENV)/.tests
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# Their own requirements want a GPU, and builds of torch and transformers of their own: the tests import the few modules
# that do without, from a folder that no other program sees, and whatever the platform is, as they are plain Python.
GPU_ONLY := openrlhf verl omegaconf pylatexenc hydra-core torchdata codetiming
# hydra reads its grammar with this version alone; it is only a source package.
HYDRA_PARSER := antlr4-python3-runtime==4.9.3
# Their requirements contradict the others': each has a folder, which only processes of its own see.
BESIDE := nemo_gym skyrl tinker verifiers

.PHONY: demo test check format docs backbone release-check clean

demo: $(PACKAGE)  ## the paper in miniature, on the sandbox
	$(BIN)/music demo --out runs/demo
	@echo 'To use the music command, run: source $(VENV)/bin/activate'

test: $(TESTS)  ## all tests, in two processes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(TESTS)  ## formatting, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(TESTS)  ## fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(TESTS)  ## the documentation site, in runs/site: open index.html; it needs no network
	$(BIN)/python tools/site/build.py

backbone: $(TESTS)  ## rebuild the two shipped sandbox models from a seed
	$(BIN)/python tools/backbone.py

release-check: $(TESTS)  ## build the release, and run the first pages from its wheel in a bare environment
	$(BIN)/python -m tools.release_check

# What the commands need.
$(PACKAGE): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "music-rm needs Python >= 3.11, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

# What the tests need besides: tools, a browser, and every library that has an adapter.
$(TESTS): $(PACKAGE) $(wildcard tests/envs/adapters/beside/*.txt)
	$(PIP) --editable '.[dev,docs,openenv,qlora,ray,torchrl,trl]'
	$(PIP) --no-deps --upgrade --target $(VENV)/gpu-only \
		--platform manylinux1_x86_64 --python-version 3.11 --only-binary :all: $(GPU_ONLY)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/gpu-only $(HYDRA_PARSER)
	for library in $(BESIDE); do $(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python --upgrade \
		--target $(VENV)/$$library --requirement tests/envs/adapters/beside/$$library.txt || exit 1; done
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; } \
		|| { echo 'The browser tests need Chromium: install the package chromium of your system, then run make again'; exit 1; }
	touch $@

clean:
	rm -rf $(VENV) runs dist
