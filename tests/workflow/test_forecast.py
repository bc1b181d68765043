"""`fewframes plan` counts the jobs that the rules make of a config, and takes its times from runs that there are."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from study import CONFIG, EXPERIMENTS, REPOSITORY, Study, environment, local_rules

from fewframes.forecast.dataset import case_of
from fewframes.forecast.jobs import jobs_of

pytestmark = pytest.mark.slow

COUNTED_WITH = {"evaluate_once": "evaluate"}
"""Rules that are counted with another."""

ALSO_RUN = ["b3-fine", "b3-flow", "b3-filled-1", "b3-filled-2", "coarse-50-refined-all", "coarse-100-refined"]


def submitted(run):
    """The jobs of a dry run by rule, but for those that run beside Snakemake."""
    beside = local_rules()
    return Counter(COUNTED_WITH.get(rule, rule) for rule, _ in run.jobs if rule not in beside)


def plan(study, *options):
    command = [sys.executable, "-m", "fewframes", "plan", "study.yaml", *options]
    return subprocess.run(command, cwd=study.folder, env=environment(), capture_output=True, text=True)


def test_it_counts_the_jobs_of_the_rules(tmp_path, monkeypatch):
    study = Study(tmp_path)
    tmanet = CONFIG["training"]["tmanet"]
    study.configure(
        experiments=[*EXPERIMENTS, *ALSO_RUN],
        draws=[0, 1],
        seeds=[0, 1],
        quality={"methods": ["flow", "copy"], "reach": 2, "signals": 2, "refinements": ["none"]},
        filling={"network": "tmanet"},
        training={"tmanet": tmanet, "tdnet": {"network": {"width": 8}, "experiments": ["n1", "b3"]}},
    )
    dry = study.run(options=["--dry-run"])
    assert dry.code == 0, dry.output
    monkeypatch.chdir(study.folder)
    case, _ = case_of(Path("study.yaml"), REPOSITORY, None)
    assert Counter(job.rule for job in jobs_of(case) if job.submitted) == submitted(dry)


def test_the_times_of_a_finished_run_are_taken(finished_study):
    said = plan(finished_study)
    assert said.returncode == 0, said.stderr
    assert "as indexed in results/toy/index.csv" in said.stdout
    for step in ("propagate flow", "refine grabcut", "train tmanet"):
        assert re.search(rf"^{step} .* measured$", said.stdout, re.MULTILINE), said.stdout
    assert "trainings, on " in said.stdout and os.fspath(Path("results/toy")) in said.stdout


def test_a_fault_is_one_sentence(tmp_path):
    study = Study(tmp_path)
    study.configure(toycity=None)
    for options in ((), ("--assume", "many"), ("--assume", "10,2", "--measured", "gone")):
        said = plan(study, *options)
        (line,) = (line for line in said.stderr.splitlines() if line.startswith("fewframes: "))
        assert said.returncode == 2 and "Traceback" not in said.stderr, said.stderr
        assert {0: "--assume", 2: "many", 4: "gone"}[len(options)] in line
