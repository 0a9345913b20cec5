# Set-up, checks and demonstrations. Needs GNU make, Python 3.11 or newer, and PyPI; nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check

# Carries Detectron2, which isn't on PyPI itself. packaging/detectron2_alias/ names the same version.
LABGYM := LabGym==3.1.2
ALIAS := packaging/detectron2_alias
# Judges our errors of detections in tests. It asks for opencv-python, whose files are those of opencv-python-headless:
# it is installed without dependencies, and requirements-dev.txt has the others.
TIDECV := tidecv==1.0.1

# Names of the model zoo, one of each family; `make demo DEMO_DETECTORS=...` shows others.
DEMO_DETECTORS := $(addprefix synthetic/,$(addsuffix _compact_FPN,faster_rcnn fcos rtdetr))

# A finished set-up leaves a stamp named after the content of what it depends on, and after this folder, where the
# editable install points. So a fresh checkout or a moved one never mistakes a set-up for its own, and an unchanged one
# is reused at once.
INPUTS := requirements.txt requirements-dev.txt setup.py $(ALIAS)/setup.py $(ALIAS)/detectron2/__init__.py
STAMP := $(VENV)/.installed-$(shell (pwd; echo $(LABGYM) $(TIDECV); cat $(INPUTS)) | cksum | cut -d' ' -f1)
# Lies in the environment while a set-up runs. Found at the start of one, the last was cut short: begin anew.
UNFINISHED := $(VENV)/.unfinished

.PHONY: help install lint test docs demo serve benchmark clean distclean FORCE

help:
	@echo "make install    create $(VENV) and install everything into it (again only where something changed)"
	@echo "make test       install, lint, run the tests (PYTEST_ARGS='-k name' to choose)"
	@echo "make lint       install, ruff and mypy"
	@echo "make docs       build the site in docs/_build/html; its notebooks are executed"
	@echo "make demo       explain the demonstration images by several detectors; see output/demo/index.html"
	@echo "make serve      the workbench: ask a detector about the demonstration images, in a browser"
	@echo "make benchmark  time the explainers (ARGS='...' go to tools/benchmarks/explaining.py)"
	@echo "make clean      remove caches and builds;  make distclean  the environment as well"

install: $(STAMP)

# An environment whose interpreter doesn't run any more is made anew in spite of its stamp.
$(STAMP): $(if $(shell $(PY) -c 'print(1)' 2>/dev/null),,FORCE)
	@if [ -e $(UNFINISHED) ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	        echo "PYTHON must name a Python of version 3.11 or newer; got '$(PYTHON)': call make PYTHON=..."; exit 1; }; \
	    rm -rf $(VENV) && mkdir $(VENV) && touch $(UNFINISHED) && "$(PYTHON)" -m venv $(VENV); \
	fi
	@touch $(UNFINISHED)
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@$(PIP) install -c requirements.txt setuptools wheel
	@$(PIP) install --no-build-isolation -r requirements.txt -r requirements-dev.txt
	@$(PIP) install --no-deps $(TIDECV)
	@# The official Detectron2 is left alone; under its own name the alias' module is called LabGym.detectron2.
	@if ! $(PY) -c 'import sys, detectron2; sys.exit(detectron2.__name__ != "detectron2")' 2>/dev/null; then \
	    $(PIP) install --no-deps --ignore-requires-python $(LABGYM) && \
	    $(PIP) install --no-deps --no-build-isolation --force-reinstall ./$(ALIAS) && \
	    rm -rf $(ALIAS)/build $(ALIAS)/*.egg-info; \
	fi
	@$(PIP) install --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-* && mv $(UNFINISHED) $(STAMP)
	@echo "Ready: $(PY) -m odam_d2.env says what is in use."

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .
	$(PY) -m mypy

# Tests of one file share what they have built, so they stay in one process. The last `-n` counts.
test: lint
	$(PY) -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

# Notebooks are executed again only where they or what they say changed; a warning is an error.
docs: install
	OMP_NUM_THREADS=1 $(PY) -m sphinx -j auto -n -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

demo: install
	@for name in $(DEMO_DETECTORS); do \
	    echo "== $$name"; \
	    $(PY) tools/explain.py --config-file $$name --input datasets/demo/images \
	        --annotations datasets/demo/annotations.json --output output/demo/$$(basename $$name) || exit 1; \
	done
	$(PY) tools/compare.py --runs $(addprefix output/demo/,$(notdir $(DEMO_DETECTORS))) \
	    --annotations datasets/demo/annotations.json --output output/demo/index.html
	@echo "Open output/demo/index.html: the detectors side by side, with links to the report of each"
	@echo "make serve asks them about any box, in a browser"

# The run is made once; its folder can be deleted to have it made anew.
SERVED := output/serve
serve: install
	@[ -d $(SERVED)/report ] || $(PY) tools/analyze.py --config-file $(firstword $(DEMO_DETECTORS)) \
	    --images datasets/demo/images --annotations datasets/demo/annotations.json --output $(SERVED)
	$(PY) tools/serve.py $(SERVED) --config-file $(wordlist 1,2,$(DEMO_DETECTORS)) $(ARGS)

benchmark: install
	$(PY) tools/benchmarks/explaining.py $(ARGS)

clean:
	rm -rf docs/_build docs/reference/generated build dist *.egg-info $(ALIAS)/build $(ALIAS)/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find odam_d2 tools tests packaging -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
