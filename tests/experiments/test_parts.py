"""Parts of a study: what a table or figure shows of it, which is all that its print depends on."""

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scored import write_confusion
from snakemake.utils import validate

from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.parts import CURVES, SHEETS, TABLES, Parts
from fewframes.experiments.schemes import load_catalogue
from fewframes.experiments.study import Study
from fewframes.reporting.statistics import Grid
from fewframes.reporting.tables import write_table

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = REPOSITORY / "workflow/experiments"
CATALOGUE = EXPERIMENTS / "catalogue.yaml"
CITYSCAPES = load_class_table("cityscapes")

ARMS = ["n1", "p2", "b3", "b3-fine", "v3", "coarse-50", "coarse-50-refined", "coarse-50-fine", "extra-all", "n1-still"]


def parts(tmp_path, experiments=ARMS, networks=("tmanet", "tdnet"), definitions=EXPERIMENTS, **changes):
    config = {
        "dataset": {"name": "d", "root": str(tmp_path)},
        "results": str(tmp_path.parent / f"{tmp_path.name}-results"),
        "experiments": list(experiments),
        "training": {network: {} for network in networks},
        **changes,
    }
    validate(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    return Parts(Study(config, CATALOGUE), definitions)


def ids(part, name):
    return [e.id for e in part.experiments(name)]


def test_a_table_shows_its_rows_their_controls_and_what_else_is_of_its_kind(tmp_path):
    part = parts(tmp_path)
    assert ids(part, "table1") == ["n1", "p2", "b3", "b3-fine", "v3", "coarse-50-fine", "n1-still"]
    assert ids(part, "table3") == ["n1", "coarse-50", "coarse-50-refined", "coarse-50-fine", "extra-all"]
    assert ids(part, "table5") == ["n1", "coarse-50", "coarse-50-refined"]
    # TDNet's rows are N1, B3 and B5; P2 is a row of TMANet's alone.
    assert {id_ for network, id_ in part.shown("table1") if network == "tdnet"} == {
        *("n1", "b3", "b3-fine", "v3", "coarse-50-fine", "n1-still")
    }
    assert {network for network, _ in part.shown("table4")} == {"tdnet"}
    assert part.runs("table4")[0] == "tdnet/n1/draw0-seed0"


def test_a_figure_shows_arms_alone(tmp_path):
    part = parts(tmp_path)
    assert ids(part, "figure4") == ["n1", "coarse-50", "coarse-50-refined"]
    assert {network for network, _ in part.shown("figure5")} == {"tdnet"}
    assert ids(part, "cost") == ARMS
    assert ids(part, "clips") == ["n1", "p2", "b3", "b3-fine", "v3"]
    others = ["n1-plus", "all-b11", "p2-flow", "b3-uniform", "b3-filled-1"]
    assert ids(parts(tmp_path, [*ARMS, *others]), "clips") == ["n1", "p2", "b3", "b3-fine", "v3"]
    settings = json.loads(part.settings("figure5"))
    assert settings["networks"] == ["tdnet"] and list(settings["experiments"]) == [
        "coarse-50",
        "coarse-50-refined",
        "n1",
    ]


def test_a_network_with_experiments_of_its_own_is_shown_with_these_alone(tmp_path):
    config = {"training": {"tmanet": {}, "tdnet": {"experiments": ["n1", "coarse-50"]}}}
    part = parts(tmp_path, **config)
    assert json.loads(part._study.table_settings())["own_experiments"] == {"tdnet": ["n1", "coarse-50"]}
    assert json.loads(part.settings("table1"))["own_experiments"] == {"tdnet": ["n1"]}
    assert json.loads(part.settings("figure4"))["own_experiments"] == {}
    study = part._study
    grid = Grid.of(tmp_path, json.loads(study.table_settings()))
    runs = [
        f"{network}/{id_}/draw{draw}-seed{seed}"
        for network in grid.networks
        for id_ in grid.experiments
        for draw, seed in grid.runs_of(network, id_)
    ]
    assert sorted(runs) == sorted(study.runs) and len(runs) == len(ARMS) + 2


def test_what_fills_labels_is_rested_on(tmp_path):
    part = parts(
        tmp_path, ["n1", "p2", "b3", "b3-filled-1", "b3-filled-2"], ["tmanet"], definitions=tmp_path, draws=[0, 1]
    )
    row = "{network: tmanet, experiment: b3-filled-2}"
    (tmp_path / "table1.yaml").write_text(f"{{title: t, kind: mixtures, others: false, rows: [{row}]}}")
    experiments, runs = part.rests_on("table1")
    assert [e.id for e in experiments] == ["b3-filled-2", "b3-filled-1", "b3"]
    shown = {f"tmanet/b3-filled-2/draw{draw}-seed0" for draw in (0, 1)}
    assert set(part.runs("table1")) == shown
    assert set(runs) == shown | {
        f"tmanet/{teacher}/draw{draw}-seed0" for teacher in ("b3", "b3-filled-1") for draw in (0, 1)
    }


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("table1", {"experiments": ["n1"]}, ""),
        (
            "table3",
            {"experiments": ["n1"]},
            "table3 shows tmanet trained on coarse-10, .* and the config has no such run",
        ),
        ("table4", {"networks": ["tmanet"]}, "table4 shows tdnet trained on coarse-50, .* network to 'training'"),
        ("table2", {}, "table2 is of a dataset with the classes 'idd', .*: choose a config of that dataset"),
        ("table2", {"tables": ["table2"]}, ""),
        ("figure1", {"experiments": [], "networks": []}, ""),
        ("figure2", {"experiments": ["n1"]}, "figure2 shows propagated labels, .*: name an experiment such as p2"),
        ("figure3", {"experiments": ["n1"]}, "figure3 shows refined labels, .*: name one such as coarse-50-refined"),
        ("figure4", {"experiments": ["n1", "b3"]}, "figure4 shows tmanet trained on coarse-10"),
        ("cost", {"experiments": [], "networks": []}, "cost shows runs, and the config has none"),
        ("clips", {"experiments": ["n1", "coarse-50"]}, "clips compares mixtures .*: name one such as b3"),
        ("clips", {"experiments": ["n1", "p2-flow"]}, "clips compares mixtures .*: name one such as b3"),
    ],
)
def test_what_the_config_has_nothing_for_is_said_with_the_mend(tmp_path, name, changes, why):
    said = parts(tmp_path, **changes).absent(name)
    if not why:
        assert said == ""
        return
    with pytest.raises(UserError, match=why):
        raise UserError(said)
    assert said.endswith(".") and said.count(". ") == 0


