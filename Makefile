# make demo    trains one network on simulated data and shows where everything lies
# make test    runs the tests        make check  style and types
# make smoke   one batch of every model            make bench  timings beside the comparisons
# make figures draws the figures of the runs in outputs/ again
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo setup check test smoke bench figures clean

demo: setup
	$(RUN) train.py experiment=demo

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"mmrep needs Python 3.11, 3.12 or 3.13 and $(PYTHON) is {v}: name one that is installed, such as make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[test,sweep]'
	touch .venv/ready

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

test: setup  # the many commands that tests start find their modules compiled
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile

smoke: setup
	for model in $(notdir $(basename $(wildcard conf/model/*.yaml))); do \
		$(RUN) train.py model=$$model trainer=smoke logger=none || exit 1; done

bench: setup
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	for workload in $(filter-out __init__ side_by_side,$(notdir $(basename $(wildcard benchmarks/*.py)))); do \
		$(RUN) -m benchmarks.$$workload || exit 1; done

figures: setup
	$(RUN) analyze.py analysis=confusion
	$(RUN) analyze.py analysis=scores

clean:
	rm -rf .venv outputs *.egg-info .mypy_cache .ruff_cache .pytest_cache
