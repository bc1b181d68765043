import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scored import write_confusion

from fewframes.cli import reports
from fewframes.core.errors import UserError
from fewframes.core.labels import load_class_table
from fewframes.experiments.schemes import Experiment, load_catalogue
from fewframes.reporting.claims import (
    FAILED,
    HELD,
    OPEN,
    Check,
    Claim,
    Finding,
    concluded,
    judged,
    read_claims,
    write_claims,
)
from fewframes.reporting.statistics import Grid

EXPERIMENTS = Path(__file__).parents[2] / "workflow" / "experiments"
CITYSCAPES = load_class_table("cityscapes")
CATALOGUE = {
    "n1": Experiment("n1", "N1"),
    "b3": Experiment("b3", "B3", offsets=(-2, 0, 2)),
    "c": Experiment("c", "50 %", coarse_percent=50),
}
FIRST = {"id": "first", "section": "5.1", "claim": "B3 is as good."}


@pytest.mark.parametrize(
    ("bounds", "low", "high", "outcome"),
    [
        ({"above": -1.5}, -1.4, 3, HELD),
        ({"above": -1.5}, -1.6, 3, OPEN),
        ({"above": -1.5}, -3, -1.6, FAILED),
        ({"below": 0}, -2, -0.1, HELD),
        ({"below": 0}, -2, 0.1, OPEN),
        ({"below": 0}, 0.1, 2, FAILED),
        ({"above": -1, "below": 1}, -0.9, 0.9, HELD),
        ({"above": -1, "below": 1}, -0.9, 1.1, OPEN),
        ({"above": -1, "below": 1}, 1.1, 1.2, FAILED),
        ({"above": -1, "below": 1}, -5, 5, OPEN),
    ],
)
def test_an_interval_judges_a_check_by_hand(bounds, low, high, outcome):
    assert judged(low, high, Check("b3", "n1", **bounds)) == outcome


@given(st.floats(-9, 9), st.floats(0, 5), st.floats(0, 5), st.floats(-9, 9))
def test_a_narrower_interval_never_turns_an_outcome(value, below, above, bound):
    check = Check("b3", "n1", above=bound)
    wide, narrow = judged(value - below, value + above, check), judged(value - below / 2, value + above / 2, check)
    assert wide in (narrow, OPEN)


@pytest.mark.parametrize(
    ("outcomes", "of_all"),
    [
        ([HELD, HELD], HELD),
        ([HELD, OPEN], OPEN),
        ([HELD, FAILED], FAILED),
        ([OPEN, FAILED], FAILED),
        ([], OPEN),
    ],
)
def test_a_claim_holds_where_all_of_its_checks_do(outcomes, of_all):
    assert concluded([Finding(outcome) for outcome in outcomes]) == of_all


def with_runs(results: Path, hits: dict[str, list[int]]) -> Grid:
    """Runs by seed with so many of 100 pixels right in each of nine images; pole alone is a refined class."""
    names = CITYSCAPES.names
    images = [f"{city}_{i:06d}_000019" for city in "pqr" for i in range(3)]
    results.mkdir(parents=True, exist_ok=True)
    (results / "index.csv").write_text("\n".join(["clip,group", *(f"{i},{i[:8]}" for i in images)]))
    for experiment, of_seeds in hits.items():
        for seed, hit in enumerate(of_seeds):
            confusion = np.zeros((9, len(names), len(names)), np.int64)
            confusion[:, 0, 0], confusion[:, 5, 5] = hit, 100 - hit
            confusion[:, 0, 1] = 100 - hit
            confusion[:, 5, 1] = hit
            folder = results / "runs" / "tmanet" / experiment / f"draw0-seed{seed}"
            folder.mkdir(parents=True)
            rows = [f"{n},," for n in names if n not in ("road", "pole", "sidewalk")]
            rows += [f"road,{hit},{hit}", "sidewalk,0,", f"pole,{100 - hit},{100 - hit}", f"mean,{hit / 3},{hit}"]
            (folder / "metrics.csv").write_text("\n".join(["class,iou,accuracy", *rows]))
            write_confusion(folder, images, confusion)
    return Grid(results, ("tmanet",), dict.fromkeys(CATALOGUE, (0,)), (0, 1, 2))


def write_manifest(results: Path, experiment: str, samples: list[tuple[str, int, str]]) -> None:
    path = results / "manifests" / experiment / "draw0.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("clip", "offset", "source"), *samples])


