"""The studies of `make paper-toy` and `make claims-toy`: what they train, and when the check of the controls passes."""

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from scored import write_confusion
from snakemake.utils import validate
from study import REPOSITORY, Study, environment

from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import load_catalogue
from fewframes.experiments.study import Study as Parsed
from fewframes.reporting.claims import read_claims
from fewframes.reporting.definitions import read_definition

CONFIGS = REPOSITORY / "workflow/configs"
CONTROLS = REPOSITORY / "workflow/controls"
CATALOGUE = REPOSITORY / "workflow/experiments/catalogue.yaml"
PAPER, CLAIMS = ("paper-toy-cityscapes", "paper-toy-idd"), ("claims-toy-varied", "claims-toy-alike")
TRAININGS = {PAPER[0]: 28, PAPER[1]: 3, CLAIMS[0]: 15, CLAIMS[1]: 15}
STREET = load_class_table(CONTROLS / "street.yaml")


def config_of(name, **changes):
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()) | changes


def parsed(name, tmp_path):
    config = config_of(name, results=str(tmp_path))
    config["dataset"]["classes"] = str(REPOSITORY / config["dataset"]["classes"]) if name in CLAIMS else "cityscapes"
    validate(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    return Parsed(config, CATALOGUE)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_study_has_so_many_trainings(name, tmp_path):
    assert len(parsed(name, tmp_path).runs) == TRAININGS[name]


def test_every_table_of_the_paper_has_two_rows_at_least(tmp_path):
    studies = [parsed(name, tmp_path / name) for name in PAPER]
    assert sorted(table for study in studies for table in study.tables) == [f"table{i}" for i in range(1, 8)]
    for study in studies:
        run = {tuple(run.split("/")[:2]) for run in study.runs}
        for table in study.tables:
            rows = read_definition(REPOSITORY / f"workflow/experiments/{table}.yaml").rows
            arms = [{arm for key in ("experiment", "unrefined", "refined") if (arm := row.get(key))} for row in rows]
            full = [row for row, of in zip(rows, arms, strict=True) if all((row["network"], arm) in run for arm in of)]
            assert len(full) >= 2, table


@pytest.mark.slow
@pytest.mark.parametrize("name", [PAPER[0], CLAIMS[0]])
def test_a_dry_run_plans_them(name, tmp_path):
    study = Study(tmp_path)
    config = config_of(name)
    if name in CLAIMS:
        config["dataset"]["classes"] = str(REPOSITORY / config["dataset"]["classes"])
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    run = study.run(options=["--dry-run"])
    assert run.code == 0, run.output
    assert len(run.of("train")) == TRAININGS[name]
    # A job scores all draws and seeds of an experiment.
    arms = {tuple(one.split("/")[:2]) for one in parsed(name, tmp_path).runs}
    evaluated = [f"network={network}, experiment={experiment}" for network, experiment in sorted(arms)]
    assert sorted(run.of("evaluate") + run.of("evaluate_once")) == sorted(evaluated)


def test_the_cities_of_the_controls_differ_in_their_variety_alone():
    varied, alike = (config_of(name) for name in CLAIMS)
    assert (varied["toycity"].pop("variety"), alike["toycity"].pop("variety")) == (1, 0)
    assert {varied["dataset"].pop("name"), alike["dataset"].pop("name")} == {"toycity-varied", "toycity-alike"}
    assert varied["dataset"].pop("root") != alike["dataset"].pop("root")
    assert varied == alike


def test_the_cities_are_held_against_one_bound_on_the_same_comparisons():
    claims = {claim.id: claim for claim in read_claims(CONTROLS / "claims.yaml", load_catalogue(CATALOGUE))}
    alike, varied, coarse = (claims[id_] for id_ in ("clips-of-one-street", "clips-of-many-streets", "coarse-labels"))
    assert (varied.dataset, alike.dataset, coarse.dataset) == ("toycity-varied", "toycity-alike", "toycity-alike")
    assert {(c.arm, c.against, c.below) for c in varied.checks} == {(c.arm, c.against, c.above) for c in alike.checks}
    arms = {arm for claim in claims.values() for check in claim.checks for arm in (check.arm, check.against)}
    assert arms == set(config_of(CLAIMS[0])["experiments"])


def write_runs(results, shares):
    """Runs whose IoU is about the share (in percent) of every class, by experiment and seed."""
    names, images = STREET.names, [f"{city}_{i:06d}_000019" for city in "pqr" for i in range(6)]
    rng = np.random.default_rng(0)
    results.mkdir(parents=True)
    (results / "index.csv").write_text("\n".join(["clip,group", *(f"{image},{image[:8]}" for image in images)]))
    for experiment, of_seeds in shares.items():
        for seed, share in enumerate(of_seeds):
            confusion = np.zeros((len(images), len(names), len(names)), np.int64)
            for i in range(len(names)):
                hits = 10 * share + rng.integers(-20, 20, len(images))
                confusion[:, i, i], confusion[:, i, (i + 1) % len(names)] = hits, 1000 - hits
            hits, all_of = np.trace(confusion.sum(axis=0)), confusion.sum()
            mean = 100 * hits / (2 * all_of - hits)
            folder = results / "runs/tmanet" / experiment / f"draw0-seed{seed}"
            folder.mkdir(parents=True)
            (folder / "metrics.csv").write_text(f"class,iou,accuracy\nmean,{mean:.4f},{share}\n")
            write_confusion(folder, images, confusion)


def checked(tmp_path, varied, alike):
    """Check a finished study of each city whose arms score so; the exit code and what was printed."""
    for name, shares in zip(CLAIMS, (varied, alike), strict=True):
        config = config_of(name, results=str(tmp_path))
        write_runs(tmp_path / config["dataset"]["name"], shares)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, CONTROLS / "check.py", *(tmp_path / f"{name}.yaml" for name in CLAIMS)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


FEW = {"b5-fine": [40, 41, 42]}
MANY = {"n1": [70, 71, 70], "b5": [69, 70, 70], "v5": [70, 70, 71], "coarse-100": [60, 61, 60]}
ALIKE = {"b5-fine": [70, 70, 71]}


def test_the_check_passes_where_variety_shows_and_its_absence_too(tmp_path):
    code, printed = checked(tmp_path, MANY | FEW, MANY | ALIKE)
    assert code == 0 and "The statistics tell variety on from off." in printed, printed
    assert len(re.findall(r": held$", printed, re.MULTILINE)) == 4


@pytest.mark.parametrize(
    ("varied", "alike"),
    [
        (MANY | FEW, MANY | FEW),
        (MANY | ALIKE, MANY | ALIKE),
        # Two runs of an arm establish nothing; nor do runs that scatter so.
        (MANY | FEW | {"b5-fine": [41, 40]}, MANY | ALIKE),
        (MANY | FEW, MANY | ALIKE | {"b5": [50, 70, 90]}),
        # Statistics that see no coarse label in the alike city see nothing there.
        (MANY | FEW, MANY | ALIKE | {"coarse-100": [70, 71, 70]}),
    ],
)
def test_the_check_fails_where_one_control_does(tmp_path, varied, alike):
    code, printed = checked(tmp_path, varied, alike)
    assert code == 1 and "do NOT tell" in printed, printed


def test_runs_that_are_absent_are_not_established(tmp_path):
    code, printed = checked(tmp_path, MANY | FEW, {"n1": [70, 71, 70]})
    assert code == 1 and "not run: not established" in printed, printed
