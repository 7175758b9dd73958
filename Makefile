# Every target sets up what it needs first; see scripts/bootstrap.py.
PYTHON ?= python3
BIN := .venv/bin
BOOTSTRAP := $(PYTHON) scripts/bootstrap.py
LOCK := $(BIN)/uv pip compile --generate-hashes --no-header --no-annotate --universal --python-version 3.11

.PHONY: test check demo bench lock clean

test: ## all tests, against a real control plane
	@$(BOOTSTRAP)
	$(BIN)/python -m pytest $(ARGS)

check: ## lint, format, types, import contracts
	@$(BOOTSTRAP) --no-control-plane
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! git ls-files -co --exclude-standard tests | grep '/test_[^/]*\.py$$' | sed 's|.*/||' | sort | uniq -d \
		| sed 's/$$/: two files of tests have this name, and pytest would not start/' | grep .

demo: ## a canary and a rollback to watch; KEEP=1 leaves it running
	@$(BOOTSTRAP)
	$(BIN)/python -m demo $(if $(KEEP),--keep)

bench: ## what a commit, an idle hour and a drift cost; APPS=20,200,1000 takes an hour
	@$(BOOTSTRAP)
	$(BIN)/python -m bench --apps $(or $(APPS),20) $(ARGS)
	$(BIN)/python -m bench --fetch
	WEIR_HISTORY_STEPS=2000 $(BIN)/python -m pytest -q tests/fault/test_shortcuts_verified.py

lock: ## refresh the lock files from pyproject.toml
	@$(BOOTSTRAP) --no-control-plane
	$(LOCK) pyproject.toml --extra otel --extra dev -o requirements-dev.lock
	$(LOCK) --group programs -o requirements-programs.lock
	$(LOCK) pyproject.toml --extra otel --constraint requirements-dev.lock -o requirements.lock # what ships is what was tested

clean: ## remove what was made in this folder; the cache of built programs stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	rm -f agent/adapters/*/weir-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
