# Two commands: `make demo` runs the whole chain on a generated city, `make test` checks the code.
# Both set up .venv first, from the hash-pinned envs/requirements.lock; nothing is installed elsewhere.
SHELL := /bin/bash
export PYTHONDONTWRITEBYTECODE :=
export UV_SYSTEM_CERTS := 1
# sam2's CUDA extension fills small holes in masks, which we leave alone, and needs a compiler.
export SAM2_BUILD_CUDA := 0
export PATH := $(CURDIR)/.venv/bin:$(PATH)
UV_VERSION := 0.13.9
CORES ?= 2
# The system's python3, also where .venv is active.
PYTHON := $(shell type -aP python3 | grep -v '^$(CURDIR)/.venv/' | head -n 1)

.PHONY: demo test quick lint lock bench clean

.venv/.ready: envs/requirements.lock pyproject.toml
	$(PYTHON) -m pip install --quiet --target .tools --upgrade uv==$(UV_VERSION)
	.tools/bin/uv venv --quiet --clear --python $(PYTHON) .venv
	.tools/bin/uv pip sync --quiet --require-hashes envs/requirements.lock
	.tools/bin/uv pip install --quiet --no-deps --editable .
	touch $@

# cityscapesScripts and what it can still work with, to check our labels against: never imported by the package.
.venv-crosscheck/.ready: envs/crosscheck.lock .venv/.ready
	.tools/bin/uv venv --quiet --clear --python $(PYTHON) .venv-crosscheck
	.tools/bin/uv pip sync --quiet --python .venv-crosscheck/bin/python --require-hashes envs/crosscheck.lock
	touch $@

# The whole chain on toy city: labels, trainings, tables, figures, then Snakemake's own report.
DEMO := results/toycity
demo: .venv/.ready
	snakemake --cores $(CORES) --quiet host rules reason
	@test -f $(DEMO)/report.html && test -z "$$(find $(DEMO)/tables $(DEMO)/figures $(DEMO)/quality -newer $(DEMO)/report.html)" \
		|| snakemake --quiet all --report $(DEMO)/report.html
	@echo; cat $(DEMO)/tables/table1.md; echo; cat $(DEMO)/tables/table3.md; echo
	@echo "Report: $(DEMO)/report.html   Tables: $(DEMO)/tables/   Pictures: $(DEMO)/figures/"

# The cross-check is named, so that it cannot be skipped for want of it.
test: lint .venv-crosscheck/.ready
	FEWFRAMES_CROSSCHECK_PYTHON=$(CURDIR)/.venv-crosscheck/bin/python python -m pytest -n $(CORES)

# The tests that take seconds.
quick: .venv/.ready
	python -m pytest -n $(CORES) -m "not slow"

lint: .venv/.ready
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile rules
	snakemake --lint

# Pins every dependency again from pyproject.toml.
lock: .venv/.ready
	.tools/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-header --quiet --upgrade -o envs/requirements.lock
	.tools/bin/uv pip compile envs/crosscheck.in --universal --python-version 3.11 --generate-hashes \
		--no-header --quiet --upgrade -o envs/crosscheck.lock

# Us and the alternative in one process each, the ratio last.
bench: .venv/.ready
	for file in benchmarks/*.py; do echo "== $$file"; python $$file || exit 1; done

clean:
	rm -rf .venv .venv-crosscheck .tools .snakemake data/toycity data/toycity-truth results/toycity