def written(grid: Grid, claims: list[dict], dataset: str = "d") -> tuple[list[dict[str, str]], str]:
    path, out = grid.results / "claims.yaml", grid.results / "tables" / "claims"
    path.write_text(yaml.safe_dump(claims))
    write_claims(path, CATALOGUE, grid, CITYSCAPES, out, dataset=dataset, note="Toy.")
    assert Path(f"{out}.html").read_text().startswith("<!doctype html>")
    with Path(f"{out}.csv").open(newline="") as file:
        return list(csv.DictReader(file)), Path(f"{out}.md").read_text()


def test_claims_are_judged_from_runs_and_manifests(tmp_path):
    grid = with_runs(tmp_path, {"n1": [80, 81, 82], "b3": [77, 78, 80]})
    write_manifest(tmp_path, "n1", [(clip, 0, "fine") for clip in "abc"])
    write_manifest(tmp_path, "b3", [("a", o, "pseudo:flow" if o else "fine") for o in (-2, 0, 2)])
    checks = [
        {"arm": "b3", "against": "n1", "above": -5, "paper": -1.17},
        {"arm": "b3", "against": "n1", "measure": "hours", "below": 36, "above": 30},
        {"arm": "b3", "against": "n1", "measure": "refined classes", "above": 0},
        {"arm": "c", "against": "n1", "below": 0},
        {"arm": "b3", "against": "n1", "below": -5},
    ]
    claims = [{**FIRST, "id": str(i), "checks": [check]} for i, check in enumerate(checks)]
    claims.append({**FIRST, "id": "both", "checks": checks[:2]})
    rows, text = written(grid, claims)
    assert [row["outcome"] for row in rows] == [HELD, HELD, HELD, OPEN, FAILED, HELD, HELD]
    assert (rows[0]["value"], rows[0]["paper"], rows[0]["runs"]) == ("-0.89", "-1.17", "3 and 3")
    assert float(rows[0]["low"]) < -0.89 < float(rows[0]["high"])
    assert (rows[1]["value"], rows[1]["low"]) == ("33.33", "")
    assert float(rows[2]["value"]) == pytest.approx(8 / 3, abs=0.01)  # poles are right where roads are wrong
    assert (rows[3]["value"], rows[3]["runs"]) == ("", "")
    # In print the claim stands once, above its checks.
    assert text.count("**both**") == 1 and [row["claim"] for row in rows[-2:]] == ["both", "both"]
    assert "hours of b3 / n1 above 30 % and below 36 %: held; here 33.3 %\n" in text
    assert text.endswith("Toy.\n")


def test_two_runs_establish_nothing(tmp_path):
    grid = with_runs(tmp_path, {"n1": [80, 81], "b3": [20, 20, 20]})
    rows, text = written(grid, [{**FIRST, "checks": [{"arm": "b3", "against": "n1", "below": 0}]}])
    assert (rows[0]["outcome"], rows[0]["low"], rows[0]["runs"]) == (OPEN, "", "3 and 2")
    assert "; here \u221220.17\n" in text


def test_a_claim_about_another_dataset_and_one_without_experiment_say_why(tmp_path):
    grid = with_runs(tmp_path, {"n1": [80, 81, 82], "b3": [77, 78, 80]})
    check = {"arm": "b3", "against": "n1", "below": 0}
    claims = [{**FIRST, "dataset": "idd", "checks": [check]}, {**FIRST, "id": "other", "untested": "no arm for it"}]
    (there, none), text = written(grid, claims)
    assert (there["outcome"], there["why"]) == (OPEN, "said of idd")
    assert (none["outcome"], none["why"], none["check"]) == (OPEN, "no arm for it", "")
    assert "- **not established** (no arm for it)" in text
    for name in ("idd", "idd-paper"):
        (there, _), _ = written(grid, claims, dataset=name)
        assert (there["outcome"], there["why"]) == (HELD, "")
    (there, _), _ = written(grid, claims, dataset="iddx")
    assert there["outcome"] == OPEN


CHECK = {"arm": "b3", "against": "n1", "above": 0}


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("- [", "is no readable YAML"),
        ("7", "is not a list of claims"),
        ([{**FIRST}], "'first': give either checks"),
        ([{**FIRST, "checks": [CHECK], "untested": "so"}], "'first': give either checks"),
        ([{**FIRST, "text": "t", "checks": [CHECK]}], "'first': its keys must be claim, id, section"),
        ([{**FIRST, "checks": [{"arm": "b3", "against": "n1"}]}], "needs a bound"),
        ([{**FIRST, "checks": [{**CHECK, "arm": "b9"}]}], "lacks its experiment 'b9'"),
        ([{**FIRST, "checks": [{**CHECK, "above": "much"}]}], "'above' must be a number"),
        ([{**FIRST, "checks": [{**CHECK, "measure": "pixels"}]}], "measure must be one of miou"),
        ([{**FIRST, "checks": [{**CHECK, "margin": 1}]}], "a check's keys must be against, arm"),
        ([{**FIRST, "checks": [CHECK]}] * 2, "'first' is there twice"),
    ],
)
def test_faults_of_the_claims_are_named(tmp_path, claims, message):
    path = tmp_path / "claims.yaml"
    path.write_text(claims if isinstance(claims, str) else yaml.safe_dump(claims))
    with pytest.raises(UserError, match=message):
        read_claims(path, CATALOGUE)


