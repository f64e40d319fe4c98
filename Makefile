# Each target does its own set-up in .venv, reuses what is there, and says what is missing.
SHELL := /bin/sh
BIN := .venv/bin
KIND ?= cpu
SECONDS ?= 30

.PHONY: run stress test check torture bench

run:
	@sh tools/setup.sh run
	@exec $(BIN)/python -m tools.demo

stress:
	@sh tools/setup.sh run
	@exec $(BIN)/python -m tools.stress $(KIND) --seconds $(SECONDS)

test: check
	$(BIN)/python -m pytest

check:
	@sh tools/setup.sh test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Takes two hours; `python -m tools.torture NAME` runs one of them.
torture:
	@sh tools/setup.sh test
	$(BIN)/python -m tools.torture

bench:
	@sh tools/setup.sh train
	$(BIN)/python -m tools.benchmark step --output results/step.json
	$(BIN)/python -m tools.benchmark footprint --output results/footprint.json
	$(BIN)/python -m tools.benchmark growth --output results/growth.json
