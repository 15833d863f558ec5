# What people run: `make demo`, `make test`, `make check`, `make build`, `make bench`, `make bench-floor`,
# `make bench-depmod`, `make soak`, `make sanitize`, `make test-generators`, `make test-contenders`,
# `make test-loaders`, `make clean`.
# Everything Python lives in .venv; what Debian must provide is checked, and installed where that is allowed,
# by scripts/setup_system.sh.

PYTHON ?= python3
PYTEST_ARGS ?= -n auto --dist worksteal

BIN := .venv/bin
RUN := $(BIN)/python
SOURCES := $(shell find cext -name '*.py[xd]' -o -path 'cext/*.pxi' -o -path 'cext/*.h') setup.py scripts/build_loader.py \
	tinykmod/__init__.py
HOOKS := $(shell grep -rlE '^\#!(/usr)?/bin/(sh|ash|bash)' initramfs)
BUILD_NEEDS = $(shell sed -n 's/^requires = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d ,)

.PHONY: demo test test-generators test-contenders test-loaders build check bench bench-floor bench-depmod soak sanitize clean system-%

demo: system-demo build
	$(RUN) scripts/demo.py

test: system-test build
	$(RUN) -m pytest $(PYTEST_ARGS)

# Images by initramfs-tools and dracut, with the hooks and without, booted: as root, for minutes.
test-generators: system-test-generators build
	$(RUN) -m pytest $(PYTEST_ARGS) -rPs -m generators tests/generators

# Every image that the benchmark compares, on every machine: for most of an hour.
test-contenders: system-test build
	$(RUN) -m pytest $(PYTEST_ARGS) -m contenders tests/bench

test-loaders: system-test build
	$(RUN) -m pytest $(PYTEST_ARGS) -m loaders tests/project

build: system-build build/native.stamp

check: system-check build
	$(BIN)/ruff check .
	$(BIN)/mypy
	# cython-lint starts pycodestyle by its name.
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint cext
	shellcheck -x .ci/run scripts/*.sh tinykmod/bench/contenders/*.sh
	# Not -x: what a hook sources is the generator's own.
	shellcheck -e SC1091 $(HOOKS)
	$(RUN) scripts/generate_format.py --check
	$(RUN) scripts/check_loader.py

# All contenders on all disks, for an hour or more; what was interrupted goes on.
bench: system-demo build
	$(RUN) scripts/bench_reference.py --update

bench-floor: system-demo build
	$(RUN) scripts/bench_floor.py

bench-depmod: system-test build
	$(RUN) scripts/bench_depmod.py --update

# Two hundred boots, for hours; what was interrupted goes on.
soak: system-demo build
	$(RUN) scripts/soak.py

# Damage never tried before, for minutes; then the tests of what is read, with the sanitized core.
sanitize: system-test build
	TINYKMOD_FUZZ=1 $(RUN) -m pytest $(PYTEST_ARGS) tests/sanitizer
	$(RUN) scripts/build_sanitized.py $(RUN) -m pytest -p sanitized tests/modules tests/index tests/kmod/test_depmod*.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f tinykmod/_core*.so cext/*.c tinykmod/loaders/tinykmod-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

system-%:
	@PYTHON="$(PYTHON)" scripts/setup_system.sh $*

# The build requirements, pyproject.toml's, go into the venv itself, so that a rebuild needs no network.
.venv/stamp: pyproject.toml | system-build
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade $(BUILD_NEEDS)
	TINYKMOD_SKIP_NATIVE=1 $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[test,check]'
	@touch $@

build/native.stamp: .venv/stamp $(SOURCES)
	TINYKMOD_REQUIRE_NATIVE=1 $(RUN) setup.py --quiet build_ext --inplace
	@mkdir -p build && touch $@