@pytest.fixture(scope="module")
def claims() -> list[Claim]:
    return read_claims(EXPERIMENTS / "claims.yaml", load_catalogue(EXPERIMENTS / "catalogue.yaml"))


def paper(name: str) -> list[dict[str, str]]:
    with (EXPERIMENTS / "paper" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_papers_differences_are_its_tables(claims):
    """Differences of two experiments of one table, from the tables; the others are named here by hand."""
    table1 = {(row["model"], row["scheme"].lower()): float(row["miou"]) for row in paper("table1.csv")}
    table3: dict[tuple[str, str], float] = {}
    for row in paper("table3.csv"):
        share = row["coarse_percent"]
        table3["tmanet", "n1" if share == "0" else f"coarse-{share}"] = float(row["unrefined_miou"])
        table3["tmanet", "n1" if share == "0" else f"coarse-{share}-refined"] = float(row["refined_miou"])
    table7: dict[tuple[str, str], float] = {}
    for row in paper("table7.csv"):
        table7["tmanet", f"coarse-{row['coarse_percent']}"] = float(row["unrefined_miou"])
        table7["tmanet", f"coarse-{row['coarse_percent']}-automask"] = float(row["refined_miou"])
    seen, others = 0, []
    for claim in claims:
        for check in claim.checks if claim.dataset == "" else ():
            if check.measure != "miou" or check.paper is None:
                continue
            arm, against = (check.network, check.arm), (check.network, check.against)
            tables = [table for table in (table1, table3, table7) if arm in table and against in table]
            if tables:
                assert check.paper == pytest.approx(tables[0][arm] - tables[0][against], abs=0.005), check
                seen += 1
            else:
                others.append(check.arm)
    assert seen > 25
    # TDNet's two are of table 4; the first compares a scheme of table 1 with a mixture of table 3.
    assert sorted(others) == ["b3", "coarse-100-refined", "coarse-50-refined"]


def test_the_contradiction_is_there_and_cannot_hold_twice(claims):
    contradiction = {c.id: c.checks[0] for c in claims if c.id.startswith("effort-falls-")}
    assert contradiction.keys() == {"effort-falls-to-a-third", "effort-falls-by-a-third"}
    outcomes = [judged(share, share, check) for check in contradiction.values() for share in (33.3, 66.7)]
    assert outcomes == [HELD, FAILED, FAILED, HELD]


def test_every_claim_has_its_section_and_the_catalogues_experiments(claims):
    assert len(claims) > 15 and all(claim.section and claim.claim for claim in claims)
    assert {check.network for claim in claims for check in claim.checks} == {"tmanet", "tdnet"}


def test_nothing_run_prints_whole(tmp_path):
    catalogue = load_catalogue(EXPERIMENTS / "catalogue.yaml")
    out = tmp_path / "claims"
    grid = Grid(tmp_path, ("tmanet",), dict.fromkeys(catalogue, (0,)), (0,))
    write_claims(EXPERIMENTS / "claims.yaml", catalogue, grid, CITYSCAPES, out, dataset="cityscapes")
    with Path(f"{out}.csv").open(newline="") as file:
        assert {row["outcome"] for row in csv.DictReader(file)} == {OPEN}


def test_the_command_writes_three_files(tmp_path):
    settings = {
        "networks": ["tmanet"],
        "experiments": {"n1": [0]},
        "seeds": [0],
        "note": "N.",
        "allow_random_weights": False,
    }
    files = {"--definition": "claims.yaml", "--catalogue": "catalogue.yaml"}
    options = {name: str(EXPERIMENTS / file) for name, file in files.items()}
    options |= {"--settings": json.dumps(settings), "--classes": "cityscapes", "--results": str(tmp_path)}
    arguments = [part for pair in {**options, "--out": str(tmp_path / "claims")}.items() for part in pair]
    CliRunner().invoke(reports.claims, arguments, catch_exceptions=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims.csv", "claims.html", "claims.md"]
    assert (tmp_path / "claims.md").read_text().endswith("N.\n")
