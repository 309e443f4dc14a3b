# Everything runs in .venv, which is made on first use and made anew when pyproject.toml or the
# constraints change. Needs nothing but make and a Python of 3.11 or newer:
#
#   make demo                          the main example
#   make test ARGS="-k cores"          ARGS goes to pytest, or to the example
#   make test PYTHON=python3.12        with this interpreter, where there is no .venv yet
#   make test-acme                     in .venv-acme, which needs Python 3.11

SHELL := /bin/sh
PYTHON ?=
ARGS ?=
VENV_PYTHON := .venv/bin/python
LOWEST_PYTHON := .venv-lowest/bin/python
ACME_PYTHON := .venv-acme/bin/python
PYTEST_FLAGS := -n 2 --dist loadfile
# $(call fast-compilation,PYTHON): for the fast tests, which spend their time compiling; what one process has
# compiled, the others of the same run load.
fast-compilation = cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	XLA_FLAGS="$$($(1) tests/fast_compilation.py) $$XLA_FLAGS" \
	JAX_COMPILATION_CACHE_DIR="$$cache" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.3 $(1)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-lowest test-acme test-acme-slow test-wheel lint format bench docs clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: .venv/installed ## train several memories on bsuite's memory length, in minutes
	$(VENV_PYTHON) examples/bsuite_memory_length.py $(ARGS)

test: .venv/installed ## the fast tests
	$(call fast-compilation,$(VENV_PYTHON)) -m pytest $(PYTEST_FLAGS) $(ARGS)

test-slow: .venv/installed ## the learning tests, each of more than a minute
	$(VENV_PYTHON) -m pytest $(PYTEST_FLAGS) -m slow $(ARGS)

test-lowest: .venv-lowest/installed ## the fast tests with the oldest supported packages
	$(call fast-compilation,$(LOWEST_PYTHON)) -m pytest $(PYTEST_FLAGS) $(ARGS)

test-acme: ## the fast tests inside dm-acme, with a real Reverb, where it can be installed
	@$(call for-acme,$(call fast-compilation,$(ACME_PYTHON)) -m pytest $(PYTEST_FLAGS) tests/acme $(ARGS))

test-acme-slow: ## the learning tests inside dm-acme
	@$(call for-acme,$(ACME_PYTHON) -m pytest $(PYTEST_FLAGS) -m slow tests/acme $(ARGS))

test-wheel: .venv/installed ## the wheel, installed by itself with the newest and the oldest packages
	@rm -rf build dist && mkdir dist
	$(VENV_PYTHON) -m build --wheel --outdir dist >dist/build.log || { cat dist/build.log; exit 1; }
	@$(call try-wheel,3.11,newest,)
	@$(call try-wheel,3.12,newest,)
	@$(call try-wheel,3.11,oldest,--constraint constraints/lowest.txt)

lint: .venv/installed ## formatting, style and types
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m mypy examples
	$(VENV_PYTHON) -m mypy benchmarks

format: .venv/installed ## put the code into the house form
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

bench: .venv/installed ## speed of cores and batched physics, into docs/benchmarks/: ten minutes
	@set -e; for name in cores acting scaling projected_dm_control devices; do \
		$(VENV_PYTHON) "benchmarks/$$name.py" --page "docs/benchmarks/$$name.md" $(ARGS); \
	done

docs: .venv/installed ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict

clean: ## remove what make made, but not results/
	rm -rf .venv .venv-lowest .venv-acme .venv-wheel build dist site *.egg-info
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache

# $(call find-python,CANDIDATES,TEST): sets `python` to the first candidate that runs and for which TEST, a
# Python expression, holds; to nothing where there is none. A candidate that exists may still fail to run.
define find-python
python=; \
for candidate in $(or $(PYTHON),$(1)); do \
	if "$$candidate" -c 'import sys; sys.exit(not ($(2)))' >/dev/null 2>&1; then \
		python="$$candidate"; break; \
	fi; \
done
endef

# $(call for-acme,COMMAND): runs a command in .venv-acme; says why not where that cannot be made.
define for-acme
set -e; \
if [ "$$(uname -sm)" != "Linux x86_64" ]; then \
	echo "$@ skipped: Reverb has wheels for Linux on x86-64 only, and this is $$(uname -sm)."; exit; \