def test_all_is_there_for_a_study_of_everything(tmp_path):
    every = list(load_catalogue(CATALOGUE))
    part = parts(tmp_path, every, tables=["table1", "table2"])
    assert [name for name in (*TABLES, *SHEETS, *CURVES) if part.absent(name)] == []


def test_a_damaged_definition_is_named(tmp_path):
    (tmp_path / "table1.yaml").write_text("rows: [{experiment: n1}]")
    with pytest.raises(UserError, match=r"table1\.yaml is not a table definition"):
        parts(tmp_path, definitions=tmp_path).runs("table1")


FEW = ["n1", "coarse-50", "coarse-50-fine"]


@pytest.mark.parametrize(("table", "own"), [*((table, []) for table in TABLES), ("table1", FEW), ("table3", FEW)])
def test_a_table_of_its_part_is_that_of_the_whole_study(tmp_path, table, own):
    """What a table is told of must be all that it prints from: else it would be printed before its runs are there."""
    part = parts(tmp_path, draws=[0, 1], training={"tmanet": {}, "tdnet": {"experiments": own} if own else {}})
    whole = json.loads(part._study.table_settings())
    results = tmp_path / "results"
    rng = np.random.default_rng(0)
    for network, (id_, draws) in product(whole["networks"], whole["experiments"].items()):
        for draw in draws:
            run = results / "runs" / network / id_ / f"draw{draw}-seed0"
            run.mkdir(parents=True)
            confusion = rng.integers(1, 9, (2, 19, 19))
            write_confusion(run, ["a", "b"], confusion)
            rows = [(name, rng.uniform(40, 60), 70, 9) for name in (*CITYSCAPES.names, "mean")]
            write(run / "metrics.csv", ("class", "iou", "accuracy", "pixels"), rows)
            manifest = results / "manifests" / id_ / f"draw{draw}.csv"
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write(manifest, ("clip", "offset", "source"), [("a", 0, "fine"), (f"b{len(id_)}", 0, "coarse")])
    write(results / "index.csv", ("clip", "group"), [("a", "x_1"), ("b", "x_2")])
    printed = []
    for name, settings in (("whole", whole), ("part", json.loads(part.settings(table)))):
        out = tmp_path / name
        grid = Grid.of(results, settings)
        write_table(EXPERIMENTS / f"{table}.yaml", load_catalogue(CATALOGUE), grid, CITYSCAPES, out, dataset="d")
        printed.append(out.with_suffix(".csv").read_text())
    assert printed[0] == printed[1] and printed[0].count("\n") > 1


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
