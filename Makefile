# maas-edge: two commands to begin with are `make demo` and `make test`.
PYTHON ?= python3
# One environment a Python: `make test PYTHON=python3.13` does not disturb .venv.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-arm swaps check format bench broker accelerators clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt scripts/make-venv
	@PYTHON="$(PYTHON)" scripts/make-venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[converter,demo,bench,dev,npu-intel]'
	@touch $@

demo: $(STAMP) ## the whole path on real samples: train, convert, publish, serve, replace (3 minutes)
	@$(BIN)/python examples/digits/demo.py

test: $(STAMP) broker accelerators ## all tests
	$(BIN)/python -m pytest tests/agent tests/converter tests/docs tests/system

test-arm: $(STAMP) broker ## the package on emulated 64-bit and 32-bit ARM; needs root (8 minutes, then 3)
	@scripts/test-arm-ready
	$(BIN)/python -m pytest tests/arm

swaps: $(STAMP) broker ## a thousand swaps under load (10 minutes)
	MAAS_SWAPS=1000 $(BIN)/python -m pytest tests/system/test_swaps.py

check: $(STAMP) ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) broker ## the agent against its peers, in one run (10 minutes)
	$(BIN)/python -m bench

broker:
	@scripts/ensure-mosquitto

accelerators:
	@scripts/ensure-accelerators

clean: ## remove environments and caches
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
