import json
import os
from pathlib import Path

import pytest

from fewframes.core.errors import UserError
from fewframes.keeping.running import refuse_while_running
from fewframes.learning import lease as room
from fewframes.learning.lease import lease, trained_into

BEAT = 0.05


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("results/toy")
    (folder / "runs/tmanet/n1/draw0-seed0").mkdir(parents=True)
    return folder


def lock(name: str) -> None:
    folder = Path(".snakemake/locks")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.output.lock").write_text(f"{name}\n")


def test_nothing_is_refused_where_nobody_works(results: Path) -> None:
    refuse_while_running(results)


def test_a_lock_of_snakemake_on_these_results_is_refused(results: Path) -> None:
    lock("results/toy/plan.ran")
    with pytest.raises(UserError, match=r"at work on results/toy/plan.ran.*--unlock"):
        refuse_while_running(results)


def test_a_lock_on_the_results_of_another_dataset_is_not(results: Path) -> None:
    lock("results/toycity/plan.ran")
    refuse_while_running(results)


def test_a_training_that_lives_is_refused_and_one_that_ended_is_not(results: Path) -> None:
    folder = results / "runs/tmanet/n1/draw0-seed0/checkpoints"
    with lease(folder, beat=BEAT), pytest.raises(UserError, match="n1/draw0-seed0 is being trained"):
        refuse_while_running(results)
    refuse_while_running(results)


def test_a_lease_of_a_process_that_is_gone_is_dead(results: Path) -> None:
    folder = results / "runs/tmanet/n1/draw0-seed0/checkpoints"
    folder.mkdir()
    gone = {"host": "here", "pid": 2**22 + 1, "place": room._place(), "token": "x"}
    (folder / "lease").write_text(json.dumps(gone))
    assert trained_into([folder]) == []


def test_leases_of_other_machines_are_watched_whether_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("alive", "silent", "given-back")]
    for folder in folders:
        folder.mkdir()
        (folder / "lease").write_text(json.dumps({"host": "node7", "pid": os.getpid(), "place": "node7", "beats": 1}))

    def meanwhile(seconds: float) -> None:
        (folders[0] / "lease").write_text(json.dumps({"host": "node7", "place": "node7", "beats": 2}))
        (folders[2] / "lease").unlink()

    monkeypatch.setattr(room.time, "sleep", meanwhile)
    assert trained_into(folders, beat=BEAT) == [folders[0]]
