"""Names that shells, CSVs and patterns trip over, and that would be commands, through the whole workflow."""

import csv

import cv2
import numpy as np
import pytest
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate
from study import CONFIG, REPOSITORY, Study

from fewframes.core.errors import UserError
from fewframes.experiments.study import Study as Parsed

pytestmark = pytest.mark.slow

ROOT = 'my "own" città; touch pwned; $HOME $(touch pwned) `touch pwned` #'
FRAMES = "-it's a walk\nthrough {Köln} & {wildcards.method}"
OTHER = "$(touch pwned)"
SPLIT = "odd; touch pwned; $(touch pwned) '`touch pwned`"
LABEL = "--étiquette no. {threads} 'fine' | touch pwned.png"
TABLE = """
minutes: {fine: 10}
offsets: [-3, 2]
classes:
  - {name: "floor $(touch pwned) $x^$ <script>", id: 0, train_id: 0, rgb: [0, 0, 0]}
  - {name: box, id: 1, train_id: 1, rgb: [255, 0, 0]}
"""
TOKEN = "hunter2-which-nothing-else-says"


def frame_name(n):
    return f'frame "{n}"\'{n + 8}.png'


def test_odd_names_reach_the_labels_and_no_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", TOKEN)
    root = tmp_path / ROOT
    texture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    label = np.zeros((48, 64), np.uint8)
    label[10:30, 20:40] = 1
    for folder in (FRAMES, OTHER):
        for place in (root, root / "truth"):
            (place / folder).mkdir(parents=True)
        for n in range(6):
            frame = np.roll(cv2.GaussianBlur(texture, (9, 9), 0), n, axis=1)
            cv2.imwrite(str(root / folder / frame_name(n)), frame)
            cv2.imwrite(str(root / "truth" / folder / frame_name(n)), label)
    cv2.imwrite(str(root / LABEL), label)
    (root / "classes of mine.yaml").write_text(TABLE)
    with (root / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "split", "frames", "key", "fine", "truth"])
        writer.writerow(["walk", "train", FRAMES, frame_name(3), LABEL, FRAMES])
        writer.writerow(["other", SPLIT, OTHER, frame_name(3), LABEL, OTHER])

    study = Study(tmp_path)
    dataset = {"name": "toy", "reader": "video", "root": ROOT, "classes": f"{ROOT}/classes of mine.yaml"}
    quality = {"methods": ["flow"], "splits": ["train", SPLIT], "reach": 2, "signals": 0}
    study.configure(
        dataset={**dataset, "truth": f"{ROOT}/truth"},
        experiments=["b5s"],
        toycity=None,
        quality=quality,
        tables=[],
        shards=1,
        note="$(touch pwned) <script>; {",
    )
    targets = ["labels", "results/toy/figures/figure2.png", "quality"]
    run = study.run(*targets)
    assert run.code == 0, run.output
    rows = (study.results / "pseudo/flow/labels.csv").read_text().splitlines()
    assert len(rows) > 1 + 5
    assert "\nflow,±2,box,4," in (study.results / "quality/flow.csv").read_text()  # two frames of either split
    assert study.run("labels").jobs == []
    made = [path for path in tmp_path.rglob("*") if path.name == "pwned"]
    assert made == [], "a name was carried out"
    assert "<script>" not in (study.results / "figures/labels-flow.html").read_text()
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), f"{path} has the environment's secrets"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": {"name": "toy", "root": "https://me:hunter2@host/city"}}, "https:/***@host/city"),
        ({"dataset": "https://me:hunter2@host"}, "'https://***@host' is not of type 'object'"),
    ],
)
def test_a_config_of_odd_words_is_refused_in_a_sentence(tmp_path, changes, message):
    study = Study(tmp_path)
    study.configure(**{"toycity": None} | changes)
    run = study.run("labels", options=["--dry-run"])
    assert run.code != 0 and message in run.output and "Traceback" not in run.output, run.output
    assert "hunter2" not in run.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"results": "{method}"}, "config: results has {method}, which Snakemake would fill in"),
        ({"note": "as in {wildcards}"}, "config: note has {wildcards}"),
        ({"results": "-rf"}, "config: results is '-rf', which commands would take for an option: write ./-rf"),
        ({"dataset": {"name": "x;touch pwned", "root": "city"}}, "does not match"),
        ({"propagation": {"method": "$(touch pwned)"}}, "$(touch pwned)"),
        ({"experiments": ["$(touch pwned)"]}, "$(touch pwned)"),
    ],
)
def test_odd_words_are_no_names_of_a_config(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "city").mkdir()
    config = {key: value for key, value in {**CONFIG, "toycity": None, **changes}.items() if value is not None}
    with pytest.raises((UserError, WorkflowError)) as refused:
        validate(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
        Parsed(config, REPOSITORY / "workflow/experiments/catalogue.yaml")
    assert message in str(refused.value)
