# `make` lists what can be done. `make run` and `make test` need nothing but Python 3.11, git and make.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
# Touched when .venv holds what the lock files say, so that a second run starts at once.
RUN_READY := .venv/.ready-run
TEST_READY := .venv/.ready-test

.PHONY: help
help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

$(RUN_READY): requirements.lock pyproject.toml .ci/setup
	@.ci/setup run
	@touch $@

$(TEST_READY): requirements-test.lock pyproject.toml .ci/setup
	@.ci/setup test
	@touch $@ $(RUN_READY)

.PHONY: run
run: $(RUN_READY) ## Run everything on this machine, with a demo stream
	@exec $(BIN)/penstock serve --demo $(ARGS)

# Whatever measures no time runs on every core; real machines, brokers and browsers have this one to themselves.
ALONE := tests/integration tests/e2e tests/chaos

.PHONY: test
test: $(TEST_READY) ## Check the code and run every test
	@$(MAKE) check
	@$(BIN)/pytest -n auto --ignore=tests/house $(addprefix --ignore=,$(ALONE)) $(ARGS)
	@$(BIN)/pytest $(ALONE) $(ARGS)

.PHONY: check
check: $(TEST_READY) ## Formatting, lint, types, architecture and house rules; changes nothing
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/pytest -n auto tests/house

.PHONY: fix
fix: $(TEST_READY) ## Repair formatting and what lint can repair
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: unit
unit: $(TEST_READY) ## The quick tests only
	@$(BIN)/pytest tests/unit -m "not slow" $(ARGS)

FUZZER := atheris==3.0.0
FUZZ_SECONDS := 60

.PHONY: fuzz
fuzz: $(TEST_READY) ## Fuzz packets and playlists, FUZZ_SECONDS (60) for each target; finds go to .fuzz
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet $(FUZZER)
	@for target in $$($(BIN)/python -m tests.fuzz.targets); do \
	  $(BIN)/python -m tests.fuzz.run $$target $(FUZZ_SECONDS) || exit 1; done

.PHONY: chaos
chaos: $(TEST_READY) ## Kill, freeze and cut off real processes under load (5 minutes), then compare
	@$(BIN)/python -m tests.chaos $(ARGS)

SEEDS ?= 1000

.PHONY: simulate
simulate: $(TEST_READY) ## Live through SEEDS=1000 worlds of faults, or tell the story of SEED=n
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

.PHONY: ablation
ablation: $(TEST_READY) ## Switch off each rule of the control loop in the simulator: some world has to go wrong
	@$(BIN)/python -m tests.simulation --ablation $(ARGS)

.PHONY: bench
bench: $(TEST_READY) ## Measure the byte path and the store (minutes)
	@$(BIN)/python -m bench $(ARGS)

.PHONY: docs
docs: $(TEST_READY) ## Write the generated pages of docs/reference anew
	@$(BIN)/penstock reference --write docs/reference

.PHONY: page
page: ## Build the web page (needs Node.js) into controller/web/static
	@cd controller/web/page && npm ci --no-audit --no-fund && npm run build

.PHONY: lock
lock: ## Resolve the lock files anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --quiet pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --quiet pyproject.toml --group test -o requirements-test.lock

.PHONY: chart
chart: $(TEST_READY) ## Lint and test the Helm chart
	@$(BIN)/pytest tests/house -k helm

.PHONY: clean
clean: ## Remove .venv and every cache; leaves data alone
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
