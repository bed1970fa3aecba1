# Five commands for the whole life of the project; each sets up what it needs and does nothing twice.
#
#   make demo    build the site that searches and answers from the Python documentation, and serve it
#   make test    all checks and tests (what CI runs)
#   make bench   the benchmarks, in headless browsers, with the peers
#   make check   linters, types, import rules
#   make setup   everything the others need: system packages, Python environment, npm, Wasm
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PORT ?= 8000
JOBS ?= $(shell nproc)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := build/stamps
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Debian's chromium as root needs no sandbox; the drivers add the flag themselves.
export PYTHONDONTWRITEBYTECODE := 1

APT_BUILD := emscripten binaryen g++ make python3-dev python3-venv
APT_TEST := chromium firefox-esr webkit2gtk-driver xvfb xauth clang lld libclang-rt-14-dev llvm libsimde-dev fonts-noto-core mesa-vulkan-drivers
APT_BENCH := wordnet-base

.PHONY: setup demo test bench check build wheel native-test unit-test e2e clean help lock
help:
	@sed -n '3,7s/^# *//p' Makefile

# --- setup -----------------------------------------------------------------------------------
setup: build $(STAMPS)/apt-test

# A stamp is remade when the list of packages (this file) changes.
$(STAMPS)/apt-build: Makefile scripts/apt-packages.sh
	@mkdir -p $(STAMPS)
	scripts/apt-packages.sh $(APT_BUILD)
	touch $@
$(STAMPS)/apt-test: Makefile scripts/apt-packages.sh
	@mkdir -p $(STAMPS)
	scripts/apt-packages.sh $(APT_TEST)
	touch $@
$(STAMPS)/apt-bench: Makefile scripts/apt-packages.sh
	@mkdir -p $(STAMPS)
	scripts/apt-packages.sh $(APT_BENCH)
	touch $@

$(STAMPS)/venv: requirements-dev.txt pyproject.toml scripts/node.sh | $(STAMPS)/apt-build
	@echo "setup: Python environment ($(VENV))"
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	scripts/node.sh
	touch $@

$(STAMPS)/npm: web/package.json web/package-lock.json | $(STAMPS)/venv
	@echo "setup: npm packages (web/node_modules)"
	cd web && npm ci --no-audit --no-fund --loglevel=error
	touch $(CURDIR)/$@

# --- build -----------------------------------------------------------------------------------
WEB_OUT := pywasm/_web
ENGINE := $(WEB_OUT)/engine.wasm $(WEB_OUT)/builder.wasm
ENGINE_SOURCES := $(wildcard kernels_wasm/src/*) kernels_wasm/Makefile
WEB_SOURCES := $(shell find web/src web/demo -type f 2>/dev/null) $(wildcard web/*.json web/*.ts web/*.mjs web/scripts/*.mjs)

build: $(ENGINE) $(STAMPS)/web

$(ENGINE) &: $(ENGINE_SOURCES) | $(STAMPS)/apt-build
	@$(MAKE) -s -C kernels_wasm -j$(JOBS) wasm

$(STAMPS)/web: $(WEB_SOURCES) $(ENGINE) | $(STAMPS)/npm
	@cd web && npm run --silent build
	touch $(CURDIR)/$@

wheel: build
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	ls dist

# --- the five --------------------------------------------------------------------------------
demo: build
	@$(BIN)/pywasm build --python-docs -o site --generator smollm2 --kv-mb 8
	$(BIN)/pywasm serve site --port $(PORT) --open

check: build $(STAMPS)/apt-test
	@echo "check: ruff, mypy, imports, generated files, TypeScript"
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache | tail -n 3
	$(BIN)/python scripts/check_jit_imports.py
	$(BIN)/python -m pywasm.tools.check_generated
	cd web && npm run --silent check

native-test: $(STAMPS)/apt-test $(STAMPS)/apt-build
	@$(MAKE) -s -C kernels_wasm -j$(JOBS) test fuzz-build
	$(MAKE) -s -C kernels_wasm fuzz-quick

unit-test: build $(STAMPS)/apt-test
	@cd web && npm test --silent
	cd $(CURDIR) && $(BIN)/python -m pytest -q tests

e2e: build $(STAMPS)/apt-test
	@$(BIN)/python -m pytest -q e2e

test: check native-test unit-test e2e

bench: build $(STAMPS)/apt-test $(STAMPS)/apt-bench
	@$(BIN)/pywasm bench search --peers --out bench-out
	@$(BIN)/pywasm bench inference --peers --out bench-out/inference
	@$(BIN)/pywasm bench answers --peers --out bench-out/answers

# Pins what pyproject.toml asks for; no index lines, since addresses are the machine's business.
lock:
	@$(BIN)/pip-compile -q --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-emit-options --strip-extras --all-extras -o requirements-dev.txt pyproject.toml
	sed -i '/^#/d' requirements-dev.txt

clean:
	rm -rf build dist site bench-out $(WEB_OUT) kernels_wasm/build .mypy_cache .ruff_cache .pytest_cache