fi; \
$(call find-python,$(PYTHONS_3_11),$(IS_3_11)); \
if [ -z "$$python" ]; then \
	echo "$@ skipped: Reverb needs Python 3.11, which was not found. Tried: $(or $(PYTHON),$(PYTHONS_3_11))."; \
	exit; \
fi; \
$(MAKE) --no-print-directory .venv-acme/installed; \
$(1)
endef

# $(call try-wheel,VERSION,NAME,CONSTRAINTS): installs the wheel alone in .venv-wheel and tries it there; says why
# not where there is no such Python.
define try-wheel
set -e; \
$(call find-python,python$(1) python3 python,sys.version_info[:2] == ($(subst .,$(comma),$(1)))); \
if [ -z "$$python" ]; then \
	echo "$@: Python $(1) with the $(2) packages skipped, python$(1) was not found."; exit; \
fi; \
echo "$@: Python $(1) with the $(2) packages."; \
trap 'rm -rf .venv-wheel' EXIT; \
"$$python" -m venv --clear .venv-wheel; \
.venv-wheel/bin/python -m pip install --quiet --no-input --disable-pip-version-check $(3) dist/*.whl; \
.venv-wheel/bin/python -m pip check; \
mkdir .venv-wheel/empty; \
(cd .venv-wheel/empty && ../bin/python ../../tests/try_wheel.py)
endef

# $(call make-venv,FOLDER,CANDIDATES,TEST,NAME): makes FOLDER with an interpreter of find-python.
define make-venv
$(call find-python,$(2),$(3)); \
if [ -z "$$python" ]; then \
	echo "s5rl needs $(4), and found none. Tried: $(or $(PYTHON),$(2))."; \
	echo "  Debian, Ubuntu:  sudo apt install python3 python3-venv    (or python3.11 python3.11-venv)"; \
	echo "  Fedora:          sudo dnf install python3.12"; \
	echo "  macOS:           brew install python"; \
	echo "  or name one:     make PYTHON=/path/to/python ..."; \
	exit 1; \
fi >&2; \
if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	echo "$$python comes without the module venv. Debian, Ubuntu: sudo apt install python3-venv"; \
	exit 1; \
fi >&2; \
echo "Making $(1) with $$("$$python" --version): a minute or more, about 1.5 GB."; \
"$$python" -m venv --clear $(1)
endef

# $(call install-acme,PYTHON): dm-acme without what it asks for, of which this Python has no wheels; what of it
# works without Reverb finds all it needs among s5rl's own packages.
define install-acme
$(1) -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
	--constraint constraints/acme.txt dm-acme
endef

.venv/installed: pyproject.toml constraints/python3.11.txt constraints/python3.12.txt constraints/acme.txt
	@set -e; $(call make-venv,.venv,python3 python python3.13 python3.12 python3.11,sys.version_info >= (3$(comma) 11),Python 3.11 or newer); \
	version=$$($(VENV_PYTHON) -c 'import sys; print("3.11" if sys.version_info < (3, 12) else "3.12")'); \
	$(VENV_PYTHON) -m pip install --quiet --no-input --disable-pip-version-check \
		--constraint "constraints/python$$version.txt" --editable '.[dev]'; \
	$(call install-acme,$(VENV_PYTHON)); \
	touch $@

.venv-lowest/installed: pyproject.toml constraints/lowest.txt constraints/acme.txt
	@set -e; $(call make-venv,.venv-lowest,$(PYTHONS_3_11),$(IS_3_11),Python 3.11); \
	$(LOWEST_PYTHON) -m pip install --quiet --no-input --disable-pip-version-check \
		--requirement constraints/lowest.txt --editable .; \
	$(call install-acme,$(LOWEST_PYTHON)); \
	touch $@

# Nothing is resolved here: what dm-acme and TensorFlow ask for in their metadata cannot be had together.
.venv-acme/installed: pyproject.toml constraints/acme.txt
	@set -e; $(call make-venv,.venv-acme,$(PYTHONS_3_11),$(IS_3_11),Python 3.11); \
	$(ACME_PYTHON) -m pip install --quiet --no-input --disable-pip-version-check --no-deps \
		--requirement constraints/acme.txt --editable .; \
	touch $@

comma := ,
PYTHONS_3_11 := python3.11 python3 python
IS_3_11 = sys.version_info[:2] == (3$(comma) 11)
