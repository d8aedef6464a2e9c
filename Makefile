# rtprelay: everything from a fresh Debian 12 on.
#
#   make run      install what is missing, build, start the relay with conf/rtprelay.toml (ARGS= adds options)
#   make build    the same without starting: .venv with pinned dependencies, the eBPF objects
#   make test     all tests but the slow ones          make lint    ruff, mypy, import contracts, clang-format
#   make demo     a call with real audio, to look at   make bench   measure, beside Debian's rtpengine
#   make fuzz     FUZZ_INPUTS to parsers and a relay   make vm      the kernel tests on other kernels, in qemu
#   make clean    forget what was built                make format  ruff and clang-format, in place
#
# What is done once is remembered in build/stamps: a second `make` costs nothing. Packages are installed by apt only
# where they are missing, as root or with sudo; otherwise the command to type is printed.

SHELL := /bin/sh

RUN_PACKAGES  := python3 python3-venv libbpf1 iproute2
BUILD_PACKAGES := clang-16 llvm-16 libbpf-dev linux-libc-dev bpftool make
TEST_PACKAGES := kamailio kamailio-lwsc-modules kamailio-websocket-modules chromium curl sip-tester baresip ffmpeg rtpengine-daemon ethtool tcpdump procps util-linux clang-format-16 gcc libc6-dev
VM_PACKAGES   := qemu-system-x86 busybox-static kmod cpio xz-utils

STAMPS := build/stamps
VENV   := .venv/bin
PIP    := $(VENV)/pip install --quiet --disable-pip-version-check
# Debian's own is built with profile-guided optimisation: the same code takes 7 % less CPU than on most others.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
ARGS   ?=
CLANG_FORMAT ?= clang-format-16

FUZZ_INPUTS ?= 1000000
FUZZ_SEED   ?= 1

VM         ?= ../shared/vm/run
VM_KERNELS ?= 6.1 6.12
VM_TESTS   ?= tests/bpf tests/backend

.DEFAULT_GOAL := build
.PHONY: run build test lint format demo bench fuzz vm clean

run: build
	$(VENV)/rtprelay --foreground --log-stderr --config-file conf/rtprelay.toml $(ARGS)

build: $(STAMPS)/venv $(STAMPS)/build-packages
	@$(MAKE) --silent -C ebpf
	@$(VENV)/python -m compileall -q rtprelay

test: build $(STAMPS)/dev $(STAMPS)/test-packages
	$(VENV)/pytest $(ARGS)

lint: $(STAMPS)/dev $(STAMPS)/test-packages
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	find ebpf -name '*.[ch]' | xargs $(CLANG_FORMAT) --dry-run -Werror

format: $(STAMPS)/dev $(STAMPS)/test-packages
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .
	find ebpf -name '*.[ch]' | xargs $(CLANG_FORMAT) -i

demo: build $(STAMPS)/test-packages
	$(VENV)/python -m tools.demo $(ARGS)

bench: build $(STAMPS)/dev $(STAMPS)/test-packages
	$(VENV)/python -m bench $(ARGS)

fuzz: build $(STAMPS)/dev
	$(VENV)/pytest -q --hypothesis-profile=search -m 'slow or not slow' tests/property
	$(VENV)/python -m tests.fuzz $(FUZZ_INPUTS) $(FUZZ_SEED)

vm: build $(STAMPS)/dev $(STAMPS)/vm-packages
	RTPRELAY_VM=$(VM) $(VENV)/python -m tools.vm $(VM_KERNELS) --tests '$(VM_TESTS) $(ARGS)'

clean:
	$(MAKE) --no-print-directory -C ebpf clean
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find rtprelay tests tools bench -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/run-packages: Makefile tools/apt-ensure
	@mkdir -p $(STAMPS)
	tools/apt-ensure $(RUN_PACKAGES)
	@touch $@

$(STAMPS)/build-packages: $(STAMPS)/run-packages
	tools/apt-ensure $(BUILD_PACKAGES)
	@touch $@

$(STAMPS)/test-packages: $(STAMPS)/run-packages
	tools/apt-ensure $(TEST_PACKAGES)
	@touch $@

$(STAMPS)/vm-packages: $(STAMPS)/run-packages
	tools/apt-ensure $(VM_PACKAGES)
	@touch $@

$(STAMPS)/venv: pyproject.toml $(STAMPS)/run-packages
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11: name a newer one, make PYTHON=..." >&2; exit 1; }
	test -x $(VENV)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv
	$(PIP) --editable '.[dev]'
	@touch $@
