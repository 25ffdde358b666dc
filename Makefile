# Everything that one does with this checkout. The first call of any target makes `.venv` by itself.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

SUPPORTED := (3, 11) <= sys.version_info[:2] < (3, 14)
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not $(SUPPORTED))' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
# The environment is made again when the lock or the package's own metadata change.
STAMP := .venv/ready-$(shell cat requirements-dev.txt pyproject.toml | cksum | cut -d' ' -f1)

# include/ is a folder of the Airflow project, not an installed package.
export PYTHONPATH := $(CURDIR)/plugins:$(CURDIR)/include
# Airflow loads 1,500 modules at each start: 3 s of compiling if their bytecode is not kept.
unexport PYTHONDONTWRITEBYTECODE
export SODA_CORE_TELEMETRY_ENABLED := false

.PHONY: help demo up down status test test-services campaign bench lint format lock

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(STAMP) ## bring up the stack, and migrate a year of retail data with it
	@$(BIN)/python -m demo

up: $(STAMP) ## start PostgreSQL and Airflow; prints the address
	@$(BIN)/python -m demo.stack up

down: $(STAMP) ## stop both; the data stays in .sinew/
	@$(BIN)/python -m demo.stack down

status: $(STAMP) ## say what runs
	@$(BIN)/python -m demo.stack status

test: $(STAMP) ## run the tests that need nothing but this checkout
	$(BIN)/python -m pytest -m "not services and not campaign"

test-services: $(STAMP) ## run the tests that need servers of this machine
	$(BIN)/python -m pytest -m services

campaign: $(STAMP) ## kill a migration again and again, for minutes
	$(BIN)/python -m pytest -m campaign

bench: $(STAMP) ## measure the speed of each step
	$(BIN)/python -m tests.bench

lint: $(STAMP) ## check style, types and the floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_floors.py

format: $(STAMP) ## let ruff format all files
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --quiet pyproject.toml

lock: $(STAMP) ## compile the requirements files; `make lock UPGRADE=--upgrade` takes newer versions
	$(LOCK) $(UPGRADE) --output-file requirements.txt
	$(LOCK) $(UPGRADE) --extra demo --extra dev --constraint requirements.txt \
		--output-file requirements-dev.txt

$(STAMP):
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python of a supported version was found. Seen: $$(python3 -V 2>&1)." >&2; \
		echo "Supported: 3.11, 3.12, 3.13. Install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	@if [ ! -x $(BIN)/python ]; then \
		$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make an environment. On Debian: apt-get install python3-venv" >&2; \
		exit 1; }; \
	fi
	@# pip only fetches uv, by the version and hashes in the lock; uv does the rest in parallel.
	@awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements-dev.txt > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements-dev.txt
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@rm -f .venv/ready-*
	@touch $@
