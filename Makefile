# Everything is built in the checkout and in the user's cache folders; nothing needs root.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ingress-sso/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny

CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ_ROOT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ingress-sso/cargo-fuzz-$(CARGO_FUZZ_VERSION)
CARGO_FUZZ := $(CARGO_FUZZ_ROOT)/bin/cargo-fuzz

# Not optimized: these run for seconds, and to optimize them would take minutes.
QUICK_INSTALL := CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug

MODELS := cargo test --profile bench --lib --test model --

HELM_TEMPLATE := target/debug/helm template ingress-sso deploy/chart --namespace ingress-sso

# Most tests wait for servers and hardly need a processor.
RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

# What failed in any of the suites, once more at the end of a long log, without backtraces.
FAILURES := awk '/^failures:$$/ { on = 1 } on && !/^ +([0-9]+:|at) / { print } /^test result/ { on = 0 }'

ARGS ?=
CASES ?= 10000
DATA_PLANE ?=
DEPTH ?= 1
FIRST ?= 1
QUICK ?=
SEEDS ?= 100
TARGET ?= world
WORLD ?=

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Watch it work: an app behind a real ingress controller, protected and opened again; DATA_PLANE=nginx or traefik
	cargo build --workspace --bins
	@target/debug/demo target/debug/ingress-sso $(DATA_PLANE)

.PHONY: test
test: testbed lint ## Run all checks and all tests; properties with the same random worlds each time
	@mkdir -p target
	RUST_TEST_THREADS=$(RUST_TEST_THREADS) PROPTEST_RNG_SEED=1 cargo test --workspace --no-fail-fast 2>&1 \
		| tee target/test.log || { $(FAILURES) target/test.log; exit 1; }

.PHONY: properties
properties: ## Look for a world that breaks a property; CASES=10000 new ones
	PROPTEST_CASES=$(CASES) cargo test --test properties

.PHONY: chaos
chaos: SECONDS ?= 15
chaos: ## Run the chaos test: SEEDS=100 from FIRST=1, SECONDS=15 of faults each
	CHAOS_SEEDS=$(SEEDS) CHAOS_FIRST=$(FIRST) CHAOS_SECONDS=$(SECONDS) cargo test --test chaos

.PHONY: hostile
hostile: ## Look for input that makes the controller send what it must not; CASES=10000 new ones of each kind
	PROPTEST_CASES=$(CASES) cargo test --profile bench --test hostile -- --nocapture

# Without a sanitizer, which would need a nightly toolchain: the program has no unsafe code of its own.
.PHONY: fuzz
fuzz: SECONDS ?= 60
fuzz: $(CARGO_FUZZ) ## The same, guided by coverage; TARGET=world, render or answers, SECONDS=60
	@mkdir -p fuzz/target/corpus/$(TARGET)
	cd fuzz && PATH="$(CARGO_FUZZ_ROOT)/bin:$$PATH" cargo fuzz run --sanitizer none $(TARGET) \
		target/corpus/$(TARGET) corpus/$(TARGET) -- -max_total_time=$(SECONDS) -max_len=65536

.PHONY: model
model: ## Try all that can happen in small worlds: with DEPTH=1 more than the tests do; WORLD=people for some of them
	@known=$$($(MODELS) --list | sed -n 's/: test$$//p' | grep -E '^(lease::model::)?[a-z_]+$$'); \
	worlds=$$(grep -F -- '$(WORLD)' <<<"$$known") || { \
		printf 'no world has WORLD=%s in its name; there are\n%s\n' '$(WORLD)' "$$known" >&2; exit 1; }; \
	DEPTH=$(DEPTH) $(MODELS) --nocapture --test-threads=1 --exact $$worlds

.PHONY: bench
bench: ## Measure speed and memory beside a bare loop of the same writes: QUICK=1 in some minutes, else a long matrix; ARGS="--help"
	cargo build --release --workspace --bin ingress-sso --bin bench
	@target/release/bench target/release/ingress-sso $(if $(QUICK),--quick) $(ARGS)

.PHONY: microbench
microbench: ## Measure single steps, and the memory of single Ingresses, without a cluster; ARGS=plan for some of them
	cargo bench --bench memory --bench speed --no-run
	@cargo bench --quiet --bench memory
	@cargo bench --quiet --bench speed -- $(ARGS)

.PHONY: docs
docs: ## Write the tables of flags in docs/configuration.md anew from the command line
	UPDATE_DOCS=1 cargo test --quiet --test docs tables_of_flags

.PHONY: image-check
image-check: ## Carry out the build stage of the Dockerfile without a container engine (about 8 minutes)
	cargo test --test image -- --ignored --nocapture

.PHONY: run
run: ## Run the controller against the current kubeconfig; ARGS="--outpost NAME=URL ..."
	cargo run --release -- run --listen 127.0.0.1:8080 $(ARGS)

.PHONY: lint
lint: $(CARGO_DENY) ## Check formatting, lints, licences and sources
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(CARGO_DENY) --all-features check --hide-inclusion-graph licenses bans sources
	$(CARGO_DENY) --manifest-path fuzz/Cargo.toml --config deny.toml check --hide-inclusion-graph licenses bans sources

.PHONY: advisories
advisories: $(CARGO_DENY) ## Check dependencies against the RustSec database, which is on GitHub
	$(CARGO_DENY) --all-features check advisories

$(CARGO_DENY):
	@echo "Installing cargo-deny $(CARGO_DENY_VERSION) into the cache, once (about a minute)"
	$(QUICK_INSTALL) cargo-deny --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_ROOT) \
		--target-dir $(CARGO_DENY_ROOT)/target
	@rm -rf $(CARGO_DENY_ROOT)/target

$(CARGO_FUZZ):
	@echo "Installing cargo-fuzz $(CARGO_FUZZ_VERSION) into the cache, once (about a minute)"
	$(QUICK_INSTALL) cargo-fuzz --version $(CARGO_FUZZ_VERSION) --root $(CARGO_FUZZ_ROOT) \
		--target-dir $(CARGO_FUZZ_ROOT)/target
	@rm -rf $(CARGO_FUZZ_ROOT)/target

.PHONY: testbed
testbed: ## Build and install once what tests run: Kubernetes, ingress-nginx, Traefik, Helm (about 14 minutes)
	@cargo build --package ingress-sso-testbed --bin testbed-build
	@target/debug/testbed-build >/dev/null

.PHONY: manifests
manifests: ## Generate the chart's admission policies from the program, and what else is in deploy/ from the chart
	@cargo build --quiet --bin ingress-sso
	target/debug/ingress-sso admission --policy=closing,status,opening --annotation-prefix=prefix.invalid \
		--class=url.invalid=nginx,middleware.invalid=traefik --controller=namespace/account \
		>deploy/chart/files/admission.yaml
	@cargo build --quiet --package ingress-sso-testbed --bin helm
	{ cat deploy/namespace.yaml; $(HELM_TEMPLATE); } >deploy/install.yaml
	$(HELM_TEMPLATE) --set prometheusRule.enabled=true --show-only templates/prometheusrule.yaml >deploy/prometheus-rules.yaml
	cp deploy/chart/files/grafana-dashboard.json deploy/

.PHONY: clean
clean: ## Remove what cargo built; the testbed stays in the cache
	cargo clean
