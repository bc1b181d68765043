"""What the check of the controls (`make claims-toy`) refuses. Which runs make it pass: test_toy_studies.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import yaml
from scored import write_confusion

from fewframes.core.files import write_csv
from fewframes.core.labels import load_class_table
from fewframes.reporting import verdicts
from fewframes.reporting.claims import FAILED, HELD, OPEN, Check, Claim, Finding
from fewframes.reporting.verdicts import Comparison

REPOSITORY = Path(__file__).parents[2]
CHECK = REPOSITORY / "workflow/controls/check.py"
NAMES = load_class_table(REPOSITORY / "workflow/controls/street.yaml").names
BETTER = (Check("b5", "n1", below=-4),)
CLAIMS = [
    Claim("of-one", "", "", BETTER, "one"),
    Claim("of-two", "", "", BETTER, "two"),
    Claim("of-both", "", "", BETTER),
]


@pytest.fixture(scope="module")
def check():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("controls_check", CHECK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def study(check, tmp_path):
    """Makes a finished study of a city, in which B5 is worse than N1 by ten points."""

    def made(city, **runs):
        config = yaml.safe_load((REPOSITORY / "workflow/configs/claims-toy-alike.yaml").read_text())
        config |= {"results": str(tmp_path / "results"), "experiments": ["n1", "b5"]}
        config["dataset"] |= {"name": city, "classes": str(REPOSITORY / config["dataset"]["classes"])}
        (tmp_path / f"{city}.yaml").write_text(yaml.safe_dump(config))
        for experiment, scores in {"n1": (70, 71, 72), "b5": (60, 62, 61), **runs}.items():
            for seed, score in enumerate(scores):
                run(tmp_path / "results" / city / "runs/tmanet" / experiment / f"draw0-seed{seed}", score, seed)
        images = [(f"q_{i:06d}", f"q_{i:06d}") for i in range(8)]
        write_csv(tmp_path / "results" / city / "index.csv", ("clip", "group"), images)
        return check.read_study(tmp_path / f"{city}.yaml")

    return made


def run(folder, score, seed):
    folder.mkdir(parents=True)
    confusion = np.zeros((8, len(NAMES), len(NAMES)), np.int64)
    hits = 10 * score + np.random.default_rng(seed).integers(-20, 20, 8)
    for i in range(len(NAMES)):
        confusion[:, i, i], confusion[:, i, (i + 1) % len(NAMES)] = hits, 1000 - hits
    write_confusion(folder, [f"q_{i:06d}" for i in range(8)], confusion)
    write_csv(folder / "metrics.csv", ("class", "iou", "accuracy"), [("mean", score, score)])


def test_every_claim_must_be_tested_and_every_city_have_one(check, study, capsys):
    one, two = study("one"), study("two")
    assert check.told_apart([one, two], CLAIMS)
    assert not check.told_apart([one], CLAIMS[2:]), "one city tells nothing apart"
    assert not check.told_apart([one, one], CLAIMS[2:])
    assert not check.told_apart([one, two], CLAIMS[:1]), "nothing was said of the other city"
    assert not check.told_apart([one, two], [])
    capsys.readouterr()
    assert not check.told_apart([one, two], [*CLAIMS, Claim("of-none", "", "", BETTER, "three")])
    assert "of-none is tested nowhere: no config is of three." in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["_run_variance", "_image_variance"])
def test_an_interval_must_hold_the_chance_of_runs_and_of_images(check, study, monkeypatch, capsys, broken):
    cities = [study("one"), study("two")]
    # Statistics that lost one of the two still call the difference established, and more surely than before.
    monkeypatch.setattr(verdicts, broken, lambda *_: (0.0, 2.0))
    assert not check.told_apart(cities, CLAIMS)
    said = capsys.readouterr().out
    assert f"0.00 by {'runs' if 'run' in broken else 'images'}" in said and "worse" in said and ": held" not in said


def test_runs_alike_to_the_digit_are_no_control(check, study):
    cities = [study("one"), study("two", n1=(70, 70, 70), b5=(60, 60, 60))]
    assert not check.told_apart(cities, CLAIMS)


def test_only_what_has_an_interval_is_asked_for_its_chance(check):
    for outcome in (HELD, FAILED):
        without = Finding(outcome, Comparison(-9, None, None, (1, 1)))
        for finding in (Finding(outcome, 40.0), without, Finding(outcome, Comparison(-9, -10, -8, (3, 3), (0.1, 0.2)))):
            assert check.sound(finding) == finding
        assert check.sound(Finding(outcome, Comparison(-9, -10, -8, (3, 3), (0.1, 0.0)))).outcome == OPEN


def test_a_config_that_is_none_is_named(check, monkeypatch, capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("dataset: {name: a}\nseeds: none\n")
    monkeypatch.setattr("sys.argv", ["check.py", str(tmp_path / "config.yaml")])
    assert check.main() == 2
    assert capsys.readouterr().err.startswith("check: ")
