# Everything runs in .venv, made on first use from the first Python that is new enough. Stamp files in it keep
# a second run from installing again; they age with pyproject.toml and constraints.txt.
#
#   make PYTHON=/path/to/python3.13 demo     to choose the interpreter
#   make NOTEBOOKS=notebooks/a.ipynb notebooks     to run one notebook

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq -c constraints.txt -e
SPECS := pyproject.toml constraints.txt
OUT := bayescascade-demo
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
PYTEST := $(BIN)/python -m pytest
# two files of tests at a time; each worker compiles for itself, so more of them need more memory
WORKERS := 2
PARALLEL := -n $(WORKERS) --dist loadfile --benchmark-disable
DECISIONS := tests/tuning tests/induction tests/model/test_costs.py
# behind shims that refuse a version other than .python-version's
PYENV_PYTHONS := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1[234].*/bin/python3)

.DEFAULT_GOAL := help
.PHONY: help demo test doctests test-slow test-long test-kernels lint format types notebooks readme docs bench release
.PHONY: release-light audit browser constraints clean distclean

help:
	@echo "make demo         the whole main job on the embedded example; results in $(OUT)"
	@echo "make test         tests and doctests, without the slow ones"
	@echo "make doctests     the doctests alone"
	@echo "make browser      a Chromium for the tests of the report, where there is none (needs a network)"
	@echo "make test-slow    the slow tests"
	@echo "make test-kernels tests of decisions, with matrix products by another kernel than this machine's own"
	@echo "make test-long    those of the slow tests that compile for minutes; CI leaves them out"
	@echo "make lint         ruff: rules and format (make format applies them); import contracts"
	@echo "make types        mypy on the package and the studies"
	@echo "make notebooks    execute the notebooks again, into build/notebooks"
	@echo "make readme       run what README and docs/howto show, and put in what it prints"
	@echo "make docs         the documentation, into build/docs; a warning is an error"
	@echo "make release      build sdist and wheel; try them in clean environments of each Python there is"
	@echo "make release-light    the plain wheel alone, as CI does in under a minute"
	@echo "make audit        ask for known weaknesses of the versions in constraints.txt (needs a network)"
	@echo "make bench        benchmarks"
	@echo "make constraints  resolve all dependencies anew and pin them in constraints.txt"
	@echo "make clean        remove what was built; make distclean removes .venv too"

# The version is asked of each candidate by running it: a pyenv shim can be on the path and yet not work.
# 3.15 and later are left out because PyMC 6 does not install there.
$(VENV)/.stamp-python:
	@ok='import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))'; \
	say='import sys; print("%d.%d.%d" % sys.version_info[:3])'; \
	if $(BIN)/python -c "$$ok" 2>/dev/null && $(PIP) --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	chosen=; found=; \
	for candidate in $(PYTHON) python3 python3.13 python3.12 python3.14 python $(PYENV_PYTHONS); do \
	  version=$$($$candidate -c "$$say" 2>/dev/null) || continue; \
	  if $$candidate -c "$$ok" 2>/dev/null; then chosen=$$candidate; break; fi; \
	  $$candidate -c 'import venv, ensurepip' 2>/dev/null || version="$$version without the venv module"; \
	  found="$$found$${found:+, }$$candidate is $$version"; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo "bayescascade needs Python 3.12, 3.13 or 3.14 with the venv module; found: $${found:-no Python at all}." >&2; \
	  echo "Install one, or name one: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$chosen ($$version)"; \
	$$chosen -m venv --clear $(VENV) && touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-python $(SPECS)
	@echo "Installing bayescascade into $(VENV) (a minute or two the first time)"
	@$(INSTALL) '.[fit]' && touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-python $(SPECS)
	@echo "Installing bayescascade and its development tools into $(VENV) (a minute or two the first time)"
	@$(INSTALL) '.[dev]' && touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-docs: $(VENV)/.stamp-dev
	@echo "Installing the documentation tools into $(VENV)"
	@$(INSTALL) '.[docs]' && touch $@

demo: $(VENV)/.stamp-run
	@$(BIN)/bayescascade demo --output "$(OUT)"

