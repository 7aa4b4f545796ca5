# Every target sets up what it needs in .venv of this tree: Python 3.11 or newer and make are enough.
# PYTHON=...   the interpreter to build .venv from            (default: the first that works)
# WORKERS=...  how many test processes                        (default: one per core)
# TESTS=...    what `make test` runs                          (default: all of tests/)
# FUZZ_SECONDS=...  how long `make fuzz` goes on             (default: 900)
# UPGRADE=1    makes `make lock` take the newest versions

SHELL := /bin/sh
BIN := .venv/bin
PYTHON ?=
WORKERS ?= auto
TESTS ?= tests
FUZZ_SECONDS ?= 900
UPGRADE ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo dev test fuzz check format lock clean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

demo: ## See the whole path work against the sandbox
	@scripts/setup server
	@$(BIN)/authpipe demo

dev: ## Start database, server, worker and sandbox for development
	@scripts/setup server
	@$(BIN)/authpipe dev

test: ## Run every test
	@scripts/setup dev
	@AUTHPIPE_TEST_CHROMIUM="$$(scripts/ensure_chromium)"; export AUTHPIPE_TEST_CHROMIUM; \
		AUTHPIPE_TEST_PKCS11_MODULE="$$(scripts/ensure_softhsm)"; export AUTHPIPE_TEST_PKCS11_MODULE; \
		AUTHPIPE_TEST_NODE="$$(scripts/ensure_oidc_provider)"; export AUTHPIPE_TEST_NODE; \
		$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --durations 5 --durations-min 5 $(TESTS)

fuzz: ## Send the API what nobody would, for a quarter of an hour
	@scripts/setup dev
	@AUTHPIPE_TEST_FUZZ_SECONDS="$(FUZZ_SECONDS)" $(BIN)/pytest -q -s tests/acceptance/test_openapi_fuzz.py

check: ## Lint, types, import layers and the contract tests
	@scripts/setup dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:cacheprovider tests/contract

format: ## Rewrite the sources in the house format
	@scripts/setup dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write requirements/*.txt anew from pyproject.toml
	@scripts/setup server
	scripts/lock $(if $(UPGRADE),--upgrade)

clean: ## Remove .venv, caches and build results
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name node_modules -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
