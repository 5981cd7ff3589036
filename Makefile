# `make run` and `make test` need only Python 3.10 or newer: the first call makes $(VENV) and installs into it,
# later calls reuse it until pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV ?= .venv
# Where PyTorch comes from: cpu (its own index of CPU wheels), registry, or auto: cpu on Linux without an NVIDIA driver.
TORCH ?= auto
INSTALLED := $(VENV)/installed-$(TORCH)
IN_VENV := $(VENV)/bin/python
# Threads that wait spin a moment, then sleep: a busy machine is not made busier (dl/__init__.py).
ifndef OMP_WAIT_POLICY
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT ?= 5000
endif

.PHONY: run test check notebooks test-browser setup

run: $(INSTALLED)  ## execute the notebooks on fresh kernels, then make the submission from them; see build/ and results/
	$(IN_VENV) -m dl run
	$(IN_VENV) -m dl submit --notebooks build/notebooks --out build

test: $(INSTALLED)  ## the tests, one process per core
	$(IN_VENV) -m pytest -n auto --maxprocesses 4 --dist worksteal

check: $(INSTALLED)  ## format, lint, spelling, types
	$(IN_VENV) -m ruff format --check .
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m codespell_lib
	$(IN_VENV) -m mypy

notebooks: $(INSTALLED)  ## build and execute notebooks/*.ipynb from their sources notebooks/*.nb.py
	$(IN_VENV) -m dl build
	$(IN_VENV) -m dl.submit.derive

test-browser: $(VENV)/installed-browser  ## the notebooks in JupyterLab, in a Chromium; screenshots go to build/browser/
	$(IN_VENV) -m pytest -m browser tests/browser

$(VENV)/installed-browser: $(INSTALLED)
	$(IN_VENV) -m pip install --quiet -c constraints.txt -e ".[browser]"
	@touch $@

setup: $(INSTALLED)  ## only make the virtual environment

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m dl.commands.install --into $(VENV) --torch $(TORCH)
	@touch $@
