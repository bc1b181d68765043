"""Experiments that choose clips by what is measured of them, and those that draw from elsewhere (workflow)."""

import shutil

import pytest
from study import Study

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("selection")]

ARMS = ["n1", "b3-fine", "b3-flow", "extra-50-refined"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, warm):
    """A study of such arms after its first run."""
    study = Study(tmp_path_factory.mktemp("study"), warm)
    city = {"train": 6, "val": 2, "train_extra": 4, "height": 64, "width": 128}
    study.configure(experiments=ARMS, toycity=city, quality={"methods": [], "signals": 0})
    run = study.run()
    assert run.code == 0, run.output
    return study


@pytest.fixture
def chosen(finished, warm, tmp_path):
    """A copy of it, times and all."""
    shutil.copytree(finished.folder, tmp_path / "study", copy_function=shutil.copy2)
    return Study(tmp_path / "study", warm)


def test_a_measured_frame_that_changes_moves_only_what_is_chosen_by_it(chosen):
    chosen.assert_true_inputs()
    assert chosen.run().jobs == []
    values = dict(line.split(",")[::2] for line in (chosen.results / "selection/flow.csv").read_text().splitlines()[1:])
    slowest = min(values, key=lambda clip: float(values[clip]))
    frames = sorted(chosen.folder.glob(f"city/leftImg8bit_sequence/train/*/{slowest.rsplit('_', 1)[0]}_*.png"))
    # The frame after the key frame, which no experiment trains on, becomes another city's.
    key = next(i for i, path in enumerate(frames) if path.name.startswith(slowest))
    other = next(path for path in frames[0].parents[1].glob("*/*_000019_*.png") if not path.name.startswith(slowest))
    shutil.copy(other, frames[key + 1])
    before = chosen.manifest("b3-flow")
    run = chosen.run()
    assert run.code == 0, run.output
    assert chosen.manifest("b3-flow") != before and f"{slowest},0,fine" in chosen.manifest("b3-flow")
    assert run.experiments("train") == {"b3-flow"}
    chosen.assert_true_inputs()
    assert chosen.run().jobs == []


def test_a_touched_dataset_measures_nothing_again(chosen):
    models = chosen.models()
    for path in chosen.folder.glob("city/**/*.png"):
        path.touch()
    run = chosen.run()
    assert run.code == 0 and len(run.of("selection")) == 1
    assert "flow: 0 clips measured, 6 found as they were" in run.output
    assert chosen.models() == models
