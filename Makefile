# Casemate. `make` lists the targets. All of them want root on Debian 12; `make setup` brings what they need.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Where cargo builds, also when it was told another place.
TARGET := $(or $(CARGO_TARGET_DIR),target)
CASEMATE := $(TARGET)/release/casemate
LAB := $(TARGET)/release/lab
# For sudo, which often leaves a rustup installation out of PATH.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.PHONY: help setup build demo test unit programs soak loom reproducible miri conformance lint deny attack benign kernel lab kernels bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what build, demo and test need (Debian 12, root)
	@scripts/setup.sh test

build: ## build casemate and the lab, optimised
	@scripts/setup.sh build
	$(CARGO) build --release --locked --workspace

demo: ## a container escapes and dies, a program runs in an enclave: under a minute after the build
	@scripts/setup.sh demo
	$(CARGO) build --release --locked --workspace
	@scripts/demo.sh

test: setup ## everything a change must pass: lints, unit tests, the same enclave twice, every attack, honest containers, one other kernel
	$(CARGO) build --release --locked --workspace
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory loom
	@$(MAKE) --no-print-directory reproducible
	@$(MAKE) --no-print-directory attack
	@$(MAKE) --no-print-directory benign RUNS=1
	@$(MAKE) --no-print-directory kernel

unit: ## unit and integration tests that need no lab
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace; \
	else \
	  $(CARGO) test --locked --workspace; \
	fi

# The release build that is there. OPTIONS=--write writes docs/programs.md.
OPTIONS ?=
programs: ## unmodified Debian programs and servers, native and inside
	@scripts/setup.sh programs
	$(CARGO) xtask bench shield --programs $(OPTIONS)

MINUTES ?= 60
soak: ## the four servers inside, an hour of mixed load
	@scripts/setup.sh programs
	$(CARGO) xtask bench shield --soak --minutes $(MINUTES)

# In a folder of its own: cfg(loom) would have everything built again.
loom: ## the rings between enclave and host, under every order that the memory model allows
	RUSTFLAGS='--cfg loom' $(CARGO) test --locked --release --package casemate-enclave-abi --test loom \
	  --target-dir $(TARGET)/loom

reproducible: ## the same MRENCLAVE from another clone in another folder
	@scripts/reproducible.sh $(CASEMATE)

miri: ## undefined behaviour in what Miri can run: the shared memory, and the enclave's library (nightly with the component miri)
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --package casemate-enclave-abi --lib
	MIRIFLAGS=-Zmiri-disable-isolation $(CARGO) +nightly miri test --package casemate-enclave --lib

conformance: ## the SGX conformance suite, on the processor too where there is one
	$(CARGO) xtask sgx-conformance

lint: ## rustfmt, clippy, and cargo-deny where it is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --package casemate-enclave --bin casemate-enclave --features casemate-enclave/image \
	  --profile enclave -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny check licenses bans sources; \
	else \
	  echo 'lint: cargo-deny is not installed; make deny installs and runs it'; \
	fi

deny: ## dependencies: licences, bans, sources, and known vulnerabilities (fetches the advisory database)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

# Both run the release build that is there: `make test` and `make lab` build it first.
RUNS ?= 1
attack:
	$(LAB) attack --casemate $(CASEMATE)

benign:
	$(LAB) benign --casemate $(CASEMATE) --runs $(RUNS)

# The kernel of Debian 12 in a virtual machine, refusing (lsm) and killing (tracepoint).
kernel:
	$(LAB) vm --casemate $(CASEMATE) --kernel 6.1 --mode tracepoint --mode lsm

kernels: setup ## kernel payloads and escapes on four kernels in every mode, in virtual machines (20 minutes)
	$(CARGO) build --release --locked --workspace
	$(LAB) vm --casemate $(CASEMATE)

lab: setup ## every attack, then the benign corpus three times in a row
	$(CARGO) build --release --locked --workspace
	@$(MAKE) --no-print-directory attack
	@$(MAKE) --no-print-directory benign RUNS=3

bench: ## every number that README quotes
	@scripts/setup.sh bench
	$(CARGO) build --release --locked --workspace
	$(CARGO) xtask bench guard
	$(CARGO) xtask bench shield

clean: ## remove what was built here
	$(CARGO) clean
