"""Bad input at the command line: one sentence that names the fault and the mend, exit code 2, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewframes.core.clips import Clip, write_clips

REPOSITORY = Path(__file__).parents[1]


def call(*arguments, cwd=None):
    command = [sys.executable, "-m", "fewframes", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def assert_one_sentence(result, *named):
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("fewframes: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for name in named:
        assert name in lines[0]


@pytest.fixture
def city(tmp_path):
    """One clip of three frames in Cityscapes' layout."""
    for kind, name, mode in (
        ("leftImg8bit", "leftImg8bit", "RGB"),
        ("gtFine", "gtFine_labelIds", "L"),
        ("gtCoarse", "gtCoarse_labelIds", "L"),
    ):
        folder = tmp_path / "city" / kind / "train" / "a"
        folder.mkdir(parents=True)
        Image.new(mode, (32, 16), 7 if mode == "L" else None).save(folder / f"a_000000_000019_{name}.png")
    folder = tmp_path / "city/leftImg8bit_sequence/train/a"
    folder.mkdir(parents=True)
    for number in (18, 19, 20):
        Image.new("RGB", (32, 16)).save(folder / f"a_000000_{number:06d}_leftImg8bit.png")
    return tmp_path / "city"


def plan(root, tmp_path, out=None, **changes):
    settings = {
        "reader": "cityscapes", "root": str(root), "classes": "cityscapes", "options": {}, "truth": None, "draws": [0],
        "corrections": "", "experiments": {"p2s": {"offsets": [0, 1]}}, "past_frames": 1, "shards": 1,
        "measured": [], "reach": 1, "offsets": None,
    }  # fmt: skip
    return call("needs", "--settings", json.dumps({**settings, **changes}), "--out", out or tmp_path / "results")


def propagate(root, tmp_path, method="copy", settings="{}"):
    shard = tmp_path / "results/shards/propagate/0000.csv"
    return call(
        "propagate", "--shard", shard, "--method", method, "--settings", settings, "--root", root,
        "--classes", "cityscapes", "--results", tmp_path / "results", "--out", tmp_path / "results/0000.csv",
    )  # fmt: skip


def test_a_good_dataset_is_planned_and_propagated(city, tmp_path):
    result = plan(city, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 annotated frames; to propagate: 1 of them, to 1 frames" in result.stderr
    assert propagate(city, tmp_path).returncode == 0


def test_a_missing_dataset_folder(tmp_path):
    assert_one_sentence(plan(tmp_path / "nowhere", tmp_path), "nowhere does not exist", "dataset.root")


def test_an_odd_image(city, tmp_path):
    path = next(city.glob("leftImg8bit/train/a/*.png"))
    path.write_bytes(b"not a picture")
    assert_one_sentence(plan(city, tmp_path), path.name, "not a readable image", "replace")


def test_a_label_of_another_size(city, tmp_path):
    path = next(city.glob("gtFine/train/a/*.png"))
    Image.new("L", (16, 16)).save(path)
    assert_one_sentence(plan(city, tmp_path), path.name, "16x16", "32x16")


def test_a_truncated_frame(city, tmp_path):
    assert plan(city, tmp_path).returncode == 0
    path = city / "leftImg8bit_sequence/train/a/a_000000_000020_leftImg8bit.png"
    noise = np.random.default_rng(0).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    assert_one_sentence(propagate(city, tmp_path), path.name, "damaged", "intact copy")


def test_an_id_that_no_class_has(city, tmp_path):
    path = next(city.glob("gtFine/train/a/*.png"))
    Image.new("L", (32, 16), 99).save(path)
    assert plan(city, tmp_path).returncode == 0
    assert_one_sentence(propagate(city, tmp_path), path.name, "[99]", "class table")


def test_an_unknown_method_and_an_unknown_setting(city, tmp_path):
    assert plan(city, tmp_path).returncode == 0
    assert_one_sentence(propagate(city, tmp_path, "sam3"), "'sam3' is unknown", "flow")
    assert_one_sentence(propagate(city, tmp_path, settings='{"x": 1}'), "'x' is not a setting", "copy")


def test_a_bad_experiment_and_bad_settings(city, tmp_path):
    result = plan(city, tmp_path, experiments={"b": {"offset": [0]}})
    assert_one_sentence(result, "'offset' is an unknown key")
    assert_one_sentence(call("needs", "--settings", "{}", "--out", tmp_path), "--settings lacks the key")
    assert_one_sentence(call("needs", "--settings", "nothing.yaml", "--out", tmp_path), "nothing.yaml")


def test_unwritable_results(city, tmp_path):
    (tmp_path / "file").touch()
    assert_one_sentence(plan(city, tmp_path, out=tmp_path / "file"), "cannot be written", "mend permissions")


def test_an_unknown_class_table_and_a_missing_shard(city, tmp_path):
    assert_one_sentence(plan(city, tmp_path, classes="mapillary"), "no class table 'mapillary'", "cityscapes")
    assert_one_sentence(propagate(city, tmp_path), "0000.csv cannot be read")


def test_training_on_a_manifest_that_is_not_there(city, tmp_path):
    result = call(
        "train", "--manifest", tmp_path / "m.csv", "--settings", '{"network": {"name": "tmanet"}}', "--root", city,
        "--classes", "cityscapes", "--results", tmp_path, "--out", tmp_path / "run", "--checkpoints", tmp_path / "c",
    )  # fmt: skip
    assert_one_sentence(result, "m.csv")


def test_measuring_without_truth(city, tmp_path):
    write_clips(tmp_path / "index.csv", [Clip("c", "train", "g", "i.png", truth="{frame}.png")])
    (tmp_path / "0000.csv").write_text("clip,offset,file\nc,1,c.h5\n")
    result = call(
        "quality", "--method", "flow", "--reach", 1, "--classes", "cityscapes", "--results", tmp_path, "--split",
        "train", "--truth", tmp_path / "nowhere", "--labels", tmp_path / "0000.csv", "--out", tmp_path / "q.csv",
    )  # fmt: skip
    assert_one_sentence(result, "nowhere", "dataset.truth")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("propagation={method: sam3}", "'sam3' is unknown"),
        ("experiments=[b4]", "'b4' is unknown"),
        ("experimnts=[n1]", "'experimnts' was unexpected"),
        ("shards=0", "config, shards: 0 is less than the minimum"),
    ],
)
def test_snakemake_says_it_in_one_sentence_too(tmp_path, change, named):
    command = [sys.executable, "-m", "snakemake", "-n", "-s", REPOSITORY / "Snakefile", "-d", tmp_path]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        [*map(str, command), "--configfile", str(REPOSITORY / "config.yaml"), "--config", change],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert_one_sentence(result, named)


def test_each_model_to_score_has_a_folder_of_its_own(tmp_path):
    given = ["--manifest", "m.csv", "--root", tmp_path, "--classes", "cityscapes", "--results", tmp_path]
    result = call("evaluate", "--model", "a", "--model", "b", "--out", tmp_path, *given)
    assert_one_sentence(result, "2 --model and 1 --out are given", "give each model a folder of its own")
