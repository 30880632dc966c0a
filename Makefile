# make demo   the whole product on this machine: three trained models, evaluated, on a leaderboard in your browser
# make test   every test, on SQLite; with LONGBOARD_DATABASE_URL and LONGBOARD_TEST_REDIS_URL on PostgreSQL and Redis
# make test-gpu  the kernels on this machine's GPU, against fp64 and at up to a million tokens
# make test-faults  kills, freezes, floods and restarts on the test's own PostgreSQL and Redis; prints a figure for each
# make test-fuzz  the API against its schema and the pages against nonsense, 400 requests an operation; prints what was answered
# make test-web-long  every page in a browser: axe in three themes and widths, 500 permalinks; prints a figure for each
# make authorisation-table  writes who may do what again, after a change that is meant
# make check  linters, types, import arrows, migrations, compose file
.DEFAULT_GOAL := help
.PHONY: help demo up test test-gpu test-faults test-fuzz test-web-long authorisation-table check format clean zoo-smoke
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
INSTALL = $(PYTHON) scripts/install.py --venv $(VENV)

help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.demo: pyproject.toml constraints/cpu.txt scripts/install.py
	$(INSTALL) --extras worker --stamp $@

$(VENV)/.dev: pyproject.toml constraints/cpu.txt scripts/install.py
	$(INSTALL) --extras worker,kernels,dev --stamp $@

demo: $(VENV)/.demo
	@echo "Fetching SmolLM2-135M-Instruct (93 MB) and converting it, unless it is here."
	@TQDM_DISABLE=1 $(BIN)/python -m longboard_tasks.zoo.smollm2 --out var/models || echo "Going on without SmolLM2-135M-Instruct."
	@$(BIN)/python manage.py demo $(ARGS)

up: $(VENV)/.demo
	@$(BIN)/python manage.py up $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

test-gpu: $(VENV)/.dev
	TRITON_INTERPRET=0 $(BIN)/python -m pytest -c tests/kernels/gpu.ini --rootdir=. -n auto tests/kernels $(ARGS)

test-faults: $(VENV)/.dev
	FAULTS=all $(BIN)/python -m pytest tests/faults $(ARGS)

test-fuzz: $(VENV)/.dev
	FUZZ_EXAMPLES=400 $(BIN)/python -m pytest tests/api/test_schema.py -rP $(ARGS)

test-web-long: $(VENV)/.dev
	LONGBOARD_WEB_LONG=1 $(BIN)/python -m pytest tests/e2e/test_web_long.py $(ARGS)

authorisation-table: $(VENV)/.dev
	WRITE_AUTHORISATION=1 $(BIN)/python -m pytest tests/api/test_authorisation.py -k committed_table
	@git diff --stat -- tests/api/authorisation.tsv

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy platform workers tasks kernels
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING
	$(BIN)/python scripts/check_compose.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

zoo-smoke: $(VENV)/.dev
	$(BIN)/python -m longboard_tasks.zoo.train --smoke

clean:
	rm -rf $(VENV) var
