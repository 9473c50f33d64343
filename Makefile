# `make run` and `make test` work on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.installed
CHECKED_KERNEL_TESTS := tests/test_simulate_kernels.py
KERNEL_TESTS := tests/test_kernels.py tests/test_kernels_groups.py tests/test_kernels_histogram.py tests/test_store.py \
  tests/test_prometheus_corpus.py tests/test_textparse.py

.DEFAULT_GOAL := help
.PHONY: help run test test-faults check bench bench-full crd reference lock hashes sbom clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

$(RUNS): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13)) or None' \
	  || { echo "Spillway needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	@touch $@

$(STAMP): $(RUNS)
	$(PIP) -e '.[dev,demo,simulate]'
	@touch $@

run: $(RUNS) ## Run the demo: a shop, Redis, Spillway and an autoscaling loop
	@$(BIN)/spillway demo

test: $(STAMP) ## Run all tests (installs a Redis with apt where it can)
	@tests/ensure-redis
	@tests/get-kubectl >/dev/null 2>&1 || true
	$(BIN)/python -m pytest

test-faults: $(STAMP) ## Break everything in every way, about ten minutes; write docs/faults.md anew
	@tests/ensure-redis
	SPILLWAY_FAULT_RESULTS=tests/faults/results.json $(BIN)/python -m pytest -m faults tests/faults
	$(BIN)/python -m tests.faults.table

check: $(STAMP) ## Lint, format, types, import contracts, kernels without JIT and with bounds checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -W ignore::RuntimeWarning $(KERNEL_TESTS)
	# A cache of its own: what numba has cached without the checks would be loaded, and nothing checked.
	cache=$$(mktemp -d) && NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$$cache \
	  $(BIN)/python -m pytest -q $(KERNEL_TESTS) $(CHECKED_KERNEL_TESTS); code=$$?; rm -rf "$$cache"; exit $$code

bench: $(STAMP) ## Print ratios to what others do, write bench/results (about 5 minutes)
	@PYTHON=$(BIN)/python bench/setup
	$(BIN)/python -m bench

bench-full: $(STAMP) ## The same at full size, with what takes long (about half an hour)
	@PYTHON=$(BIN)/python bench/setup
	$(BIN)/python -m bench --full

.PHONY: fuzz
FUZZ_SECONDS ?= 60
fuzz: $(STAMP) ## Look for inputs that break something, FUZZ_SECONDS (60) for each target; FUZZ_TARGETS names some
	$(PIP) -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

.PHONY: soak
SOAK_MINUTES ?= 30
soak: $(STAMP) ## Run for SOAK_MINUTES (30) under faults and changes, check every answer, write docs/soak.md
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)

reference: $(STAMP) ## Write the reference in docs/configuration.md anew from the schema
	$(BIN)/python -m adapter.schema.reference docs/configuration.md

crd: $(STAMP) ## Write manifests/crd anew from the schema
	$(BIN)/python -m adapter.schema.crd > manifests/crd/externalmetrics.yaml

lock: ## Write constraints.txt and requirements/ anew from what pyproject.toml allows (PYTHON: the image's)
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev,demo,simulate,bench,load]'
	$(VENV)/lock/bin/python -m pip freeze --exclude spillway > constraints.txt
	rm -rf $(VENV)/lock
	$(MAKE) hashes

# Of every file of a release, so that one list serves both architectures.
COMPILE := $(VENV)/hashes/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate \
  --no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links
hashes: ## Write requirements/ anew: what the image holds, with hashes (PYTHON: the image's)
	$(PYTHON) -m venv $(VENV)/hashes
	$(VENV)/hashes/bin/python -m pip install --quiet --disable-pip-version-check pip-tools
	$(COMPILE) -c constraints.txt -o requirements/image.txt pyproject.toml
	$(COMPILE) --only-build-deps --build-deps-for wheel -o requirements/build.txt pyproject.toml
	rm -rf $(VENV)/hashes

# Of an environment like the image's: it knows licences and who needs whom, which a list does not.
sbom: ## Write dist/spillway.cdx.json: what the image holds, as CycloneDX (PYTHON: the image's)
	$(PYTHON) -m venv $(VENV)/sbom
	$(PYTHON) -m venv --without-pip $(VENV)/sbom/image
	$(VENV)/sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7,<8'
	$(VENV)/sbom/bin/python -m pip --python $(VENV)/sbom/image/bin/python install --quiet --disable-pip-version-check \
	  --require-hashes --only-binary :all: -r requirements/image.txt
	@mkdir -p dist
	$(VENV)/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --validate \
	  --output-reproducible --output-format JSON --output-file dist/spillway.cdx.json $(VENV)/sbom/image/bin/python
	rm -rf $(VENV)/sbom

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find adapter scaler tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
