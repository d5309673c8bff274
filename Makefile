# maas-edge: two commands to begin with are `make demo` and `make test`.
PYTHON ?= python3
# Tests start thousands of processes: each would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE
# One environment a Python: `make test PYTHON=python3.13` does not disturb .venv.
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# Tests run side by side: much of their time they wait, for a disk, a deadline or a process that starts. Those marked
# `alone` measure times, and follow when the rest is done. Eight at most: TensorFlow takes half a gigabyte in each.
PROCESSES ?= $(shell n=$$(( 2 * $$(nproc) )); echo $$(( n < 8 ? n : 8 )))
SIDE_BY_SIDE := -n $(PROCESSES) --dist worksteal -m 'not alone'
# The last Python that tflite-runtime is built for; python3 where that is it.
PYTHON311 ?= $(if $(shell command -v python3.11),python3.11,python3)
TFLITE := .venv-tflite-runtime
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast zoo test-arm test-systemd test-tflite-runtime swaps brokers fleet attacks cuts faults soak mutants mutation fuzz conformance check format bench broker accelerators systemd network clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt scripts/make-venv
	@PYTHON="$(PYTHON)" scripts/make-venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[converter,demo,bench,dev,npu-intel]'
	@touch $@

demo: $(STAMP) ## the whole path on real samples: train, convert, publish, serve, replace (3 minutes)
	@$(BIN)/python examples/digits/demo.py

SUITES := tests/agent tests/converter tests/docs tests/attacks tests/conformance tests/cuts tests/faults tests/fuzz tests/system tests/zoo
test: $(STAMP) broker accelerators systemd network ## all tests
	@scripts/ensure-brokers
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(SUITES)
	$(BIN)/python -m pytest -m alone $(SUITES)

# What is decided without a real device: the hub's parts and rules, the contract with the converter, the configuration.
FAST := tests/agent/base tests/agent/bundle tests/agent/hub tests/agent/config tests/agent/update/test_choose.py tests/docs
test-fast: $(STAMP) ## the agent's hub and rules, and the documentation (under a minute)
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(FAST)

test-arm: $(STAMP) broker ## the package on emulated 64-bit and 32-bit ARM; needs root (8 minutes, then 3)
	@scripts/test-arm-ready
	$(BIN)/python -m pytest tests/arm

test-systemd: $(STAMP) ## the service under a real systemd, in a container; needs root (4 minutes, then 2)
	@scripts/test-systemd-ready
	$(BIN)/python -m pytest tests/systemd

# What an interpreter can do differently: load, refuse or crash on a model (runtime, trials, bad bundles), answer (cases,
# serving, bad input), keep to a deadline, a limit or its memory (worker, isolation, memory groups, swaps), work with a
# delegate (accelerators), be measured and chosen (choice, runtimes), read a model that is sealed (sealed), or serve beside
# a second one (takeover). The other tests of whole devices are about what is done before a model is loaded or after it
# has answered: starting, links and brokers, commands and desired states, fleets, downloads, clocks, sources.
ON_AN_INTERPRETER := tests/agent/runtime tests/agent/trials tests/agent/worker $(addprefix tests/system/test_, \
    $(addsuffix .py,accelerators bad_bundles bad_input cases choice isolation memory_groups runtimes sealed serving swaps \
    takeover))
test-tflite-runtime: $(TFLITE)/.installed broker accelerators ## runtime and system tests on the older interpreter: Python 3.11, NumPy 1
	MAAS_TEST_RUNTIME=tflite-runtime $(TFLITE)/bin/python -m pytest $(SIDE_BY_SIDE) $(ON_AN_INTERPRETER)
	MAAS_TEST_RUNTIME=tflite-runtime $(TFLITE)/bin/python -m pytest -m alone $(ON_AN_INTERPRETER)

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

zoo: $(STAMP) ## 200 small models by every recipe, beside their own frameworks (20 minutes); ZOO=names for some of them
	$(BIN)/python -m tests.zoo $(ZOO)

swaps: $(STAMP) broker ## a thousand swaps under load (10 minutes)
	MAAS_SWAPS=1000 $(BIN)/python -m pytest tests/system/test_swaps.py

attacks: $(STAMP) broker ## every attack in every way (10 minutes); make test plays one way of each
	MAAS_ATTACKS=all $(BIN)/python -m pytest tests/attacks $$($(BIN)/python -m tests.attacks.elsewhere)

cuts: $(STAMP) broker ## kill -9, a power cut and a full disk at every change an update makes (an hour or more); make test tries some
	MAAS_CUTS=all $(BIN)/python -m pytest tests/cuts

faults: $(STAMP) broker accelerators network ## every fault at full length, ten minutes of outage among them (45 minutes); make test plays each for seconds
	$(BIN)/python -m tests.faults $(FAULTS)

MINUTES ?= 30
soak: $(STAMP) broker accelerators network ## random faults for MINUTES=30, from SEED if it is set
	$(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

brokers: $(STAMP) ## every broker of docs/brokers.md, and twenty nodes of a RabbitMQ cluster killed under load (10 minutes)
	@scripts/ensure-brokers
	MAAS_KILLS=20 $(BIN)/python -m pytest -rP tests/system/test_brokers.py tests/system/test_cluster.py

fleet: $(STAMP) broker ## a staged rollout over a thousand simulated devices (a minute)
	$(BIN)/python -m bench.fleet

MUTANTS := tests/agent/trials/test_mutants.py tests/system/test_bad_bundles.py
mutants: $(STAMP) $(TFLITE)/.installed broker ## two thousand damaged models on either interpreter (12 minutes)
	MAAS_MUTANTS=2000 $(BIN)/python -m pytest $(MUTANTS)
	MAAS_MUTANTS=2000 MAAS_TEST_RUNTIME=tflite-runtime $(TFLITE)/bin/python -m pytest $(MUTANTS)

mutation: $(STAMP) ## break a module of rules in every small way, and see that its own tests notice (a minute each): MODULE=its name, or all
	@$(BIN)/python -c 'import mutmut.core' 2>/dev/null || \
	    $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	@$(BIN)/python -m tests.mutation $(MODULE)

fuzz: $(STAMP) ## a million hostile inputs for everything that parses (10 to 20 minutes); RUNS=... for more or fewer
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	    $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz

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
	@PYTHON="$(PYTHON)" scripts/ensure-accelerators

systemd:
	@scripts/ensure-systemd

network:
	@scripts/ensure-iproute2

clean: ## remove environments and caches
	rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
