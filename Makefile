# maas-edge: two commands to begin with are `make demo` and `make test`.
PYTHON ?= python3
# One environment a Python: `make test PYTHON=python3.13` does not disturb .venv.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# The last Python that tflite-runtime is built for; python3 where that is it.
PYTHON311 ?= $(if $(shell command -v python3.11),python3.11,python3)
TFLITE := .venv-tflite-runtime
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-arm test-tflite-runtime swaps brokers fleet attacks cuts mutants check format bench broker accelerators clean

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
	@scripts/ensure-brokers
	$(BIN)/python -m pytest tests/agent tests/converter tests/docs tests/attacks tests/conformance tests/cuts tests/system

test-arm: $(STAMP) broker ## the package on emulated 64-bit and 32-bit ARM; needs root (8 minutes, then 3)
	@scripts/test-arm-ready
	$(BIN)/python -m pytest tests/arm

test-tflite-runtime: $(TFLITE)/.installed broker accelerators ## runtime and system tests on the older interpreter: Python 3.11, NumPy 1 (5 minutes)
	MAAS_TEST_RUNTIME=tflite-runtime $(TFLITE)/bin/python -m pytest \
	    tests/agent/runtime tests/agent/trials tests/agent/worker tests/system --ignore=tests/system/test_demo.py \
	    --ignore=tests/system/test_brokers.py --ignore=tests/system/test_cluster.py

# NumPy 1 needs an older ml_dtypes; everything else is what the other environment has. The other NumPy lies beside it, for
# the test of what is said where it is too new.
$(TFLITE)/.installed: pyproject.toml constraints.txt constraints-tflite-runtime.txt scripts/make-venv
	@PYTHON="$(PYTHON311)" scripts/make-venv $(TFLITE) 3.11
	@grep -vE '^(numpy|ml_dtypes)==' constraints.txt | cat - constraints-tflite-runtime.txt >$(TFLITE)/constraints.txt
	$(TFLITE)/bin/pip install --quiet --disable-pip-version-check -c $(TFLITE)/constraints.txt \
	    -e '.[tflite-runtime,dev]' amqtt cryptography flatbuffers rich 'securesystemslib[crypto]' typer
	@grep '^numpy==' constraints.txt >$(TFLITE)/numpy2.txt
	$(TFLITE)/bin/pip install --quiet --disable-pip-version-check --no-deps --target $(TFLITE)/numpy2 -r $(TFLITE)/numpy2.txt
	@touch $@

swaps: $(STAMP) broker ## a thousand swaps under load (10 minutes)
	MAAS_SWAPS=1000 $(BIN)/python -m pytest tests/system/test_swaps.py

attacks: $(STAMP) broker ## every attack in every way (7 minutes); make test plays one way of each
	MAAS_ATTACKS=all $(BIN)/python -m pytest tests/attacks

cuts: $(STAMP) broker ## kill -9, a power cut and a full disk at every change an update makes (an hour or more); make test tries some
	MAAS_CUTS=all $(BIN)/python -m pytest tests/cuts

brokers: $(STAMP) ## every broker of docs/brokers.md, and twenty nodes of a RabbitMQ cluster killed under load (10 minutes)
	@scripts/ensure-brokers
	MAAS_KILLS=20 $(BIN)/python -m pytest -rP tests/system/test_brokers.py tests/system/test_cluster.py

fleet: $(STAMP) broker ## a staged rollout over a thousand simulated devices (a minute)
	$(BIN)/python -m bench.fleet

MUTANTS := tests/agent/trials/test_mutants.py tests/system/test_bad_bundles.py
mutants: $(STAMP) $(TFLITE)/.installed broker ## two thousand damaged models on either interpreter (12 minutes)
	MAAS_MUTANTS=2000 $(BIN)/python -m pytest $(MUTANTS)
	MAAS_MUTANTS=2000 MAAS_TEST_RUNTIME=tflite-runtime $(TFLITE)/bin/python -m pytest $(MUTANTS)

conformance: $(STAMP) ## the tuf-conformance suite against our TUF client: SUITE=its checkout
	@test -d "$(SUITE)/tuf_conformance" || { echo "make conformance SUITE=FOLDER: a checkout of tuf-conformance" >&2; exit 2; }
	cd "$(SUITE)" && "$(CURDIR)/$(BIN)/python" -m pytest tuf_conformance \
	    --entrypoint "$(CURDIR)/$(BIN)/python $(CURDIR)/tests/conformance/client.py"

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
	@scripts/ensure-brokers mosquitto

accelerators:
	@scripts/ensure-accelerators

clean: ## remove environments and caches
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
