# `make` prints this help.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3.11
BIN := .venv/bin
CONFIG ?= deploy/config
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help install demo run test check format bench chaos soak kafka lock clean

help:  ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed  ## make .venv with the locked dependencies and the command .venv/bin/sms-worker

.venv/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is needed: https://www.python.org/downloads/"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## play a shop's day on an embedded broker, a sandbox provider and SQLite
	@$(BIN)/sms-worker demo

run: install  ## run the worker on deploy/config (CONFIG=folder for another one)
	$(BIN)/sms-worker run --config $(CONFIG) --pretty

test: install  ## run the whole suite; with Java 17 and Maven also on Apache Kafka, with PostgreSQL also on it
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: install  ## format, lint, types, import rules, configuration, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sms-worker check
	$(BIN)/sms-worker schemas export --check
	$(BIN)/python -m tests.docs --check

format: install  ## format the code and write the generated files anew
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/sms-worker schemas export
	$(BIN)/python -m tests.docs
	$(BIN)/python -m deploy.grafana.build
	$(BIN)/python -m deploy.k8s.build

bench: install  ## measure the worker beside what else there is; over an hour (BENCH="--only router sender"; needs Java 17, Maven, PostgreSQL)
	$(BIN)/python -m tests.bench $(BENCH)

chaos: install  ## a storm of faults: 100,000 events, three workers, with and without provider keys; about 25 minutes (CHAOS="--events 5000 --seconds 60")
	$(BIN)/python -m tests.chaos $(CHAOS)

soak: install  ## twenty minutes of steady work, and the slopes of memory, descriptors, tasks and lag (SOAK="--minutes 5")
	$(BIN)/python -m tests.chaos.soak $(SOAK)

kafka: install  ## run a one-node Apache Kafka on 127.0.0.1:9092 until Ctrl-C (needs Java 17 and Maven)
	$(BIN)/python -m tests.kafka --port 9092 --data .data/kafka

lock: install  ## write the lock files anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra demo --extra dev --extra tracing --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--constraint requirements.lock --extra tracing --output-file requirements-runtime.lock pyproject.toml

clean:  ## remove .venv, data and caches
	rm -rf .venv .data build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
