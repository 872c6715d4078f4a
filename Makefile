# `make demo` and `make test` are all a newcomer needs; both set everything up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Two processes, each with whole files: fixtures of a file are made once, in the order of names.
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo paper test slow tour screenshots lint types bench clean

demo: $(STAMP)
	$(BIN)/python -m probe demo $(ARGS)

# The study in its whole shape and short lengths, on official trees made of the lab.
paper: $(STAMP)
	$(BIN)/python -m tools.short_paper runs/short-paper $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow $(PARALLEL) $(ARGS)

# The dashboard of the demo's run in a real browser; `make demo` first.
tour: $(STAMP)
	PROBE_DEMO_RUN=runs/demo $(BIN)/python -m pytest tests/browser/test_demo_run.py $(ARGS)

screenshots: $(STAMP)
	$(BIN)/python -m tests.browser.screenshots runs/demo docs/img

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# One resolve for all packages: torch, torchvision and timm have to match.
$(STAMP): pyproject.toml benchmarks/peers.txt
	$(PYTHON) -c 'import sys; sys.exit("probe needs Python 3.11 or newer; set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): several GB, a few minutes."
	$(BIN)/python -m pip install --disable-pip-version-check --editable ".[dev]"
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
