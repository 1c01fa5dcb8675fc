# Two commands do everything: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
NATIVE := $(wildcard csrc/*.cpp csrc/*/*.cpp csrc/*/*.cu csrc/*/*.h)

export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint pytest clean

# torch goes first and alone: whatever depends on it then finds it there
$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel ninja "pybind11>=3"
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-build-isolation -c constraints.txt -e ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/jobs-bench run --task pocket_word2 --budget 6x --workers 2 --out runs/demo \
	  --strategy random --strategy hyperband --strategy bo --strategy jobs_paper --strategy jobs

test: lint pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(STAMP)
	$(BIN)/pytest -q

clean:
	rm -rf build dist *.egg-info jobs_bench/*.so $(STAMP)
