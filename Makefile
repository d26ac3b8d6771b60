# Everything that a person does here, by name. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The profile `make run` builds with. `dev` shares every artifact with `make test`, so the first start
# compiles the dependencies once; dependencies are optimised in it (see Cargo.toml), and it is they that
# hash, compress and encrypt. `make run PROFILE=release` is what an operator would ship.
PROFILE ?= dev
# Where `make run` keeps its mail, keys and passwords.
DATA ?= data
# Seeds of `make simulate`.
SEEDS ?= 1000
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start the service with two demo accounts, in ./data (DATA=dir, PROFILE=release)
	cargo run --quiet --profile $(PROFILE) --bin ekitei -- demo --data $(DATA)

.PHONY: test
test: ## Run every test this machine can run; ends with what was skipped and why
	scripts/test

.PHONY: clients
clients: ## Install the mail programs that the end-to-end tests use (Debian, as root)
	scripts/install-clients

.PHONY: bench
bench: ## Compare with Postfix, Dovecot and OpenDKIM on this machine; rewrites docs/benchmarks*.md
	scripts/bench

.PHONY: bench-cluster
bench-cluster: ## Measure 1, 2 and 3 processes over one FoundationDB and S3 (for docs/capacity.md)
	cargo build --release --locked --features foundationdb --bin ekitei
	EKITEI=$(CURDIR)/$${CARGO_TARGET_DIR:-target}/release/ekitei tests/bench/scale.py

.PHONY: test-cluster
test-cluster: ## Run the end-to-end tests on FoundationDB and S3, where fdbserver is installed
	scripts/test-cluster

.PHONY: chaos
chaos: ## Break everything under load, then compare what was promised with what is there (SECONDS_OF_CHAOS=180, CHAOS=--restore)
	tests/chaos/chaos.py --seconds $${SECONDS_OF_CHAOS:-180} $(CHAOS)

.PHONY: simulate
simulate: ## Run SEEDS seeds of the simulation, and those of the queue (EKITEI_SIMULATION_SEED=n runs one and prints all that happens)
	cargo run --quiet -p ekitei-simulation -- $(SEEDS)
	EKITEI_LONG=1 cargo test -p ekitei-queue --test simulation -- --nocapture

.PHONY: test-upgrade
test-upgrade: ## Upgrade from the release before under load; with FoundationDB, run both at once
	scripts/test-upgrade

.PHONY: kubernetes-tools
kubernetes-tools: ## Build the API server, etcd, helm and Pebble of the Kubernetes tests from their Go modules, once
	scripts/kubernetes-tools

.PHONY: test-kubernetes
test-kubernetes: ## Run the tests of the operator and the chart, with a real API server; EKITEI_IMAGE=1 builds the image too
	scripts/test-kubernetes

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_SECONDS each
	scripts/fuzz $(FUZZ_SECONDS)

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: clippy
clippy: ## Lint the code as CI does
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: deny
deny: ## Check licences, bans, sources and, where it can be fetched, the advisory database
	scripts/cargo-deny

.PHONY: docs
docs: ## Regenerate docs/configuration.md, docs/metrics.md and the dashboards
	cargo run --quiet --bin ekitei -- config docs > docs/configuration.md
	EKITEI_WRITE_DOCS=1 cargo test --quiet -p ekitei --lib the_page_of_metrics
	EKITEI_WRITE_DOCS=1 cargo test --quiet -p ekitei-operator --test metrics
	deploy/grafana/generate.py

.PHONY: ci
ci: ## What CI runs
	.ci/run
