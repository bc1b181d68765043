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

.PHONY: demo paper-toy claims-toy test quick soak lint lock bench clean

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
	@test -f $(DEMO)/snakemake-report.html && test -z "$$(find $(DEMO)/tables $(DEMO)/figures $(DEMO)/quality -newer $(DEMO)/snakemake-report.html)" \
		|| snakemake --quiet all --report $(DEMO)/snakemake-report.html
	@echo; cat $(DEMO)/tables/table1.md; echo; cat $(DEMO)/tables/table3.md; echo
	@echo "Report: $(DEMO)/report.html   Tables: $(DEMO)/tables/   Pictures: $(DEMO)/figures/"

# Every table and figure of the paper, small, on toy city in both layouts.
paper-toy: .venv/.ready
	for layout in cityscapes idd; do \
		snakemake --cores $(CORES) --quiet host rules reason --configfile workflow/configs/paper-toy-$$layout.yaml || exit 1; \
	done
	@echo "Reports: results/toycity-paper/report.html results/toycity-idd-paper/report.html"

# Whether the statistics tell toy city's variety on from off: the last line says so, and the exit code.
CONTROLS := workflow/configs/claims-toy-varied.yaml workflow/configs/claims-toy-alike.yaml
claims-toy: .venv/.ready
	for config in $(CONTROLS); do \
		snakemake --cores $(CORES) --quiet host rules reason --configfile $$config -- tables || exit 1; \
	done
	python workflow/controls/check.py $(CONTROLS)

# The cross-check is named, so that it cannot be skipped for want of it. Tests that share a finished study go to one
# worker together (`xdist_group`), so that it is made once.
test: lint .venv-crosscheck/.ready
	FEWFRAMES_CROSSCHECK_PYTHON=$(CURDIR)/.venv-crosscheck/bin/python python -m pytest -n $(CORES) --dist loadgroup

# The tests that take seconds.
quick: .venv/.ready
	python -m pytest -n $(CORES) -m "not slow"

# The tests that take an hour: kills at random moments, and the demo on a Slurm cluster of this machine. Each prints
# its figures as it ends.
soak: .venv/.ready
	python tests/soak/soak.py

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
	rm -rf .venv .venv-crosscheck .tools .snakemake data/toycity data/toycity-* results/toycity results/toycity-*
