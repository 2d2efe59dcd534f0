# Needs Python 3.11 or newer, git and make. Everything else is installed into .venv and
# build/, both inside this folder.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.DEFAULT_GOAL := help

# Targets ----------------------------------------------------------------------------
.PHONY: help
help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: .venv/ready ## Generate a project, train, register, score, serve and ask (PORT=8000)
	@echo "Showing: a default project is generated in build/demo and used."
	.venv/bin/python scripts/demo.py --port $(or $(PORT),8000)

# Two halves, side by side: each keeps about one core busy. With the whole matrices, the
# core's would be the longer one: MOVED says which of its files change sides.
FEATURES := $(sort $(foreach name,adopting benchmark compatibility deploy leaving lineage \
  major many promotion release retention serving store $(MOVED),\
  $(wildcard tests/test_$(name)*.py)))
# Whole lines only, so that both can be read.
WHOLE_LINES = bash -o pipefail -c '$(1) | grep --line-buffered ""'

.PHONY: test
test: .venv/ready ## Test every promise on every variant (PYTEST_ARGS="-k name")
	@echo "Testing: all variants are rendered, installed, run and compared."
	@$(MAKE) --no-print-directory --jobs=2 test-core test-features
	@test -n "$(PYTEST_ARGS)$$(git status --porcelain)" || \
	  git rev-parse 'HEAD^{tree}' > build/tested  # what `make release` asks for

.PHONY: test-core
test-core: .venv/ready ## Test what every project has, and its updates
	@$(call WHOLE_LINES,.venv/bin/pytest $(addprefix --ignore=,$(FEATURES)) $(PYTEST_ARGS))

.PHONY: test-features
test-features: .venv/ready ## Test lineage, promotion, serving, deploying, adopting
	@$(call WHOLE_LINES,.venv/bin/pytest $(FEATURES) $(PYTEST_ARGS))

.PHONY: test-all
test-all: .venv/ready ## Test everything, the whole matrices included
	@$(MAKE) --no-print-directory test MOVED=switching PYTEST_ARGS='-m "" $(PYTEST_ARGS)'

.PHONY: test-fast
test-fast: .venv/ready ## Test what is rendered and one worked project (up to 3 minutes)
	@echo "Testing: all variants are rendered, the default project is run."
	@$(MAKE) --no-print-directory --jobs=2 test-core test-features \
	  PYTEST_ARGS='-m "not run and not full" $(PYTEST_ARGS)'

.PHONY: bench
bench: .venv/ready ## Measure beside what users would pick instead (BENCH_ARGS="--rounds 3")
	@echo "Measuring: journeys and commands in alternating order; leave the machine alone."
	.venv/bin/python -m benchmarks $(BENCH_ARGS)
	BENCH=1 SOAK_SECONDS=60 ALIAS_MOVES=20 .venv/bin/pytest tests/test_benchmark.py \
	  tests/test_serving.py tests/test_questionnaire.py \
	  -k "fast or bulk or flat or alias or costs"
	.venv/bin/python -m benchmarks.lineage

.PHONY: compatibility
compatibility: .venv/ready ## Run lowest, newest, pre-released versions (COMPATIBILITY_ARGS=--help)
	@.venv/bin/python scripts/compatibility.py $(COMPATIBILITY_ARGS)

.PHONY: docs
docs: .venv/ready ## Build the documentation into site/; a broken link fails
	.venv/bin/python scripts/questionnaire.py
	.venv/bin/zensical build --strict --clean
	@echo "Built: open site/index.html, or run .venv/bin/zensical serve to search, too."

.PHONY: constraints
constraints: .venv/ready ## Pin what a release is tested with, as of DATE=2026-11-20
	@test -n "$(DATE)" || { echo "Name a day: make constraints DATE=2026-11-20" >&2; exit 1; }
	.venv/bin/python scripts/constraints.py $(DATE)

.PHONY: release
release: .venv/ready ## Archive, commit and tag a tested release (VERSION=0.2.0)
	@test -n "$(VERSION)" || { echo "Name it: make release VERSION=0.2.0" >&2; exit 1; }
	.venv/bin/python -m scripts.release $(VERSION)

# Environment ------------------------------------------------------------------------
.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  f"{sys.executable} is Python {sys.version.split()[0]}; 3.11 is the lowest that works.")'
	@echo "Setting up .venv: the environment of this repository's own tools."
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv/bin/uv sync --quiet --all-groups
	@touch $@
