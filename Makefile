# Everything starts here. On a bare machine only Python 3.11 or newer (with pip or venv) and make are needed:
# `make setup` brings the rest, and both `run` and `test` call it.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
DEMO ?= $(BIN)/python -m services.demo
ARGS ?=
THEN = $(if $(NO_DEMO)$(filter --no-demo,$(ARGS)),,--then '$(DEMO)')

.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults test-brokers test-large bench check lint lock clean

help: ## show this list
	@echo 'Sidestream: event sourcing beside your service.'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## bring everything that is needed: Python environment, broker, daprd (first time: some minutes)
	@test -n '$(PYTHON)' || { echo 'setup: no Python 3.11 or newer found on PATH. Install one, or name it: make setup PYTHON=/path/to/python3' >&2; exit 2; }
	@$(PYTHON) tools/setup.py

run: setup ## start broker, sidecars and every app of dapr.yaml, then the demo (NO_DEMO=1: without; ARGS=... for `up`)
	@$(BIN)/sidestream up $(THEN) $(filter-out --no-demo,$(ARGS))

test: setup ## run every test in JOBS processes (2): unit, contract, integration, e2e, architecture (ARGS=... for pytest)
	@$(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile $(or $(ARGS),tests)

test-faults: setup ## live through SEEDS bad days (20): every fault in a random order, under load
	@SIDESTREAM_FAULT_SEEDS=$(or $(SEEDS),20) $(BIN)/python -m pytest tests/faults -s

test-brokers: setup ## every test of a broker on Redis, Kafka and RabbitMQ too; SEEDS=2: long bad days (Kafka needs Maven, once)
	@SIDESTREAM_BROKERS=redis,kafka,rabbitmq SIDESTREAM_FAULT_SEEDS=$(or $(SEEDS),$(SIDESTREAM_FAULT_SEEDS)) \
		$(BIN)/python -m pytest -s tests/brokers tests/contract/test_event_log.py tests/faults/test_a_bad_day_on_brokers.py

test-large: setup ## a million events through the bridge, twice (about 8 minutes)
	@$(BIN)/python -m pytest -s tests/large

bench: setup ## measure side by side: WHAT=rebuild (default), live, append or relay (ARGS=--quick: minutes)
	@$(BIN)/python -m benchmarks.$(or $(WHAT),rebuild) $(ARGS)

check: setup lint test ## everything that CI looks at, and the linters before it

lint: setup ## ruff, mypy --strict, the import contracts, yamllint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .

lock: setup ## resolve pyproject.toml anew into requirements.lock
	@$(PYTHON) tools/setup.py --lock

clean: ## delete the environment and what tools leave behind; logs and read models stay (`sidestream reset` wipes those)
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
