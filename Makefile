# Everything is built in the checkout and in the user's cache folders; nothing needs root.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

ARGS ?=

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: control-plane ## Watch it work: a real API server, the controller, an app that opts in and out again
	cargo build --workspace --bins
	@target/debug/demo target/debug/ingress-sso

.PHONY: test
test: control-plane lint ## Run all checks and all tests
	cargo test --workspace --no-fail-fast

.PHONY: run
run: ## Run the controller against the current kubeconfig; ARGS="--outpost NAME=URL ..."
	cargo run --release -- run --listen 127.0.0.1:8080 $(ARGS)

.PHONY: lint
lint: ## Check formatting, lints and, where cargo-deny is installed, licences and sources
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --all-features check licenses bans sources; \
	else \
		echo "cargo-deny is not installed, so licences and sources are not checked: cargo install --locked cargo-deny"; \
	fi

.PHONY: control-plane
control-plane: ## Build etcd, kube-apiserver and kube-controller-manager once (about 10 minutes)
	@cargo build --package ingress-sso-testbed --bin control-plane-build
	@target/debug/control-plane-build >/dev/null

.PHONY: clean
clean: ## Remove what cargo built; the control plane stays in the cache
	cargo clean
