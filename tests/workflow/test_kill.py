"""kill -9 in the middle, then the same command again: nothing finished is done twice."""

import kills
import pytest
from safetensors.numpy import load_file
from study import CONFIG, Study

pytestmark = pytest.mark.slow


@pytest.fixture
def study(study):
    """With processes of its own, which are all killed."""
    study.jobs = None
    return study


def test_killed_in_mid_propagation_repeats_no_finished_clip(study):
    for path in (study.results / "pseudo").rglob("*.*"):
        path.unlink()

    study.killed(lambda: len(study.label_files()) >= 2, "labels")
    finished = study.label_files()
    assert 2 <= len(finished) < 6
    study.unlock()
    run = study.run("labels")
    assert run.code == 0, run.output
    after = study.label_files()
    assert len(after) == 6
    assert {name: after[name] for name in finished} == finished


def test_killed_in_mid_training_goes_on_from_its_checkpoint(study):
    target = "results/toy/runs/tmanet/n1/draw0-seed0/model.safetensors"
    study.configure(training={"tmanet": {**CONFIG["training"]["tmanet"], "iterations": 60, "checkpoint_every": 5}})
    run = study.run(target)
    assert run.code == 0, run.output
    undisturbed = load_file(study.folder / target)
    log = (study.folder / target).with_name("log.csv").read_text()

    (study.folder / target).unlink()
    checkpoint = (study.folder / target).with_name("checkpoints") / "last.pt"
    study.killed(checkpoint.exists, target)
    study.unlock()
    run = study.run(target)
    assert run.code == 0, run.output
    assert "resuming at iteration" in run.output
    assert int(run.output.split("resuming at iteration ")[1].split()[0].rstrip(".,:")) >= 5
    resumed = load_file(study.folder / target)
    assert resumed.keys() == undisturbed.keys()
    assert all((resumed[name] == undisturbed[name]).all() for name in resumed)
    assert (study.folder / target).with_name("log.csv").read_text() == log


def test_killed_at_random_again_and_again(finished_study, tmp_path):
    """`make soak` does it fifty times."""
    (tmp_path / "killed").mkdir()
    study = Study(tmp_path / "killed")
    study.configure()
    figures = kills.loop(study, finished_study, 2, 10, seed=1)
    assert figures.kills == 2 and figures.rounds
