# Each target does its own set-up in .venv, reuses what is there, and says what is missing.
SHELL := /bin/sh
BIN := .venv/bin
KIND ?= cpu
SECONDS ?= 30

.PHONY: run stress test test-newest test-service test-arm check coverage lock behaviour torture bench docs

run:
	@sh tools/setup.sh run
	@exec $(BIN)/python -m tools.demo

stress:
	@sh tools/setup.sh run
	@exec $(BIN)/python -m tools.stress $(KIND) --seconds $(SECONDS)

# Run the end-to-end tests alone and without coverage, because they depend on timing; run the rest in parallel.
test: check
	$(BIN)/python -m pytest tests/e2e
	$(measure)

# Fails below the floor in pyproject.toml; `python -m tools.docs.coverage_table` then writes docs/development.md.
coverage:
	@sh tools/setup.sh test
	$(measure)

define measure
$(BIN)/coverage erase
$(BIN)/coverage run -m pytest --ignore=tests/e2e --numprocesses=auto --dist=loadfile
$(BIN)/coverage combine --quiet
$(BIN)/coverage report
endef

# With the newest versions that pyproject.toml allows, in .venv-newest: what breaks there will break for users.
test-newest:
	@sh tools/setup.sh newest
	.venv-newest/bin/python -m pytest tests/e2e
	.venv-newest/bin/python -m pytest --ignore=tests/e2e --numprocesses=auto --dist=loadfile

# On a booted Debian of its own: needs root, and says so.
test-service:
	@sh tools/setup.sh service
	$(BIN)/python -m pytest -m booted -rs -s tests/service

# On emulated ARM processors: needs root, and an hour the first time.
test-arm:
	@sh tools/setup.sh arm
	$(BIN)/python -m pytest -m emulated -rs -s tests/emulated

check:
	@sh tools/setup.sh test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# requirements/ from the ranges in pyproject.toml; LOCK=--upgrade takes the newest versions.
lock:
	@sh tools/lock.sh $(LOCK)

# Whether the agent still does what it did, bit for bit; an intended change is stored with --update.
behaviour:
	@sh tools/setup.sh run
	$(BIN)/python -m tools.behaviour

# Fault injection in full takes two hours and a half; `python -m tools.fault_injection NAME` runs one experiment.
torture:
	@sh tools/setup.sh test
	$(BIN)/python -m tools.fault_injection

# The documentation as a site, in site/; a link that leads nowhere fails.
docs:
	@sh tools/setup.sh docs
	$(BIN)/python -m mkdocs build --strict

bench:
	@sh tools/setup.sh train
	$(BIN)/python -m tools.benchmark step --output results/step.json
	$(BIN)/python -m tools.benchmark footprint --output results/footprint.json
	$(BIN)/python -m tools.benchmark growth --output results/growth.json
	$(BIN)/python -m tools.benchmark sources --output results/sources.json
	$(BIN)/python -m tools.benchmark scale --output results/scale.json --plot results/scale.png
