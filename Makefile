# Everything a contributor needs; `make help` lists it. Nothing but make and python3 (3.11 or later) is assumed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PYTHONSAFEPATH = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
GO ?= $(firstword $(shell command -v go) /usr/local/go/bin/go)
HELM_VERSION := v3.22.0
BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(if $(shell command -v $(tool)),$(tool))))
REGISTRY ?=
IMAGE_OPTIONS ?=

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED) ## Make the virtual environment .venv and install everything into it

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12 setup" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@echo "installing into .venv: this takes about a minute"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[local]' --group dev
	@touch $@

.PHONY: run
run: setup ## Run the example job on this machine: operator, head, workers, answer
	@$(BIN)/shoal local run examples/census/job.yaml

##@ Check

WORKERS ?= 2

.PHONY: test
test: setup ## Run all tests, and the scenarios on this machine (WORKERS=2 at a time)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder

.PHONY: lint
lint: setup ## Check style, names, banned calls, format, and who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

.PHONY: types
types: setup ## Check types
	$(BIN)/mypy

PROVIDER ?= bare

.PHONY: e2e
e2e: setup ## Run the scenarios on a real Kubernetes (PROVIDER=bare|kind, E2E="--keep --kubernetes oldest ...")
	@PYTHONPATH=. $(BIN)/python -m e2e.cluster run --provider=$(PROVIDER) $(E2E)

.PHONY: bench-operator
bench-operator: setup ## Measure the operator on a control plane with fake nodes (BENCH="--size small --only restart")
	@PYTHONPATH=. $(BIN)/python -m e2e.bench $(BENCH)

.PHONY: bench-autoscaler
bench-autoscaler: setup ## Measure the autoscaler's decisions, beside OR-tools and Ray (BENCH="--ray-path FOLDER --instances 100")
	@PYTHONPATH=. $(BIN)/python -m e2e.packing $(BENCH)

.PHONY: e2e-long
e2e-long: setup ## Run the long form of the scenarios of truth: 50 jobs per fault (PROVIDER=, E2E=)
	@PYTHONPATH=. $(BIN)/python -m e2e.cluster run --provider=$(PROVIDER) $(E2E) -- --long -k test_truth

.PHONY: e2e-clean
e2e-clean: setup ## Remove what runs of e2e left, kept clusters too
	@PYTHONPATH=. $(BIN)/python -m e2e.cluster clean

##@ Change

.PHONY: fmt
fmt: setup ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: protos
protos: setup ## Generate the gRPC code from runtime/shoal/protocol/*.proto
	$(BIN)/python -m grpc_tools.protoc -I runtime --python_out=runtime --pyi_out=runtime --grpc_python_out=runtime runtime/shoal/protocol/head.proto runtime/shoal/protocol/node.proto

.PHONY: crds
crds: setup ## Generate crds/*.yaml and the chart's definitions and roles from operator/shoal_operator
	$(BIN)/python -m shoal_operator.api.crdgen crds
	$(BIN)/python -m shoal_operator.chartgen charts/shoal

.PHONY: helm
helm: ## Build helm into .cache/bin for the chart's tests (needs Go; or set HELM to one that is there)
	@GOBIN=$(CURDIR)/.cache/bin $(GO) install -trimpath helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)

.PHONY: image
image: ## Build shoal/runtime and shoal/operator (BASE=, REGISTRY=, BUILDER=docker|podman|buildah)
	@builder="$(BUILDER)"; [ -n "$$builder" ] || { echo "error: docker, podman or buildah is needed" >&2; exit 1; }; \
	[ "$$builder" = buildah ] && build=bud || build=build; \
	for target in runtime operator; do \
		"$$builder" "$$build" --target "$$target" $(if $(BASE),--build-arg BASE=$(BASE)) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || true) \
			$(IMAGE_OPTIONS) --tag $(REGISTRY)shoal/$$target:$(VERSION) . || exit 1; \
	done

.PHONY: clean
clean: ## Remove what was built, .venv included
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	find operator runtime tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f examples/census/census-report*.json