# Debian's own serves as well; the tests say so aloud where they find neither
browser: $(VENV)/.stamp-dev
	@$(BIN)/python -m playwright install --with-deps --only-shell chromium

test: doctests
	$(PYTEST) $(PARALLEL) -m "not slow and not benchmark"
	@echo "The slow tests (real sampling, big simulations) did not run: make test-slow runs them."

# by themselves, so that conftest.py can give them the fits that the tests keep
doctests: $(VENV)/.stamp-dev
	$(PYTEST) $(PARALLEL) bayescascade studies --doctest-modules -m "not slow"

# exit code 5 says that no test is marked slow, which is no failure
test-slow: $(VENV)/.stamp-dev
	$(PYTEST) $(PARALLEL) --durations=20 -m "slow and not long and not benchmark" || [ $$? -eq 5 ]
	$(PYTEST) $(PARALLEL) --doctest-modules -m "slow and not long" bayescascade

test-long: $(VENV)/.stamp-dev
	$(PYTEST) -m long

# matrix products differ in their last bits between machines, and no decision may hinge on these
test-kernels: $(VENV)/.stamp-dev
	@flags=$$(grep -m1 -w flags /proc/cpuinfo 2>/dev/null); \
	case " $$flags " in *" avx512f "*) core=Haswell ;; *" avx2 "*) core=Nehalem ;; *) core= ;; esac; \
	if [ -z "$$core" ]; then \
	  echo "Skipped: no second OpenBLAS kernel is known for this machine (Linux on x86_64 with AVX2 has one)."; \
	  exit 0; \
	fi; \
	echo "Decisions by OpenBLAS's kernel for $$core"; \
	OPENBLAS_CORETYPE=$$core $(PYTEST) $(PARALLEL) $(DECISIONS) -m "not slow and not benchmark"

bench: $(VENV)/.stamp-dev
	$(PYTEST) -m benchmark

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.stamp-dev
	$(BIN)/mypy

# run as copies, so that checking never changes the committed outputs
notebooks: $(VENV)/.stamp-dev
	@rm -rf build/notebooks && mkdir -p build/notebooks
	@cp -r $(NOTEBOOKS) $(addprefix notebooks/,responses evaluation lm_eval promptfoo traces live) build/notebooks/
	@printf '%s\n' $(notdir $(NOTEBOOKS)) | xargs -P $(WORKERS) -I{} sh -c 'echo "Executing {}"; \
	  $(BIN)/jupyter-execute --inplace --timeout=900 "build/notebooks/{}" && echo "Executed {}"'

readme: $(VENV)/.stamp-dev
	$(BIN)/python .ci/shown.py README.md docs/howto.md

docs: $(VENV)/.stamp-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "The documentation is in build/docs/index.html"

# on Linux and macOS; takes a few minutes for each version of Python, nearly all of it installing
release: $(VENV)/.stamp-dev
	@$(BIN)/python .ci/release.py

# the quick part of it, for CI
release-light: $(VENV)/.stamp-dev
	@$(BIN)/python .ci/release.py --light

# --strict: a package that the database does not have is a failure, and no clean bill
audit: $(VENV)/.stamp-python
	@rm -rf build/audit && mkdir -p build && $(BIN)/python -m venv build/audit
	@build/audit/bin/python -m pip --disable-pip-version-check install -qq pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# a fresh environment, so that nothing installed by hand slips in; constraints.txt is replaced only when all went well
constraints: $(VENV)/.stamp-python
	@rm -rf build/pins && mkdir -p build
	@$(BIN)/python -m venv build/pins
	@echo "Resolving all dependencies anew (some minutes)"
	@build/pins/bin/python -m pip --disable-pip-version-check install -qq -e '.[docs,dev]'
	@build/pins/bin/python -m pip --disable-pip-version-check freeze --exclude-editable | grep -v ' @ ' > build/constraints.txt
	@{ echo "# Versions known to work together: written by make constraints, read by every install in the Makefile."; \
	  cat build/constraints.txt; } > build/constraints.new && mv build/constraints.new constraints.txt
	@rm -rf build/pins build/constraints.txt
	@echo "Wrote constraints.txt; read the change before committing it"

clean:
	rm -rf build dist bayescascade-demo docs/notebooks .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find bayescascade studies tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
