"""Labels filled over rounds, through the whole workflow."""

import itertools
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from study import Study

from fewframes.core.labelfile import read_label_layer, read_provenance

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("filling")]

ROUNDS = ["b3", "b3-filled-1", "b3-filled-2"]
ARMS = ["n1", *ROUNDS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, warm):
    """A study of such arms after its first run."""
    study = Study(tmp_path_factory.mktemp("study"), warm)
    study.configure(experiments=ARMS, quality={"methods": [], "signals": 0}, tables=["table1"])
    run = study.run("tables")
    assert run.code == 0, run.output
    return study


@pytest.fixture
def filled(finished, warm, tmp_path):
    """A copy of it, times and all."""
    shutil.copytree(finished.folder, tmp_path / "study", copy_function=shutil.copy2)
    return Study(tmp_path / "study", warm)


def samples(study, experiment):
    """A manifest's rows by clip and offset."""
    header, *lines = [line.split(",") for line in study.manifest(experiment).splitlines()]
    return {(row[0], int(row[1])): dict(zip(header, row, strict=True)) for row in lines}


def filled_files(study):
    return {p: p.stat().st_mtime_ns for p in study.results.glob("filled/*/labels/[!.]*.h5")}


def edit(study, clip):
    """Change a few pixels of a clip's annotation from road to sidewalk."""
    (path,) = study.folder.glob(f"city/gtFine/train/*/{clip}_gtFine_labelIds.png")
    label = np.array(Image.open(path))
    rows, columns = np.nonzero(label == 7)
    label[rows[:20], columns[:20]] = 8
    Image.fromarray(label).save(path)


def test_every_round_fills_the_propagated_labels_and_nothing_else(finished):
    finished.assert_true_inputs()
    propagated = samples(finished, "b3")
    new = 0
    for teacher, experiment in itertools.pairwise(ROUNDS):
        rows = samples(finished, experiment)
        assert rows.keys() == propagated.keys()
        for key, row in rows.items():
            before = propagated[key]
            if before["source"] == "fine":
                assert row == before
                continue
            assert row["source"] == "filled:flow" and row["fingerprint"] != before["fingerprint"]
            made = read_label_layer(finished.results / row["label"], key[1])
            was = read_label_layer(finished.results / before["label"], key[1])
            assert (made != 255).all() and (made == was)[was != 255].all()
            new += (was == 255).sum()
            told = read_provenance(finished.results / row["label"])
            assert told["model"].endswith(f"runs/tmanet/{teacher}/draw0-seed0/model.safetensors")
    assert new > 0
    assert "B3 filled twice" in (finished.results / "tables/table1.md").read_text()


def test_a_second_run_finds_nothing_to_do_and_touching_the_dataset_trains_nothing(filled):
    assert filled.run("tables").jobs == []
    before = filled_files(filled), filled.models()
    for path in filled.folder.glob("city/**/*.png"):
        path.touch()
    run = filled.run("tables")
    assert run.code == 0, run.output
    assert (filled_files(filled), filled.models()) == before
    assert run.of("train") == run.of("evaluate") == run.of("fill") == []
    assert filled.run("tables").jobs == []


def test_an_edited_annotation_goes_through_all_rounds(filled):
    clip = next(clip for clip, _ in samples(filled, "b3"))
    models = filled.models()
    edit(filled, clip)
    run = filled.run("tables")
    assert run.code == 0, run.output
    assert run.experiments("train") == run.experiments("evaluate") == set(ARMS)
    assert run.experiments("fill") == set(ROUNDS[1:])
    assert {e for e, when in filled.models().items() if when != models[e]} == set(ARMS)
    filled.assert_true_inputs()
    assert filled.run("tables").jobs == []


def test_an_edited_annotation_that_no_round_uses_fills_nothing(filled):
    used = {clip for clip, _ in samples(filled, "b3")}
    clip = min({clip for clip, _ in samples(filled, "n1")} - used)
    before = filled_files(filled), {e: when for e, when in filled.models().items() if e in ROUNDS}
    edit(filled, clip)
    run = filled.run("tables")
    assert run.code == 0, run.output
    assert run.of("fill") == [] and run.experiments("train").isdisjoint(ROUNDS) and "n1" in run.experiments("train")
    assert (filled_files(filled), {e: when for e, when in filled.models().items() if e in ROUNDS}) == before
    assert filled.run("tables").jobs == []


def test_killed_between_rounds_it_goes_on(filled):
    models = filled.models()
    second = filled.results / "runs/tmanet/b3-filled-2"
    for path in (filled.results / "filled/b3-filled-1", filled.results / "runs/tmanet/b3-filled-1", second):
        shutil.rmtree(path)
    (filled.results / "manifests/b3-filled-1/draw0.csv").unlink()
    filled.killed((filled.results / "runs/tmanet/b3-filled-1/draw0-seed0/model.safetensors").exists, "tables")
    kept = filled_files(filled)
    filled.unlock()
    run = filled.run("tables")
    assert run.code == 0, run.output
    after = filled.models()
    assert {e: after[e] for e in ARMS if "filled" not in e} == {e: models[e] for e in ARMS if "filled" not in e}
    assert {p: when for p, when in filled_files(filled).items() if p in kept} == kept
    filled.assert_true_inputs()
    assert filled.run("tables").jobs == []


def test_a_lost_filled_label_is_made_again(filled):
    files = filled_files(filled)
    lost = min(p for p in files if "b3-filled-1" in p.parts)
    lost.unlink()
    models = filled.models()
    run = filled.run("tables", options=["--forcerun", "fill"])
    assert run.code == 0, run.output
    after = filled_files(filled)
    assert after.keys() == files.keys() and [p for p in files if files[p] != after[p]] == [lost]
    assert filled.models() == models
    assert re.search(r"fill b3-filled-1/draw0: 1 clips filled, 1 found as they were", run.output)
