# Penstock: `make run` shows the whole service on real data, `make test` runs all tests.

.PHONY: help run build test lint bench chaos clean packages check-swift
.DEFAULT_GOAL := help

# An exported core type halves OpenBLAS's speed on newer processors.
unexport OPENBLAS_CORETYPE

ARGS ?=
SOURCES := Package.swift Sources Tests

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
	    printf '  make %-12s %s\n' "$$name" "$$text"; done

run: check-swift ## Install what is missing, build, and run the demo (ARGS=--keep goes on serving)
	@scripts/install-packages run
	@swift build --configuration release
	@"$$(swift build --configuration release --show-bin-path)/penstock" demo $(ARGS)

build: check-swift ## Build all programs in release configuration
	@scripts/install-packages build
	@swift build --configuration release

test: check-swift ## Install what is missing and run all tests
	@scripts/install-packages test
	@swift test --no-parallel $(ARGS)

lint: check-swift ## Check the format of all sources
	@swift format lint --strict --recursive $(SOURCES)

bench: check-swift ## Measure throughput, CPU and latency of the whole path (ARGS="--events 200000")
	@scripts/install-packages run
	@swift build --configuration release
	@"$$(swift build --configuration release --show-bin-path)/penstock" bench $(ARGS)

chaos: check-swift ## Kill consumers and the broker under load, then judge (ARGS="--kills 1000 --seed 7")
	@scripts/install-packages run
	@swift build --configuration release
	@"$$(swift build --configuration release --show-bin-path)/penstock" chaos $(ARGS)

clean: ## Remove build products and the data of local deployments
	@swift package clean
	@rm -rf .penstock

packages: ## Install the Debian packages that are missing
	@scripts/install-packages test

check-swift:
	@scripts/check-swift
